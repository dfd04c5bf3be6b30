// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
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
	// The firmware resets the machine too, perhaps while QEMU stops the guest.
	events := strings.Count(e.log, " event event=RESET ")
	logged, inSeries := 0, false
	for _, line := range regexp.MustCompile(`guest (resets|stopped|runs)(?: times=(\d+))?`).FindAllStringSubmatch(e.log, -1) {
		if line[1] != "resets" {
			inSeries = false
			continue
		}
		if inSeries {
			t.Errorf("log: %q follows another: want one line for each series of resets", line[0])
		}
		inSeries = true
		times, err := strconv.Atoi(cmp.Or(line[2], "1"))
		if err != nil {
			t.Fatal(err)
		}
		logged += times
	}
	if events < 8 || logged != events {
		t.Errorf("log: got %d resets of %d events, want all of 8 or more", logged, events)
	}
}
