// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// A migration that is held stops before the switchover, with the guest stopped, until it
// is released or cancelled.
func TestHold(t *testing.T) {
	t.Parallel()
	capabilities := `
def on_at(vm):
	return [c["capability"] for c in vm.qmp("query-migrate-capabilities") if c["state"]]
`
	old := qmptest.Script{Without: []string{"pause-before-switchover"}}
	runScripted(t, []scriptedCase{
		{name: "hold and release", helpers: capabilities, text: `
	mig = migrate(["vm1"], a, b, hold=True)
	mig.wait(status="pre-switchover")
	sleep(20)
	if mig.status != "pre-switchover" or vm.host.name != "host1":
		fail("it has not waited")
	mig.release()
	mig.join()
	if mig.status != "completed" or vm.host.name != "host2":
		fail("it has not arrived")
	back = migrate_wait(["vm1"], b, a)
	if "pause-before-switchover" in on_at(vm):
		fail("the next migration is held")`},
		{name: "released before it gets there", text: `
	mig = migrate(["vm1"], a, b, hold=True)
	mig.release()
	mig.release()
	mig.join()
	if not mig.wait(event="MIGRATION", count=5) or mig.status != "completed":
		fail("it has not arrived")`},
		{name: "hold in a hook", text: `
	mig = migrate(["vm1"], a, b, start_work=lambda mig: mig.hold())
	mig.wait(status="pre-switchover")
	mig.release()
	mig.join()`},
		{name: "cancelled while held", helpers: capabilities, text: `
	mig = migrate(["vm1"], a, b, hold=True)
	mig.wait(status="pre-switchover")
	mig.cancel()
	mig.join()
	if vm.host.name != "host1" or vm.state != "running" or "pause-before-switchover" in on_at(vm):
		fail("vm1 on %s is %s, with %s" % (vm.host, vm.state, on_at(vm)))
	migrate_wait(["vm1"], a, b)`},
		{name: "a destination that lacks it", destination: old, text: `
	mig = migrate(["vm1"], a, b, hold=True)
	mig.wait(status="pre-switchover")
	mig.release()
	mig.join()`},
		{name: "a source that lacks it", source: old, status: result.Skip, want: []string{"this QEMU has no migration capability pause-before-switchover", "QEMU 2.11"}, text: `
	migrate_wait(["vm1"], a, b, hold=True)`},
		{name: "too late", source: qmptest.Script{Endless: true}, status: result.Error, want: []string{"mig.hold: hold: the migration has begun", "migrate(hold=True)"}, text: `
	mig = migrate(["vm1"], a, b)
	mig.wait(status="active")
	mig.hold()`},
		{name: "release of what is not held", status: result.Error, want: []string{"release: the migration is not held"}, text: `
	migrate(["vm1"], a, b).release()`},
		{
			name: "never released", params: cartesian.Params{"mig_timeout": "30"}, status: result.Fail,
			want: []string{"not finished after mig_timeout = 30s", "the migration is held at the switchover (pre-switchover): mig.release was not called"}, text: `
	migrate_wait(["vm1"], a, b, hold=True)`,
		},
		{
			name: "frozen while held", source: qmptest.Script{StopAt: "MIGRATION:pre-switchover"}, params: cartesian.Params{"mig_timeout": "30", "monitor_timeout": "5"},
			status: result.Fail, want: []string{"QEMU does not answer its monitor"}, text: `
	mig = migrate(["vm1"], a, b, hold=True)
	mig.wait(status="pre-switchover")
	mig.release()
	mig.join()`,
		},
		{
			name: "a QEMU that dies meanwhile", dies: 10 * time.Second, status: result.Fail, want: []string{"QEMU of vm1 on host", "ended by signal 9"}, text: `
	migrate_wait(["vm1"], a, b, hold=True)`,
		},
	})
}

