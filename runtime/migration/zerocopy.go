// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"strings"

	"github.com/mhmig/mhmig/runtime/result"
)

const zeroCopyCapability = "zero-copy-send"

// zeroCopy is the feature of mig_zero_copy: the source's kernel sends the memory from
// where it is, without a copy (MSG_ZEROCOPY). It works for multifd's channels only.
type zeroCopy struct{ switched }

func newZeroCopy(o options, _ Traits) Feature {
	return zeroCopy{switched{zeroCopyCapability, o.zeroCopy}}
}

// Capabilities is that of the source: a destination sends no memory.
func (f zeroCopy) Capabilities(role Role) []string {
	if role != SourceRole {
		return nil
	}
	return f.switched.Capabilities(role)
}

// Check checks that the kernel did not copy the memory all the same, which is a SKIP: it
// has to where the network device cannot read it, as with loopback and virtual networks.
// Nothing proves that QEMU has sent any of it without a copy: it only counts the passes of
// which the kernel has copied all, and the kernel accounts the pages that it sends so to
// the user, not to VmLck or VmPin of the process.
func (f zeroCopy) Check(_ context.Context, o *Outcome) error {
	if !f.on {
		return nil
	}
	switch copied, reported := o.RAM("dirty-sync-missed-zero-copy"); {
	case !reported:
		return unused("zero-copy-send was on, but QEMU reports no dirty-sync-missed-zero-copy")
	case copied > 0:
		return result.Skip.Errorf("%s: zero-copy-send was on, but the kernel copied the memory in %d passes (dirty-sync-missed-zero-copy): its network device cannot do without, as on loopback and virtual networks",
			o.End(SourceRole), copied)
	}
	o.Used(zeroCopyCapability, "QEMU reports no pass of which the kernel copied all the memory (dirty-sync-missed-zero-copy is 0), and has no figure of what was sent without a copy")
	return nil
}

// lacksZeroCopy returns the SKIP of a migration with zero-copy-send whose source may not
// lock enough memory, or whose kernel sends nothing without a copy over such a connection,
// as QEMU has reported; else nil.
func (mv *move) lacksZeroCopy(p Peer, reported string) error {
	switch {
	case !mv.m.options.zeroCopy:
		return nil
	case strings.Contains(reported, "lock enough memory"):
		return result.Skip.Errorf("%s: zero-copy-send needs more locked memory than the host allows (ulimit -l, RLIMIT_MEMLOCK): %s", p, reported)
	case strings.Contains(reported, "Zero copy send feature not detected"):
		return result.Skip.Errorf("%s: the host's kernel has no zero-copy-send for mig_protocol = %s (MSG_ZEROCOPY; Linux has it for TCP): %s", p, mv.m.options.protocol, reported)
	}
	return nil
}
