// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"fmt"
	"slices"
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

// guestImage looks for mhmig's own guest image on this machine.
func guestImage(ctx context.Context, c *checker) finding {
	if !slices.ContainsFunc(c.machines, func(m *machine) bool { return m.needs.shipped }) {
		return skip("no variant has JeOS")
	}
	if err := c.Image(ctx); err != nil {
		return fail(err.Error(), "mhmig bootstrap")
	}
	return ok("JeOS is built")
}
