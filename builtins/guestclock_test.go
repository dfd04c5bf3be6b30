// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
)

// felt migrates an idle guest, then a busy one, then one that is stopped during a
// slow migration. Its clock stops for QEMU's downtime, plus or minus jitter; that of
// the stopped guest from when it was stopped. There is no limit for the additional
// time until the guest runs: on a loaded machine it hangs now and then, and may then
// set its clock, so that each migration has several attempts.
const felt = `
load("@std//work.star", "start_memory_work")

def migration_scenario(env):
    hosts = list(env.hosts)

    def move(what, right, work = None, params = {}):
        for i in range(4):
            mig = migrate_wait(["vm1"], hosts[0], hosts[1], work if i == 0 else None, params = params)
            hosts[0], hosts[1] = hosts[1], hosts[0]
            stats = mig.stats["vm1"]
            downtime, stop = stats.get("guest_downtime"), stats.get("guest_clock_stop")
            log("felt", what = what, hop = mig.number, qemu = stats["downtime"], downtime = downtime, stop = stop, brownout = stats.get("guest_brownout"))
            if downtime != None and downtime >= stop and right(stop, stats["downtime"]):
                return stop
        fail("%s: the guest did not feel what QEMU says" % what)

    def as_long(stop, downtime):
        return abs(stop - downtime) <= 20 + downtime // 10

    def work(mig):
        start_memory_work(mig.vm("vm1").wait_for_login(), mig.params)

    idle = move("idle", as_long)
    move("busy", as_long, work)
    move("stopped", lambda stop, downtime: stop >= max(1000, idle + 500), params = {"mig_offline": True, "mig_speed": "32M"})
`

func TestGuestDowntime(t *testing.T) {
	t.Parallel()
	e := runScenario(t, small(t), &testRun{source: felt, params: cartesian.Params{"memory_work": "16M", "memory_work_rate": "40M"}})
	e.want(t, result.Pass)
	for line := range strings.Lines(e.log) {
		if strings.Contains(line, "felt what") {
			t.Log(line)
		}
	}
	moves, err := result.Migrations(e.dir)
	if err != nil {
		t.Fatal(err)
	}
	if g := moves[len(moves)-1].VMs[0].Guest; g == nil || !g.Moved || len(g.Gaps) < 5 {
		t.Errorf("the record: got %+v", g)
	}
}
