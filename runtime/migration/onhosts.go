// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Machine is the host of an end of a move, as transports and features use it: see [testbed.Host].
type Machine interface {
	Name() string
	// MigrationAddress is the address by which other hosts reach this one.
	MigrationAddress() string
	Run(ctx context.Context, c host.Command) (host.Output, error)
	ReadFile(ctx context.Context, name string) ([]byte, error)
	CopyTo(ctx context.Context, name string, w io.Writer) error
	MkdirAll(ctx context.Context, name string, perm fs.FileMode) error
	WriteFile(ctx context.Context, name string, data []byte, perm fs.FileMode) error
	RemoveAll(ctx context.Context, name string) error
	FreePort(ctx context.Context) (int, error)
	ReservePort(ctx context.Context, first, last int) (port int, release func(), err error)
	Record(kind ledger.Kind, path string) (done func() error, err error)
	NewMark() (string, error)
	EndMarked(ctx context.Context, mark string) error
}

// Checker is a [Transport] that needs more of the hosts than QEMU.
type Checker interface {
	// Check finds out whether the hosts have what the transport needs. It is called before
	// anything is started. What a host lacks is an error with the status SKIP that names
	// the host.
	Check(ctx context.Context, source, destination Machine) error
}

// OnHosts is a [Transport] that has programs or files of its own on the hosts, besides
// QEMU.
type OnHosts interface {
	// Sent is called when the source has completed. It returns when all that the source
	// has sent is in the transport's file or has been passed on by its program, or why it
	// never will be: the source has failed then.
	Sent(ctx context.Context, source Peer) error
	// Interrupt ends what keeps a source from cancelling: it is called when QEMU has had the
	// status cancelling for some time.
	Interrupt(ctx context.Context, source Peer) error
	// Explain says which end's program has failed.
	Explain(ctx context.Context) ProgramFailure
	// Close ends the transport's programs at one end, and removes its files there. It is
	// called when that side of the migration has ended, in whatever way.
	Close(ctx context.Context, end Role) error
}

// ProgramFailure is how the program of a transport has failed.
type ProgramFailure struct {
	End    Role   // whose program it is; "": none has failed
	Killed bool   // by a signal: nothing else can have failed before. Else its QEMU or the other end may have
	Why    string // how it has ended, and what it said
}

const (
	// closeTimeout limits Close, also of a host that hangs.
	closeTimeout = 30 * time.Second
	// interruptAfter is how long a source may have the status cancelling before what it
	// waits for is interrupted. Over TCP QEMU shuts the connection down itself.
	interruptAfter = time.Second
)

// checkHosts checks that the hosts have what the transports need.
func (m *Migration) checkHosts(ctx context.Context) error {
	if err := m.checkSameMachine(ctx); err != nil {
		return err
	}
	for _, vm := range m.Plan.VMs {
		c, needs := m.moves[vm].transport.(Checker)
		if !needs {
			continue
		}
		if err := c.Check(ctx, m.Plan.Source, m.Plan.Destination); err != nil {
			return err
		}
	}
	return nil
}

// sent waits until the transport has all that a completed source has sent.
func (mv *move) sent(ctx context.Context, src *testbed.Instance) error {
	t, on := mv.transport.(OnHosts)
	if !on || !mv.completed() {
		return nil
	}
	err := t.Sent(ctx, endpoint{src})
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fail(ctx, mv, src, SourceRole, err)
}

// interrupt ends what keeps the source from cancelling.
func (mv *move) interrupt(ctx context.Context, src *testbed.Instance) {
	t, on := mv.transport.(OnHosts)
	if !on {
		return
	}
	src.Log().Info("the migration is not cancelled yet: ending the transport's program", "after", interruptAfter)
	if err := t.Interrupt(ctx, endpoint{src}); err != nil {
		src.Log().Warn("the transport's program is not ended", "error", err)
	}
}

// programFailure is the failure of the end whose program of the transport has failed
// first, nil if that is not why the move has failed. peerLost says that the destination's
// QEMU has not ended, or not for a reason of its own.
func (mv *move) programFailure(ctx context.Context, src, dst *testbed.Instance, reported string, peerLost bool) error {
	t, on := mv.transport.(OnHosts)
	if !on {
		return nil
	}
	failure := t.Explain(ctx)
	instance := src
	switch {
	case failure.End == "" || !failure.Killed && !peerLost:
		return nil
	case failure.End == DestinationRole:
		instance = dst
	}
	return fail(ctx, mv, instance, failure.End, fmt.Errorf("%s; the source reported: %s", failure.Why, reported))
}

// closeTransports closes the side's ends of all transports, and gives the ports of NBD
// servers back. What could not be removed stays in the ledger, for the end of the run.
func (s *Side) closeTransports(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	for _, vm := range s.Migration.Plan.VMs {
		if s.Role == DestinationRole {
			s.Migration.moves[vm].storage.releasePorts()
		}
		t, on := s.Migration.moves[vm].transport.(OnHosts)
		if !on {
			continue
		}
		if err := t.Close(ctx, s.Role); err != nil && s.Host.Err() == nil && !errors.Is(err, context.Canceled) {
			s.log.Warn("something of the transport may be left on the host until the end of the run", "vm", vm, "error", err)
		}
	}
}
