// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/result"
)

// Why a migration has taken so long, in words.
func TestAccount(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, tt := range []struct {
		name     string
		progress result.Progress
		known    bool
		limit    int64
		idle     time.Duration
		want     string
	}{
		{
			"not begun",
			result.Progress{Status: "setup"},
			false, mib, 0,
			"the migration is setup and has not begun to send the guest's memory",
		},
		{
			"the first pass is slow",
			result.Progress{Status: "active", Pass: 1, Remaining: 98 * mib, Total: 128 * mib, Rate: mib},
			false, mib, 0,
			"0 passes over the guest's memory, 98 MiB of 128 MiB left: the guest's dirty rate is not known, the limit is 1 MiB/s, 1 MiB/s are sent; what is left of the first pass takes 1m38s more at that",
		},
		{
			"in the first pass the guest is quicker",
			result.Progress{Status: "active", Pass: 1, Remaining: 98 * mib, Total: 128 * mib, Rate: mib, Dirty: 50 * mib},
			true, mib, 0,
			"it does not converge: 0 passes over the guest's memory, 98 MiB of 128 MiB left: the guest changes 50 MiB/s, the limit is 1 MiB/s, 1 MiB/s are sent",
		},
		{
			"the guest is quicker",
			result.Progress{Status: "active", Pass: 8, Remaining: 30 * mib, Total: 128 * mib, Rate: 1.5 * mib, Dirty: 50 * mib},
			true, 2 * mib, 0,
			"it does not converge: 7 passes over the guest's memory, 30 MiB of 128 MiB left: the guest changes 50 MiB/s, the limit is 2 MiB/s, 1.5 MiB/s are sent",
		},
		{
			"it would have come to an end",
			result.Progress{Status: "active", Pass: 2, Remaining: 30 * mib, Total: 128 * mib, Rate: 30 * mib, Dirty: mib},
			true, 128 * mib, 0,
			"1 pass over the guest's memory, 30 MiB of 128 MiB left: the guest changes 1 MiB/s, the limit is 128 MiB/s, 30 MiB/s are sent",
		},
		{
			"nothing is sent",
			result.Progress{Status: "active", Pass: 3, Remaining: 30 * mib, Total: 128 * mib, Rate: 30 * mib, Dirty: 50 * mib},
			true, 128 * mib, 7 * time.Second,
			"2 passes over the guest's memory, 30 MiB of 128 MiB left, and nothing was sent for 7s: is the way from host1 to host2 cut?",
		},
		{
			"the limit explains that nothing is sent",
			result.Progress{Status: "active", Pass: 1, Remaining: 3000, Total: 128 * mib, Rate: 1000},
			false, 1000, 7 * time.Second,
			"0 passes over the guest's memory, 2.9 KiB of 128 MiB left: the guest's dirty rate is not known, the limit is 1.0 KiB/s, 1.0 KiB/s are sent; what is left of the first pass takes 3s more at that",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := migration.Account(tt.progress, tt.known, tt.limit, tt.idle, "host1", "host2"); got != tt.want {
				t.Errorf("account: got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}
