// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// scriptedCase is a scenario on a bed of scripted QEMUs, in virtual time.
type scriptedCase struct {
	name                string
	source, destination qmptest.Script
	params              cartesian.Params
	helpers             string // functions before migration_scenario
	text                string // of migration_scenario
	guest               *bedtest.Guest
	dies                time.Duration // when vm1 is killed; 0: never
	lasts               time.Duration // at most, of virtual time; 0: a minute
	status              result.Status // of the first failure; the zero value: it passes
	want                []string      // in the failures
}

func runScripted(t *testing.T, cases []scriptedCase) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { tt.run(t) })
		})
	}
}

func (tt *scriptedCase) run(t *testing.T) {
	bed := bedtest.NewScriptedBed(t, 1, tt.params)
	bed.QEMUs.Script("vm1", tt.source, tt.destination)
	if tt.guest != nil {
		bed.QEMUs.Guest("vm1", tt.guest)
	}
	if tt.dies > 0 {
		defer time.AfterFunc(tt.dies, func() { bed.QEMUs.Latest("vm1").Die() }).Stop()
	}
	began := time.Now()
	verdict := runOn(t, bed.Bed.Bed, nil, tt.helpers+"\ndef migration_scenario(env):\n\ta, b = env.hosts\n\tvm = env.vm(\"vm1\")"+tt.text+"\n")
	if took := time.Since(began); took > max(tt.lasts, time.Minute) {
		t.Errorf("it took %v of virtual time, want at most %v", took, max(tt.lasts, time.Minute))
	}
	checkVerdict(t, verdict, tt.status, tt.want)
	for _, i := range bed.Instances() {
		_ = bed.Remove(t.Context(), i) // one that is frozen would be an error at the bed's end
	}
}

// Every wait with check=False says whether it was met, and continues the scenario.
func TestUnmetWaits(t *testing.T) {
	t.Parallel()
	endless := qmptest.Script{Endless: true}
	runScripted(t, []scriptedCase{
		{
			name: "conditions of a migration", source: endless, text: `
	mig = migrate(["vm1"], a, b)
	if not mig.wait(status="active") or not mig.wait(passes=2, check=False):
		fail("active, and two passes: not met")
	if mig.wait(status="completed", timeout=5, check=False) or mig.wait_status("completed", timeout=5, check=False):
		fail("completed")
	if mig.wait(remaining=0, timeout=5, check=False) or mig.wait(event="STOP", timeout=5, check=False):
		fail("all sent, or stopped")
	mig.cancel()
	if mig.wait(passes=9999, check=False) or mig.wait(event="STOP", check=False):
		fail("met after the end")
	if not mig.join(check=False) or mig.status != "cancelled":
		fail("not cancelled")`,
		},
		{
			name: "events count from the migration's start", text: `
	mig = migrate(["vm1"], a, b)
	mig.join()
	if not mig.wait(event="RESUME") or not mig.wait(event="STOP") or mig.wait(event="STOP", count=2, check=False):
		fail("the events of the migration")
	if mig.wait(event="RESET", check=False):
		fail("an event of another migration")
	back = migrate(["vm1"], b, a)
	if not back.wait(event="MIGRATION_PASS", count=2):
		fail("the passes")
	back.join()`,
		},
		{
			name: "an event that does not come", status: result.Error, want: []string{"waited for 2 events STOP, but the migration ended first: completed"}, text: `
	migrate(["vm1"], a, b).wait(event="STOP", count=2)`,
		},
		{
			name: "count without an event", status: result.Error, want: []string{"mig.wait: count: got 2, want 1 or more, and an event"}, text: `
	migrate(["vm1"], a, b).wait(passes=1, count=2)`,
		},
		{
			name: "a limit after the end", status: result.Error, want: []string{"max-bandwidth: the migration of vm1 has ended: completed; set it before, or for the next one by a param of migrate"}, text: `
	migrate_wait(["vm1"], a, b).set_speed("1G")`,
		},
		{
			name: "a frozen source ends the wait for its statistics", source: qmptest.Script{Endless: true, StopAt: "MIGRATION:active"}, params: cartesian.Params{"monitor_timeout": "5"},
			status: result.Fail, want: []string{"the source failed first", "QEMU does not answer its monitor"}, text: `
	migrate(["vm1"], a, b).wait(passes=5, timeout=3600, check=False)
	sleep(3600)`,
		},
		{
			name: "join, task.join and wait_for", source: endless, text: `
	mig = migrate(["vm1"], a, b)
	if mig.join(timeout=1, check=False):
		fail("joined")
	mig.cancel()
	if wait_for(lambda: False, 2, 1, check=False) != None or wait_for(lambda: 7, 2, 1, check=False) != 7:
		fail("wait_for")
	if wait_for(lambda: sleep(100), 2, 1, check=False) != None:
		fail("wait_for of a function that does not return")
	task = spawn(sleep, 10)
	if task.join(timeout=1, check=False) != None or task.done:
		fail("task.join")
	mig.join()`,
		},
		{
			name: "an error inside wait_for is no unmet wait", status: result.Error, want: []string{"inner: timeout after 1s"}, text: `
	wait_for(lambda: wait_for(lambda: 0, 1, what="inner"), 10, check=False)`,
		},
		{
			name: "a task that fails fails the scenario", status: result.Fail, want: []string{"broken"}, text: `
	spawn(lambda: fail("broken")).join(check=False)
	sleep(100)`,
		},
		{
			name: "no login", text: `
	vm.start(a)
	if vm.wait_for_login(timeout=5, check=False) != None:
		fail("a session")`,
		},
		{
			name: "no login to a frozen guest", source: qmptest.Script{StopAt: "query-status@running"}, params: cartesian.Params{"monitor_timeout": "5"},
			status: result.Error, want: []string{"QEMU does not answer its monitor"}, text: `
	vm.start(a)
	vm.wait_for_login(timeout=50, check=False)`,
		},
	})
}

