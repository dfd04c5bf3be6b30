// SPDX-License-Identifier: Apache-2.0

package result

import "time"

// GuestClock is how a VM's move was felt in its guest, whose stamps of its own
// clock were read on both hosts. Times are in milliseconds, as QEMU's are.
type GuestClock struct {
	// Moved says that stamps came from both hosts: without, the first two times are
	// not known.
	Moved bool `json:"moved"`
	// Downtime is from the guest's last stamp on the source to its first one on the
	// destination, less the time that is between any two. It is the blackout that the
	// guest's users feel, with what the guest needed to get going again.
	Downtime int64 `json:"downtime"`
	// ClockStop is the part of Downtime in which the guest's clock stood still.
	ClockStop int64 `json:"clock_stop"`
	// Brownout is the sum of the other gaps between stamps during the move, of those
	// that are longer than twice the usual: the guest's clock went on, but the guest
	// was throttled, waited for memory, or got no processor.
	Brownout int64 `json:"brownout"`
	// LongestGap is the longest of Brownout's gaps.
	LongestGap int64 `json:"longest_gap"`
	// Silence is the longest time during the move in which no stamp came, by the
	// controller's clock. It bounds what a peer of the guest could see.
	Silence int64 `json:"silence"`
	// Gaps is for a plot, and begins a little before the move.
	Gaps []ClockGap `json:"gaps,omitempty"`
}

// ClockGap is the worst that was seen in a span of time; the spans of one move
// are equally long, and longer the longer the move took.
type ClockGap struct {
	Time    time.Time `json:"time"`    // when the span began
	Gap     int64     `json:"gap"`     // between two stamps by the guest's clock, beyond the usual, in ms
	Silence int64     `json:"silence"` // between the arrivals of two stamps, in ms
}
