// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// Migrations of VMs without a guest: the effect of params, and the messages.
func TestMigrate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		params cartesian.Params
		source string
		log    []string
	}{
		{"status and figures", nil, `
def migration_scenario(env):
    a, b = env.hosts
    mig = migrate(["vm1"], a, b)
    assert_eq((mig.number, mig.vms, mig.src, mig.dst), (1, ["vm1"], a, b))
    assert_eq((mig.host, mig.is_src), (None, False))
    assert_eq(str(mig), "mig 1 vm1 host1->host2")
    mig.join()
    mig.join()
    assert_eq(mig.status, "completed")
    stats = mig.stats["vm1"]
    assert_eq(stats["status"], "completed")
    for key in ["total-time", "downtime", "setup-time"]:
        assert_eq(type(stats[key]), "int")
    assert_eq(stats["total-time"] > 0, True)
    assert_eq(stats["total-time"] >= stats["downtime"], True)
    ram = stats["ram"]
    assert_eq(ram["total"] > 16 << 20, True)
    for key in ["transferred", "remaining", "duplicate", "normal", "normal-bytes", "page-size", "dirty-sync-count", "mbps"]:
        assert_eq(key in ram, True)
    assert_eq((ram["remaining"], ram["page-size"]), (0, 4096))
    assert_eq(migrate_wait(["vm1"], b, a).number, 2)
`, []string{"migration completed", "total_time_ms="}},

		{"three hosts, of which one only waits", nil, `
def migration_scenario(env):
    a, b, c = env.hosts
    waiting = spawn(lambda: on([c], lambda h: h.run("sleep 0.01").status))
    mig = migrate_wait([env.vm("vm1")], "host1", "host2")
    assert_eq(waiting.join(), {c: 0})
    migrate_wait(["vm1"], b, c)
    assert_eq(env.vm("vm1").host, c)
`, nil},

		{"two at once, joined in reverse", cartesian.Params{"vms": "vm1 vm2"}, `
def migration_scenario(env):
    a, b = env.hosts
    one = migrate(["vm1"], a, b)
    two = migrate(["vm2"], a, b)
    two.join()
    one.join()
    assert_eq((one.status, two.status), ("completed", "completed"))
    migrate_wait(["vm1", "vm2"], b, a)
    # Crossing: each in its own direction.
    one, two = migrate(["vm1"], a, b), migrate(["vm2"], b, a)
    two.join()
    one.join()
    assert_eq((env.vm("vm1").host, env.vm("vm2").host), (b, a))
`, []string{"ending the instance that an earlier migration left there"}},

		{"a VM that was left elsewhere", nil, `
def migration_scenario(env):
    a, b, c = env.hosts
    migrate_wait(["vm1"], a, b)
    # It is on b: started anew on a, after b's was ended.
    migrate_wait(["vm1"], a, c)
    assert_eq(env.vm("vm1").host, c)
`, []string{"ending the instance that an earlier migration left there"}},

		{"speed and downtime", cartesian.Params{"mig_speed": "32M", "mig_downtime": "0.5"}, `
def migration_scenario(env):
    a, b = env.hosts
    def told(mig):
        got = mig.vm("vm1").qmp("query-migrate-parameters")
        assert_eq((got["max-bandwidth"], got["downtime-limit"]), (32 << 20, 500))
    migrate_wait(["vm1"], a, b, check_src = told)
    # What params says holds for this migration only.
    mig = migrate(["vm1"], b, a, params = {"mig_speed": "2K", "mig_downtime": 0.25, "x": True, "y": ["a", "b"], "z": None}, hold = True)
    assert_eq(mig.params["mig_speed"], "2K")
    assert_eq([mig.params[k] for k in "xyz".elems()], ["yes", "a b", ""])
    assert_eq(env.params["mig_speed"], "32M")
    mig.wait_status("active")
    got = env.vm("vm1").qmp("query-migrate-parameters")
    assert_eq((got["max-bandwidth"], got["downtime-limit"]), (2048, 250))
    mig.set_speed("64M")
    mig.set_downtime("1s")
    got = env.vm("vm1").qmp("query-migrate-parameters")
    assert_eq((got["max-bandwidth"], got["downtime-limit"]), (64 << 20, 1000))
    mig.release()
    mig.join()
`, nil},

		{"offline", cartesian.Params{"mig_offline": "yes"}, `
def migration_scenario(env):
    a, b = env.hosts
    before = []
    migrate_wait(["vm1"], a, b, check_work = lambda mig: before.append(mig.vm("vm1").qmp("query-status")["status"]))
    assert_eq(before, ["running"])
    assert_eq(env.vm("vm1").state, "running")
`, nil},

		{"wait", cartesian.Params{"mig_speed": "20K"}, `
def migration_scenario(env):
    a, b = env.hosts
    mig = migrate(["vm1"], a, b)
    assert_eq("status" in mig.stats["vm1"], True)
    mig.wait_status("active")
    mig.wait(status = "active")
    mig.wait(passes = 0)
    mig.wait(remaining = "1G")
    resumed = spawn(lambda: mig.wait(event = "RESUME"))
    sleep(0.2)
    mig.set_speed("1G")
    resumed.join()
    mig.wait_status("completed")
    mig.join()
    mig.wait(status = "completed")
`, nil},

		{"cancel, and again", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    a, b = env.hosts
    mig = migrate(["vm1"], a, b)
    mig.wait_status("active")
    mig.cancel()
    mig.wait_status("cancelled")
    mig.join()
    assert_eq(mig.status, "cancelled")
    assert_eq(env.vm("vm1").host, a)
    assert_eq(env.vm("vm1").state, "running")
    assert_eq(migrate_wait(["vm1"], a, b, params = {"mig_speed": ""}, check_src = lambda mig: assert_eq(mig.vm("vm1").qmp("query-migrate-parameters")["max-bandwidth"], 128 << 20)).status, "completed")
`, []string{"migration cancelled"}},

		{"cancel before it began", nil, `
def migration_scenario(env):
    a, b = env.hosts
    def early(mig):
        mig.cancel()
    mig = migrate_wait(["vm1"], a, b, start_work = early)
    assert_eq(mig.status, "cancelled")
    assert_eq(env.vm("vm1").host, a)
    assert_eq(migrate_wait(["vm1"], a, b).status, "completed")
    mig.cancel()
`, nil},

		{"cancel an offline migration", cartesian.Params{"mig_offline": "yes", "mig_speed": "1K"}, `
def migration_scenario(env):
    a, b = env.hosts
    mig = migrate(["vm1"], a, b)
    mig.wait_status("active")
    assert_eq(env.vm("vm1").qmp("query-status")["status"], "paused")
    mig.cancel()
    mig.join()
    assert_eq(env.vm("vm1").qmp("query-status")["status"], "running")
`, nil},

		{"cancel_delay", cartesian.Params{"mig_speed": "1K", "cancel_delay": "0.3"}, `
def migration_scenario(env):
    a, b = env.hosts
    mig = migrate_wait(["vm1"], a, b, check_work = lambda mig: fail("it was cancelled"))
    assert_eq(mig.status, "cancelled")
    assert_eq(env.vm("vm1").host, a)
    assert_eq(env.vm("vm1").state, "running")
`, []string{"cancel after=300ms"}},

		{"cancel when one of two has moved", cartesian.Params{"vms": "vm1 vm2"}, `
def migration_scenario(env):
    a, b = env.hosts
    one, two = env.vm("vm1"), env.vm("vm2")
    mig = migrate(["vm1", "vm2"], a, b, before_migration = lambda mig: mig.is_src and mig.vm("vm2").set_speed("1K"))
    wait_for(lambda: two.state == "running" and one.host == b, 300, 0.01)
    mig.wait_status("active")
    mig.cancel()
    mig.join()
    assert_eq(mig.status, "cancelled")
    assert_eq((one.host, two.host), (b, a))
    assert_eq((one.qmp("query-status")["status"], two.qmp("query-status")["status"]), ("running", "running"))
    migrate_wait(["vm1"], b, a)
    two.set_speed("1G")
    migrate_wait(["vm1", "vm2"], a, b)
`, []string{"its move completed before the migration was cancelled or had failed: it stays on the destination"}},

		{"hooks of both sides", nil, `
def migration_scenario(env):
    a, b = env.hosts
    told = []

    def tell(what):
        def hook(mig):
            assert_eq(mig.host, a if mig.is_src else b)
            assert_eq(mig.vm("vm1").host, mig.host)
            told.append((what, mig.is_src))
            assert_eq(sync(what, data = mig.is_src), {a: True, b: False}) if what != "work" else None
        return hook

    def migrate_src(mig):
        tell("move")(mig)
        mig.migrate_vms_src()

    def migrate_dst(mig):
        tell("move")(mig)
        mig.migrate_vms_dest(["vm1"])

    mig = migrate_wait(["vm1"], a, b,
        start_work = tell("work"), check_work = tell("work"), before_migration = tell("before"),
        migrate_src = migrate_src, migrate_dst = migrate_dst,
        check_src = tell("check"), check_dst = tell("check"), post_migration = lambda mig: told.append(("after", mig.is_src)))
    assert_eq(mig.status, "completed")
    assert_eq(told[0], ("work", True))
    assert_eq(sorted(told[1:3]), [("before", False), ("before", True)])
    assert_eq(sorted(told[3:5]), [("move", False), ("move", True)])
    assert_eq(sorted(told[5:7]), [("check", False), ("check", True)])
    assert_eq(told[7], ("work", False))
    assert_eq(sorted(told[8:]), [("after", False), ("after", True)])
    assert_eq(env.vm("vm1").host, b)
`, nil},

		{"migrate_src by hand", nil, `
def migration_scenario(env):
    a, b = env.hosts

    def by_hand(mig):
        port = sync("port")[b]
        vm = mig.vm("vm1")
        vm.qmp("migrate", uri = "tcp:%s:%s" % (b.address, port))
        wait_for(lambda: vm.qmp("query-migrate").get("status") == "completed", 300, 0.01)

    def receive(mig):
        sync("port", data = mig.vm("vm1").qmp("query-migrate")["socket-address"][0]["port"])
        mig.migrate_vms_dest()

    mig = migrate_wait(["vm1"], a, b, migrate_src = by_hand, migrate_dst = receive)
    assert_eq(mig.status, "completed")
    assert_eq(env.vm("vm1").host, b)
`, nil},

		{"the VM's methods", cartesian.Params{"start_vm": "yes"}, `
def migration_scenario(env):
    a, b = env.hosts
    vm = env.vm("vm1")
    assert_eq((vm.host, vm.qmp("query-status")["running"]), (a, True))
    vm.start()
    vm.start(a)
    assert_eq(vm.state, "running")
    vm.pause()
    assert_eq(vm.state, "paused")
    vm.resume()
    assert_eq(vm.state, "running")
    vm.reset()
    vm.set_speed("3M")
    vm.set_downtime(0.2)
    got = vm.qmp("query-migrate-parameters")
    assert_eq((got["max-bandwidth"], got["downtime-limit"]), (3 << 20, 200))
    assert_eq(vm.qmp("human-monitor-command", command_line = "info name").strip(), "vm1")
    assert_eq(vm.qmp("query-name"), {"name": "vm1"})
    vm.destroy()
    assert_eq((vm.host, vm.state), (None, "none"))
    vm.start(b)
    assert_eq(vm.host, b)
    vm.start()
    assert_eq(vm.host, b)
`, []string{"guest resets", "guest stopped", "guest runs"}},

		{"params for the VMs of one migration", nil, `
def migration_scenario(env):
    a, b = env.hosts
    memory = lambda: env.vm("vm1").qmp("query-memory-size-summary")["base-memory"]
    migrate_wait(["vm1"], a, b, params = {"mem": 24})
    assert_eq(env.vm("vm1").params["mem"], "24")
    assert_eq(env.params["mem"], "16")
    assert_eq(memory() >> 10 >= 23 << 10, True)
    # It runs, so its memory is what it is, whatever the params say now.
    migrate_wait(["vm1"], b, a)
    assert_eq(memory() >> 10 >= 23 << 10, True)
    env.vm("vm1").destroy()
    env.vm("vm1").start()
    assert_eq(memory() >> 10 <= 16 << 10, True)
`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testRun{params: tt.params, source: tt.source}
			if strings.Contains(tt.source, "a, b, c = env.hosts") {
				p.hosts = allHosts(t)
			}
			e := runScenario(t, bedtest.Blank(t), p)
			e.want(t, result.Pass)
			e.wantLog(t, tt.log...)
		})
	}
}

// A restarted guest after a migration is a warning, wanted, or an ERROR, depending
// on fresh.
func TestFresh(t *testing.T) {
	t.Parallel()
	const twoHops = `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b%[1]s)
    migrate_wait(["vm1"], a, b%[1]s)
`
	hops := func(more string) string { return fmt.Sprintf(twoHops, more) }
	const moved = "vm1 is restarted on host1: it is not the guest that migrated to host2"
	for _, tt := range []struct {
		name, source string
		status       result.Status
		words        []string // of its message
		notice       string   // "": none
	}{
		{"two hops", hops(""), result.Pass, nil, moved},
		{"two hops that want it", hops(", fresh = True"), result.Pass, nil, ""},
		{"two hops that do not", hops(", fresh = False"), result.Error, []string{"migration 2, source host1, prepare: fresh = False, but vm1 runs on host2, not on host1: it would be ended"}, ""},
		{"there and back", `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b, fresh = False)
    migrate_wait(["vm1"], b, a, fresh = False)
