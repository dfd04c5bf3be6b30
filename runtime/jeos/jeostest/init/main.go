// SPDX-License-Identifier: Apache-2.0

// Command init is the smallest program that can be the guest's: what tests put
// into their image in place of the whole of mhmig.
package main

import (
	"fmt"
	"os"

	"github.com/mhmig/mhmig/runtime/jeos/guestd"
)

func main() {
	if guestd.IsGuest() {
		os.Exit(guestd.Main())
	}
	fmt.Fprintln(os.Stderr, "this program is for tests' guests")
	os.Exit(2)
}
