// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/runtime/result"
)

// refusal is a combination of capabilities that QEMU accepts although it does not work.
type refusal struct {
	capabilities []string
	worksWith    string // path of what only a QEMU in which it works has in its schema, see [qmp.Conn.Supports]; "": none
	why          string
}

var refusals = []refusal{
	{
		capabilities: []string{multifdCapability, postcopyRAM}, worksWith: "MIGRATION/status/postcopy-device",
		why: "a QEMU before 11 loses the guest: the destination crashes, and the source reports that the migration has completed",
	},
	{
		capabilities: []string{multifdCapability, xbzrleCapability},
		why:          "multifd sends all memory as it is, and none of it by XBZRLE",
	},
}

// checkCombination refuses combinations of capabilities that do not work in the QEMU of
// this end: SKIP, with the reason.
func (mv *move) checkCombination(ctx context.Context, role Role, p Peer) error {
	wanted := mv.wanted(role)
	for _, r := range refusals {
		if slices.ContainsFunc(r.capabilities, func(name string) bool { return !slices.Contains(wanted, name) }) {
			continue
		}
		if r.worksWith != "" {
			if works, err := p.Supports(ctx, r.worksWith); works || err != nil {
				return err
			}
		}
		return result.Skip.Errorf("%s: not migrated with %s: %s", p, strings.Join(r.capabilities, " and "), r.why)
	}
	return nil
}
