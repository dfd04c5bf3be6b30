// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// Reset is a reset of a guest.
type Reset struct {
	Time   time.Time
	Reason string // in QEMU's words: guest-reset, host-qmp-system-reset, …
	Asked  bool   // by [Machine.Reset], or by the firmware in the boot that followed
}

func (r Reset) String() string {
	return fmt.Sprintf("%s (%s)", r.Time.UTC().Format("15:04:05.000"), r.Reason)
}

// asked is what mhmig or the scenario has asked of an instance, and what its
// events so are no surprise.
type asked struct {
	end    bool // of QEMU
	pause  bool // of the guest, until it is to run again
	resets int  // that QEMU has not told of yet
}

// byRequest is the reason of a reset that was asked for on the monitor, whoever
// did.
const byRequest = "host-qmp-system-reset"

// runStates are the run states that events announce.
var runStates = map[string]string{
	"STOP": "paused", "RESUME": "running", "SHUTDOWN": "shutdown",
	"SUSPEND": "suspended", "WAKEUP": "running", "GUEST_PANICKED": "guest-panicked",
}

// note takes an event of QEMU in, before any answer that came later.
func (i *Instance) note(e qmp.Event) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if state, tells := runStates[e.Name]; tells {
		i.state = state
	}
	was := i.presence
	i.presence = was.after(e)
	switch {
	case was == awaited && i.presence.has():
		i.arrived = true
	case was != gone && i.presence == gone:
		i.state = "postmigrate"
	}
	switch e.Name {
	case "SHUTDOWN":
		i.killed = i.killed || e.Data["reason"] == "host-signal"
	case "RESET":
		if i.presence.departed() { // what is left here is no guest
			return
		}
		r := i.newReset(e)
		i.resets = append(i.resets, r)
		i.Host.bed.bootTroubles(i.Name(), false)
	case "GUEST_PANICKED":
		i.notePanic(e)
	}
}

// newReset tells a reset that was asked for from others. Firmware that finds itself
// reset may reset the machine once more, on either host: until somebody has
// logged in, that belongs to the reboot that was asked for. i.mu is held.
func (i *Instance) newReset(e qmp.Event) Reset {
	r := Reset{Time: e.Received, Reason: resetReason(e)}
	bed := i.Host.bed
	switch {
	case r.Reason != byRequest:
		r.Asked = bed.isRebooting(i.Name())
	case i.asked.resets > 0:
		i.asked.resets--
		r.Asked = true
		bed.setRebooting(i.Name(), true)
	}
	return r
}

// resetReason is why the guest was reset, in QEMU's words.
func resetReason(e qmp.Event) string {
	if reason, _ := e.Data["reason"].(string); reason != "" {
		return reason
	}
	if byGuest, _ := e.Data["guest"].(bool); byGuest { // QEMU before 4.0
		return "guest-reset"
	}
	return byRequest
}

// Resets returns the guest's resets in this instance so far.
func (i *Instance) Resets() []Reset {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.resets)
}

// isRebooting says whether a VM's guest is in a boot that was asked for.
func (b *Bed) isRebooting(vm string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rebooting[vm]
}

func (b *Bed) setRebooting(vm string, yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rebooting[vm] = yes
}

// haltTimeout is for stopping a second copy of a guest.
const haltTimeout = 5 * time.Second

// watch follows QEMU's events until it ends: it tells of them, and stops a guest
// that runs where it has left.
func (i *Instance) watch(ctx context.Context, events *qmp.Subscription) {
	defer events.Close()
	resets := newResetFold(i.reportResets)
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
			case isReported(e):
				resets.over()
			}
			i.report(e)
			if e.Name == "RESUME" && i.RanTwice() {
				i.halt(ctx)
			}
		case <-resets.timer.C:
			resets.due()
		}
	}
	resets.over()
	i.mu.Lock()
	i.state = "none"
	i.mu.Unlock()
}

// reportResets tells of resets that followed each other.
func (i *Instance) reportResets(times int, reason string) {
	if times == 1 {
		i.log.Info("guest resets", "reason", reason)
	} else {
		i.log.Info("guest resets", "times", times, "reason", reason)
	}
}

// halt stops the second copy of a guest, before the two have done more to their
// disk.
func (i *Instance) halt(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, haltTimeout, fmt.Errorf("not stopped within %v", haltTimeout))
	defer cancel()
	i.log.Warn("the guest has moved away, but runs here again: two copies of it use one disk; stopping this one")
	if err := i.QEMU.Stop(ctx); err != nil {
		i.log.Warn("the second copy of the guest is not stopped", "error", err)
	}
}
