// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"

	"github.com/mhmig/mhmig/runtime/testbed"
)

// notePause asks the source for its run state, at first and after an event STOP: QEMU stops
// the guest itself for the switchover, with the run state finish-migrate; when it is paused,
// somebody has paused it. A source that does not answer is reported by the samples.
func (mv *move) notePause(ctx context.Context, src *testbed.Instance, event int) {
	state, err := src.Status(ctx)
	if err != nil {
		return
	}
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	if mv.pauseEvents == event { // else a later one asks too
		mv.pausedThere = testbed.IsPaused(state)
	}
}

// nextPauseEvent counts an event STOP or RESUME of the source.
func (mv *move) nextPauseEvent(resumed bool) int {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	mv.pauseEvents++
	mv.pausedThere = mv.pausedThere && !resumed
	return mv.pauseEvents
}

// checkPause returns an error if the guest was paused when it moved, and neither the
// scenario nor mig_offline has paused it. state is the destination's run state: it is
// paused, too, where the memory is compared first; else a guest that has run on the source
// runs on at once.
func (mv *move) checkPause(ctx context.Context, state string, dst *testbed.Instance) error {
	src := mv.m.Source.Instance(mv.vm)
	if mv.m.options.offline || src != nil && src.PauseRequested() || dst.PauseRequested() {
		return nil
	}
	mv.m.mu.Lock()
	pausedThere := mv.pausedThere
	mv.m.mu.Unlock()
	switch {
	case pausedThere:
		return fail(ctx, mv, src, SourceRole, fmt.Errorf("the guest was paused on %s when it moved, which the scenario did not request (vm.pause, mig_offline)", mv.m.Source.Host.Name()))
	case testbed.IsPaused(state) && !mv.m.proves():
		return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("the guest has arrived %s, not running, though nothing was to pause it", state))
	}
	return nil
}

// checkPanic returns an error if the guest had panicked when it left the source, whose
// console says so: that of the destination says nothing.
func (mv *move) checkPanic(ctx context.Context) error {
	src := mv.m.Source.Instance(mv.vm)
	if src == nil {
		return nil
	}
	if err := src.CheckHalted(ctx); err != nil {
		return fail(ctx, mv, src, SourceRole, err)
	}
	return nil
}
