// SPDX-License-Identifier: Apache-2.0

package testbed

import "github.com/mhmig/mhmig/runtime/qmp"

// presence is where a VM's guest is, from the view of one of its instances. It is a
// state machine, driven by QEMU's events in their order and by calls:
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
//	inPostcopy  MIGRATION failed               here: post-copy did not start
//	inPostcopy  RESUME                         splitBrain
//	gone        RESUME                         splitBrain
//	arriving, here, leaving, inPostcopy  Left  gone
//
// Other events do not change it: late and repeated ones, unknown statuses, and a
// cancelled post-copy, which loses the guest.
type presence int

const (
	here       presence = iota // it runs here, or waits for cont
	awaited                    // it has not arrived yet
	arriving                   // it runs here, and its migration has not completed
	leaving                    // a migration from here has started
	inPostcopy                 // in post-copy: part of it is here, and it must not run here
	gone                       // it is in another instance
	splitBrain                 // it has run here after it had left: there are two copies of it
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

// departed says whether the guest must not run here.
func (p presence) departed() bool { return p == inPostcopy || p == gone || p == splitBrain }

// has says whether the guest is in the instance.
func (p presence) has() bool { return p == here || p == arriving || p == leaving }
