// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
)

// felt moves an idle guest, then a busy one, then one that is stopped while it is
// sent over a slow line. Its clock stands still for QEMU's downtime, give or take
// the jitter; of the stopped one, from when it was stopped. How much longer the
// guest itself takes to go on has no limit here, as the machine may be busy.
const felt = `
load("@std//work.star", "start_memory_work")

def migration_scenario(env):
    a, b = env.hosts

    def tell(mig):
        stats = mig.stats["vm1"]
        log("felt", hop = mig.number, downtime = stats["downtime"],
            figures = str({k: v for k, v in stats.items() if k.startswith("guest_")}))
        if stats["guest_downtime"] < stats["guest_clock_stop"]:
            fail("guest_downtime is %d, but the clock stood still for %d" % (stats["guest_downtime"], stats["guest_clock_stop"]))
        return stats

    def exact(stats):
        if abs(stats["guest_clock_stop"] - stats["downtime"]) > 50 + stats["downtime"] // 4:
            fail("guest_clock_stop is %d, but QEMU's downtime %d" % (stats["guest_clock_stop"], stats["downtime"]))
        return stats

    def work(mig):
        start_memory_work(mig.vm("vm1").wait_for_login(), mig.params)

    idle = exact(tell(migrate_wait(["vm1"], a, b)))
    exact(tell(migrate_wait(["vm1"], b, a, work)))
    slow = tell(migrate_wait(["vm1"], a, b, params = {"mig_offline": True, "mig_speed": "32M"}))
    if slow["guest_clock_stop"] < max(1000, idle["guest_clock_stop"]):
        fail("the long downtime is not seen")
`

func TestGuestDowntime(t *testing.T) {
	t.Parallel()
	e := perform(t, small(t), &play{source: felt, params: cartesian.Params{"memory_work": "16M", "memory_work_rate": "40M"}})
	e.want(t, result.Pass)
	for line := range strings.Lines(e.log) {
		if strings.Contains(line, "felt hop") {
			t.Log(line)
		}
	}
	text, err := os.ReadFile(filepath.Join(e.dir, result.MigrationsDir, "1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var kept result.Migration
	if err := json.Unmarshal(text, &kept); err != nil {
		t.Fatal(err)
	}
	if g := kept.VMs[0].Guest; g == nil || !g.Moved || len(g.Gaps) < 5 {
		t.Errorf("the record: got %+v", g)
	}
}
