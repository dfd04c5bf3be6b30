// SPDX-License-Identifier: Apache-2.0

package testbed

import "time"

// firmwareResetTime is for how long a guest may have run since a requested reset when its
// firmware resets it again. SeaBIOS of the machine type pc does that once or twice within
// 0.2 s of an idle host's time, that of q35 does not. A later reset is the guest's own.
const firmwareResetTime = 3 * time.Second

// requestedReboot is the boot after a requested reset, until a login.
type requestedReboot struct {
	ran   time.Duration // how long the guest has run since the reset, until since
	since time.Time     // of the reset, or the last STOP or RESUME
	runs  bool
}

// at is the state when the guest begins or ceases to run; it may migrate meanwhile, while
// it does not.
func (r requestedReboot) at(now time.Time, runs bool) requestedReboot {
	if r.runs {
		r.ran += now.Sub(r.since)
	}
	return requestedReboot{ran: r.ran, since: now, runs: runs}
}

// beginReboot records a requested reset of a VM's guest.
func (b *Bed) beginReboot(vm string, runs bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reboots[vm] = requestedReboot{since: now, runs: runs}
}

// endReboot records that a VM's guest has booted.
func (b *Bed) endReboot(vm string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.reboots, vm)
}

// noteRunning records that a VM's guest begins or ceases to run.
func (b *Bed) noteRunning(vm string, runs bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r, rebooting := b.reboots[vm]; rebooting {
		b.reboots[vm] = r.at(now, runs)
	}
}

// resetByFirmware says whether a reset of a VM's guest is its firmware's, in the boot after
// a requested reset.
func (b *Bed) resetByFirmware(vm string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, rebooting := b.reboots[vm]
	return rebooting && r.at(now, r.runs).ran <= firmwareResetTime
}
