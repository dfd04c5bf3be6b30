// SPDX-License-Identifier: Apache-2.0

// Command guestd is mhmig's own program in the JeOS guest: its SSH server, its
// workloads and its clock, whichever it is called as; and what a host needs for
// migrations by fd: URIs. It is not mhmig: what a
// guest carries must not grow with what the controller learns. mhmig has it
// inside, built and packed, see package program; after a change to it or to what
// it is made of:
//
//	make guest
package main

import (
	"os"

	"github.com/mhmig/mhmig/runtime/jeos/guestd"
)

func main() { os.Exit(guestd.Main()) }
