// SPDX-License-Identifier: Apache-2.0

package migration

import "github.com/mhmig/mhmig/runtime/qmp"

// State is QEMU's migration status, see [qmp.MigrationStatus]. Only completed, failed
// and cancelled are terminal; a status that QEMU may add to its enum is not.
type State = qmp.MigrationStatus

// leastAdvanced returns the state of the VM that is furthest from success.
func leastAdvanced(states []State) State {
	furthest := qmp.MigrationNone
	for i, s := range states {
		if i == 0 || distance(s) > distance(furthest) {
			furthest = s
		}
	}
	return furthest
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
	default: // active, or unknown
		return 2
	}
}
