// SPDX-License-Identifier: Apache-2.0

package qmp

import "slices"

// MigrationStatus is QEMU's enum of that name: what query-migrate and the event
// MIGRATION say of a migration, on either side. The zero value is what QEMU says
// when it says nothing: no migration, as MigrationNone.
type MigrationStatus string

// QEMU's enum, whole. Later versions may add to it: see [MigrationStatus.Known].
const (
	MigrationNone                 MigrationStatus = "none"
	MigrationSetup                MigrationStatus = "setup"
	MigrationCancelling           MigrationStatus = "cancelling"
	MigrationCancelled            MigrationStatus = "cancelled"
	MigrationActive               MigrationStatus = "active"
	MigrationPostcopyDevice       MigrationStatus = "postcopy-device"
	MigrationPostcopyActive       MigrationStatus = "postcopy-active"
	MigrationPostcopyPaused       MigrationStatus = "postcopy-paused"
	MigrationPostcopyRecoverSetup MigrationStatus = "postcopy-recover-setup"
	MigrationPostcopyRecover      MigrationStatus = "postcopy-recover"
	MigrationCompleted            MigrationStatus = "completed"
	MigrationFailing              MigrationStatus = "failing"
	MigrationFailed               MigrationStatus = "failed"
	MigrationColo                 MigrationStatus = "colo"
	MigrationPreSwitchover        MigrationStatus = "pre-switchover"
	MigrationDevice               MigrationStatus = "device"
	MigrationWaitUnplug           MigrationStatus = "wait-unplug"
)

// MigrationStatuses are QEMU's enum in its order, none first.
var MigrationStatuses = []MigrationStatus{
	MigrationNone, MigrationSetup, MigrationCancelling, MigrationCancelled, MigrationActive,
	MigrationPostcopyDevice, MigrationPostcopyActive, MigrationPostcopyPaused,
	MigrationPostcopyRecoverSetup, MigrationPostcopyRecover, MigrationCompleted, MigrationFailing,
	MigrationFailed, MigrationColo, MigrationPreSwitchover, MigrationDevice, MigrationWaitUnplug,
}

// Known reports whether the status is one of the enum. One that is not belongs to a
// QEMU that is newer than this program: its migration is taken to be under way.
func (s MigrationStatus) Known() bool { return s == "" || slices.Contains(MigrationStatuses, s) }

// Terminal reports whether the migration is over, whichever way.
func (s MigrationStatus) Terminal() bool {
	return s == MigrationCompleted || s == MigrationFailed || s == MigrationCancelled
}

// Begun reports whether there is or was a migration.
func (s MigrationStatus) Begun() bool { return s != "" && s != MigrationNone }

// Postcopy reports whether the guest may run on the destination already, while part of
// its memory is still on the source: neither alone has all of it. A migration that
// is cancelled then is a guest that is lost.
func (s MigrationStatus) Postcopy() bool {
	switch s {
	case MigrationPostcopyDevice, MigrationPostcopyActive, MigrationPostcopyPaused, MigrationPostcopyRecoverSetup, MigrationPostcopyRecover:
		return true
	default:
		return false
	}
}

// MigrationStatus is the status in an event MIGRATION, "" for another event.
func (e Event) MigrationStatus() MigrationStatus {
	if e.Name != "MIGRATION" {
		return ""
	}
	status, _ := e.Data["status"].(string)
	return MigrationStatus(status)
}
