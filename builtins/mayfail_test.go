// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"encoding/json"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
)

// A migration that may fail for a reason of the network or the destination leaves the
// guest on the source, and the scenario continues. Others are a FAIL as ever.
func TestMayFail(t *testing.T) {
	t.Parallel()
	const fails = `
	mig = migrate(["vm1"], a, b, may_fail=True)
	if mig.error != None:
		fail("early: " + mig.error)
	if mig.join() or mig.status != "failed" or word not in mig.error or mig.overdue != ("mig_timeout" in mig.error):
		fail("%s: %s, overdue: %s" % (mig.status, mig.error, mig.overdue))
	if vm.host != a or vm.state != "running" or vm.qmp("query-status")["status"] != "running":
		fail("vm1 is %s on %s" % (vm.state, vm.host))`
	again := fails + "\n\tmig.cancel()" + fails // of a VM that is free, to a destination that is
	runScripted(t, []scriptedCase{
		{name: "the destination dies", destination: qmptest.Script{StopAt: "MIGRATION:active", Die: true}, text: `
	word = "QEMU of vm1 on host2 ended by signal 9"` + again},
		{name: "the destination dies at the switchover", destination: qmptest.Script{StopAt: "load", Die: true}, text: `
	word = "QEMU of vm1 on host2 ended by signal 9"` + again},
		{name: "the destination freezes", destination: qmptest.Script{StopAt: "MIGRATION:active"}, params: cartesian.Params{"mig_timeout": "20"}, text: `
	word = "QEMU does not answer its monitor"` + fails},
		{name: "the network is cut", destination: qmptest.Script{DropData: true}, params: cartesian.Params{"mig_timeout": "20"}, text: `
	word = "not finished after mig_timeout = 20s"` + again},
		{name: "the source refuses to migrate", source: qmptest.Script{Refuse: []string{"migrate"}}, text: `
	word = "the script refuses migrate"` + again},
		{name: "the destination is ended before the move", text: `
	word = "the scenario has ended its destination (host2)"
	def end(mig):
		if mig.is_src:
			sleep(30)
			fail("not stopped")
		mig.vm("vm1").qmp("quit")
		sleep(30)
	mig = migrate(["vm1"], a, b, before_migration=end, may_fail=True)
	if mig.join() or mig.status != "failed" or word not in mig.error or vm.host != a:
		fail("%s: %s, on %s" % (mig.status, mig.error, vm.host))
	migrate_wait(["vm1"], a, b)`},
		{name: "the destination is ended before a restored guest moves", source: qmptest.Script{Execute: func(command string, _ json.RawMessage) (any, error, bool) {
			return map[string]any{"status": "completed"}, nil, command == "query-migrate"
		}}, text: `
	def end(mig):
		if not mig.is_src:
			mig.vm("vm1").qmp("quit")
		sleep(30)
	mig = migrate(["vm1"], a, b, before_migration=end, may_fail=True)
	if mig.join() or mig.status != "failed" or vm.host != a:
		fail("%s: %s, on %s" % (mig.status, mig.error, vm.host))`},
		{name: "it does not fail", text: `
	mig = migrate_wait(["vm1"], a, b, may_fail=True)
	if not mig.join() or mig.error != None or mig.overdue or mig.status != "completed" or vm.host != b:
		fail(mig.status)`},
		{name: "the scenario ends the source", source: qmptest.Script{Endless: true}, text: `
	mig = migrate(["vm1"], a, b, may_fail=True)
	mig.wait(status="active")
	vm.destroy()
	if mig.join() or mig.status != "failed" or "the scenario has ended its source (host1)" not in mig.error or vm.host != None:
		fail("%s: %s, on %s" % (mig.status, mig.error, vm.host))
	vm.start(b)
	migrate_wait(["vm1"], b, a, params={"mig_timeout": "30", "cancel_delay": "0.1"})`},
		{name: "the scenario kills the source", source: qmptest.Script{Endless: true}, text: `
	mig = migrate(["vm1"], a, b, may_fail=True)
	mig.wait(status="active")
	vm.destroy(gracefully=False)
	if mig.join() or mig.status != "failed" or "the scenario has ended its source (host1)" not in mig.error or vm.host != None:
		fail("%s: %s, on %s" % (mig.status, mig.error, vm.host))`},
		{name: "the scenario kills the destination", source: qmptest.Script{Endless: true}, text: `
	there = []
	mig = migrate(["vm1"], a, b, may_fail=True, before_migration=lambda mig: there.append(mig.vm("vm1")) if not mig.is_src else None)
	mig.wait(status="active")
	there[0].destroy(gracefully=False)
	if mig.join() or mig.status != "failed" or "the scenario has ended its destination (host2)" not in mig.error or vm.host != a:
		fail("%s: %s, on %s" % (mig.status, mig.error, vm.host))`},
		{name: "the source is told to quit, and cancels", source: qmptest.Script{Endless: true}, text: `
	mig = migrate(["vm1"], a, b, may_fail=True)
	mig.wait(status="active")
	vm.qmp("quit")
	if mig.join() or mig.status != "failed" or "the scenario has ended its source (host1)" not in mig.error:
		fail("%s: %s" % (mig.status, mig.error))`},
		{name: "it is cancelled", source: qmptest.Script{Endless: true}, text: `
	mig = migrate(["vm1"], a, b, may_fail=True)
	mig.wait(status="active")
	mig.cancel()
	if not mig.join() or mig.error != None or mig.status != "cancelled":
		fail(mig.status)`},

		{name: "the source dies", source: qmptest.Script{StopAt: "MIGRATION:active", Die: true}, status: result.Fail, want: []string{"the source failed first (host1)", "ended by signal 9"}, text: `
	migrate(["vm1"], a, b, may_fail=True).join()`},
		{name: "the guest is lost when it has left", destination: qmptest.Script{StopAt: "loaded", Die: true}, status: result.Fail, want: []string{"the destination failed first (host2)", "ended by signal 9"}, text: `
	migrate(["vm1"], a, b, may_fail=True).join()`},
		{name: "the guest is paused by nobody afterwards", destination: qmptest.Script{StopAt: "MIGRATION:active", Die: true}, status: result.Fail, want: []string{"the guest is paused on the source after the migration has ended as failed, not running"}, text: `
	migrate(["vm1"], a, b, may_fail=True, start_work=lambda mig: mig.vm("vm1").qmp("stop")).join()`},
		{name: "an error of the scenario", status: result.Fail, want: []string{"start_work: wrong"}, text: `
	migrate(["vm1"], a, b, may_fail=True, start_work=lambda mig: fail("wrong")).join()`},
		{name: "a failure of a migration that may not fail", destination: qmptest.Script{StopAt: "MIGRATION:active", Die: true}, status: result.Fail, want: []string{"ended by signal 9"}, text: `
	migrate(["vm1"], a, b).join(check=False)`},
	})
}
