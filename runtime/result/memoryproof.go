// SPDX-License-Identifier: Apache-2.0

package result

// MemoryProof is the comparison of a guest's memory on both ends of its migration, when
// it had arrived and did not run yet: the param memory_proof. The guest stands still for
// that time, which [GuestClock.Downtime] includes and QEMU's downtime does not.
type MemoryProof struct {
	Pages        int64    `json:"pages,omitzero"`    // of 4 KiB, that were compared
	Differ       int64    `json:"differ,omitzero"`   // of those
	Allowed      int      `json:"allowed,omitzero"`  // those that differ by design, not in Differ
	Runs         []string `json:"runs,omitempty"`    // the addresses of those that differ, the first MaxRuns spans
	Moved        int64    `json:"moved,omitzero"`    // bytes that the hosts sent for it
	Milliseconds int64    `json:"ms,omitzero"`       // it took
	Skipped      string   `json:"skipped,omitempty"` // why the memory could not be compared
}

// MaxRuns is how many spans of addresses a record of a memory proof has.
const MaxRuns = 64
