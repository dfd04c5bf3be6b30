// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
)

// A guest that does not come back from a reboot is an ERROR, and a FAIL once it was in a
// migration.
func TestRebootWithoutLogin(t *testing.T) {
	t.Parallel()
	nic := cartesian.Params{"nics": "nic1"}
	runScripted(t, []scriptedCase{
		{name: "before a migration", params: nic, status: result.Error, want: []string{"vm1@host1: no login: login_timeout (5s) on vm1@host1 expired"}, text: `
	vm.start(a)
	vm.reboot(timeout=5)`},
		{name: "after a migration", params: nic, status: result.Fail, want: []string{"vm1@host2: no login: "}, text: `
	migrate_wait(["vm1"], a, b)
	vm.reboot(timeout=5)`},
		{name: "check=False", params: nic, text: `
	migrate_wait(["vm1"], a, b)
	if vm.reboot(timeout=5, check=False) != None or vm.reboot("shell", timeout=5, check=False) != None:
		fail("a session")`},
		{name: "where the guest has left", params: nic, status: result.Error, want: []string{"vm1@host1: vm.reboot refused: its guest has migrated (postmigrate), it would run twice"}, text: `
	migrate_wait(["vm1"], a, b, check_src=lambda mig: mig.vm("vm1").reboot())`},
		{name: "another way", status: result.Error, want: []string{`vm.reboot: how: got "nmi", want qmp or shell`}, text: `
	vm.start(a)
	vm.reboot("nmi")`},
		{name: "QEMU dies meanwhile", params: nic, dies: 5 * time.Second, status: result.Fail, want: []string{"vm1@host1: no login; QEMU of vm1 on host1 ended by signal 9"}, text: `
	vm.start(a)
	vm.reboot(timeout=3600, check=False)`},
	})
}

// A reboot returns a session of the next boot, whichever way it was asked for and while
// the guest is migrated, and is not taken for a reset by the migration. It ends at once
// when the guest's command fails.
func TestReboot(t *testing.T) {
	t.Parallel()
	typed := starlark.NewBuiltin("typed", newTypeCheck(t).builtin)
	e := runScenario(t, small(t), &testRun{extra: starlark.StringDict{"typed": typed}, source: `
def boot_id(session):
    return session.cmd("cat /proc/sys/kernel/random/boot_id")

def migration_scenario(env):
    a, b = env.hosts
    vm = env.vm("vm1")
    vm.start(a)
    first = boot_id(vm.wait_for_login())

    def check(mig):
        second = boot_id(typed("vm.reboot", reboot.join()))
        third = boot_id(mig.vm("vm1").reboot("shell"))
        assert_eq(len(set([first, second, third])), 3)

    vm.set_speed("1M")
    mig = migrate(["vm1"], a, b, check_work = check)
    mig.wait(status = "active")
    resets = vm.expect("RESET")
    reboot = spawn(vm.reboot)
    resets.wait()
    mig.set_speed("1G")
    mig.join()
`})
	e.want(t, result.Pass)

	e = runScenario(t, small(t), &testRun{params: cartesian.Params{"reboot_command": "echo not now; false"}, source: `
def migration_scenario(env):
    env.vm("vm1").start()
    env.vm("vm1").reboot("shell", timeout = 3600)
`})
	e.want(t, result.Error, `command "echo not now; false" ended with status 1`, "not now")
}
