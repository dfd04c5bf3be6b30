// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// A worker that the guest's kernel has killed because it ran out of memory is an
// ERROR of the test, also after a migration, with the kernel's message.
func TestGuestOutOfMemory(t *testing.T) {
	t.Parallel()
	e := runScenario(t, small(t), &testRun{source: `
def migration_scenario(env):
    def work(mig):
        mig.vm("vm1").wait_for_login().cmd("memwork start --size 20M --rate 1M")

    def check(mig):
        s = mig.vm("vm1").wait_for_login()
        s.cmd("memwork check")
        # More than is left, but less than is left without the worker: else the kernel goes on killing.
        s.cmd_status("dd if=/dev/zero of=/dev/shm/file bs=1M count=18; rm /dev/shm/file")
        s.cmd("memwork check")

    migrate_wait(["vm1"], env.hosts[0], env.hosts[1], work, check)
`})
	e.want(t, result.Error, "memwork: the worker died: the guest ran out of memory and killed it (Out of memory: Killed process", "(memwork)", "param mem")
	e.wantLog(t, `guest out of memory message="Out of memory: Killed process`)
}

// A guest's panic is reported by pvpanic, and with the kernel's message.
func TestGuestPanic(t *testing.T) {
	t.Parallel()
	e := runScenario(t, small(t), &testRun{params: cartesian.Params{"extra_params": "-device pvpanic -action panic=pause"}, source: `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start(env.hosts[0])
    s = vm.wait_for_login()
    wait_for(lambda: s.cmd_status("lsmod | grep -q pvpanic_mmio") == 0, 300, what = "the driver")
    s.sendline("echo c >/proc/sysrq-trigger")
    wait_for(lambda: vm.state == "guest-panicked" or vm.state == "paused", 300, what = "the panic")
    s.cmd("true", timeout = 5)
`})
	e.want(t, result.Error, `command "true" did not end within 5s`, "the guest's kernel reported: Kernel panic - not syncing: sysrq triggered crash")
	e.wantLog(t, "guest panicked data=", `guest panicked message="Kernel panic - not syncing: sysrq triggered crash"`)
}

// Consecutive resets are logged in one message with their number.
func TestResetsAreFolded(t *testing.T) {
	t.Parallel()
	e := runScenario(t, bedtest.Blank(t), &testRun{source: `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start(env.hosts[0])
    for i in range(7):
        vm.qmp("system_reset")
    vm.pause()
    vm.resume()
    vm.qmp("system_reset")
    vm.pause()
`})
	e.want(t, result.Pass)
	lines := regexp.MustCompile(`guest resets(?: times=(\d+))? reason=(host-qmp-system-reset|guest-reset)`).FindAllStringSubmatch(e.log, -1)
	if len(lines) != 2 {
		t.Fatalf("log: got %q, want one line for each series of resets", lines)
	}
	if times, err := strconv.Atoi(lines[0][1]); err != nil || times < 7 { // firmware adds its own
		t.Errorf("log: got %q, want 7 resets at least", lines[0][0])
	}
}
