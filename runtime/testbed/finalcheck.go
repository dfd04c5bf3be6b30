// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mhmig/mhmig/runtime/result"
)

// FinalCheck checks all instances at the scenario's end, and returns the errors: a guest
// that does not run although the scenario has not ended or paused it, one that runs
// after it has migrated, that has panicked, or that was reset without a request. For a
// guest that was in a migration that is a FAIL, for others an ERROR.
func (b *Bed) FinalCheck(ctx context.Context) []error {
	instances := b.Instances()
	errs := make([]error, len(instances))
	var checking sync.WaitGroup
	for i, instance := range instances {
		checking.Go(func() { errs[i] = instance.check(ctx) })
	}
	checking.Wait()
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// check returns the error of an instance at the scenario's end.
func (i *Instance) check(ctx context.Context) error {
	i.mu.Lock()
	has, requested := i.presence.has(), i.requested
	i.mu.Unlock()
	if i.RanTwice() {
		return i.SplitBrain()
	}
	if requested.end {
		return i.CheckEnd(ctx)
	}
	state, err := i.Status(ctx)
	if err != nil {
		select {
		case <-i.Exited():
			if !has { // Remove checks how it ended
				return nil
			}
			return i.Ended(ctx)
		default:
			return i.unresponsive(ctx, err)
		}
	}
	switch {
	case i.RanTwice() || !has && state == "running":
		return i.SplitBrain()
	case !has:
		return i.checkArrival()
	case state != "running" && !requested.allows(state):
		return i.Blame(ctx, i.notRunning(state))
	}
	return i.CheckEnd(ctx)
}

// checkArrival returns an error if the guest has left by a migration that mhmig has not
// made, and has arrived in no instance.
func (i *Instance) checkArrival() error {
	bed := i.Host.bed
	if i.currentPresence() != gone || bed.Current(i.Name()) != nil || len(bed.instancesOf(i.Name())) > 1 {
		return nil
	}
	return result.Fail.Errorf("%s: its guest has left by a migration, and runs nowhere", i)
}

// stoppedStates are the run states of QEMU in which a guest stays that has been stopped:
// by a command, or by QEMU for an error.
var stoppedStates = []string{"paused", "prelaunch", "io-error", "internal-error", "watchdog", "guest-panicked"}

// CheckStopped returns an error if the guest, which is about to be ended on request or to
// move, has been stopped without one. In a migration from here, whose end finds that, QEMU
// stops it as well, and may not answer then.
func (i *Instance) CheckStopped(ctx context.Context) error {
	i.mu.Lock()
	stopped, requested := (i.presence == here || i.presence == arriving) && slices.Contains(stoppedStates, i.state), i.requested
	i.mu.Unlock()
	if !stopped {
		return nil
	}
	state, err := i.Status(ctx) // an event STOP does not say why
	if err != nil || !slices.Contains(stoppedStates, state) || requested.allows(state) {
		return nil //nolint:nilerr // Remove checks how QEMU ended
	}
	return i.Blame(ctx, i.notRunning(state))
}

// allows says whether a guest may be in a run state in which it does not run.
func (r requested) allows(state string) bool { return IsPaused(state) && (r.pause || r.hold) }

func (i *Instance) notRunning(state string) error {
	return fmt.Errorf("%s: its guest does not run: it is %s, which the scenario did not request", i, state)
}

// CheckEnd returns an error if the guest, which may be paused or ended on request, has
// panicked, though QEMU ran it, or was reset without a request.
func (i *Instance) CheckEnd(ctx context.Context) error {
	if !i.HasGuest() {
		return nil
	}
	if err := i.CheckPanic(ctx); err != nil {
		return err
	}
	return i.CheckResets()
}

// CheckPanic returns an error if the console of the guest ends with its panic.
func (i *Instance) CheckPanic(ctx context.Context) error { return i.checkPanic(ctx, panicMessage) }

// CheckHalted is CheckPanic for a guest that has left: one that has a crash kernel boots it
// after its panic, maybe on its way.
func (i *Instance) CheckHalted(ctx context.Context) error { return i.checkPanic(ctx, panicHalts) }

func (i *Instance) checkPanic(ctx context.Context, words string) error {
	if !i.consoleEndsWith(words) {
		return nil
	}
	return i.Blame(ctx, fmt.Errorf("%s: its guest %w; its console ends:\n  %s", i, errPanicked,
		strings.ReplaceAll(i.Console.Tail(consoleTail), "\n", "\n  ")))
}

// CheckResets returns an error if the guest has been reset since its first migration
// began, and the scenario has not requested that: a FAIL.
func (i *Instance) CheckResets() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.arrived && !i.sent {
		return nil
	}
	for _, r := range i.resets[i.resetsBefore:] {
		if !r.Requested {
			return result.Fail.Errorf("%s: its guest was reset after its first migration: at %s; only vm.reset() and vm.reboot() may reset it", i, r)
		}
	}
	return nil
}

// unresponsive is the error of a QEMU that does not answer.
func (i *Instance) unresponsive(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if lost := i.Host.Err(); lost != nil {
		return fmt.Errorf("%s: %w", i, lost)
	}
	return result.Fail.Wrap(err)
}

// How far from the console's end the message of a panic may be: registers and a stack
// trace follow it, then a final line.
const (
	panicLines      = 100
	panicAfterReset = 3
)

// What Linux prints when it panics, and behind that if it neither boots a crash kernel nor
// reboots.
const (
	panicMessage = "Kernel panic - not syncing"
	panicHalts   = "---[ end Kernel panic"
)

// consoleEndsWith says whether a Linux guest's console ends with words of a panic. Without a
// pvpanic device, only its console shows it. A guest that was reset may run again.
func (i *Instance) consoleEndsWith(words string) bool {
	if i.Console == nil {
		return false
	}
	lines := panicLines
	if len(i.Resets()) > 0 {
		lines = panicAfterReset
	}
	return strings.Contains(i.Console.Tail(lines), words)
}

// fault is the error of a QEMU that ended abnormally, nil if another error has reported
// it. An incoming QEMU whose migration never came ends with status 1 by design.
func (i *Instance) fault() error {
	exit := i.QEMU.Fault()
	i.mu.Lock()
	reported, unused, killed := i.reported, i.presence == awaited, i.killed
	i.reported = true
	i.mu.Unlock()
	switch {
	case reported:
		return nil
	case exit == nil && killed:
		return result.Fail.Errorf("QEMU of %s on %s was terminated by a signal that mhmig did not send", i.Name(), i.Host.Name())
	case exit == nil || unused && exit.Status == 1 && len(exit.Sanitizer) == 0:
		return nil
	}
	return result.Fail.Wrap(exit)
}