// A command that fails, or does not end in time, is None with check=False, and its
// session can be used further.
func TestUnmetCommands(t *testing.T) {
	t.Parallel()
	e := runScenario(t, small(t), &testRun{source: `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start(env.master)
    session = vm.wait_for_login()
    assert_eq(session.cmd("echo yes; exit_status() { return 3; }; exit_status", check = False), None)
    assert_eq(session.cmd("echo yes", check = False).strip(), "yes")
    for method in [session.cmd, session.cmd_status, session.cmd_output, session.cmd_status_output]:
        assert_eq(method("sleep 60", timeout = 1, check = False), None)
    assert_eq(session.cmd_status("false", check = False), 1)
    process = env.master.start("sleep 0.5; echo over")
    assert_eq(process.wait(timeout = 0.01, check = False), None)
    assert_eq(process.wait(check = False).stdout.strip(), "over")
    vm.destroy()
    session.cmd("true", check = False)
`})
	e.want(t, result.Error, "the scenario has destroyed vm1@host1", "session has ended")
}

// passes is the status of a scenario without failures.
const passes = result.Status(0)

// checkVerdict checks the status of the first failure, and what the failures say.
func checkVerdict(t *testing.T, verdict run.Verdict, status result.Status, want []string) {
	t.Helper()
	failures := fmt.Sprint(verdict.Failures)
	switch {
	case status == passes && len(verdict.Failures) > 0:
		t.Errorf("got %s, want that it passes", failures)
	case status != passes && len(verdict.Failures) == 0:
		t.Errorf("it has passed, want %s", status)
	case status != passes && result.StatusOf(verdict.Failures[0]) != status:
		t.Errorf("got %s: %s, want %s", result.StatusOf(verdict.Failures[0]), failures, status)
	}
	for _, word := range want {
		if !strings.Contains(failures, word) {
			t.Errorf("got %s, want %q in it", failures, word)
		}
	}
}
