// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"

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
	for _, mv := range m.moves {
		mv.settle(ctx, s)
	}
	failure := m.Tolerated()
	s.log.Info("the migration has failed, as it may", "error", failure)
	s.endMove(failure)
	return nil
}

// settle sets the final state of a move that the failure of another one, or of the
// destination, has ended: it may have completed all the same.
func (mv *move) settle(ctx context.Context, source *Side) {
	if mv.currentState().Terminal() {
		return
	}
	mv.m.mu.Lock()
	tried := mv.tried
	mv.m.mu.Unlock()
	if !tried && mv.m.Plan.MigrateSrc == nil { // a guest that was restored has the status of that
		mv.setState(qmp.MigrationFailed)
		return
	}
	state, _ := mv.sample(ctx, source.Instance(mv.vm).Monitor()) // an error is found by the check of the guest
	if state != qmp.MigrationCompleted {
		state = qmp.MigrationFailed
	}
	mv.setState(state)
}

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
