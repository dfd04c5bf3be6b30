// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/result"
)

// What mhmig adds to a migration: from QMP's migrate until migrate_wait is
// over, less the time that QEMU itself says it took. An idle guest goes to and
// fro ten times, over SSH to both hosts, with all checks that are the default.
//
//	wall-ms    from migrate to the end of migrate_wait
//	qemu-ms    QEMU's total-time
//	added-ms   the difference
//
// All are medians.
func BenchmarkMigrateWait(b *testing.B) {
	params := small(b)
	var c clock
	for b.Loop() {
		e := perform(b, params, &play{on: c.tick, source: `
def migration_scenario(env):
    src, dst = env.hosts
    for hop in range(10):
        mig = migrate_wait(["vm1"], src, dst)
        log("hop over", qemu_ms = mig.stats["vm1"]["total-time"])
        src, dst = dst, src
`})
		e.want(b, result.Pass)
	}
	wall, qemu, added := median(c.wall), median(c.qemu), median(c.added)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(wall, "wall-ms")
	b.ReportMetric(qemu, "qemu-ms")
	b.ReportMetric(added, "added-ms")
	fmt.Printf("\n%d migrations of an idle guest, medians: wall %.0f ms, QEMU's total-time %.0f ms, mhmig adds %.0f ms\n",
		len(c.wall), wall, qemu, added)
}

// clock takes the time of each hop from the log.
type clock struct {
	mu                sync.Mutex // guards what follows
	migrate           time.Time
	wall, qemu, added []float64 // milliseconds
}

func (c *clock) tick(message string, at map[string]string, _ *play) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case message == "migrate" && at["uri"] != "":
		c.migrate = time.Now()
	case message == "hop over":
		qemu, _ := strconv.ParseFloat(at["qemu_ms"], 64)
		wall := time.Since(c.migrate).Seconds() * 1000
		c.wall, c.qemu, c.added = append(c.wall, wall), append(c.qemu, qemu), append(c.added, wall-qemu)
	}
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
