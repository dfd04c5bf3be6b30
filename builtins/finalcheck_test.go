// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// A guest that is reset during a migration, runs twice, or does not run at the end,
// is not a PASS, unless the scenario has requested it.
func TestFinalCheck(t *testing.T) {
	t.Parallel()
	const twice = "two copies of it used one disk"
	for _, tt := range []struct {
		name   string
		params cartesian.Params
		source string
		status result.Status
		words  []string
	}{
		{"reset while it moves", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait(status = "active")
    mig.vm("vm1").qmp("system_reset")
    mig.set_speed("1G")
    mig.join()
`, result.Fail, []string{"migration 1 of vm1: the source failed first (host1): the guest was reset on host1 after its migration had started: at ", "(host-qmp-system-reset); only vm.reset() and vm.reboot() may reset it"}},
		{"reset by HMP in check_work", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2", check_work = lambda mig: mig.vm("vm1").qmp("human-monitor-command", command_line = "system_reset"))
`, result.Fail, []string{"the guest was reset on host2"}},
		{"sent to nobody by QMP", nil, `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start("host1")
    vm.qmp("migrate-set-capabilities", capabilities = [{"capability": "events", "state": True}])
    vm.qmp("migrate", uri = "exec:cat >/dev/null")
    wait_for(lambda: vm.host == None, timeout = 60)
`, result.Fail, []string{"vm1@host1: its guest has left by a migration, and runs nowhere"}},
		{"reset and cancelled", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait(status = "active")
    mig.vm("vm1").qmp("system_reset")
    mig.cancel()
    mig.join()
`, result.Fail, []string{"the guest was reset on host1"}},
		{"reset on request once and then without", nil, `
def migration_scenario(env):
    def check(mig):
        vm = mig.vm("vm1")
        vm.reset()
        vm.qmp("system_reset")
    migrate_wait(["vm1"], "host1", "host2", check_work = check)
`, result.Fail, []string{"the guest was reset on host2"}},
		{"reset on request while it moves and after it", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2", check_work = lambda mig: mig.vm("vm1").reset())
    mig.wait(status = "active")
    mig.vm("vm1").reset()
    mig.set_speed("1G")
    mig.join()
`, result.Pass, nil},
		{"reset when it has moved", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
    env.vm("vm1").qmp("system_reset")
`, result.Fail, []string{"vm1@host2: its guest was reset after its first migration: at "}},

		{"runs twice by HMP", nil, `
def migration_scenario(env):
    kept = []
    migrate_wait(["vm1"], "host1", "host2", start_work = lambda mig: kept.append(mig.vm("vm1")),
        check_work = lambda mig: kept[0].qmp("human-monitor-command", command_line = "c"))
`, result.Fail, []string{"vm1@host1: split brain: the guest has migrated, but ran here again: " + twice}},
		{"runs twice by another monitor", nil, `
def migration_scenario(env):
    kept = []
    def check(mig):
        let_run("vm1", "host1")
        wait_for(lambda: kept[0].state == "paused", 300, 0.01)
    migrate_wait(["vm1"], "host1", "host2", start_work = lambda mig: kept.append(mig.vm("vm1")), check_work = check)
`, result.Fail, []string{"migration 1 of vm1: the source failed first (host1): ", twice}},
		{"reset where it has left", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2", check_src = lambda mig: mig.vm("vm1").reset())
`, result.Error, []string{"vm1@host1: system_reset refused: its guest has migrated (postmigrate), it would run twice"}},
		{"reset by HMP where it has left, then let run", nil, `
def migration_scenario(env):
    def check(mig):
        mig.vm("vm1").qmp("human-monitor-command", command_line = "system_reset")
        wait_for(lambda: mig.vm("vm1").qmp("query-status")["status"] == "prelaunch", 300, 0.01)
        mig.vm("vm1").qmp("cont")
    migrate_wait(["vm1"], "host1", "host2", check_src = check)
`, result.Error, []string{"cont refused: its guest has migrated"}},

		{"stopped at the end", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
    env.vm("vm1").qmp("stop")
`, result.Fail, []string{"vm1@host2: its guest does not run: it is paused, which the scenario did not request"}},
		{"stopped though it never moved", nil, `
def migration_scenario(env):
    env.vm("vm1").start()
    env.vm("vm1").qmp("stop")
`, result.Error, []string{"vm1@host1: its guest does not run: it is paused"}},
		{"paused and stopped again", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
    env.vm("vm1").pause()
    env.vm("vm1").resume()
    env.vm("vm1").qmp("stop")
`, result.Fail, []string{"it is paused"}},
		{"paused, let run by HMP and stopped again", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
    vm = env.vm("vm1")
    vm.pause()
    for command in ["cont", "stop"]:
        vm.qmp("human-monitor-command", command_line = command)
`, result.Fail, []string{"it is paused"}},
		{"paused", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
    env.vm("vm1").pause()
`, result.Pass, nil},
		{"stopped while it moves", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait(status = "active")
    mig.vm("vm1").qmp("stop")
    mig.set_speed("1G")
    mig.join()
`, result.Fail, []string{"the source failed first (host1): the guest was paused on host1 when it moved, which the scenario did not request"}},
		{"paused and reset, then moved, then paused and reset", nil, `
def migration_scenario(env):
    env.vm("vm1").start(env.hosts[0])
    def pause_and_reset():
        env.vm("vm1").pause()
        env.vm("vm1").reset()
        wait_for(lambda: env.vm("vm1").qmp("query-status")["status"] == "prelaunch", 300, 0.01)
    pause_and_reset()
    migrate_wait(["vm1"], "host1", "host2",
        check_work = lambda mig: wait_for(lambda: mig.vm("vm1").qmp("query-status")["status"] == "running", 1, 0.1))
    pause_and_reset()
`, result.Pass, nil},
		{"destroyed in check_work", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2", check_work = lambda mig: mig.vm("vm1").destroy())
`, result.Pass, nil},
		{"quit by HMP", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
    vm = env.vm("vm1")
    vm.qmp("human-monitor-command", command_line = "quit")
    wait_for(lambda: vm.state == "none", 300, 0.01)
`, result.Fail, []string{"vm1@host2 is not running any more; QEMU of vm1 on host2 ended with status 0"}},
		{"frozen at the end", cartesian.Params{"vms": "vm1 vm2"}, fmt.Sprintf(`
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
    kill("vm1", "host2", %d)
`, syscall.SIGSTOP), result.Fail, []string{"vm1@host2: QEMU does not answer its monitor"}},

		{"the source is told to end by a signal in check_work", nil, fmt.Sprintf(`
def migration_scenario(env):
    kept = []
    def check(mig):
        sleep(1) # QEMU 7.2 may hang if it ends while its migration's thread does, after the status completed
        kill("vm1", "host1", %d)
        wait_for(lambda: kept[0].state == "none", 60, 0.01)
    migrate_wait(["vm1"], "host1", "host2", start_work = lambda mig: kept.append(mig.vm("vm1")), check_work = check)
`, syscall.SIGTERM), result.Fail, []string{"QEMU of vm1 on host1 was terminated by a signal that mhmig did not send"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testRun{params: tt.params, source: tt.source}
			p.extra = starlark.StringDict{"let_run": starlark.NewBuiltin("let_run", p.letRun)}
			runScenario(t, bedtest.Blank(t), p).want(t, tt.status, tt.words...)
		})
	}
}

// letRun is let_run(vm, host): it executes cont through QEMU's second monitor.
func (p *testRun) letRun(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var vm, host string
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "vm", &vm, "host", &host); err != nil {
		return nil, err
	}
	conn, err := net.Dial("unix", filepath.Join(p.bed.Host(host).RunDir(), vm+".spare"))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answers := bufio.NewScanner(conn)
	for _, command := range []string{"qmp_capabilities", "cont"} {
		if !answers.Scan() { // the greeting, then an answer
			return nil, answers.Err()
		}
		if _, err := fmt.Fprintf(conn, `{"execute": %q}`+"\n", command); err != nil {
			return nil, err
		}
	}
	answers.Scan()
	return starlark.None, answers.Err()
}

// A QEMU that crashes when it quits, or that has a sanitizer report, is a FAIL, for
// every instance and every reason of its end.
func TestAbnormalEnd(t *testing.T) {
	t.Parallel()
	const (
		abort    = "echo 'ERROR: AddressSanitizer: heap-use-after-free' >&2\nfor i in 1 2 3 4 5 6 7 8 9; do echo frame >&2; done\nkill -ABRT $$\n"
		complain = "echo 'hw/x.c:1:2: runtime error: signed integer overflow' >&2\nexit 0\n"
		status   = "exit 23\n"
		there    = "def migration_scenario(env):\n    migrate_wait([\"vm1\"], \"host1\", \"host2\")\n"
	)
	for _, tt := range []struct {
		name, end, host, source string
		words                   []string
	}{
		{"the source aborts", abort, "host1", there, []string{
			"migration 1, source host1, check: QEMU of vm1 on host1 ended by signal 6 (aborted)",
			"sanitizer: ERROR: AddressSanitizer: heap-use-after-free",
		}},
		{"the destination aborts", abort, "host2", there, []string{"QEMU of vm1 on host2 ended by signal 6 (aborted)"}},
		{"a complaint alone", complain, "host2", there, []string{"QEMU of vm1 on host2 ended with status 0; sanitizer: hw/x.c:1:2: runtime error: signed integer overflow"}},
		{"a status alone", status, "host2", there, []string{"QEMU of vm1 on host2 ended with status 23"}},
		{"destroyed", abort, "host1", "def migration_scenario(env):\n    vm = env.vm(\"vm1\")\n    vm.start()\n    vm.destroy()\n", []string{"QEMU of vm1 on host1 ended by signal 6 (aborted)"}},
		{"never moved", status, "host1", "def migration_scenario(env):\n    env.vm(\"vm1\").start()\n", []string{"QEMU of vm1 on host1 ended with status 23"}},
		{"ended for a new start", status, "host2", there + "    migrate_wait([\"vm1\"], \"host1\", \"host2\")\n", []string{"migration 2, source host1, prepare: QEMU of vm1 on host2 ended with status 23"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			wrapper := filepath.Join(t.TempDir(), "qemu")
			script := "#!/bin/bash\ncase \"$*\" in *'-name vm1'*) ;; *) exec qemu-system-x86_64 \"$@\" ;; esac\nqemu-system-x86_64 \"$@\"\n" + tt.end
			if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			params["qemu_binary_"+tt.host] = wrapper
			runScenario(t, params, &testRun{source: tt.source}).want(t, result.Fail, tt.words...)
		})
	}
}

// Resets and shutdowns by the guest after its migration.
func TestGuestEndsItself(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, source string
		words        []string // none: it passes
	}{
		{"it resets itself before it moves", `
def migration_scenario(env):
    def work(mig):
        vm = mig.vm("vm1")
        reset = spawn(lambda: mig.wait(event = "RESET"))
        vm.wait_for_login().sendline("echo b >/proc/sysrq-trigger")
        reset.join()
        vm.wait_for_login()
    migrate_wait(["vm1"], "host1", "host2", work)
`, nil},
		{"it powers off", `
def migration_scenario(env):
    def check(mig):
        vm = mig.vm("vm1")
        vm.wait_for_login().sendline("poweroff")
        wait_for(lambda: vm.state == "none", 300, 0.05)
    migrate_wait(["vm1"], "host1", "host2", check_work = check)
`, []string{"vm1", "QEMU of vm1 on host2 ended with status 0"}},
		{"it panics", `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
    env.vm("vm1").wait_for_login().sendline("echo c >/proc/sysrq-trigger")
    wait_for(lambda: "Kernel panic" in console(), 300, 0.05)
`, []string{"vm1@host2: its guest has panicked; its console ends:", "Kernel panic - not syncing"}},
		{"it resets itself", `
def migration_scenario(env):
    def check(mig):
        mig.vm("vm1").wait_for_login().sendline("echo b >/proc/sysrq-trigger")
        wait_for(lambda: resets() > 0, 300, 0.05)
    migrate_wait(["vm1"], "host1", "host2", check_work = check)
`, []string{"the guest was reset on host2 after its migration had started: at ", "(guest-reset)"}},
		{"it is another boot without a reset", `
def migration_scenario(env):
    def work(mig):
        mig.vm("vm1").wait_for_login().cmd("cat /proc/sys/kernel/random/uuid >/tmp/id")
    def check(mig):
        session = mig.vm("vm1").wait_for_login()
        session.cmd("mount -o bind /tmp/id /proc/sys/kernel/random/boot_id")
    migrate_wait(["vm1"], "host1", "host2", work, check)
`, []string{"the guest rebooted after its migration had started: its boot ID was "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testRun{source: tt.source}
			p.extra = starlark.StringDict{
				"console": consoleOf(p),
				"resets": starlark.NewBuiltin("resets", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
					return starlark.MakeInt(len(p.bed.Instances()[0].Resets()) + len(p.bed.Instances()[1].Resets())), nil
				}),
			}
			status := result.Fail
			if tt.words == nil {
				status = result.Pass
			}
			runScenario(t, small(t), p).want(t, status, tt.words...)
		})
	}
}

// consoleOf is a function for scenarios: the last lines of the console of vm1.
func consoleOf(p *testRun) *starlark.Builtin {
	return starlark.NewBuiltin("console", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		return starlark.String(p.bed.Current("vm1").Console.Tail(5)), nil
	})
}
