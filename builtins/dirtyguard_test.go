// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"maps"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// hops migrates a guest back and forth while it rewrites its memory, and verifies
// the memory after each migration.
const hops = `
load("@std//work.star", "start_memory_work")

def migration_scenario(env):
    a, b = env.hosts

    def work(mig):
        if mig.number == 1:
            start_memory_work(mig.vm("vm1").wait_for_login(), mig.params)

    def check(mig):
        session = mig.vm("vm1").wait_for_login(timeout = mig.params.int("check_timeout"))
        log("verified", hop = mig.number, said = session.cmd("memwork check", timeout = 60).strip())

    for hop in range(env.params.int("hops")):
        src, dst = (a, b) if hop % 2 == 0 else (b, a)
        mig = migrate_wait(["vm1"], src, dst, work, check)
        assert_eq(mig.status, "completed")
        assert_eq((env.vm("vm1").host, env.vm("vm1").state), (dst, "running"))
    env.vm("vm1").wait_for_login().cmd("memwork stop")
`

// QEMU before 9.0 under TCG loses pages that a guest writes while it is moved,
// and says "completed" all the same. mhmig keeps guests off that path; without
// its guard the loss is there, and it is found: the scenario fails.
func TestDirtyGuard(t *testing.T) {
	t.Parallel()
	base := small(t)
	t.Run("auto", func(t *testing.T) {
		t.Parallel()
		e := runScenario(t, base, &testRun{source: hops, params: withLoss(cartesian.Params{"hops": "4", "check_timeout": "60"})})
		e.want(t, result.Pass)
		e.wantLog(t, "tcg_dirty_guard", "memory is 98296 KiB instead of 98304")
	})
	t.Run("off", func(t *testing.T) {
		t.Parallel()
		if major := bedtest.QEMUMajor(t); major >= 9 {
			t.Skipf("NOT TESTED: the loss of memory: QEMU %d has not got the defect", major)
		}
		e := runScenario(t, base, &testRun{source: hops, params: withLoss(cartesian.Params{"hops": "30", "check_timeout": "8", "tcg_dirty_guard": "off", "mig_speed": "40M"})})
		e.want(t, result.Fail, "migration ", "destination", "check_work")
		e.wantLog(t, "tcg_dirty_guard = off", "migration completed")
		if e.Evidence == "" {
			t.Error("no evidence")
		}
		t.Log(e.Message)
	})
}

// withLoss adds the params of a guest that loses pages soon where QEMU has the defect.
func withLoss(params cartesian.Params) cartesian.Params {
	maps.Copy(params, cartesian.Params{
		"memory_work": "24M", "memory_work_rate": "30M",
		// What switches processes empties TCG's TLB, and hides the loss: a page is lost
		// when the guest writes to it again through an entry that QEMU did not reset.
		"guest_clock":         "no",
		"not_login_after_mig": "yes", // the scenario looks for a dead guest by itself
	})
	return params
}
