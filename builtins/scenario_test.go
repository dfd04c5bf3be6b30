// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/scenarios"
)

// The seed's scenario, whole: two VMs in one migration, then each in its own at
// the same time, with memory that is verified on the other side.
func TestSeedScenario(t *testing.T) {
	t.Parallel()
	source, err := scenarios.FS.ReadFile("multihost_migration.star")
	if err != nil {
		t.Fatal(err)
	}
	e := perform(t, small(t), &play{source: string(source), params: cartesian.Params{
		"vms": "vm1 vm2", "memory_work": "8M", "mig_second_delay": "1",
	}})
	e.want(t, result.Pass)
	e.wantLog(t, "memory verified")
}

// A guest goes to and fro, and its memory is verified after each hop.
func TestPingPong(t *testing.T) {
	t.Parallel()
	e := perform(t, small(t), &play{params: cartesian.Params{"memory_work": "16M"}, source: `
load("@std//work.star", "start_memory_work")

def migration_scenario(env):
    a, b = env.hosts
    vm = env.vm("vm1")
    vm.start(a)
    start_memory_work(vm.wait_for_login(), env.params)

    def check(mig):
        log("checked", on = mig.host.name, said = mig.vm("vm1").wait_for_login().cmd("memwork check").strip())

    for src, dst in [(a, b), (b, a), (a, b), (b, a)]:
        assert_eq(vm.host, src)
        assert_eq(vm.state, "running")
        mig = migrate_wait(["vm1"], src, dst, check_work = check)
        assert_eq(mig.status, "completed")
        assert_eq(vm.host, dst)
    assert_eq(vm.state, "running")
    vm.wait_for_login().cmd("memwork stop")
`})
	e.want(t, result.Pass)
}