// A migration is switched to post-copy on request, if it was started for that.
func TestPostcopy(t *testing.T) {
	t.Parallel()
	endless, old := qmptest.Script{Endless: true}, qmptest.Script{Without: []string{"postcopy-ram"}}
	runScripted(t, []scriptedCase{
		{name: "switched", source: endless, text: `
	mig = migrate(["vm1"], a, b, postcopy=True)
	mig.wait(passes=3)
	if mig.params["mig_postcopy"] != "yes" or mig.ports["vm1"] <= 0:
		fail("%s %s" % (mig.params, mig.ports))
	mig.start_postcopy()
	mig.join()
	if vm.host.name != "host2" or not mig.wait(event="MIGRATION_PASS", count=3):
		fail("it has not arrived")
	for c in vm.qmp("query-migrate-capabilities"):
		if c["capability"] == "postcopy-ram" and c["state"]:
			fail("the next migration is a post-copy as well")`},
		{name: "by the param", source: endless, params: cartesian.Params{"mig_postcopy": "yes"}, text: `
	mig = migrate(["vm1"], a, b)
	mig.wait(status="active")
	mig.start_postcopy()
	mig.join()`},
		{name: "held, then switched", source: endless, text: `
	mig = migrate(["vm1"], a, b, postcopy=True, hold=True)
	mig.wait(status="active")
	mig.start_postcopy()
	mig.wait(status="pre-switchover")
	mig.release()
	mig.join()`},
		{name: "without the capability", source: endless, status: result.Error, want: []string{"start_postcopy: the migration was started without: use migrate(postcopy=True)"}, text: `
	mig = migrate(["vm1"], a, b)
	mig.wait(status="active")
	mig.start_postcopy()`},
		{name: "too early", status: result.Error, want: []string{"start_postcopy: vm1 does not move now"}, text: `
	migrate(["vm1"], a, b, postcopy=True).start_postcopy()`},
		{name: "a destination that lacks it", destination: old, status: result.Skip, want: []string{"vm1@host2: this QEMU has no migration capability postcopy-ram", "QEMU 2.6"}, text: `
	migrate_wait(["vm1"], a, b, postcopy=True)`},
		{
			name: "frozen", source: qmptest.Script{Endless: true, StopAt: "migrate-start-postcopy"}, params: cartesian.Params{"monitor_timeout": "5"},
			status: result.Fail, want: []string{"QEMU does not answer its monitor"}, text: `
	mig = migrate(["vm1"], a, b, postcopy=True)
	mig.wait(status="active")
	mig.start_postcopy()
	mig.join()`,
		},
		{name: "ports", text: `
	mig = migrate(["vm1"], a, b, params={"mig_protocol": "unix"})
	if mig.ports != {}:
		fail("before the start")
	mig.join()
	if mig.ports != {}:
		fail("a unix socket has no port")`},
	})
}

// The same on real QEMU.
func TestHoldAndPostcopyOnQEMU(t *testing.T) {
	t.Parallel()
	e := runScenario(t, bedtest.Blank(t), &testRun{source: `
def migration_scenario(env):
    a, b = env.hosts[:2]
    vm = env.vm("vm1")
    mig = migrate(["vm1"], a, b, hold = True)
    mig.wait(status = "pre-switchover")
    assert_eq(mig.vm("vm1").host.name, a.name)
    mig.release()
    mig.join()
    mig = migrate(["vm1"], b, a, hold = True)
    mig.wait(status = "pre-switchover")
    mig.cancel()
    mig.join()
    assert_eq(vm.host.name, b.name)
    assert_eq(vm.qmp("query-status")["status"], "running")
    vm.set_speed("1K")
    mig = migrate(["vm1"], b, a, postcopy = True)
    mig.wait(status = "active")
    mig.start_postcopy()
    mig.wait(status = "postcopy-active")
    mig.set_speed("1G")
    mig.join()
    assert_eq(mig.status, "completed")
    on = [c["capability"] for c in vm.qmp("query-migrate-capabilities") if c["state"]]
    assert_eq(sorted(on), ["events", "return-path"])
    migrate_wait(["vm1"], a, b)
`})
	e.want(t, result.Pass)
}
