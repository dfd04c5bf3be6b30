// SPDX-License-Identifier: Apache-2.0

package migration

import "github.com/mhmig/mhmig/runtime/qmp"

// State is where a migration is, in QEMU's words: see [qmp.MigrationStatus]. Only
// completed, failed and cancelled end one; whatever QEMU may add to its enum does not.
type State = qmp.MigrationStatus

// leastAdvanced is the state that speaks for a set of VMs: that of the VM which is furthest
// from success.
func leastAdvanced(states []State) State {
	speaker := qmp.MigrationNone
	for i, s := range states {
		if i == 0 || distance(s) > distance(speaker) {
			speaker = s
		}
	}
	return speaker
}

// distance orders states by how far they are from success.
func distance(s State) int {
	switch {
	case s == qmp.MigrationFailed:
		return 4
	case s == qmp.MigrationFailing, s == qmp.MigrationCancelled, s == qmp.MigrationCancelling:
		return 3
	case s == qmp.MigrationCompleted:
		return 0
	case !s.Begun():
		return 1
	default: // under way, or unknown
		return 2
	}
}
