// SPDX-License-Identifier: Apache-2.0

package result

import "time"

// GuestClock is the effect of a VM's migration on its guest, measured by the guest's
// clock stamps, which were read on both hosts. Times are in milliseconds, as QEMU's
// are.
type GuestClock struct {
	// Moved is true if stamps came from both hosts. Otherwise the first two times are
	// unknown.
	Moved bool `json:"moved"`
	// Downtime is from the guest's last stamp on the source to its first one on the
	// destination, minus the stamp period. It is the blackout that the guest's users
	// observe, including the time that the guest needs to resume.
	Downtime int64 `json:"downtime"`
	// ClockStop is the part of Downtime in which the guest's clock was stopped.
	ClockStop int64 `json:"clock_stop"`
	// Brownout is the sum of the other gaps between stamps during the migration that
	// are longer than twice the period: the guest's clock ran, but the guest was
	// throttled, waited for memory, or got no CPU.
	Brownout int64 `json:"brownout"`
	// LongestGap is the longest of Brownout's gaps.
	LongestGap int64 `json:"longest_gap"`
	// Silence is the longest time without a stamp during the migration, by the
	// controller's clock. It is an upper bound of the blackout for a network peer.
	Silence int64 `json:"silence"`
	// Gaps is for a plot, and starts a little before the migration.
	Gaps []ClockGap `json:"gaps,omitempty"`
}

// ClockGap is the maximum in a span of time; the spans of one migration are equally
// long, and longer for longer migrations.
type ClockGap struct {
	Time    time.Time `json:"time"`    // when the span began
	Gap     int64     `json:"gap"`     // between two stamps by the guest's clock, minus the period, in ms
	Silence int64     `json:"silence"` // between the arrivals of two stamps, in ms
}
