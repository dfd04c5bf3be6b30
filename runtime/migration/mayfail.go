// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/vm"
)

// errFailedAsItMay is the cause when the other side of a migration that may fail has
// ended the move.
var errFailedAsItMay = errors.New("the migration has failed, as it may")

// untilFailed returns a context that also ends when a migration that may fail has
// failed.
func (m *Migration) untilFailed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tolerated != nil {
		cancel(errFailedAsItMay)
	}
	m.stops = append(m.stops, cancel)
	return ctx, func() { cancel(nil) }
}

// tolerates says whether err, with which a side has ended before the end of its move, is
// the failure of a migration that may fail, or due to that of the other side. The first
// such failure ends the other side's move, too.
func (m *Migration) tolerates(ctx context.Context, err error) bool {
	if !m.Plan.MayFail || ctx.Err() != nil {
		return false
	}
	m.failing <- struct{}{}
	defer func() { <-m.failing }()
	m.mu.Lock()
	defer m.mu.Unlock()
	if f, ok := errors.AsType[*Failure](err); ok {
		if !m.tolerableLocked(f) {
			return false
		}
		m.verdict = nil // what is found from now on is another failure
		if m.tolerated == nil {
			m.tolerated = f
		}
		for _, stop := range m.stops {
			stop(errFailedAsItMay)
		}
		return true
	}
	broken := errors.Is(err, qmp.ErrGone) || errors.Is(err, qmp.ErrClosed) || errors.Is(err, qmp.ErrSilent)
	return m.tolerated != nil && (broken || errors.Is(err, errFailedAsItMay))
}

// tolerableLocked says whether the scenario has allowed a failure: one of the network, of
// the destination, or of an attempt that takes too long. A QEMU that crashes is none, and
// neither is a guest that has left the source. m.mu is held.
func (m *Migration) tolerableLocked(f *Failure) bool {
	for _, name := range m.Plan.VMs {
		if m.Source.Instance(name) == nil { // not prepared yet
			return false
		}
	}
	mv := m.moves[f.VM]
	exit, ended := errors.AsType[*vm.ExitError](f.Err)
	switch dst := m.Destination.Instance(f.VM); {
	case ended && exit.Crashed():
		return false
	case mv.state == qmp.MigrationCompleted:
		return false
	default:
		return dst == nil || !dst.Arrived()
	}
}

// endFailedMove ends the move of a migration that has failed as it may. The source
// determines how that of each VM has ended, and the destination waits for that.
func (s *Side) endFailedMove(ctx context.Context) error {
	m := s.Migration
	if !s.IsSource() {
		select {
		case <-m.sourceDone:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := s.each(ctx, s.settle); err != nil {
		return err
	}
	failure := m.Tolerated()
	s.log.Info("the migration has failed, as it may", "error", failure)
	s.endMove(failure)
	return nil
}

// settle sets the final state of a move that the failure of another one, or of the
// destination, has ended: it may have completed all the same. One whose guest is, at least
// in part, on the destination has to complete: nothing cancels it.
func (s *Side) settle(ctx context.Context, vm string) error {
	mv, source := s.Migration.moves[vm], s.Instance(vm)
	if mv.currentState().Terminal() {
		return nil
	}
	outcome := qmp.MigrationFailed
	if source.Departures() > mv.departuresBefore { // else QEMU has the status of an earlier one
		late := fmt.Errorf("it has not completed within mig_timeout = %v after the failure of another VM", s.Migration.options.timeout)
		waiting := false
		for began := time.Now(); ; {
			state, err := mv.sample(ctx, source.Monitor())
			if err != nil {
				break
			}
			if state == qmp.MigrationCompleted {
				status, err := source.Status(ctx)
				if err != nil {
					return blame(ctx, mv, source, SourceRole, err)
				}
				if hasSent(status) {
					outcome = state
				}
			}
			if state.Terminal() || !state.Postcopy() && !mv.runsOnDestination() {
				break
			}
			if time.Since(began) > s.Migration.options.timeout {
				return fail(ctx, mv, source, SourceRole, late)
			}
			if !waiting {
				source.Log().Info("another VM has failed; this one has begun to run on the destination, and is waited for", "status", string(state))
				waiting = true
			}
			if err := sleep(ctx, sampleInterval); err != nil {
				return err
			}
		}
	}
	mv.setState(outcome)
	return nil //nolint:nilerr // the next check finds a source that does not answer
}

// hasSent says whether a run state is that of a source that has sent its guest. With
// another one, a migration that has completed is an earlier one.
func hasSent(state string) bool { return state == "finish-migrate" || state == "postmigrate" }

// Tolerated returns the failure of a migration that has failed as it may, nil if it has
// not.
func (m *Migration) Tolerated() *Failure {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tolerated
}

// Overdue says whether mig_timeout has ended the move of a VM, which QEMU had not reported
// as ended by then.
func (m *Migration) Overdue() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mv := range m.moves {
		if mv.forecast.overdue {
			return true
		}
	}
	return false
}
