// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/mhmig/mhmig/runtime/vm"
)

// Transport is how one guest is sent from one QEMU to another: one value of the param
// mig_protocol. Each move has its own Transport, which may keep state from Listen for
// Send. A new one is a file like tcp.go and a row in transports; it may also be a
// [Checker], or [OnHosts].
type Transport interface {
	// Traits are the same for all moves.
	Traits() Traits
	// Launch is what the transport adds to the start of a side's QEMU. That of the
	// source is used if the guest has to be started there.
	Launch(Role) vm.Launch
	// Listen makes the destination listen for the guest or, with LoadsAfterSource, load
	// it. It returns when the source can send.
	Listen(ctx context.Context, destination Peer) error
	// Send starts to send the guest, with QMP migrate; it does not wait for the end.
	Send(ctx context.Context, source, destination Peer) error
}

// Traits are the properties of a transport that the steps of a migration depend on.
type Traits struct {
	// ReturnPath says that the destination can tell the source that the guest is
	// loaded, or is not: the source completes only then.
	ReturnPath bool
	// LoadsAfterSource says that the destination cannot start loading before the source
	// has completed, as with a file: Listen is called then.
	LoadsAfterSource bool
	// File says that the source's QEMU writes the guest to a file, in which it can go back.
	File bool
	// Channels says that the source can connect several times, as multifd does.
	Channels bool
	// Direct says that the source writes the guest's memory into the destination's by itself,
	// past the stream in which QEMU encrypts it, compresses it and looks for zeros.
	Direct bool
	// SharedRAM says that both QEMUs map the same RAM, of which nothing is sent.
	SharedRAM bool
	// OneMachine says that both QEMUs must be on one machine, which may be two hosts of
	// the run.
	OneMachine bool
	// Handover says that the source hands file descriptors over to a destination that has
	// no monitor before that: with [vm.Launch.Handover] it is started in the step migrate,
	// not before. Send is called when it waits for them, without a destination. Listen
	// follows, and only then does the source go on.
	Handover bool
	// Exec says that the source's process becomes the destination when it has completed,
	// with [vm.Launch.Handover]: the destination is started in the step migrate, and has no
	// monitor before that. Send is called without a destination.
	Exec bool
}

// startsLate says whether the destination is started in the step migrate, not before.
func (t Traits) startsLate() bool { return t.Handover || t.Exec }

// Peer is one end of a move, as transports and features see it: a QEMU and its host.
type Peer interface {
	// String is the VM and its host: vm1@host1.
	fmt.Stringer
	HostName() string
	// Log is the variant's log, with the VM and the host.
	Log() *slog.Logger
	// Execute sends QEMU a command, see [qmp.Conn.Execute].
	Execute(ctx context.Context, command string, arguments, reply any) error
	// Supports says whether QEMU has a command, an argument or one of its values, see
	// [qmp.Conn.Supports].
	Supports(ctx context.Context, path string) (bool, error)
	// Address is the address by which other hosts reach this one.
	Address() string
	// ListenAddress is the address on which QEMU is to listen for them.
	ListenAddress() string
	// Machine is the host.
	Machine() Machine
	// Spec has the paths on the host of this QEMU's files, which nobody else uses. They are
	// removed with the instance.
	Spec() vm.Spec
}

// transports are the values of mig_protocol.
var transports = map[string]func(options) Transport{
	"cpr-exec":     newCPRExec,
	"cpr-reboot":   newCPRReboot,
	"cpr-transfer": newCPRTransfer,
	"exec":         newExec,
	"fd":           newFD,
	"file":         newFile,
	"rdma":         newRDMA,
	"tcp":          newTCP,
	"unix":         newUnix,
	// virt-test's name of it, from the time before QEMU 2.1.
	"x-rdma": newRDMA,
}

// Transports returns the names of all transports, in alphabetical order.
func Transports() []string { return slices.Sorted(maps.Keys(transports)) }

// checkSameMachine returns an error if the transport needs one machine and the two
// hosts are not on one. It runs commands on them.
func (m *Migration) checkSameMachine(ctx context.Context) error {
	if !m.traits.OneMachine {
		return nil
	}
	one, err := m.bed.OneMachine(ctx, m.Plan.Source, m.Plan.Destination)
	if err != nil || one {
		return err
	}
	return fmt.Errorf("param mig_protocol: %s works on one machine only, but %s and %s are two machines: use another one, such as tcp",
		m.options.protocol, m.Plan.Source.Name(), m.Plan.Destination.Name())
}
