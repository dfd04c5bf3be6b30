// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/mhmig/mhmig/runtime/vm"
)

// Transport is how one guest gets from one QEMU to another: one value of the param
// mig_protocol. Each move has its own, which may so keep what Listen has learned for
// Send. A new one is a file like tcp.go and a row in transports.
type Transport interface {
	// Traits are the same for all moves.
	Traits() Traits
	// Launch is what a side's QEMU is launched with, more than all are. That of the
	// source counts where the guest has to be started there.
	Launch(Role) vm.Launch
	// Listen makes the destination wait for the guest or, by its traits, load it. It
	// returns when the source can send.
	Listen(ctx context.Context, destination Peer) error
	// Send begins to send the guest, with what QEMU calls migrate; it does not wait
	// for the end.
	Send(ctx context.Context, source, destination Peer) error
}

// Traits are what the steps of a migration must know of its transport.
type Traits struct {
	// ReturnPath says that the destination can tell the source that the guest is
	// loaded, or is not: the source completes only then.
	ReturnPath bool
	// LoadsAfterSource says that the destination cannot begin before the source has
	// come to its end, as with a file: Listen is called then.
	LoadsAfterSource bool
	// OneMachine says that both QEMUs must be on one machine, whose hosts may have
	// two names.
	OneMachine bool
}

// Peer is one end of a move, as transports and features see it: a QEMU and its host.
type Peer interface {
	// String is the VM and its host: vm1@host1.
	fmt.Stringer
	HostName() string
	// Log writes with the VM and the host.
	Log() *slog.Logger
	// Execute sends QEMU a command, see [qmp.Conn.Execute].
	Execute(ctx context.Context, command string, arguments, reply any) error
	// Address is where other hosts reach this one.
	Address() string
	// ListenAddress is the address on which QEMU is to listen for them.
	ListenAddress() string
	// Socket is a path on the host for a socket of this QEMU's, which nobody else
	// uses. What is there is removed with the instance.
	Socket() string
}

// transports are the values of mig_protocol.
var transports = map[string]func(options) Transport{
	"tcp":  newTCP,
	"unix": newUnix,
}

// checkSameMachine is an error when the transport does not lead from one host to the
// other. It asks them.
func (m *Migration) checkSameMachine(ctx context.Context) error {
	if !m.traits.OneMachine {
		return nil
	}
	one, err := m.bed.OneMachine(ctx, m.Plan.Source, m.Plan.Destination)
	if err != nil || one {
		return err
	}
	return fmt.Errorf("param mig_protocol: %s does not leave a machine, and %s and %s are two: take another one, such as tcp",
		m.options.protocol, m.Plan.Source.Name(), m.Plan.Destination.Name())
}
