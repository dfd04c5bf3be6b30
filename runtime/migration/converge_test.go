// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/result"
)

// The text that says why a migration has not finished.
func TestDescribeProgress(t *testing.T) {
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
			"not started",
			result.Progress{Status: "setup"},
			false, mib, 0,
			"the migration has status setup and has not started to send guest memory",
		},
		{
			"the first pass is slow",
			result.Progress{Status: "active", Pass: 1, Remaining: 98 * mib, Total: 128 * mib, Rate: mib},
			false, mib, 0,
			"0 passes over guest memory, 98 MiB of 128 MiB remaining: dirty rate unknown, bandwidth limit 1 MiB/s, throughput 1 MiB/s; at this throughput the first pass takes 1m38s more",
		},
		{
			"in the first pass the dirty rate is higher",
			result.Progress{Status: "active", Pass: 1, Remaining: 98 * mib, Total: 128 * mib, Rate: mib, Dirty: 50 * mib},
			true, mib, 0,
			"it does not converge: 0 passes over guest memory, 98 MiB of 128 MiB remaining: dirty rate 50 MiB/s, bandwidth limit 1 MiB/s, throughput 1 MiB/s",
		},
		{
			"the dirty rate is higher",
			result.Progress{Status: "active", Pass: 8, Remaining: 30 * mib, Total: 128 * mib, Rate: 1.5 * mib, Dirty: 50 * mib},
			true, 2 * mib, 0,
			"it does not converge: 7 passes over guest memory, 30 MiB of 128 MiB remaining: dirty rate 50 MiB/s, bandwidth limit 2 MiB/s, throughput 1.5 MiB/s",
		},
		{
			"it would have finished",
			result.Progress{Status: "active", Pass: 2, Remaining: 30 * mib, Total: 128 * mib, Rate: 30 * mib, Dirty: mib},
			true, 128 * mib, 0,
			"1 pass over guest memory, 30 MiB of 128 MiB remaining: dirty rate 1 MiB/s, bandwidth limit 128 MiB/s, throughput 30 MiB/s",
		},
		{
			"it stays paused",
			result.Progress{Status: "postcopy-paused", Pass: 3, Remaining: 30 * mib, Total: 128 * mib},
			true, 128 * mib, 7 * time.Second,
			"2 passes over guest memory, 30 MiB of 128 MiB remaining: it is paused in post-copy, and nothing has recovered it",
		},
		{
			"nothing is sent",
			result.Progress{Status: "active", Pass: 3, Remaining: 30 * mib, Total: 128 * mib, Rate: 30 * mib, Dirty: 50 * mib},
			true, 128 * mib, 7 * time.Second,
			"2 passes over guest memory, 30 MiB of 128 MiB remaining, and nothing was sent for 7s: is the network from host1 to host2 down?",
		},
		{
			"the limit explains that nothing is sent",
			result.Progress{Status: "active", Pass: 1, Remaining: 3000, Total: 128 * mib, Rate: 1000},
			false, 1000, 7 * time.Second,
			"0 passes over guest memory, 2.9 KiB of 128 MiB remaining: dirty rate unknown, bandwidth limit 1.0 KiB/s, throughput 1.0 KiB/s; at this throughput the first pass takes 3s more",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := migration.DescribeProgress(tt.progress, tt.known, tt.limit, tt.idle, "host1", "host2"); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}