`, result.Pass, nil, ""},
		{"started elsewhere", `
def migration_scenario(env):
    a, b = env.hosts
    env.vm("vm1").start(a)
    migrate_wait(["vm1"], b, a)
`, result.Pass, nil, "vm1 is restarted on host2: it is not the guest that ran on host1"},
		{"started elsewhere, and not wanted", `
def migration_scenario(env):
    a, b = env.hosts
    env.vm("vm1").start(a)
    migrate(["vm1"], b, a, fresh = False).join()
`, result.Error, []string{"fresh = False, but vm1 runs on host1, not on host2"}, ""},
		{"destroyed", `
def migration_scenario(env):
    a, b = env.hosts
    env.vm("vm1").start(a)
    env.vm("vm1").destroy()
    migrate_wait(["vm1"], a, b, fresh = False)
`, result.Error, []string{"fresh = False, but vm1 does not run any more"}, ""},
		{"destroyed, and not refused", `
def migration_scenario(env):
    a, b = env.hosts
    env.vm("vm1").start(a)
    env.vm("vm1").destroy()
    migrate_wait(["vm1"], a, b)
`, result.Pass, nil, "vm1 is restarted on host1: the guest that ran before has ended"},
		{"stopped where it runs, and anew", `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b)
    env.vm("vm1").qmp("stop")
    migrate_wait(["vm1"], a, b, fresh = True)
