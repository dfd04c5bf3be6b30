// SPDX-License-Identifier: Apache-2.0

package qmp

import "slices"

// MigrationStatus is QEMU's enum of that name: the status of a migration in
// query-migrate and the event MIGRATION, on either side. The zero value is for a reply
// without status: no migration, as MigrationNone.
type MigrationStatus string

// All values of QEMU's enum. Later versions may add values: see [MigrationStatus.Known].
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

// MigrationStatuses are the values of QEMU's enum in its order, none first.
var MigrationStatuses = []MigrationStatus{
	MigrationNone, MigrationSetup, MigrationCancelling, MigrationCancelled, MigrationActive,
	MigrationPostcopyDevice, MigrationPostcopyActive, MigrationPostcopyPaused,
	MigrationPostcopyRecoverSetup, MigrationPostcopyRecover, MigrationCompleted, MigrationFailing,
	MigrationFailed, MigrationColo, MigrationPreSwitchover, MigrationDevice, MigrationWaitUnplug,
}

// Known reports whether the status is one of the enum. Others come from a newer QEMU:
// such a migration is considered to be in progress.
func (s MigrationStatus) Known() bool { return s == "" || slices.Contains(MigrationStatuses, s) }

// Terminal reports whether the migration has ended, in any way.
func (s MigrationStatus) Terminal() bool {
	return s == MigrationCompleted || s == MigrationFailed || s == MigrationCancelled
}

// Begun reports whether there is or was a migration.
func (s MigrationStatus) Begun() bool { return s != "" && s != MigrationNone }

// Postcopy reports whether the guest may run on the destination already, while part of
// its memory is still on the source: neither side has all of it. Cancelling the
// migration then loses the guest.
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
