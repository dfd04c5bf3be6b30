// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// lateStarter is a transport whose destination starts late: see [Traits.Handover] and
// [Traits.Exec].
type lateStarter interface {
	// offer tells where a destination is that has no monitor yet. It is called before Send.
	offer(destination vm.Spec)
}

// offered is the part of such a transport that keeps that.
type offered struct{ destination vm.Spec }

func (o *offered) offer(destination vm.Spec) { o.destination = destination }

// launch is what a side's QEMU is started with: what the transport needs, and RAM in a file
// that both QEMUs have.
func (mv *move) launch(role Role) vm.Launch {
	launch := mv.transport.Launch(role)
	launch.SharedMemory = launch.SharedMemory || mv.m.options.ignoreShared
	if t, late := mv.transport.(lateStarter); late && role == DestinationRole {
		launch.Handover = func(destination vm.Spec) {
			t.offer(destination)
			close(mv.handover.waiting)
		}
	}
	return launch
}

// handover is how the two sides of a move meet whose destination starts late: see
// [Traits.Handover] and [Traits.Exec].
type handover struct {
	waiting  chan struct{} // closed when the destination waits for the descriptors, or to be executed
	finished chan struct{} // closed when the destination has got them, and listens if the source is to connect
}

// waitTimeout limits the source's wait for a destination to be started, and to wait for
// the descriptors, or to have a monitor when it was executed. A QEMU that does not start has
// a limit of its own, which is less.
const waitTimeout = 90 * time.Second

// await waits, on the source, until the destination waits for the descriptors.
func (h *handover) await(ctx context.Context, src *testbed.Instance) error {
	ctx, cancel := context.WithTimeoutCause(ctx, waitTimeout, fmt.Errorf("%s: the destination's QEMU does not wait for the guest's descriptors after %v: nothing was sent", src, waitTimeout))
	defer cancel()
	select {
	case <-h.waiting:
		return nil
	case <-src.Exited():
		return src.Ended(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// finishHandover waits, on the source, until the destination that has got the descriptors
// listens, and returns its instance. It may be cancelled meanwhile.
func (mv *move) finishHandover(ctx context.Context, src *testbed.Instance) (*testbed.Instance, error) {
	mv.setState(qmp.MigrationSetup)
	select {
	case <-mv.handover.finished:
		return mv.m.Destination.Instance(mv.vm), nil
	case <-src.Exited():
		return nil, src.Monitor().Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// lateFailed is the verdict of a move whose destination, which starts late, has not come so
// far that it has an instance, or listens. A destination that fails reports that itself.
func (mv *move) lateFailed(ctx context.Context, src *testbed.Instance, err error) error {
	mv.clock.End()
	_, refused := errors.AsType[*qmp.Error](err)
	switch {
	case ctx.Err() != nil:
		mv.m.abandon(ctx, src)
		return err
	case errors.Is(err, errOverdue):
		mv.noteOverdue()
		err = mv.overdueWithoutDestination(ctx, src)
	case refused || errors.Is(err, qmp.ErrSilent) || errors.Is(err, qmp.ErrGone) || errors.Is(err, qmp.ErrClosed):
		err = fail(ctx, mv, src, SourceRole, err)
	}
	mv.m.abandon(ctx, src)
	mv.setState(qmp.MigrationFailed)
	return err
}

// overdueWithoutDestination is the verdict when mig_timeout has ended a move whose
// destination has no monitor.
func (mv *move) overdueWithoutDestination(ctx context.Context, src *testbed.Instance) error {
	late := fmt.Errorf("not finished after mig_timeout = %v: the destination's QEMU has got no monitor, or does not listen", mv.m.options.timeout)
	if mv.m.traits.Exec {
		late = fmt.Errorf("not finished after mig_timeout = %v: the source has the status %s, and has not become a QEMU with a monitor", mv.m.options.timeout, mv.currentState())
		if err := mv.m.checkMonitor(ctx, src); errors.Is(err, qmp.ErrSilent) {
			return fail(ctx, mv, src, SourceRole, fmt.Errorf("%w; %w", err, late))
		}
	}
	return failWithoutSide(ctx, mv, "", late)
}

// errSourceEnded is the cause when the source's end of the move ends the destination's
// start.
var errSourceEnded = errors.New("the source's part of the move has ended")

// prepareHandover starts the incoming VM, in the step migrate, and makes it listen when the
// source has handed its descriptors over. It does nothing if the source has ended before.
func (s *Side) prepareHandover(ctx context.Context, name string) error {
	m := s.Migration
	mv := m.moves[name]
	starting, stop := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-m.sourceDone:
			stop(errSourceEnded)
		case <-starting.Done():
		}
	})
	err := s.prepareDestination(starting, name)
	cause := context.Cause(starting)
	stop(nil)
	watching.Wait()
	switch {
	case err == nil:
		close(mv.handover.finished)
		return nil
	case errors.Is(cause, errSourceEnded):
		return nil // the source reports it
	case ctx.Err() != nil || s.Host.Err() != nil || !isClosed(mv.handover.waiting):
		return err
	}
	if instance := s.Instance(name); instance != nil {
		return blame(ctx, mv, instance, s.Role, err)
	}
	if _, ended := errors.AsType[*vm.ExitError](err); ended || errors.Is(err, qmp.ErrSilent) {
		return failAs(ctx, mv, &Failure{First: s.Role, Host: s.Host.Name(), Step: s.Step(), Err: err})
	}
	return err
}