`, result.Fail, []string{"vm1@host2: its guest does not run: it is paused"}, ""},
		{"anew where it runs", `
def migration_scenario(env):
    a, b = env.hosts
    vm = env.vm("vm1")
    vm.start(a)
    vm.pause()
    vm.set_speed("7M")
    migrate_wait(["vm1"], a, b, fresh = True, check_src = lambda mig: assert_eq(mig.vm("vm1").qmp("query-migrate-parameters")["max-bandwidth"], 128 << 20))
`, result.Pass, nil, ""},
		{"one that had stopped", `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b)
    env.vm("vm1").qmp("stop")
    migrate_wait(["vm1"], a, b)
`, result.Fail, []string{"vm1@host2: its guest does not run: it is paused"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := runScenario(t, bedtest.Blank(t), &testRun{source: tt.source})
			e.want(t, tt.status, tt.words...)
			var notices []string
			if tt.notice != "" {
				notices = []string{tt.notice}
			}
			if !slices.Equal(e.Notices, notices) {
				t.Errorf("notices: got %q, want %q", e.Notices, notices)
			}
			timeline, err := os.ReadFile(filepath.Join(e.dir, result.TimelineFile))
			if err != nil {
				t.Fatal(err)
			}
			for where, text := range map[string]string{"log": e.log, "timeline": string(timeline)} {
				if told := strings.Contains(text, "is restarted on"); told != (tt.notice != "") {
					t.Errorf("%s: told %t, want %t", where, told, tt.notice != "")
				}
			}
			if tt.notice != "" && !strings.Contains(e.log, "WARN") {
				t.Error("not a WARN, which a terminal with a live view shows")
			}
		})
	}
}

// Invalid migrations are errors with a reason.
func TestMigrateErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		params  cartesian.Params
		source  string
		status  result.Status
		words   []string
		nowhere bool // it arises in no line of the scenario
	}{
		{"twice at once", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    a, b = env.hosts
    migrate(["vm1"], a, b)
    migrate(["vm1"], a, b)
`, result.Error, []string{"migrate: vm1 is in use by migration 1: wait for its end first"}, false},
		{"from a worker", nil, `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b, start_work = lambda mig: migrate(["vm1"], a, b))
`, result.Error, []string{"migrate: not inside a migration's own worker"}, false},
		{"start elsewhere", cartesian.Params{"start_vm": "yes"}, `
def migration_scenario(env):
    env.vm("vm1").start("host2")
`, result.Error, []string{"vm1 runs on host1 already, and one VM never runs twice"}, false},
		{"cont on a source that has completed", nil, `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b, check_src = lambda mig: mig.vm("vm1").resume())
`, result.Error, []string{"cont refused: its guest has migrated (postmigrate), it would run twice"}, false},
		{"cont by QMP", nil, `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b, check_src = lambda mig: mig.vm("vm1").qmp("cont"))
`, result.Error, []string{"cont refused"}, false},
		{"QMP's own error", cartesian.Params{"start_vm": "yes"}, `
def migration_scenario(env):
    env.vm("vm1").qmp("dance")
`, result.Error, []string{"dance", "has not been found"}, false},
		{"QMP argument", cartesian.Params{"start_vm": "yes"}, `
def migration_scenario(env):
    env.vm("vm1").qmp("stop", what = sleep)
`, result.Error, []string{"vm.qmp: what: got builtin_function_or_method"}, false},
		{"only on the source", nil, `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b, migrate_dst = lambda mig: mig.migrate_vms_src())
`, result.Error, []string{"mig.migrate_vms_src: only on the source's side of the migration"}, false},
		{"a VM of another migration", nil, `
def migration_scenario(env):
    a, b = env.hosts
    migrate(["vm1"], a, b).vm("vm2")
`, result.Error, []string{`mig.vm: name: no VM "vm2" in this migration, only vm1`}, false},
		{"migrate_src does nothing", nil, `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b, migrate_src = lambda mig: None)
`, result.Error, []string{"migrate_src has returned, but the migration of vm1@host1 has not ended: its status is none"}, true},
		{"two conditions", nil, `
def migration_scenario(env):
    a, b = env.hosts
    migrate(["vm1"], a, b).wait(status = "active", passes = 2)
`, result.Error, []string{"mig.wait: got 2 conditions, want one of status, passes, remaining, sent, event"}, false},
		{"it ends first", nil, `
def migration_scenario(env):
    a, b = env.hosts
    mig = migrate(["vm1"], a, b)
    mig.wait(passes = 1000)
`, result.Error, []string{"waited for 1000 passes, but the migration ended first: completed"}, false},
		{"another end", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    a, b = env.hosts
    mig = migrate(["vm1"], a, b)
    mig.wait_status("active")
    mig.cancel()
    mig.wait_status("completed")
`, result.Error, []string{"waited for status completed, but the migration ended first: cancel"}, false},
		{"waiting too long", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    a, b = env.hosts
    mig = migrate(["vm1"], a, b)
    mig.wait_status("active")
    mig.wait(remaining = 0, timeout = 0.1)
`, result.Error, []string{"waited for 0 bytes remaining, the migration is active: timeout (100ms) expired"}, false},
		{"joining too long", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    a, b = env.hosts
    migrate(["vm1"], a, b).join(timeout = 0.5)
`, result.Error, []string{"migration 1 source: not finished after 500ms"}, false},
		{"it completed before cancel_delay", cartesian.Params{"cancel_delay": "60"}, `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b)
