// SPDX-License-Identifier: Apache-2.0

package testbed

import "time"

// firmwareResetTime is for how long a guest may have run since a requested reset when its
// firmware resets it again. SeaBIOS of the machine type pc does that once or twice within
// 0.2 s of an idle host's time, that of q35 does not. A later reset is the guest's own.
const firmwareResetTime = 5 * time.Second

// requestedReboot is the boot after a requested reset, until a login.
type requestedReboot struct {
	ran   time.Duration // how long the guest has run since the reset, until since
	since time.Time     // of the reset, or the last STOP or RESUME
	in    *Instance     // in which it runs; nil: it does not
}

// at is the state when the guest begins or ceases to run; it may migrate meanwhile, while
// it does not.
func (r requestedReboot) at(now time.Time, in *Instance) requestedReboot {
	if r.in != nil {
		r.ran += now.Sub(r.since)
	}
	return requestedReboot{ran: r.ran, since: now, in: in}
}

// beginReboot records a requested reset of the guest in an instance, which runs or not.
func (b *Bed) beginReboot(i *Instance, runs bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := requestedReboot{since: now}
	if runs {
		r.in = i
	}
	b.reboots[i.Name()] = r
}

// endReboot records that a VM's guest has booted.
func (b *Bed) endReboot(vm string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.reboots, vm)
}

// noteRunning records that the guest begins or ceases to run in an instance. The event of
// a source that it has left may come when it runs on the destination.
func (b *Bed) noteRunning(i *Instance, runs bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch r, rebooting := b.reboots[i.Name()]; {
	case !rebooting:
	case runs:
		b.reboots[i.Name()] = r.at(now, i)
	case r.in == i:
		b.reboots[i.Name()] = r.at(now, nil)
	}
}

// resetByFirmware says whether a reset of a VM's guest is its firmware's, in the boot after
// a requested reset.
func (b *Bed) resetByFirmware(vm string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, rebooting := b.reboots[vm]
	return rebooting && r.at(now, r.in).ran <= firmwareResetTime
}
