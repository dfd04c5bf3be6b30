// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
)

// predictedMove migrates a guest that writes to its memory, if writes says so, and
// logs what was predicted before.
const predictedMove = `
load("@std//work.star", "start_memory_work")

def migration_scenario(env):
    a, b = env.hosts

    def work(mig):
        session = mig.vm("vm1").wait_for_login()
        if mig.params.bool("writes"):
            start_memory_work(session, mig.params)
        log("dirty rate", MiB = mig.vm("vm1").dirty_rate() >> 20)

    mig = migrate(["vm1"], a, b, work, may_fail = True)
    mig.join()
    stats = mig.stats["vm1"]
    log("came out", converges = stats["predicted_convergence"], verdict = stats["prediction_verdict"], total = stats.get("total-time"))
    if "prediction_error" in stats and not 0.25 < stats["prediction_error"] and stats["prediction_error"] < 4:
        fail("predicted %s times what it took" % stats["prediction_error"])
`

// With QEMU itself: a guest whose workload writes faster than its memory is sent is
// predicted not to converge, and an idle one to converge, in about the time that it takes.
func TestPrediction(t *testing.T) {
	t.Parallel()
	base := small(t)
	base["mig_prediction"] = "yes"
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		e := runScenario(t, base, &testRun{source: predictedMove, params: cartesian.Params{"writes": "no", "mig_speed": "8M"}})
		e.want(t, result.Pass)
		e.wantLog(t, "prediction: the migration will converge in about ", "prediction: right", "came out converges=yes verdict=right")
	})
	t.Run("writing", func(t *testing.T) {
		t.Parallel()
		e := runScenario(t, base, &testRun{source: predictedMove, params: cartesian.Params{
			"writes": "yes", "memory_work": "24M", "memory_work_rate": "30M", "mig_speed": "8M", "mig_timeout": "12",
		}})
		e.want(t, result.Pass)
		e.wantLog(t, "prediction: the migration will not converge at this bandwidth limit", "came out converges=no verdict=right")
	})
}

// The dirty rate of a guest, and of one in a QEMU that cannot measure it.
func TestDirtyRate(t *testing.T) {
	t.Parallel()
	const text = `
	vm.start(a)
	if vm.dirty_rate(seconds = 2) != 7 << 20:
		fail("got %d" % vm.dirty_rate())`
	runScripted(t, []scriptedCase{
		{name: "measured", source: qmptest.Script{Dirty: 7 << 20}, text: text},
		{name: "another one", source: qmptest.Script{Dirty: 8 << 20}, status: result.Fail, want: []string{"got 8388608"}, text: text},
		{name: "a QEMU without", source: qmptest.Script{Without: []string{"calc-dirty-rate"}}, status: result.Skip, want: []string{"this QEMU cannot measure the guest's dirty rate: it has no calc-dirty-rate"}, text: text},
		{name: "too long", status: result.Error, want: []string{"seconds: got 61, want 1 to 60"}, text: `
	vm.start(a)
	vm.dirty_rate(seconds = 61)`},
	})
}