`, result.Error, []string{"the migration completed before cancel_delay = 1m0s"}, true},
		{"cancelled by hand", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    a, b = env.hosts
    mig = migrate(["vm1"], a, b)
    mig.wait_status("active")
    env.vm("vm1").qmp("migrate_cancel")
    mig.join()
`, result.Error, []string{"vm1@host1: the migration was cancelled, but not by mig.cancel or cancel_delay"}, true},
		{"not converging", cartesian.Params{"mig_speed": "1K", "mig_timeout": "5"}, `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b)
`, result.Fail, []string{"migration 1 of vm1: not finished after mig_timeout = 5s: 0 passes over guest memory, 16 MiB of 16 MiB remaining: dirty rate ", "/s, bandwidth limit 1 KiB/s"}, true},
		{"a worker that fails", nil, `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b, start_work = lambda mig: error("no work today"))
`, result.Error, []string{"migration 1, source host1, start_work: no work today"}, false},
		{"a check that fails", nil, `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b, check_work = lambda mig: fail("lost"))
`, result.Fail, []string{"migration 1, destination host2, check_work: lost"}, false},
		{"a side that waits for the other in vain", nil, `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b, before_migration = lambda mig: barrier("x") if mig.is_src else error("I will not come"))
`, result.Error, []string{"migration 1, destination host2, before_migration: I will not come"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := runScenario(t, bedtest.Blank(t), &testRun{params: tt.params, source: tt.source})
			e.want(t, tt.status, tt.words...)
			if inScenario := strings.HasPrefix(e.Position, "@test//scenario.star:"); inScenario == tt.nowhere {
				t.Errorf("position: got %q, want one in the scenario: %t", e.Position, !tt.nowhere)
			}
		})
	}
}

