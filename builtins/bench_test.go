// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
)

// The time that mhmig adds to a migration: from QMP migrate until migrate_wait
// returns, minus the total-time of QEMU. An idle guest migrates back and forth ten
// times, over SSH to both hosts, with all default checks. The results are medians.
func BenchmarkMigrateWait(b *testing.B) {
	params := small(b)
	var c clock
	for b.Loop() {
		e := runScenario(b, params, &testRun{on: c.tick, source: `
def migration_scenario(env):
    src, dst = env.hosts
    for hop in range(10):
        mig = migrate_wait(["vm1"], src, dst)
        log("hop over", qemu_ms = mig.stats["vm1"]["total-time"])
        src, dst = dst, src
`})
		e.want(b, result.Pass)
	}
	wall, qemu, added, login, end := median(c.wall), median(c.qemu), median(c.added), median(c.login), median(c.end)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(wall, "wall-ms")
	b.ReportMetric(qemu, "qemu-ms")
	b.ReportMetric(added, "added-ms")
	b.ReportMetric(login, "login-ms")
	b.ReportMetric(end, "end-ms")
	fmt.Printf("\n%d migrations of an idle guest, medians: wall %.0f ms, QEMU's total-time %.0f ms, mhmig adds %.0f ms (login %.0f ms, end of the source %.0f ms)\n",
		len(c.wall), wall, qemu, added, login, end)
}

// The time from a VM's start to the first login, of a guest that boots and of one that
// is restored from a saved state, in turns. The results are medians.
func BenchmarkFirstLogin(b *testing.B) {
	params := small(b)
	const starts = `
def migration_scenario(env):
    vm = env.vm("vm1")
    for i in range(3):
        log("start")
        vm.start()
        vm.wait_for_login().close()
        log("first login")
        vm.destroy()
`
	took := map[string][]float64{}                         // milliseconds
	for _, how := range []string{"warm", "warm", "cold"} { // the first one saves the state, if there is none
		took[how] = nil
		var began time.Time
		e := runScenario(b, params, &testRun{source: starts, params: cartesian.Params{"guest_start": how}, on: func(message string, _ map[string]string, _ *testRun) {
			switch message {
			case "start":
				began = time.Now()
			case "first login":
				took[how] = append(took[how], ms(time.Since(began)))
			}
		}})
		e.want(b, result.Pass)
	}
	for b.Loop() { // all has been measured: each start is an operation of its own
	}
	cold, warm := median(took["cold"]), median(took["warm"])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(cold, "cold-ms")
	b.ReportMetric(warm, "warm-ms")
	fmt.Printf("\nfirst login, medians: cold %.0f ms, warm %.0f ms\n", cold, warm)
}

// clock reads the time of each migration from the log.
type clock struct {
	mu               sync.Mutex // guards what follows
	migrate, checked time.Time

	wall, qemu, added, login, end []float64 // milliseconds
}

func (c *clock) tick(message string, at map[string]string, _ *testRun) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case message == "migrate" && at["uri"] != "":
		c.migrate, c.checked = time.Now(), time.Time{}
	case message == "logged in" && !c.migrate.IsZero():
		took, _ := time.ParseDuration(at["took"])
		c.login = append(c.login, ms(took))
	case message == "done" && at["side"] == "destination":
		c.checked = time.Now()
	case message == "hop over":
		qemu, _ := strconv.ParseFloat(at["qemu_ms"], 64)
		wall := ms(time.Since(c.migrate))
		c.wall, c.qemu, c.added = append(c.wall, wall), append(c.qemu, qemu), append(c.added, wall-qemu)
		c.end = append(c.end, ms(time.Since(c.checked)))
		c.migrate = time.Time{}
	}
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
