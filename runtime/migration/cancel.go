// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// CancelRefusedError is the error of a Cancel in post-copy, where it would destroy the guest
// on both ends: nothing was cancelled.
type CancelRefusedError struct{ vm, phase string }

func (e *CancelRefusedError) Error() string {
	return fmt.Sprintf("cancel: %s is %s: cancelling now would destroy the guest on both hosts", e.vm, e.phase)
}

// Cancel cancels the migration: migrate_cancel on the source of every VM that is
// being migrated, nothing for one that has not started. It is refused in post-copy, with a
// *[CancelRefusedError], and once a move was switched to it: QEMU may be in it before its
// event has come. It does not wait for the sides to end.
func (m *Migration) Cancel(ctx context.Context) error {
	m.mu.Lock()
	for _, mv := range m.moves {
		if phase := mv.postcopyPhase(); phase != "" {
			m.mu.Unlock()
			return &CancelRefusedError{mv.vm, phase}
		}
	}
	m.cancelled = true
	m.broadcastLocked()
	m.mu.Unlock()
	for _, mv := range m.moves {
		if err := mv.cancel(ctx); err != nil {
			return err
		}
	}
	return nil
}

// postcopyPhase is how far a move is in post-copy, "" if it is not; m.mu is held.
func (mv *move) postcopyPhase() string {
	switch {
	case mv.state.Postcopy():
		return "in " + string(mv.state)
	case mv.switched && !mv.state.Terminal():
		return "switched to post-copy"
	}
	return ""
}

func (m *Migration) wasCancelled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cancelled
}

// cancel sends migrate_cancel to the source, if the move has started and the guest does
// not run on the destination yet. Execute refuses it in post-copy, into which the scenario
// may have switched QEMU by itself.
func (mv *move) cancel(ctx context.Context) error {
	mv.m.mu.Lock()
	src := mv.source
	mv.m.mu.Unlock()
	if src == nil || mv.runsOnDestination() {
		return nil
	}
	err := src.Execute(ctx, "migrate_cancel", nil, nil)
	if errors.Is(err, qmp.ErrGone) {
		return nil // nothing to cancel; follow reports why
	}
	return blame(ctx, mv, src, SourceRole, err)
}

// abandon cancels a migration and waits a short time until QEMU has done so, also when
// ctx has ended. In post-copy this is refused, and the migration continues; a guest that
// runs on the destination stays there.
func (m *Migration) abandon(ctx context.Context, src *testbed.Instance) {
	if m.moves[src.Name()].runsOnDestination() {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), m.timeouts.cancel, fmt.Errorf("not cancelled within %v", m.timeouts.cancel))
	defer cancel()
	err := src.Execute(ctx, "migrate_cancel", nil, nil)
	interruptAt := time.After(interruptAfter)
	for err == nil {
		var query struct {
			Status State `json:"status"`
		}
		err = src.Monitor().Execute(ctx, "query-migrate", nil, &query)
		if err == nil && (!query.Status.Begun() || query.Status.Terminal()) {
			src.Log().Info("migration abandoned", "status", string(query.Status))
			return
		}
		select {
		case <-time.After(waitInterval):
		case <-interruptAt:
			m.moves[src.Name()].interrupt(ctx, src)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if !errors.Is(err, qmp.ErrGone) {
		src.Log().Warn("the abandoned migration could not be cancelled", "error", err)
	}
}

// endCancelledSource is the source's part after a migration that was cancelled, or has
// failed as it may: a guest whose move has not completed stays on the source; one whose
// move had completed stays on the destination.
func (s *Side) endCancelledSource(ctx context.Context) error {
	if err := s.each(ctx, s.keepSource); err != nil {
		return err
	}
	if err := s.waitCancelled(ctx); err != nil {
		return err
	}
	return s.each(ctx, func(ctx context.Context, vm string) error {
		if s.Migration.moves[vm].completed() {
			return s.Migration.bed.Remove(ctx, s.Instance(vm))
		}
		return nil
	})
}

// endCancelledDestination is the destination's part.
func (s *Side) endCancelledDestination(ctx context.Context) error {
	if err := s.each(ctx, s.endDestination); err != nil {
		return err
	}
	return s.waitCancelled(ctx)
}

// endCompleted is the destination's part for a guest whose move had completed before: what
// the steps from memory_proof to check do after others, while the source still has all of
// it. A check_dst is for all guests, and replaces the check of this one too.
func (s *Side) endCompleted(ctx context.Context, vm string) error {
	m, src, dst := s.Migration, s.Migration.Source.Instance(vm), s.Instance(vm)
	if m.traits.LoadsAfterSource && m.failed() != nil { // the failure of another VM, which load does not outlast
		if err := m.moves[vm].loadSaved(ctx, dst); err != nil {
			return err
		}
	}
	if err := s.waitLoaded(ctx, vm); err != nil {
		return err
	}
	if gone := src.Removed(); gone && m.proves() {
		m.moves[vm].skipProof(dst, "the scenario has ended its source")
	} else if !gone {
		if m.proves() {
			if err := s.compareMemory(ctx, vm); err != nil {
				return err
			}
		}
		if err := m.moves[vm].checkFeatures(ctx, endpoint{src}, endpoint{dst}); err != nil {
			return err
		}
	}
	if err := s.arrive(ctx, vm); err != nil {
		return err
	}
	if m.Plan.CheckDst == nil {
		if err := s.checkArrived(ctx, vm); err != nil {
			return err
		}
	}
	return s.recheck(ctx, vm)
}

// waitLoaded waits until the destination has loaded a guest whose move has completed: a
// failure of another one has ended the wait for that.
func (s *Side) waitLoaded(ctx context.Context, vm string) error {
	late := time.Now().Add(s.Migration.timeouts.settle)
	if s.Migration.traits.LoadsAfterSource {
		late = time.Now().Add(s.Migration.options.timeout)
	}
	for {
		state, err := s.Instance(vm).Status(ctx)
		if err != nil {
			return fail(ctx, s.Migration.moves[vm], s.Instance(vm), DestinationRole, err)
		}
		if state != "inmigrate" || time.Now().After(late) {
			return nil // the checks find one that is not there
		}
		if err := sleep(ctx, waitInterval); err != nil {
			return err
		}
	}
}

func (s *Side) waitCancelled(ctx context.Context) error {
	o := s.Migration.options
	l := limit{o.finishTimeout, "finish_timeout"}
	for _, mv := range s.Migration.moves {
		if mv.completed() { // its guest is checked, see endCompleted
			l = limit{o.timeout + o.loginTimeout + o.finishTimeout, "mig_timeout + login_timeout + finish_timeout"}
		}
	}
	return s.waitForPeer(ctx, "cancelled", l)
}
