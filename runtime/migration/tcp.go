// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/vm"
)

// tcp migrates over a TCP connection, to a port that the destination's QEMU has chosen,
// or one of mig_port's range.
type tcp struct {
	form

	ports portRange
	port  int // where the destination listens
}

func newTCP(o options) Transport { return &tcp{form: o.form(), ports: o.port} }

func (t *tcp) Traits() Traits { return Traits{ReturnPath: true, Channels: true} }

func (t *tcp) Launch(Role) vm.Launch { return vm.Launch{} }

func (t *tcp) Listen(ctx context.Context, destination Peer) error {
	if err := t.bind(ctx, destination); err != nil {
		return err
	}
	var reply struct {
		SocketAddress []struct {
			Port string `json:"port"`
		} `json:"socket-address"`
	}
	if err := destination.Execute(ctx, "query-migrate", nil, &reply); err != nil {
		return err
	}
	if len(reply.SocketAddress) == 0 {
		return fmt.Errorf("%s: QEMU does not report its listening port", destination)
	}
	var err error
	if t.port, err = strconv.Atoi(reply.SocketAddress[0].Port); err != nil {
		return fmt.Errorf("%s: port %q: %w", destination, reply.SocketAddress[0].Port, err)
	}
	return nil
}

// listenAgain uses a port that is free now, or another one of mig_port's range. QEMU's
// refusal says why it does not listen: on a port that is in use, or at all.
func (t *tcp) listenAgain(ctx context.Context, destination Peer, listen func(uri string) error) error {
	ports := t.ports
	if ports.any() {
		port, err := destination.Machine().FreePort(ctx)
		if err != nil {
			return err
		}
		ports = portRange{port, port}
	}
	var err error
	for port := ports.first; port <= ports.last; port++ {
		if err = listen(tcpAddress(destination.ListenAddress(), port).uri); err == nil {
			t.port = port
			return nil
		}
		if _, refused := errors.AsType[*qmp.Error](err); !refused {
			return err
		}
	}
	return fmt.Errorf("%s does not listen again on port %s: %w", destination, ports, err)
}

func (t *tcp) listeningPort() int { return t.port }

// connectionCount: in /proc/net/tcp the local address with its port, in hexadecimal, is the
// second field, and the fourth the state: 01 is established, 08 closed by the other side.
func (t *tcp) connectionCount(Peer) string {
	return fmt.Sprintf(`cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$2 ~ /:%04X$/ && ($4 == "01" || $4 == "08")' | wc -l`, t.port)
}

// bind makes QEMU listen on the first free port.
func (t *tcp) bind(ctx context.Context, destination Peer) error {
	if t.ports.any() {
		return t.incoming(ctx, destination, tcpAddress(destination.ListenAddress(), 0))
	}
	return t.ports.try(destination, func(port int) error {
		return t.incoming(ctx, destination, tcpAddress(destination.ListenAddress(), port))
	})
}

func (t *tcp) Send(ctx context.Context, source, destination Peer) error {
	return t.migrate(ctx, source, tcpAddress(destination.Address(), t.port))
}
