// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
)

// Cont resumes the guest, see [vm.Instance.Cont].
func (i *Instance) Cont(ctx context.Context) error {
	if err := i.RefuseDeparted("cont"); err != nil {
		return err
	}
	return i.setState("running", i.QEMU.Cont(ctx))
}

// Stop pauses the guest, which may stay paused until the scenario's end.
func (i *Instance) Stop(ctx context.Context) error {
	return i.setState("paused", i.QEMU.Stop(ctx))
}

// IsPaused says whether a run state of QEMU is that of a paused guest: paused, or prelaunch,
// which QEMU makes of it when the guest is reset, also by a reset that the guest itself has
// requested shortly before it was paused.
func IsPaused(state string) bool { return state == "paused" || state == "prelaunch" }

// setState sets the state after a successful command: its event may arrive shortly
// after its answer.
func (i *Instance) setState(state string, err error) error {
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.state, i.requested.pause, i.requested.hold = state, state == "paused", false
	return nil
}

// Reset resets the guest. Unlike other resets, this one is requested: it is not a
// failure of a guest that is being migrated.
func (i *Instance) Reset(ctx context.Context) error {
	if err := i.RefuseDeparted("system_reset"); err != nil {
		return err
	}
	i.mu.Lock()
	i.requested.resets++
	i.mu.Unlock()
	err := i.QEMU.Reset(ctx)
	if _, refused := errors.AsType[*qmp.Error](err); refused { // else its event may still come
		i.mu.Lock()
		i.requested.resets = max(0, i.requested.resets-1)
		i.mu.Unlock()
	}
	return err
}

// quitTimeout is for QEMU's end after the QMP command quit: it flushes the disks.
const quitTimeout = 30 * time.Second

// resumingCommands are the commands that make a guest run, or able to run.
var resumingCommands = []string{"cont", "system_reset", "system_wakeup"}

// RefuseDeparted returns an error if the guest has migrated to another instance: command
// would make it run twice.
func (i *Instance) RefuseDeparted(command string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.presence.departed() {
		return nil
	}
	return fmt.Errorf("%s: %s refused: its guest has migrated (%s), it would run twice", i, command, i.state)
}

// RanTwice says whether the guest has run here after it had migrated: a split brain.
func (i *Instance) RanTwice() bool { return i.currentPresence() == splitBrain }

// Execute executes a QMP command for the scenario. Commands that would lose a guest are
// refused: those that make it run after it has migrated, migrate_cancel in post-copy, and
// calc-dirty-rate by the dirty bitmap under TCG (SKIP). If another command makes it run
// there, that is a FAIL. A quit and a migrate_cancel count as requested. A quit
// waits for QEMU's end, and removes the instance as [Bed.Remove] does; before, the guest is
// checked as before vm.destroy.
func (i *Instance) Execute(ctx context.Context, command string, arguments map[string]any, reply any) error {
	if slices.Contains(resumingCommands, command) {
		if err := i.RefuseDeparted(command); err != nil {
			return err
		}
	}
	switch {
	case command == "cont":
		return i.Cont(ctx)
	case command == "quit":
		if err := cmp.Or(i.CheckEnd(ctx), i.CheckStopped(ctx)); err != nil {
			return err
		}
		i.mu.Lock()
		i.requested.end = true
		i.mu.Unlock()
	case isMonitorCommand(command, arguments, "migrate"):
		i.mu.Lock()
		i.requested.cancel = false // it was of an earlier one
		i.mu.Unlock()
	case isMonitorCommand(command, arguments, "migrate_cancel", "migrate-cancel"):
		var query struct {
			Status qmp.MigrationStatus `json:"status"`
		}
		if err := i.Monitor().Execute(ctx, "query-migrate", nil, &query); err != nil {
			return err
		}
		if query.Status.Postcopy() {
			return fmt.Errorf("%s: migrate_cancel refused in %s: it would destroy the guest on both hosts", i, query.Status)
		}
		i.mu.Lock()
		i.requested.cancel = true
		i.mu.Unlock()
	}
	if command == "calc-dirty-rate" && arguments["mode"] == "dirty-bitmap" && i.shape.Accel == "tcg" {
		return result.Skip.Errorf("%s: %s with mode=dirty-bitmap refused: under TCG it crashes QEMU 7.2, and measures nothing in others: use page-sampling", i, command)
	}
	ranTwice := i.RanTwice()
	err := i.Monitor().Execute(ctx, command, arguments, reply)
	if err != nil {
		return err
	}
	switch {
	case command == "quit":
		return errors.Join(i.awaitExit(ctx), i.Host.bed.Remove(ctx, i))
	case isMonitorCommand(command, arguments, "migrate"):
		i.mu.Lock()
		i.noteSent()
		i.mu.Unlock()
	}
	if !ranTwice && i.RanTwice() {
		return i.SplitBrain()
	}
	return nil
}

// awaitExit waits until QEMU, which was told to quit, has ended.
func (i *Instance) awaitExit(ctx context.Context) error {
	late := time.NewTimer(quitTimeout)
	defer late.Stop()
	select {
	case <-i.Exited():
		return nil
	case <-late.C:
		return result.Fail.Errorf("%s: QEMU has not ended within %v after the QMP command quit", i, quitTimeout)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// isMonitorCommand says whether a command is one of names, maybe of the human monitor.
func isMonitorCommand(command string, arguments map[string]any, names ...string) bool {
	if command == "human-monitor-command" {
		line, _ := arguments["command-line"].(string)
		command, _, _ = strings.Cut(strings.TrimSpace(line), " ")
	}
	return slices.Contains(names, command)
}

// SplitBrain is the error of a guest that ran after it had migrated, a
// [*SplitBrainError].
func (i *Instance) SplitBrain() error { return &SplitBrainError{i} }

// SplitBrainError says that a guest ran in an instance after it had migrated from there:
// a FAIL, which whoever looks at the instance finds.
type SplitBrainError struct{ Instance *Instance }

func (e *SplitBrainError) Error() string {
	return fmt.Sprintf("%s: split brain: the guest has migrated, but ran here again: two copies of it used one disk", e.Instance)
}

// Status returns Fail.
func (*SplitBrainError) Status() result.Status { return result.Fail }
