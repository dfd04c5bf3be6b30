// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// Reset is a reset of a guest.
type Reset struct {
	Time      time.Time
	Reason    string // QEMU's: guest-reset, host-qmp-system-reset, …
	Requested bool   // by [Instance.Reset] or [Instance.RebootInShell], or by the firmware in the boot that followed
}

func (r Reset) String() string {
	return fmt.Sprintf("%s (%s)", r.Time.UTC().Format("15:04:05.000"), r.Reason)
}

// requested is what mhmig or the scenario has requested of an instance, so that its
// events are expected.
type requested struct {
	end    bool // of QEMU
	pause  bool // of the guest
	cancel bool // of the migration that started last
	hold   bool // of a guest that arrives: it stays paused until it is resumed
	resets int  // whose events have not arrived yet
}

// byMonitor is the reason of a reset that any QMP client has requested.
const byMonitor = "host-qmp-system-reset"

// runStates are the run states that events announce.
var runStates = map[string]string{
	"STOP": "paused", "RESUME": "running", "SHUTDOWN": "shutdown",
	"SUSPEND": "suspended", "WAKEUP": "running", "GUEST_PANICKED": "guest-panicked",
}

// Watch calls f for each event of any of the bed's instances, those included that are
// started later, until stop. f runs on the reader of the instance's monitor, before
// replies that QEMU sent later are delivered: it must return at once, and not use the
// monitor.
func (b *Bed) Watch(f func(*Instance, qmp.Event)) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastWatcher++
	number := b.lastWatcher
	b.watchers[number] = f
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers, number)
	}
}

// publish passes an event to those that watch the bed.
func (b *Bed) publish(i *Instance, e qmp.Event) {
	b.mu.Lock()
	watchers := slices.Collect(maps.Values(b.watchers))
	b.mu.Unlock()
	for _, f := range watchers {
		f(i, e)
	}
}

// handleEvent updates the state for an event, before any later answer of QEMU is
// returned.
func (i *Instance) handleEvent(e qmp.Event) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if state, known := runStates[e.Name]; known {
		i.state = state
	}
	was := i.presence
	if !i.snapshot || e.Name != "MIGRATION" {
		i.presence = was.after(e)
	}
	switch {
	case was == awaited && i.presence.has():
		i.arrived = true
	case was == here && i.presence == leaving: // by whatever command
		i.noteSent()
	case was != gone && i.presence == gone:
		i.state = "postmigrate"
	}
	switch e.Name {
	case "STOP":
		i.Host.bed.noteRunning(i, false, e.Received)
	case "RESUME": // by whatever way
		i.requested.pause, i.requested.hold = false, false
		i.Host.bed.noteRunning(i, true, e.Received)
	case "SHUTDOWN":
		i.killed = i.killed || e.Data["reason"] == "host-signal"
	case "RESET":
		if i.presence.departed() { // the guest is not here
			return
		}
		r := i.newReset(e)
		i.resets = append(i.resets, r)
		i.Host.bed.rebootKernelFaults(i.Name(), false)
	case "GUEST_PANICKED":
		i.addPanic(e)
	}
}

// newReset returns the reset of an event, and whether it was requested. After a requested
// one the firmware may reset the machine again, which belongs to it. i.mu is held.
func (i *Instance) newReset(e qmp.Event) Reset {
	r := Reset{Time: e.Received, Reason: resetReason(e)}
	bed := i.Host.bed
	switch {
	case r.Reason != byMonitor && bed.takeRebootAsked(i.Name(), e.Received):
		r.Requested = true
	case r.Reason != byMonitor:
		r.Requested = bed.resetByFirmware(i.Name(), e.Received)
		return r
	case i.requested.resets > 0:
		i.requested.resets--
		r.Requested = true
	}
	if r.Reason == byMonitor { // a reboot that the guest was asked for before does not come any more
		bed.setRebootAsked(i.Name(), time.Time{})
	}
	if r.Requested {
		bed.beginReboot(i, i.state == "running", e.Received)
	}
	return r
}

// resetReason is QEMU's reason of a reset.
func resetReason(e qmp.Event) string {
	if reason, _ := e.Data["reason"].(string); reason != "" {
		return reason
	}
	if byGuest, _ := e.Data["guest"].(bool); byGuest { // QEMU before 4.0
		return "guest-reset"
	}
	return byMonitor
}

// Resets returns the guest's resets in this instance so far.
func (i *Instance) Resets() []Reset {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.resets)
}

// haltTimeout is for stopping a second copy of a guest.
const haltTimeout = 5 * time.Second

// watch logs QEMU's events until QEMU ends, and stops a guest that runs after it has
// migrated.
func (i *Instance) watch(ctx context.Context, events *qmp.Subscription) {
	defer events.Close()
	resets := newResetLog(i.logResets)
	defer resets.timer.Stop()
	for open := true; open; {
		select {
		case e, more := <-events.C:
			if open = more; !more {
				break
			}
			switch {
			case e.Name == "RESET":
				resets.add(resetReason(e))
			case isLogged(e):
				resets.endSeries()
			}
			i.logEvent(e)
			if e.Name == "RESUME" && i.RanTwice() {
				i.halt(ctx)
			}
		case <-resets.timer.C:
			resets.timeout()
		}
	}
	resets.endSeries()
	i.mu.Lock()
	i.state = "none"
	i.mu.Unlock()
}

// logResets logs a number of consecutive resets.
func (i *Instance) logResets(times int, reason string) {
	if times == 1 {
		i.log.Info("guest resets", "reason", reason)
	} else {
		i.log.Info("guest resets", "times", times, "reason", reason)
	}
}

// halt stops the second copy of a guest, to limit the damage to its disk.
func (i *Instance) halt(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, haltTimeout, fmt.Errorf("not stopped within %v", haltTimeout))
	defer cancel()
	i.log.Warn("split brain: the guest has migrated, but runs here again: two copies of it use one disk; stopping this one")
	if err := i.QEMU.Stop(ctx); err != nil {
		i.log.Warn("the second copy of the guest could not be stopped", "error", err)
	}
}
