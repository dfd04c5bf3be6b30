// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/mhmig/mhmig/runtime/vm"
)

// tcp migrates over a TCP connection, to a port that the destination's QEMU has chosen,
// or one of mig_port's range.
type tcp struct {
	ports portRange
	port  int // where the destination listens
}

func newTCP(o options) Transport { return &tcp{ports: o.port} }

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

func (t *tcp) listeningPort() int { return t.port }

// bind makes QEMU listen on the first free port.
func (t *tcp) bind(ctx context.Context, destination Peer) error {
	if t.ports.any() {
		return incoming(ctx, destination, tcpURI(destination.ListenAddress(), 0))
	}
	var err error
	for port := t.ports.first; port <= t.ports.last; port++ {
		if err = incoming(ctx, destination, tcpURI(destination.ListenAddress(), port)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w; no port of mig_port = %s is free on %s (0 lets QEMU choose)", err, t.ports, destination.HostName())
}

func (t *tcp) Send(ctx context.Context, source, destination Peer) error {
	return migrate(ctx, source, tcpURI(destination.Address(), t.port))
}

func tcpURI(address string, port int) string {
	return "tcp:" + net.JoinHostPort(address, strconv.Itoa(port))
}

// incoming makes a destination that was started with -incoming defer listen on uri.
func incoming(ctx context.Context, destination Peer, uri string) error {
	return destination.Execute(ctx, "migrate-incoming", map[string]any{"uri": uri}, nil)
}

// migrate makes a source send to uri.
func migrate(ctx context.Context, source Peer, uri string) error {
	source.Log().Info("migrate", "uri", uri)
	return source.Execute(ctx, "migrate", map[string]any{"uri": uri}, nil)
}
