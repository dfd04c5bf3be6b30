// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
)

// vm.expect misses no event, in and outside migrations, and says why none comes.
func TestExpect(t *testing.T) {
	t.Parallel()
	runScripted(t, []scriptedCase{
		{name: "an event that came before the wait", text: `
	vm.start(a)
	any = vm.expect("RESET")
	ours = vm.expect("RESET", match={"reason": "host-qmp-system-reset", "guest": False})
	guests = vm.expect("RESET", match={"reason": "guest-reset"})
	vm.reset()
	sleep(10)
	if ours.wait()["reason"] != "host-qmp-system-reset" or any.wait(timeout=0)["guest"] != False:
		fail("the data")
	if ours.wait(timeout=5, check=False) != None or guests.wait(timeout=5, check=False) != None:
		fail("no second event, and none of the guest")
	any.close()
	vm.reset()
	if any.wait(timeout=1, check=False) != None:
		fail("closed")`},
		{name: "before the VM starts, and on both hosts", text: `
	runs = vm.expect("RESUME")
	passes = vm.expect("MIGRATION_PASS", match={"pass": 2})
	vm.start(a)
	runs.wait()
	migrate_wait(["vm1"], a, b)
	runs.wait()
	if passes.wait()["pass"] != 2:
		fail("the data")`},
		{name: "an event without data", text: `
	vm.start(a)
	stops = vm.expect("STOP")
	vm.pause()
	if stops.wait() != {}:
		fail("data")
	vm.resume()`},
		{name: "none comes", status: result.Error, want: []string{`vm1: no event RESET with {"reason":"guest-reset"} within 30s`}, text: `
	vm.start(a)
	vm.expect("RESET", match={"reason": "guest-reset"}).wait(timeout=30)`},
		{
			name: "a frozen QEMU", source: qmptest.Script{StopAt: "query-status@running"}, params: cartesian.Params{"monitor_timeout": "5"},
			status: result.Error, want: []string{"no event STOP within 30s: ", "QEMU does not answer its monitor"}, text: `
	vm.start(a)
	vm.expect("STOP").wait(timeout=30, check=False)
	sleep(3600)`,
		},
		{
			name: "a QEMU that dies", dies: 5 * time.Second, status: result.Fail, want: []string{"waited for event STOP", "ended by signal 9"}, text: `
	vm.start(a)
	vm.expect("STOP").wait(timeout=3600, check=False)
	sleep(3600)`,
		},
	})
}
