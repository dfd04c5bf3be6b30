// SPDX-License-Identifier: Apache-2.0

package jeos

import "github.com/mhmig/mhmig/runtime/jeos/guestd"

// IsGuest tells whether this process runs inside the guest, under one of the
// names that the image gives it there. The program's main must ask this before
// anything else, and leave with Main's status if so:
//
//	if jeos.IsGuest() {
//		os.Exit(jeos.Main())
//	}
func IsGuest() bool { return guestd.IsGuest() }

// Main does what this process was called for inside the guest: it serves SSH,
// or is one of the workload commands. It returns the exit status.
func Main() int { return guestd.Main() }
