// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"cmp"
	"slices"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// State is QEMU's migration status, see [qmp.MigrationStatus]. Only completed, failed
// and cancelled are terminal; a status that QEMU may add to its enum is not.
type State = qmp.MigrationStatus

// byDistance are the states by how far they are from success, the furthest first: a move
// that does not get there any more, then the others by their progress. Thus several VMs
// have one of these when each of them has got so far.
var byDistance = []State{
	qmp.MigrationFailed, qmp.MigrationFailing, qmp.MigrationCancelling, qmp.MigrationCancelled,
	qmp.MigrationNone, qmp.MigrationSetup, qmp.MigrationWaitUnplug, qmp.MigrationActive,
	qmp.MigrationPreSwitchover, qmp.MigrationDevice, qmp.MigrationColo,
	qmp.MigrationPostcopyDevice, qmp.MigrationPostcopyActive, qmp.MigrationPostcopyPaused,
	qmp.MigrationPostcopyRecoverSetup, qmp.MigrationPostcopyRecover, qmp.MigrationCompleted,
}

// leastAdvanced returns the state of the VM that is furthest from success.
func leastAdvanced(states []State) State {
	return slices.MinFunc(states, func(a, b State) int { return cmp.Compare(rank(a), rank(b)) })
}

// rank is a state's place in byDistance. One that is not there comes from a newer QEMU,
// whose VM moves: it has the next place after active.
func rank(s State) int {
	if place := slices.Index(byDistance, s); place >= 0 {
		return place
	}
	return slices.Index(byDistance, qmp.MigrationActive) + 1
}
