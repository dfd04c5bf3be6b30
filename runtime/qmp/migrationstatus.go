// SPDX-License-Identifier: Apache-2.0

package qmp

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

// migrationPhase is what a status says of where the guest and its memory are.
type migrationPhase int

const (
	notBegun   migrationPhase = iota
	inProgress                // the source has all of the memory; also the phase of a status that is not known
	inPostcopy                // neither side has all of the memory
	ended
)

// migrationPhases has each value of QEMU's enum, in its order. What is not here is in
// progress.
var migrationPhases = []struct {
	status MigrationStatus
	phase  migrationPhase
}{
	{MigrationNone, notBegun},
	{MigrationSetup, inProgress},
	{MigrationCancelling, inProgress},
	{MigrationCancelled, ended},
	{MigrationActive, inProgress},
	{MigrationPostcopyDevice, inPostcopy},
	{MigrationPostcopyActive, inPostcopy},
	{MigrationPostcopyPaused, inPostcopy},
	{MigrationPostcopyRecoverSetup, inPostcopy},
	{MigrationPostcopyRecover, inPostcopy},
	{MigrationCompleted, ended},
	{MigrationFailing, inProgress}, // the error is known, QEMU cleans up
	{MigrationFailed, ended},
	{MigrationColo, inProgress},
	{MigrationPreSwitchover, inProgress},
	{MigrationDevice, inProgress},
	{MigrationWaitUnplug, inProgress},
}

// MigrationStatuses are the values of QEMU's enum in its order, none first.
var MigrationStatuses = func() (all []MigrationStatus) {
	for _, row := range migrationPhases {
		all = append(all, row.status)
	}
	return all
}()

// phase is the phase by the table; known is false for a status that is not there.
func (s MigrationStatus) phase() (_ migrationPhase, known bool) {
	if s == "" {
		s = MigrationNone
	}
	for _, row := range migrationPhases {
		if row.status == s {
			return row.phase, true
		}
	}
	return inProgress, false
}

func (s MigrationStatus) isIn(wanted migrationPhase) bool {
	phase, _ := s.phase()
	return phase == wanted
}

// Known reports whether the status is one of the enum. Others come from a newer QEMU:
// such a migration is considered to be in progress.
func (s MigrationStatus) Known() bool {
	_, known := s.phase()
	return known
}

// Terminal reports whether the migration has ended, in any way.
func (s MigrationStatus) Terminal() bool { return s.isIn(ended) }

// Begun reports whether there is or was a migration.
func (s MigrationStatus) Begun() bool { return !s.isIn(notBegun) }

// Postcopy reports whether the guest may run on the destination already, while part of
// its memory is still on the source: neither side has all of it. Cancelling the
// migration then loses the guest.
func (s MigrationStatus) Postcopy() bool { return s.isIn(inPostcopy) }

// MigrationStatus is the status in an event MIGRATION, "" for another event.
func (e Event) MigrationStatus() MigrationStatus {
	if e.Name != "MIGRATION" {
		return ""
	}
	status, _ := e.Data["status"].(string)
	return MigrationStatus(status)
}
