// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"slices"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
)

// Cont lets the guest run, see [vm.Instance.Cont].
func (i *Instance) Cont(ctx context.Context) error {
	if err := i.refuseDeparted("cont"); err != nil {
		return err
	}
	return i.noteState("running", i.QEMU.Cont(ctx))
}

// Stop pauses the guest, which may stay so until the scenario's end.
func (i *Instance) Stop(ctx context.Context) error {
	return i.noteState("paused", i.QEMU.Stop(ctx))
}

// noteState notes a state that QEMU was asked for: its event may come a moment
// later than its answer.
func (i *Instance) noteState(state string, err error) error {
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.state, i.asked.pause = state, state == "paused"
	return nil
}

// Reset is the reset button. Unlike other resets, the one that follows is asked
// for: no fault of a guest that is on its way.
func (i *Instance) Reset(ctx context.Context) error {
	if err := i.refuseDeparted("system_reset"); err != nil {
		return err
	}
	i.mu.Lock()
	i.asked.resets++
	i.mu.Unlock()
	err := i.QEMU.Reset(ctx)
	if err != nil {
		i.mu.Lock()
		i.asked.resets = max(0, i.asked.resets-1)
		i.mu.Unlock()
	}
	return err
}

// resumingCommands are the commands that make a guest run, or get it ready to.
var resumingCommands = []string{"cont", "system_reset", "system_wakeup"}

// refuseDeparted is the error of a command where the guest has left.
func (i *Instance) refuseDeparted(command string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.presence.departed() {
		return nil
	}
	return fmt.Errorf("%s: %s refused: its guest has moved away (%s), it would run twice", i, command, i.state)
}

// RanTwice says whether the guest has run here after it had left: twice, then.
func (i *Instance) RanTwice() bool { return i.currentPresence() == splitBrain }

// Execute sends a QMP command of the scenario's own. What would lose a guest is
// refused: one that makes it run where it has left, and migrate_cancel in
// post-copy. One that makes it run there by another name is a FAIL. A quit is an
// end that was asked for.
func (i *Instance) Execute(ctx context.Context, command string, arguments map[string]any, reply any) error {
	if slices.Contains(resumingCommands, command) {
		if err := i.refuseDeparted(command); err != nil {
			return err
		}
	}
	switch command {
	case "cont":
		return i.Cont(ctx)
	case "quit":
		i.mu.Lock()
		i.asked.end = true
		i.mu.Unlock()
	case "migrate_cancel", "migrate-cancel":
		var query struct {
			Status qmp.MigrationStatus `json:"status"`
		}
		if err := i.Monitor().Execute(ctx, "query-migrate", nil, &query); err != nil {
			return err
		}
		if query.Status.Postcopy() {
			return fmt.Errorf("%s: %s refused in %s: it would destroy the guest on both hosts", i, command, query.Status)
		}
	}
	revived := i.RanTwice()
	err := i.Monitor().Execute(ctx, command, arguments, reply)
	if err == nil && !revived && i.RanTwice() {
		return i.SplitBrain()
	}
	return err
}

// SplitBrain is the error of a guest that ran where it had left.
func (i *Instance) SplitBrain() error {
	return result.Fail.Errorf("%s: the guest has moved away, but it ran here again: two copies of it used one disk", i)
}
