// SPDX-License-Identifier: Apache-2.0

package testbed

import "github.com/mhmig/mhmig/runtime/qmp"

// presence is where a VM's guest is, as one of its instances sees it. QEMU's events
// drive it, in their order, and what mhmig begins itself:
//
//	state       event or call                  next
//	awaited     RESUME, Arrive                 arriving
//	awaited     MIGRATION completed            here
//	arriving    MIGRATION completed            here
//	here        Depart, MIGRATION setup        leaving
//	leaving     MIGRATION cancelled, failed    here
//	leaving     MIGRATION postcopy-active …    inPostcopy
//	leaving     MIGRATION completed            gone
//	inPostcopy  MIGRATION completed            gone
//	inPostcopy  MIGRATION failed               here: post-copy could not begin
//	inPostcopy  RESUME                         splitBrain
//	gone        RESUME                         splitBrain
//	arriving, here, leaving, inPostcopy  Left  gone
//
// Whatever else happens changes nothing: events that come late or again, statuses
// that nobody knows, a post-copy that is cancelled, which loses the guest.
type presence int

const (
	here       presence = iota // it runs here, or waits for cont
	awaited                    // it has not come yet
	arriving                   // it runs here, and its migration is not over
	leaving                    // a migration has begun to take it away
	inPostcopy                 // in post-copy: part of it is here, and it must not run here
	gone                       // it is in another instance
	splitBrain                 // it has run here after that: two copies of it
)

func (p presence) String() string {
	return [...]string{"here", "awaited", "arriving", "leaving", "in post-copy", "gone", "split-brain"}[p]
}

// after is the presence after an event of QEMU.
func (p presence) after(e qmp.Event) presence {
	status := e.MigrationStatus()
	switch {
	case p == awaited && e.Name == "RESUME":
		return arriving
	case (p == awaited || p == arriving) && status == qmp.MigrationCompleted:
		return here
	case (p == inPostcopy || p == gone) && e.Name == "RESUME":
		return splitBrain
	case p == here && status == qmp.MigrationSetup:
		return leaving
	case (p == leaving || p == inPostcopy) && status == qmp.MigrationCompleted:
		return gone
	case p == leaving && status.Postcopy() && status != qmp.MigrationPostcopyDevice: // from there it may still come back
		return inPostcopy
	case p == leaving && status == qmp.MigrationCancelled, (p == leaving || p == inPostcopy) && status == qmp.MigrationFailed:
		return here
	}
	return p
}

// departed says whether the guest must not run here any more.
func (p presence) departed() bool { return p == inPostcopy || p == gone || p == splitBrain }

// has says whether the guest is in the instance, wherever it is going.
func (p presence) has() bool { return p == here || p == arriving || p == leaving }
