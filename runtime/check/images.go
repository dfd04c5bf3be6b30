// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"fmt"
	"strings"

	"github.com/mhmig/mhmig/runtime/vm"
)

// imagesPresent looks for the files that the VMs' params name.
func imagesPresent(ctx context.Context, m *machine) finding {
	n := &m.needs
	switch {
	case len(n.files) == 0 && n.newImages > 0:
		return ok("none are needed: runs create them, %s at most", size(n.newImages))
	case len(n.files) == 0:
		return ok("none are needed")
	}
	var missing []string
	for _, f := range n.files {
		if err := vm.CheckFile(ctx, m.h, f); err != nil {
			missing = append(missing, strings.TrimPrefix(err.Error(), m.name()+": "))
		}
	}
	if len(missing) > 0 {
		return fail(strings.Join(missing, "; "), fmt.Sprintf("copy the installed guests to %s on the shared storage, or set the params to where they are", n.baseDir))
	}
	return ok("%d files are there", len(n.files))
}

// guestImage looks for the images of mhmig's own guests on this machine.
func guestImage(ctx context.Context, c *checker) finding {
	var guests []string
	for _, m := range c.machines {
		guests = withNew(guests, m.needs.shipped...)
	}
	if len(guests) == 0 {
		return skip("no variant needs one")
	}
	for _, guest := range guests {
		if err := c.Image(ctx, guest); err != nil {
			return fail(err.Error(), bootstrapCommand(guest))
		}
	}
	return ok("built: %s", strings.Join(guests, ", "))
}

// bootstrapCommand builds a guest's image: JeOS without a flag.
func bootstrapCommand(guest string) string {
	if guest == "jeos" {
		return "mhmig bootstrap"
	}
	return "mhmig bootstrap --guest " + guest
}
