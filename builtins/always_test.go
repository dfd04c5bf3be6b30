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

// A check that runs beside a function, or beside a migration, fails the scenario where
// it fails, and ends with what it is beside.
func TestAlways(t *testing.T) {
	t.Parallel()
	endless := qmptest.Script{Endless: true}
	answering := func(after time.Duration) *bedtest.Guest {
		return &bedtest.Guest{Run: func(string) (string, int) { time.Sleep(after); return "", 0 }}
	}
	runScripted(t, []scriptedCase{
		{
			name: "beside a function", text: `
	seen = []
	got = always(lambda: seen.append(1), lambda: sleep(10.2) or "body", every=1)
	if got != "body" or len(seen) != 11:
		fail("%s, %d calls" % (got, len(seen)))
	always(lambda: seen.append(2), lambda: None)
	if 2 not in seen:
		fail("not called beside a short function")`,
		},
		{
			name: "it fails beside a function", status: result.Fail, want: []string{"the third"}, lasts: 5 * time.Second, text: `
	seen = []
	def third():
		seen.append(1)
		if len(seen) == 3:
			fail("the third")
	always(third, lambda: sleep(3600), every=1)`,
		},
		{
			name: "it returns False", status: result.Fail, want: []string{"always: lambda has returned False (@test//scenario.star:5:8)"}, lasts: 5 * time.Second, text: `
	always(lambda: False, lambda: sleep(3600))`,
		},
		{
			name: "it blocks", lasts: 15 * time.Second, text: `
	blocked = []
	always(lambda: sleep(3600 if not blocked and not blocked.append(1) else 0), lambda: sleep(10))`,
		},
		{
			name: "guests move meanwhile", params: cartesian.Params{"nics": "nic1"}, guest: answering(2 * time.Second), text: `
	vm.start(a)
	seen = []
	def work():
		vm.wait_for_login().cmd("true")
		seen.append(vm.host.name)
	def around():
		for src, dst in [(a, b), (b, a)]:
			migrate_wait(["vm1"], src, dst)
			before = len(seen)
			sleep(10)
			if len(seen) < before + 2 or seen[-1] != dst.name:
				fail("after a move to %s: %s" % (dst.name, seen))
	always(work, around, every=1)`,
		},
		{
			name: "a session from before the move", params: cartesian.Params{"nics": "nic1"}, guest: answering(time.Millisecond),
			status: result.Error, want: []string{"vm1 has migrated to host2; log in again"}, text: `
	vm.start(a)
	session = vm.wait_for_login()
	always(lambda: session.cmd("true"), lambda: [migrate_wait(["vm1"], a, b), sleep(3600)])`,
		},
		{
			name: "the function fails", status: result.Error, want: []string{"the body"}, lasts: 5 * time.Second, text: `
	always(lambda: sleep(3600), lambda: error("the body"))`,
		},
		{
			name: "beside a migration", source: endless, text: `
	mig = migrate(["vm1"], a, b)
	def check():
		if mig.status not in ["setup", "active"]:
			fail("called when the migration was " + mig.status)
	task = mig.during(check, every=0.1)
	mig.wait(passes=99)
	mig.cancel()
	mig.join()
	if task.join() < 10:
		fail("only %d calls" % task.join())`,
		},
		{
			name: "it fails beside a migration", source: endless, status: result.Fail, want: []string{"not alive"}, text: `
	mig = migrate(["vm1"], a, b)
	mig.during(lambda: vm.state == "running" or fail("not alive"))
	mig.wait(passes=5)
	vm.pause()
	sleep(3600)`,
		},
		{
			name: "the migration is over too soon", status: result.Error, want: []string{"mig.during: lambda was never completed while the migration moved", "migrate(hold=True)"}, text: `
	mig = migrate(["vm1"], a, b)
	mig.during(lambda: sleep(60))
	mig.join()`,
		},
		{
			name: "the migration fails", source: qmptest.Script{Refuse: []string{"migrate"}}, status: result.Fail, want: []string{"the script refuses migrate"}, text: `
	mig = migrate(["vm1"], a, b)
	mig.during(lambda: sleep(60))
	mig.join()`,
		},
		{
			name: "beside a source that freezes", source: qmptest.Script{Endless: true, StopAt: "MIGRATION:active"}, params: cartesian.Params{"monitor_timeout": "5"},
			status: result.Fail, want: []string{"QEMU does not answer its monitor"}, text: `
	mig = migrate(["vm1"], a, b)
	mig.during(lambda: vm.qmp("query-status"))
	mig.join()`,
		},
	})
}

// threshold names every value that is beyond its limit.
func TestThreshold(t *testing.T) {
	t.Parallel()
	runScripted(t, []scriptedCase{
		{name: "within", text: `
	mig = migrate_wait(["vm1"], a, b)
	threshold(mig, downtime="<300ms", total_time="<= 10s", transferred="<1G", passes=">=1")`},
		{name: "beyond", status: result.Fail, want: []string{"threshold: vm1: downtime is 1ms, want <1ms; vm1: transferred is 16777216 bytes, want >1G"}, text: `
	mig = migrate_wait(["vm1"], a, b)
	threshold(mig, downtime="<1ms", total_time="<1m", transferred=">1G")`},
		{name: "not measured", status: result.Error, want: []string{"threshold: guest_downtime: not measured for vm1", "guest_clock"}, text: `
	threshold(migrate_wait(["vm1"], a, b), guest_downtime="<1s")`},
		{name: "no limit", status: result.Error, want: []string{"threshold: no limit given"}, text: `
	threshold(migrate_wait(["vm1"], a, b))`},
		{name: "wrong limit", status: result.Error, want: []string{`downtime: got string "300ms", want a limit of a time`}, text: `
	threshold(migrate_wait(["vm1"], a, b), downtime="300ms")`},
		{name: "no unit", status: result.Error, want: []string{`total_time: got string "<300", want a limit of a time with its unit, such as "<300ms"`}, text: `
	threshold(migrate_wait(["vm1"], a, b), total_time="<300")`},
		{name: "no time", status: result.Error, want: []string{`downtime: got string ">NaN", want a limit of a time`}, text: `
	threshold(migrate_wait(["vm1"], a, b), downtime=">NaN")`},
		{name: "no number", status: result.Error, want: []string{`passes: got string "<NaN", want a limit of a number`}, text: `
	threshold(migrate_wait(["vm1"], a, b), passes="<NaN")`},
		{name: "without an end", status: result.Error, want: []string{`passes: got string "<inf", want a limit of a number`}, text: `
	threshold(migrate_wait(["vm1"], a, b), passes="<inf")`},
		{name: "not ended", source: qmptest.Script{Endless: true}, status: result.Error, want: []string{"threshold: mig: the migration is active, want one that has completed"}, text: `
	mig = migrate(["vm1"], a, b)
	mig.wait_status("active")
	threshold(mig, downtime="<1s")`},
	})
}
