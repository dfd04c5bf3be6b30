// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/scenarios"
)

// The seed's scenario: two VMs in one migration, then each in its own at the same
// time, with memory that is verified on the destination.
func TestSeedScenario(t *testing.T) {
	t.Parallel()
	source, err := scenarios.FS.ReadFile("multihost_migration.star")
	if err != nil {
		t.Fatal(err)
	}
	e := runScenario(t, small(t), &testRun{source: string(source), params: cartesian.Params{
		"vms": "vm1 vm2", "memory_work": "8M", "mig_second_delay": "1",
	}})
	e.want(t, result.Pass)
	e.wantLog(t, "memory verified")
}

// Sessions: their methods keep virt-test's meanings, on SSH and on the serial
// console, before and after a migration.
func TestSessions(t *testing.T) {
	t.Parallel()
	typed := starlark.NewBuiltin("typed", newTypeCheck(t).builtin)
	e := runScenario(t, small(t), &testRun{extra: starlark.StringDict{"typed": typed}, source: `
def methods(s):
    assert_eq(typed("session.cmd", s.cmd("echo one; echo two >&2")), "one\ntwo\n")
    assert_eq(typed("session.cmd_status", s.cmd_status("exit_status() { return 3; }; exit_status")), 3)
    assert_eq(typed("session.cmd_output", s.cmd_output("echo out; false")), "out\n")
    assert_eq(typed("session.cmd_status_output", s.cmd_status_output("echo both; (exit 4)")), (4, "both\n"))
    s.cmd("cd /tmp; WORD=kept")
    typed("session.sendline", s.sendline("LATER=too"))
    assert_eq(s.cmd("pwd; echo $WORD $LATER"), "/tmp\nkept too\n")
    assert_eq(typed("session.is_responsive", s.is_responsive()), True)

def migration_scenario(env):
    a, b = env.hosts
    vm = env.vm("vm1")
    vm.start(a)
    ssh = typed("vm.wait_for_login", vm.wait_for_login())
    methods(ssh)
    second = vm.wait_for_login(timeout = "1m")
    assert_eq(second == ssh, False)
    assert_eq(second.cmd("echo $WORD"), "\n")
    typed("session.close", second.close())
    serial = typed("vm.wait_for_serial_login", vm.wait_for_serial_login())
    methods(serial)

    migrate_wait(["vm1"], a, b)
    methods(vm.wait_for_login())
    serial = vm.wait_for_serial_login()
    methods(serial)
    assert_eq(serial.cmd("echo $WORD"), "kept\n")
`})
	e.want(t, result.Pass)
}

// Corrupted memory is a FAIL that says where and has the evidence of both hosts; the
// test corrupts the workload's pages in the guest.
func TestWorkErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, source string
		status       result.Status
		words        []string
		position     string
		evidence     []string
	}{
		{
			"check_work", `
def migration_scenario(env):
    def work(mig):
        mig.vm("vm1").wait_for_login().cmd("memwork start --size 4M --rate 1M")
    def check(mig):
        session = mig.vm("vm1").wait_for_login()
        session.cmd("memwork stop")
        session.cmd("memwork check")
    migrate_wait(["vm1"], "host1", "host2", work, check)
`, result.Fail,
			[]string{"migration 1, destination host2, check_work: ", `command "memwork check" ended with status 2`, "memwork: is not running"},
			"8:20",
			[]string{"source host1 vm1", "postmigrate", "destination host2 vm1", "running", "last QMP"},
		},
		{
			"start_work", `
def migration_scenario(env):
    def work(mig):
        mig.vm("vm1").wait_for_login().cmd("no-such-work")
    migrate_wait(["vm1"], "host1", "host2", work)
`, result.Error,
			[]string{"migration 1, source host1, start_work: ", `command "no-such-work" ended with status 127`},
			"4:43",
			[]string{"source host1 vm1", "destination host2 vm1"},
		},
		{
			"session of a guest that has moved", `
def migration_scenario(env):
    env.vm("vm1").start()
    session = env.vm("vm1").wait_for_login()
    migrate_wait(["vm1"], "host1", "host2")
    session.cmd("true")
`, result.Error,
			[]string{"vm1 has migrated to host2; log in again"},
			"6:16", nil,
		},
		{
			"session of a guest whose QEMU was killed", `
def migration_scenario(env):
    def check(mig):
        session = mig.vm("vm1").wait_for_login()
        spawn(lambda: [sleep(0.3), kill("vm1", "host2")])
        session.cmd("sleep 60")
    migrate_wait(["vm1"], "host1", "host2", None, check)
`, result.Fail,
			[]string{"migration 1, destination host2, check_work: ", `command "sleep 60"`, "QEMU of vm1 on host2 ended by signal 9 (killed)"},
			"6:20",
			[]string{"destination host2 vm1"},
		},
		{
			"wrong password", `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2", params = {"password": "wrong"})
`, result.Error,
			[]string{"migration 1, source host1, prepare: vm1@host1: ssh login as root: ", "login refused"},
			"",
			[]string{"source host1 vm1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := runScenario(t, small(t), &testRun{source: tt.source})
			e.want(t, tt.status, tt.words...)
			e.wantEvidence(t, tt.evidence...)
			if want := "@test//scenario.star:" + tt.position; tt.position != "" && e.Position != want {
				t.Errorf("position: got %q, want %q", e.Position, want)
			}
		})
	}
}

// A migration while the guest boots, which continues to boot.
func TestMigrateWhileBooting(t *testing.T) {
	t.Parallel()
	e := runScenario(t, small(t), &testRun{params: cartesian.Params{"start_migration_timeout": "0.8"}, source: `
def migration_scenario(env):
    mig = migrate_wait(["vm1"], "host1", "host2", check_work = lambda mig: mig.vm("vm1").wait_for_login().cmd("true"))
    assert_eq(mig.stats["vm1"]["ram"]["total"] > 96 << 20, True)
`})
	e.want(t, result.Pass)
}

// A guest that writes faster than the migration may send does not converge.
func TestNotConverging(t *testing.T) {
	t.Parallel()
	e := runScenario(t, small(t), &testRun{params: cartesian.Params{"mig_speed": "1M", "mig_timeout": "2", "memory_work": "16M"}, source: `
load("@std//work.star", "start_memory_work")

def migration_scenario(env):
    work = lambda mig: start_memory_work(mig.vm("vm1").wait_for_login(), mig.params)
    migrate_wait(["vm1"], "host1", "host2", work, lambda mig: error("it arrived"))
`})
	e.want(t, result.Fail, "migration 1 of vm1: not finished after mig_timeout = 2s: it does not converge: ", " over guest memory, ", "dirty rate ", "/s, bandwidth limit 1 MiB/s, ")
	e.wantLog(t, "migration abandoned")
	e.wantEvidence(t, "source host1 vm1", "running", "destination host2 vm1", "inmigrate")
}
