// SPDX-License-Identifier: Apache-2.0

package scenariotest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/builtins/scenariotest"
	"github.com/mhmig/mhmig/lang/doc"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/scenarios"
	"github.com/mhmig/mhmig/stdlib"
)

func options() scenariotest.Options {
	return scenariotest.Options{
		Libraries: library.Set{"std": stdlib.FS, "scenarios": scenarios.FS}, DefaultConfig: "@std//" + stdlib.DefaultConfig,
		Limits: star.DefaultLimits, Timeout: 5 * time.Minute,
	}
}

// results runs test files, and returns the results by the names of the tests.
func results(t *testing.T, o scenariotest.Options, files ...string) map[string]scenariotest.Result {
	t.Helper()
	all := map[string]scenariotest.Result{}
	_, err := scenariotest.Run(t.Context(), files, o, func(r scenariotest.Result) { all[r.Name] = r })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// write writes a test file with files beside it, and returns its name.
func write(t *testing.T, text string, beside map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range beside {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "my"+scenariotest.Suffix)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func show(r scenariotest.Result) string {
	var b strings.Builder
	scenariotest.Write(&b, r, true, 200)
	return b.String()
}

// The examples of mhmig doc are as they say, and pass.
func TestExamplesOfTests(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	var text strings.Builder
	names := map[string]string{}
	for _, topic := range slices.Sorted(maps.Keys(doc.TestExamples())) {
		body := doc.TestExamples()[topic]
		if formatted, err := star.Reformat(topic, []byte(body)); err != nil || string(formatted) != body {
			t.Errorf("%s is not formatted: %v\n%s", topic, err, formatted)
		}
		if method := topic[strings.LastIndexByte(topic, '.')+1:]; strings.Contains(topic, ".") && !strings.Contains(body, "."+method+"(") {
			t.Errorf("the example of %s does not use it", topic)
		}
		name := "test_" + strings.ReplaceAll(topic, ".", "_")
		names[name] = topic
		text.WriteString("def " + name + "(t):\n    " + strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n    ") + "\n\n")
	}
	for name, r := range results(t, options(), write(t, text.String(), nil)) {
		if want := map[bool]scenariotest.Verdict{true: scenariotest.Skipped, false: scenariotest.Passed}[names[name] == "t.skip"]; r.Verdict != want {
			t.Errorf("%s: want that it ends with %s\n%s", names[name], want, show(r))
		}
	}
}

// faults have a scenario of two migrations that passes without each of them. With it, the
// run ends with a status and a message; unless the fault only shows in the statistics or
// the log.
var faults = []struct {
	fault   string // of vm1, or of host2 if it begins with a dot
	params  string
	status  string
	message string // a regular expression
	not     string // an expression of the run r that is true only with the fault
}{
	{fault: `fail_at(percent = 40)`, status: "FAIL", message: "Broken pipe"},
	{fault: `fail_at(percent = 40, migration = 2)`, status: "FAIL", message: "migration 2.*Broken pipe"},
	{fault: `memory_changed(at = "check_work", migration = 2)`, status: "FAIL", message: "migration 2.*memwork: FAILED"},
	{fault: `hangs()`, status: "FAIL", message: "source failed first.*does not answer its monitor"},
	{fault: `hangs(on = "destination")`, status: "FAIL", message: "vm1@host2: QEMU does not answer its monitor"},
	{fault: `hangs(on = "source", at = "check")`, status: "FAIL", message: "vm1@host1: QEMU does not answer its monitor"},
	{fault: `hangs(on = "destination", at = "mig_finished")`, status: "FAIL", message: "vm1@host2: QEMU does not answer its monitor"},
	{fault: `dies()`, status: "FAIL", message: "signal 9"},
	{fault: `dies(on = "destination")`, status: "FAIL", message: "signal 9"},
	{fault: `pauses(at = "check_work")`, params: `"login_timeout": 10`, status: "FAIL", message: "paused"},
	{fault: `event("BLOCK_IO_ERROR")`, status: "PASS", not: `"disk error" in r.log`},
	{fault: `event("RESET", data = {"guest": True}, percent = 20)`, status: "FAIL", message: "reset"},
	{fault: `reply("migrate", error = "no")`, status: "FAIL", message: "no"},
	{fault: `reply("migrate-incoming", error = "Failed to find an available port", on = "destination")`, status: "ERROR", message: "Failed to find an available port"},
	{fault: `never_converges()`, params: `"mig_timeout": 20`, status: "FAIL", message: "not finished after mig_timeout"},
	{fault: `slow("8M")`, params: `"memory_work_rate": "2M"`, status: "PASS", not: `r.migrations[0].vms["vm1"].stats["total-time"] > 5000`},
	{fault: `memory(used = "100M")`, status: "PASS", not: `r.migrations[0].vms["vm1"].stats["ram"]["normal-bytes"] > 99 << 20`},
	{fault: `worker_dies()`, status: "FAIL", message: "the worker died"},
	{fault: `worker_dies("cpuwork", time = 2)`, status: "FAIL", message: "cpuwork: the worker died"},
	{fault: `memory_changed(percent = 80)`, status: "FAIL", message: "memwork: FAILED"},
	{fault: `page_lost()`, params: `"memory_proof": "yes"`, status: "FAIL", message: "migration 1.*guest memory differs after the migration: 1 of 256 pages: 0x11000"},
	{fault: `page_lost(at = "migrate", migration = 2)`, params: `"memory_proof": "yes"`, status: "FAIL", message: "migration 2.*guest memory differs"},
	{fault: `write_lost()`, status: "FAIL", message: "diskwork: FAILED"},
	{fault: `clock_jumps(30)`, status: "FAIL", message: "the clock is 30"},
	{fault: `clock_stops(at = "check_work")`, status: "FAIL", message: "the clock is -"},
	{fault: `reboots()`, status: "FAIL", message: "reset|rebooted"},
	{fault: `panics()`, params: `"login_timeout": 10`, status: "FAIL", message: "panic"},
	{fault: `runs("rm /root/mark")`, status: "FAIL", message: "the mark is gone"},
	{fault: `boots_in(100)`, params: `"login_timeout": 60`, status: "ERROR", message: "no login"},
	{fault: `refuses_logins()`, status: "ERROR", message: "password"},
	{fault: `is_not_jeos()`, status: "ERROR", message: "no command memwork"},
	{fault: `command("memwork check", status = 1, output = "wrong\n")`, status: "FAIL", message: "wrong"},
	{fault: `file("/root/extra")`, status: "FAIL", message: "an extra file"},
	{fault: `replays([[(0, {"status": "active"}), (1, {"status": "failed", "error-desc": "it was recorded so"})]])`, status: "FAIL", message: "it was recorded so"},
	{fault: `.gone()`, status: "ERROR", message: "host2: lost the SSH connection"},
	{fault: `.gone(after = "mig_finished")`, status: "ERROR", message: "host2: lost the SSH connection"},
	{fault: `.command("^true$", status = 1)`, status: "ERROR", message: "exit status 1"},
	{fault: `.file("/etc/forbidden")`, status: "FAIL", message: "a forbidden file"},
}

// cases says whether the test of a row is done without its fault, and with it: all rows
// that differ in the fault alone are one without it.
func cases(row int) []bool {
	if row > 0 && faults[row].params == "" && faults[row].not == "" {
		return []bool{true}
	}
	return []bool{false, true}
}

// looking is a scenario that finds all of them.
const looking = `
load("@std//load.star", "check_load", "start_load")

def migration_scenario(env):
    src, dst = env.hosts[:2]
    first = {}

    def offset(session):
        return float(session.cmd("echo $EPOCHREALTIME").strip()) - now()

    def start(mig):
        session = mig.vm("vm1").wait_for_login()
        session.cmd("touch /root/mark")
        start_load(session, mig.params)
        first["offset"] = offset(session)

    def check(mig):
        session = mig.vm("vm1").wait_for_login()
        check_load(session, mig.params)
        if session.cmd_status("test -e /root/mark") != 0:
            fail("the mark is gone")
        if session.cmd_status("test -e /root/extra") == 0:
            fail("an extra file")
        drift = offset(session) - first["offset"]
        if abs(drift) > 0.5:
            fail("the clock is %d s ahead" % int(drift))

    migrate_wait(["vm1"], src, dst, start, check)
    dst.run("true")
    if dst.run("test -e /etc/forbidden", check = False).status == 0:
        fail("a forbidden file")
    sleep(5)
    migrate_wait(["vm1"], dst, src, check_work = check, fresh = False)
`

// Every fault changes how a run ends, and without it the run passes.
func TestEveryFaultShows(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	var text strings.Builder
	text.WriteString("PARAMS = {\"vms\": \"vm1\", \"cpu_work\": 50, \"disk_work\": \"16M\"}\n")
	used := map[string]bool{}
	for i, f := range faults {
		fake := `fake.vm("vm1").` + f.fault
		if strings.HasPrefix(f.fault, ".") {
			fake = `fake.host("host2")` + f.fault
		}
		method, _, _ := strings.Cut(fake, "(")
		_, name, _ := strings.Cut(strings.TrimPrefix(fake, method), ").")
		name, _, _ = strings.Cut(name, "(")
		used[method+"."+name] = true
		for _, with := range cases(i) {
			fmt.Fprintf(&text, "\ndef test_%d_%t(t):\n    params = PARAMS | {%s}\n", i, with, f.params)
			status, message, seen := "PASS", "", "False"
			if with {
				status, message, seen = f.status, f.message, "True"
				text.WriteString("    " + fake + "\n")
			}
			fmt.Fprintf(&text, "    r = run(\"looking.star\", params = params)\n    expect.eq(r.status, %q)\n    expect.matches(r.message, %q)\n", status, message)
			if f.not != "" {
				fmt.Fprintf(&text, "    expect.eq(%s, %s)\n", f.not, seen)
			}
		}
	}
	all := results(t, options(), write(t, text.String(), map[string]string{"looking.star": looking}))
	for i, f := range faults {
		for _, with := range cases(i) {
			if r := all[fmt.Sprintf("test_%d_%t", i, with)]; r.Verdict != scenariotest.Passed {
				t.Errorf("%s: %t\n%s", f.fault, with, show(r))
			}
		}
	}
	for _, c := range scenariotest.Language().Classes {
		for _, m := range c.Methods {
			if strings.HasPrefix(c.Name, "fake.") && !used[c.Name+"."+m.Name] {
				t.Errorf("%s.%s is in no row", c.Name, m.Name)
			}
		}
	}
}

// What becomes of a guest without a request of the scenario is a FAIL, also where the
// scenario does something else to it before anything looks at it.
func TestUnrequestedEnds(t *testing.T) {
	t.Parallel()
	const (
		there = "    migrate_wait([\"vm1\"], \"host1\", \"host2\")\n"
		fresh = "    migrate_wait([\"vm1\"], \"host1\", \"host2\", fresh = True)\n"
		wait  = "    sleep(5)\n"
		slow  = "    mig = migrate([\"vm1\"], \"host1\", \"host2\", params = {\"mig_speed\": \"8M\"})\n    mig.wait(status = \"active\")\n"
		ended = "    mig.set_speed(\"1G\")\n    mig.join()\n"
		vm    = "    env.vm(\"vm1\")."
		start = vm + "start(env.hosts[0])\n"
	)
	tests := []struct{ name, scenario, fault, message string }{ // without a message: it passes
		{"reset, then reboots on the way", "    def work(mig):\n        mig.vm(\"vm1\").reset()\n        sleep(7)\n    migrate_wait([\"vm1\"], \"host1\", \"host2\", work)\n", "reboots(percent = 50, migration = 1)", "the guest was reset on host1 after its migration had started"},
		{"reset", "    migrate_wait([\"vm1\"], \"host1\", \"host2\", start_work = lambda mig: mig.vm(\"vm1\").reset())\n", "", ""},
		{"stopped, then started anew", there + vm + "qmp(\"stop\")\n" + fresh, "", "vm1@host2: its guest does not run: it is paused"},
		{"paused, then started anew", there + vm + "pause()\n" + fresh, "", ""},
		{"stopped, then ended", there + vm + "qmp(\"stop\")\n" + vm + "destroy()\n", "", "vm1@host2: its guest does not run: it is paused"},
		{"stopped, then quits", there + vm + "qmp(\"stop\")\n" + vm + "qmp(\"quit\")\n", "", "vm1@host2: its guest does not run: it is paused"},
		{"stopped by an error, then ended", there + wait + vm + "destroy()\n", "pauses(time = 4)", "vm1@host2: its guest does not run: it is paused"},
		{"paused, then ended", there + vm + "pause()\n" + vm + "destroy()\n", "", ""},
		{"stopped and resumed, then ended", there + vm + "qmp(\"stop\")\n" + vm + "resume()\n" + vm + "destroy()\n", "", ""},
		{"panics, then started anew", there + wait + fresh, "panics(time = 4)", "vm1@host2: its guest has panicked"},
		{"ends, then started anew", there + wait + fresh, "dies(time = 4)", "vm1@host2 is not running any more"},
		{"panics, then paused", there + wait + vm + "pause()\n", "panics(time = 4)", "vm1@host2: its guest has panicked"},
		{"panics, then ended", there + wait + vm + "destroy()\n", "panics(time = 4)", "vm1@host2: its guest has panicked"},
		{"panics, then quits", there + wait + vm + "qmp(\"quit\")\n", "panics(time = 4)", "vm1@host2: its guest has panicked"},
		{"paused on the way", slow + ended, "pauses(percent = 50, migration = 1)", "the guest was paused on host1 when it moved"},
		{"stopped on the way", slow + vm + "qmp(\"stop\")\n" + ended, "", "the guest was paused on host1 when it moved"},
		{"stopped on the way, and compared", "    mig = migrate([\"vm1\"], \"host1\", \"host2\", params = {\"mig_speed\": \"8M\", \"memory_proof\": \"yes\"})\n    mig.wait(status = \"active\")\n" + vm + "qmp(\"stop\")\n" + ended, "", "the guest was paused on host1 when it moved"},
		{"stopped and resumed on the way", slow + vm + "qmp(\"stop\")\n" + vm + "qmp(\"cont\")\n" + ended, "", ""},
		{"paused on request on the way", slow + vm + "pause()\n" + ended, "", ""},
		{"stopped before it moves", "    migrate_wait([\"vm1\"], \"host1\", \"host2\", lambda mig: mig.vm(\"vm1\").qmp(\"stop\"))\n", "", "the guest was paused on host1 when it moved"},
		{"moves offline", "    migrate_wait([\"vm1\"], \"host1\", \"host2\", params = {\"mig_offline\": \"yes\"})\n", "", ""},
		{"reboots when it has moved", there + wait, "reboots(time = 4)", "vm1@host2: its guest was reset after its first migration"},
		{"reboots, then ended", there + wait + vm + "destroy()\n", "reboots(time = 4)", "vm1@host2: its guest was reset after its first migration"},
		{"reboots, then quits", there + wait + vm + "qmp(\"quit\")\n", "reboots(time = 4)", "vm1@host2: its guest was reset after its first migration"},
		{"reboots after a move that was cancelled", slow + "    mig.cancel()\n    mig.join()\n    sleep(10)\n", "reboots(time = 8)", "vm1@host1: its guest was reset after its first migration"},
		{"reboots before it moves", vm + "start(env.hosts[0])\n    sleep(10)\n" + there, "reboots(time = 5)", ""},
		{"reboots before a move that is cancelled", vm + "start(env.hosts[0])\n    sleep(10)\n" + slow + "    mig.cancel()\n    mig.join()\n", "reboots(time = 5)", ""},
		{"panics on the way, and nobody logs in", "    migrate_wait([\"vm1\"], \"host1\", \"host2\", params = {\"mig_speed\": \"8M\", \"not_login_after_mig\": \"yes\"})\n", "panics(percent = 50, migration = 1)", "the source failed first (host1): vm1@host1: its guest has panicked"},
		{"reboots before a move that may fail", there + wait + "    migrate([\"vm1\"], \"host2\", \"host1\", fresh = False, may_fail = True).join()\n" + vm + "destroy()\n", "reboots(time = 4)", "vm1@host2: its guest was reset after its first migration"},
		{"reboots between two moves", there + wait + "    migrate_wait([\"vm1\"], \"host2\", \"host1\", fresh = False)\n", "reboots(time = 4)", "vm1@host2: its guest was reset after its first migration"},
		{"reboots on the way, then ended", "    migrate_wait([\"vm1\"], \"host1\", \"host2\", check_dst = lambda mig: mig.vm(\"vm1\").destroy())\n", "reboots(percent = 50, migration = 1)", "the guest was reset on host1 after its migration had started"},
		{"panics, then moves on", there + wait + "    migrate_wait([\"vm1\"], \"host2\", \"host1\")\n", "panics(time = 4)", "vm1@host2: its guest has panicked"},
		{"stopped, then moves on", there + wait + "    migrate_wait([\"vm1\"], \"host2\", \"host1\")\n", "pauses(time = 4)", "vm1@host2: its guest does not run: it is paused"},
		{"stopped, then saved", there + wait + vm + "background_snapshot()\n", "pauses(time = 4)", "vm1@host2: its guest is paused"},
		{"paused, then moves on", there + vm + "pause()\n    migrate_wait([\"vm1\"], \"host2\", \"host1\", fresh = False)\n" + vm + "wait_for_login()\n", "", ""},
		{"ends, then saved", there + wait + vm + "background_snapshot()\n", "dies(time = 4)", "vm1@host2: its guest is"},
		{"quits, then moves on", there + vm + "qmp(\"quit\")\n    migrate_wait([\"vm1\"], \"host2\", \"host1\")\n", "", ""},
		{"quits, then is started", there + vm + "qmp(\"quit\")\n" + vm + "start(env.hosts[1])\n", "", ""},
		{"moves offline, then ended", "    mig = migrate([\"vm1\"], \"host1\", \"host2\", params = {\"mig_speed\": \"8M\", \"mig_offline\": \"yes\"}, may_fail = True)\n    mig.wait(status = \"active\")\n" + vm + "destroy()\n    mig.join()\n", "", ""},
		{"saved, then reboots", start + "    sleep(2)\n" + vm + "background_snapshot()\n    sleep(10)\n", "reboots(time = 8)", ""},
		{"accepts no login in time, then moves on", there + vm + "reset()\n    migrate_wait([\"vm1\"], \"host2\", \"host1\", fresh = False, params = {\"login_timeout\": 1})\n", "", "vm1@host2: no login: login_timeout (1s) on vm1@host2 expired"},
		{"runs before it has moved, then ended", slow + "    wait_for(lambda: env.vm(\"vm1\").host.name == \"host2\", 60, 0.1)\n" + vm + "destroy()\n    mig.join()\n", `event("RESUME", on = "destination", at = "migrate")`, "vm1"}, // of its source, or by vm.destroy
		{"ended, then started anew", there + vm + "destroy()\n" + there, "", ""},
		{"rebooted between two moves", there + vm + "reboot()\n    migrate_wait([\"vm1\"], \"host2\", \"host1\", fresh = False)\n", "", ""},
	}
	var text strings.Builder
	beside := map[string]string{}
	for i, tt := range tests {
		file := fmt.Sprintf("%d.star", i)
		beside[file] = "def migration_scenario(env):\n" + tt.scenario
		fmt.Fprintf(&text, "def test_%d(t):\n", i)
		if tt.fault != "" {
			text.WriteString("    fake.vm(\"vm1\")." + tt.fault + "\n")
		}
		status := "PASS"
		if tt.message != "" {
			status = "FAIL"
		}
		fmt.Fprintf(&text, "    r = run(%q, params = {\"vms\": \"vm1\"})\n    expect.eq(r.status, %q)\n    expect.contains(r.message, %q)\n\n", file, status, tt.message)
	}
	all := results(t, options(), write(t, text.String(), beside))
	for i, tt := range tests {
		if r := all[fmt.Sprintf("test_%d", i)]; r.Verdict != scenariotest.Passed {
			t.Errorf("%s:\n%s", tt.name, show(r))
		}
	}
}

// A scenario that ends when the source has written its guest to a file, which is removed
// then, while the destination begins to load it.
func TestEndsBeforeItIsLoaded(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 20 { // the order of both differs
		fmt.Fprintf(&text, "def test_%d(t):\n    r = run(\"waits.star\", params = {\"vms\": \"vm1\", \"mig_protocol\": \"file\"})\n    expect.eq(r.status, \"ERROR\")\n    expect.contains(r.message, \"postcopy-active\")\n\n", i)
	}
	const scenario = "def migration_scenario(env):\n    migrate([\"vm1\"], \"host1\", \"host2\").wait(status = \"postcopy-active\")\n"
	for name, r := range results(t, options(), write(t, text.String(), map[string]string{"waits.star": scenario})) {
		if r.Verdict != scenariotest.Passed {
			t.Errorf("%s:\n%s", name, show(r))
		}
	}
}

// A second login on the serial console ends the first one: whoever still uses that is told
// so, which is no fault of a guest that has moved.
func TestConsoleTakenOver(t *testing.T) {
	t.Parallel()
	scenario := `def migration_scenario(env):
    vm = env.vm("vm1")
    migrate_wait(["vm1"], "host1", "host2")
    first = vm.wait_for_serial_login()
    vm.wait_for_serial_login().cmd("true")
    first.cmd("true")
`
	text := `def test_it(t):
    r = run("taken.star", params = {"vms": "vm1"})
    expect.eq(r.status, "ERROR")
    expect.contains(r.message, "another login took the serial console over")
`
	if r := results(t, options(), write(t, text, map[string]string{"taken.star": scenario}))["test_it"]; r.Verdict != scenariotest.Passed {
		t.Errorf("%s", show(r))
	}
}

// A migration that migrate_src sends itself has the verdict of one that mhmig sends; and what
// else a hook does to a guest hides nothing.
func TestHooksHideNothing(t *testing.T) {
	t.Parallel()
	scenario := `def send(uri):
    def migrate_src(mig):
        mig.vm("vm1").qmp("migrate", uri = uri or "tcp:%s:%d" % (mig.dst.address, mig.ports["vm1"]))
        wait_for(lambda: mig.vm("vm1").qmp("query-migrate").get("status") in ("completed", "failed"), 60, 0.1)
    return migrate_src

def start_and_ask(vm, host):
    vm.start(host)
    if vm.reboot(how = "shell", timeout = 4, check = False):
        fail("it has rebooted")

def send_and_cancel(mig):
    mig.vm("vm1").qmp("migrate", uri = "tcp:%s:%d" % (mig.dst.address, mig.ports["vm1"]))
    mig.vm("vm1").qmp("migrate_cancel")
    wait_for(lambda: mig.vm("vm1").qmp("query-migrate")["status"] == "cancelled", 60, 0.1)

def cancelled(host1, host2):
    mig = migrate(["vm1"], host1, host2, params = {"mig_speed": "8M"})
    mig.wait(status = "active")
    mig.cancel()
    mig.join()

def migration_scenario(env):
    case, vm, host1, host2 = env.params["case"], env.vm("vm1"), env.hosts[0], env.hosts[1]
    if case == "sends":
        migrate_wait(["vm1"], host1, host2, migrate_src = send(""))
    elif case == "nothing listens":
        migrate_wait(["vm1"], host1, host2, migrate_src = send("tcp:127.0.0.1:1"))
    elif case == "nothing listens, and it may fail":
        if migrate(["vm1"], host1, host2, migrate_src = send("tcp:127.0.0.1:1"), may_fail = True).join():
            fail("it has not failed")
    elif case == "sends nothing":
        migrate_wait(["vm1"], host1, host2, migrate_src = lambda mig: None)
    elif case == "sends nothing after a move that was cancelled":
        cancelled(host1, host2)
        migrate_wait(["vm1"], host1, host2, migrate_src = lambda mig: None)
    elif case == "sends nothing after a move":
        migrate_wait(["vm1"], host1, host2)
        migrate_wait(["vm1"], host2, host1, migrate_src = lambda mig: None)
    elif case == "nothing listens after a move that was cancelled":
        cancelled(host1, host2)
        migrate_wait(["vm1"], host1, host2, migrate_src = send("tcp:127.0.0.1:1"))
    elif case == "never reboots, is reset, reboots on the way":
        start_and_ask(vm, host1)
        vm.reboot()
        sleep(6)
        migrate_wait(["vm1"], host1, host2, fresh = False)
    elif case == "never reboots, starts anew, reboots on the way":
        start_and_ask(vm, host1)
        vm.destroy()
        migrate_wait(["vm1"], host1, host2)
    elif case == "cancels, then it is reset":
        migrate_wait(["vm1"], host1, host2, migrate_src = send_and_cancel)
        sleep(30)
    elif case == "one completes, one is cancelled":
        mig = migrate(["vm1", "vm2"], host1, host2, check_dst = lambda mig: None)
        wait_for(lambda: mig.stats["vm1"]["status"] == "completed", 300, 0.1)
        mig.cancel()
        mig.join()
    elif case == "never reboots, reboots on the way much later":
        start_and_ask(vm, host1)
        vm.wait_for_login()
        sleep(1800)
        migrate_wait(["vm1"], host1, host2, fresh = False)
    elif case == "reboots late":
        migrate_wait(["vm1"], host1, host2)
        if vm.reboot(how = "shell", timeout = 4, check = False):
            fail("it has rebooted in time")
        sleep(30)
`
	const never = "\n    fake.vm(\"vm2\").never_converges()"
	tests := []struct{ name, fault, vms, status, message string }{
		{"sends", "", "vm1", "PASS", ""},
		{"sends", `fail_at(percent = 50)`, "vm1", "FAIL", "the source failed first"},
		{"nothing listens", "", "vm1", "FAIL", "the source failed first"},
		{"nothing listens, and it may fail", "", "vm1", "PASS", ""},
		{"sends nothing", "", "vm1", "ERROR", "its status is none"},
		{"sends nothing after a move that was cancelled", "", "vm1", "ERROR", "its status is none"},
		{"sends nothing after a move", "", "vm1", "ERROR", "its status is none"},
		{"cancels, then it is reset", "", "vm1", "PASS", ""},
		{"cancels, then it is reset", "reboots(time = 20)", "vm1", "FAIL", "its guest was reset after its first migration"},
		{"one completes, one is cancelled", `memory(used = "16M")` + never, "vm1 vm2", "PASS", ""},
		{"one completes, one is cancelled", "reboots(percent = 50)" + never, "vm1 vm2", "FAIL", "the guest was reset on host1 after its migration had started"},
		{"nothing listens after a move that was cancelled", "", "vm1", "FAIL", "the source failed first"},
		{"never reboots, is reset, reboots on the way", "reboots(percent = 50)", "vm1", "FAIL", "the guest was reset on host1 after its migration had started"},
		{"never reboots, starts anew, reboots on the way", "reboots(percent = 50)", "vm1", "FAIL", "the guest was reset on host1 after its migration had started"},
		{"never reboots, reboots on the way much later", "reboots(percent = 50)", "vm1", "FAIL", "the source failed first (host1): the guest was reset on host1 after its migration had started"},
		{"reboots late", "reboots(time = 12)", "vm1", "PASS", ""},
	}
	var text strings.Builder
	for i, tt := range tests {
		fmt.Fprintf(&text, "def test_%d(t):\n", i)
		if tt.fault != "" {
			text.WriteString("    fake.vm(\"vm1\")." + tt.fault + "\n")
		}
		fmt.Fprintf(&text, "    r = run(\"hooks.star\", params = {\"vms\": %q, \"case\": %q, \"reboot_command\": \"true\"})\n", tt.vms, tt.name)
		fmt.Fprintf(&text, "    expect.eq(r.status, %q)\n    expect.contains(r.message, %q)\n\n", tt.status, tt.message)
	}
	all := results(t, options(), write(t, text.String(), map[string]string{"hooks.star": scenario}))
	for i, tt := range tests {
		if r := all[fmt.Sprintf("test_%d", i)]; r.Verdict != scenariotest.Passed {
			t.Errorf("%s %s:\n%s", tt.name, tt.fault, show(r))
		}
	}
}

// A test that says what cannot be fails, with where.
func TestWrongTests(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, body, want string }{
		{"an unknown VM", `fake.vm("vm3").dies()
    run()`, `2:12: fake.vm: the run has no vm3, only vm1, vm2; did you mean vm1?`},
		{"an unknown host", `fake.host("hots1").gone()
    run()`, `2:14: fake.host: the run has no hots1, only host1, host2; did you mean host1?`},
		{"an unknown step", `fake.vm("vm1").hangs(at = "mirgate")`, `2:25: fake.vm.hangs: at: a migration has no step mirgate; did you mean migrate?`},
		{"an unknown side", `fake.vm("vm1").hangs(on = "src")`, `fake.vm.hangs: on: got "src", want source or destination`},
		{"an unknown method", `fake.vm("vm1").hang()`, `did you mean .hangs?`},
		{"an unknown argument", `fake.vm("vm1").hangs(percnt = 3)`, `fake.vm.hangs: no parameter percnt; did you mean percent?`},
		{"two moments", `fake.vm("vm1").hangs(at = "migrate", percent = 3)`, `got 2 moments, want one of at, after, percent and time`},
		{"a migration that there is not", `fake.vm("vm1").fail_at(migration = 4)
    run(params = {"mig_second_delay": 1})`, `it has not happened in the run of`},
		{"a number without a moment", `fake.vm("vm1").memory_changed(migration = 2)`, `migration: want at, after or percent with it`},
		{"no run", `fake.vm("vm1").hangs()`, `2:25: fake.vm("vm1").hangs(): the test runs no scenario: call run`},
		{"an unknown file", `run("moev.star")`, `did you mean`},
		{"many variants", `run("move.star", config = "@std//cfg/multi-host.cfg")`, `has 9 variants or more, want one`},
		{"a filter that matches nothing", `run("move.star", filter = "only Nothing")`, `Nothing`},
		{"no time", `run("move.star", timeout = 9223372036.854776)`, `run: for parameter "timeout": 9.223372036854776e+09 is not a valid time`},
		{"a wrong param", `run("move.star", params = {"vms": ["vm1"]})`, `vms: got list, want a text, number or bool`},
		{"a failed function", `fake.vm("vm1").command("memwork", fn = lambda c: 1 // 0)
    expect.eq(run().status, "PASS")`, `division by zero`},
		{"a command that no fake has", `expect.eq(run("asks.star").status, "PASS")`, `no fake has the command that was asked for: host1: nmap`},
		{"two parts", `expect.contains(["a"], "b")`, `expect.contains: got ["a"], want "b" in it`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := write(t, "def test_it(t):\n    "+tt.body+"\n", map[string]string{
				"move.star": "def migration_scenario(env):\n    migrate_wait([\"vm1\"], env.hosts[0], env.hosts[1])\n",
				"asks.star": "def migration_scenario(env):\n    env.hosts[0].run(\"nmap\")\n",
			})
			r := results(t, options(), file)["test_it"]
			if r.Verdict != scenariotest.Failed || !strings.Contains(show(r), tt.want) {
				t.Errorf("want that it fails with %s\n%s", tt.want, show(r))
			}
			if !strings.HasPrefix(r.Failure.Position, file+":") {
				t.Errorf("it is at %q, want in %s", r.Failure.Position, file)
			}
		})
	}
}

// JeOS's published password is no secret, so that mhmig's name is not masked.
func TestPublishedPasswordIsReadable(t *testing.T) {
	t.Parallel()
	file := write(t, `def test_it(t):
    expect.eq(run("says.star").message, "mhmig can be read")
`, map[string]string{"says.star": "def migration_scenario(env):\n    fail(\"mhmig can be read\")\n"})
	if r := results(t, options(), file)["test_it"]; r.Verdict != scenariotest.Passed {
		t.Error(show(r))
	}
}

// The same test has the same virtual time each time.
func TestVirtualTimeIsRepeatable(t *testing.T) {
	t.Parallel()
	file := write(t, "def test_it(t):\n    run()\n", nil)
	first := results(t, options(), file)["test_it"].Virtual
	for range 3 {
		if again := results(t, options(), file)["test_it"].Virtual; math.Abs(again-first) > 1 {
			t.Errorf("got %v s of virtual time, then %v s", first, again)
		}
	}
}

// Who interrupts the tests does not wait for them.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no more")
	file := write(t, "def test_first():\n    pass\n\ndef test_second():\n    while True:\n        pass\n", nil)
	o := options()
	o.Parallel = 1
	_, err := scenariotest.Run(ctx, []string{file}, o, func(scenariotest.Result) { cancel(why) })
	if !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
}

// No time passes in virtual time while a scenario, or the test itself, uses more and more memory: it is stopped all the same.
func TestMemoryLimit(t *testing.T) { //nolint:paralleltest // the memory of other tests would count
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	const grow = "\n    x = []\n    for _ in range(2000):\n        x.append(\"y\" * 1000000)\n"
	runtime.GC()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	o := options()
	o.Limits.Memory = now.HeapAlloc + 256<<20
	file := write(t, `
def test_scenario():
    r = run("grow.star", params = {"vms": "vm1"})
    expect.eq(r.status, "ERROR")
    expect.contains(r.message, "of memory are in use")

def test_itself():`+grow, map[string]string{"grow.star": "def migration_scenario(env):" + grow + "        sleep(1)\n"})
	o.Parallel = 1
	got := results(t, o, file)
	if r := got["test_scenario"]; r.Verdict != scenariotest.Passed {
		t.Errorf("want that the scenario is stopped: %s", show(r))
	}
	if r := got["test_itself"]; r.Verdict != scenariotest.Failed || !strings.Contains(r.Failure.Message, "of memory are in use") {
		t.Errorf("want that the test is stopped: %s", show(r))
	}
}