// The destination listens on mig_port: on a port, in a range, or on any.
func TestMigrationPort(t *testing.T) {
	t.Parallel()
	bedtest.Blank(t) // skips, where it must
	hosts := allHosts(t)
	taken, err := net.Listen("tcp", net.JoinHostPort(hosts[1].Address(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	port := taken.Addr().(*net.TCPAddr).Port
	to := regexp.MustCompile(` migrate uri=tcp:([0-9.]+):(\d+)`)
	source := `
def migration_scenario(env):
    migrate_wait(["vm1"], env.hosts[0], env.hosts[1])
`
	t.Run("taken", func(t *testing.T) {
		t.Parallel()
		e := runScenario(t, bedtest.Blank(t), &testRun{source: source, params: cartesian.Params{"mig_port": strconv.Itoa(port)}})
		e.want(t, result.Error, "migration 1, destination host2, prepare: ",
			"no port of mig_port = "+strconv.Itoa(port)+" is free on host2 (0 lets QEMU choose)", "in use")
	})
	t.Run("the next in the range", func(t *testing.T) {
		t.Parallel()
		last := min(port+20, 65535)
		e := runScenario(t, bedtest.Blank(t), &testRun{source: source, params: cartesian.Params{"mig_port": strconv.Itoa(port) + "-" + strconv.Itoa(last)}})
		e.want(t, result.Pass)
		uri := to.FindStringSubmatch(e.log)
		if uri == nil {
			t.Fatal("the log has no uri")
		}
		if got, _ := strconv.Atoi(uri[2]); got <= port || got > last {
			t.Errorf("port: got %d, want one of %d-%d", got, port+1, last)
		}
		if uri[1] != hosts[1].Address() {
			t.Errorf("address: got %s, want %s", uri[1], hosts[1].Address())
		}
	})
}

// A side cannot wait for its own migration, whichever side it is, and whoever waits for it:
// the other one may wait for it at a barrier, which has no limit.
func TestJoinInHooks(t *testing.T) {
	t.Parallel()
	runScripted(t, []scriptedCase{
		{name: "of the source", status: result.Error, want: []string{"migration 1 source cannot wait for its own end"}, text: `
	migrate_wait(["vm1"], a, b, before_migration=lambda mig: mig.join() if mig.is_src else None)`},
		{name: "of the destination", status: result.Error, want: []string{"migration 1 destination cannot wait for its own end"}, text: `
	migrate_wait(["vm1"], a, b, before_migration=lambda mig: None if mig.is_src else mig.join())`},
		{name: "by another task", status: result.Error, want: []string{"cannot wait for"}, text: `
	migrate_wait(["vm1"], a, b, before_migration=lambda mig: None if mig.is_src else spawn(mig.join).join())`},
	})
}
