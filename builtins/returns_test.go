// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// typeWords are the types that are no classes, and how many others they hold: -1,
// any number.
var typeWords = map[string]int{
	"None": 0, "any": 0, "never": 0, "string": 0, "int": 0, "float": 0, "bool": 0, "bytes": 0,
	"list": 1, "dict": 2, "tuple": -1, "function": -1,
}

// typeExpr is a type of the tables: one of several, each a name and what it holds.
type typeExpr []typeTerm

type typeTerm struct {
	name  string
	inner []typeExpr
}

// parseType reads a type in the words of api.Builtin.
func parseType(text string, classes map[string]bool) (typeExpr, error) {
	e, rest, err := parseUnion(text, classes)
	if err == nil && rest != "" {
		err = fmt.Errorf("%q is left over", rest)
	}
	return e, err
}

func parseUnion(text string, classes map[string]bool) (typeExpr, string, error) {
	var union typeExpr
	for {
		term, rest, err := parseTerm(text, classes)
		if err != nil {
			return nil, "", err
		}
		union = append(union, term)
		more := false
		if text, more = strings.CutPrefix(rest, " | "); !more {
			return union, rest, nil
		}
	}
}

func parseTerm(text string, classes map[string]bool) (typeTerm, string, error) {
	end := strings.IndexFunc(text, func(r rune) bool { return strings.ContainsRune("[]()|, ", r) })
	if end < 0 {
		end = len(text)
	}
	term, rest := typeTerm{name: text[:end]}, text[end:]
	holds, known := typeWords[term.name]
	if !known && !classes[term.name] {
		return term, "", fmt.Errorf("no type %q", term.name)
	}
	closing := ""
	switch {
	case strings.HasPrefix(rest, "[") && term.name != "function":
		closing = "]"
	case strings.HasPrefix(rest, "(") && term.name == "function":
		closing = ")"
	default:
		if holds > 0 {
			return term, "", fmt.Errorf("%s of what?", term.name)
		}
		return term, rest, nil
	}
	for rest = rest[1:]; !strings.HasPrefix(rest, closing); {
		inner, after, err := parseUnion(rest, classes)
		if err != nil {
			return term, "", err
		}
		term.inner = append(term.inner, inner)
		rest = strings.TrimPrefix(after, ", ")
		if rest == "" {
			return term, "", fmt.Errorf("%s is not closed", term.name)
		}
	}
	if holds >= 0 && len(term.inner) != holds {
		return term, "", fmt.Errorf("%s of %d types", term.name, len(term.inner))
	}
	return term, rest[1:], nil
}

// admits says whether v has the type, including its elements.
func (e typeExpr) admits(v starlark.Value) bool {
	return slices.ContainsFunc(e, func(t typeTerm) bool { return t.admits(v) })
}

func (t typeTerm) admits(v starlark.Value) bool {
	switch t.name {
	case "any":
		return true
	case "None":
		return v == starlark.None
	}
	if v.Type() != t.name {
		return false
	}
	switch v := v.(type) {
	case *starlark.List:
		for item := range starlark.Elements(v) {
			if !t.inner[0].admits(item) {
				return false
			}
		}
	case *starlark.Dict:
		for key, value := range starlark.Entries(v) {
			if !t.inner[0].admits(key) || !t.inner[1].admits(value) {
				return false
			}
		}
	case starlark.Tuple:
		for i, item := range v {
			if len(v) != len(t.inner) || !t.inner[i].admits(item) {
				return false
			}
		}
	}
	return true
}

// typeCheck checks values against their types in the tables.
type typeCheck struct {
	types   map[string]typeExpr // of results and attributes, by names such as vm.start
	checked map[string]bool
}

func newTypeCheck(t *testing.T) *typeCheck {
	t.Helper()
	language, classes := builtins.Language(), map[string]bool{}
	for _, c := range language.Classes {
		classes[c.Name] = true
	}
	k := &typeCheck{types: map[string]typeExpr{}, checked: map[string]bool{}}
	add := func(name, text string) {
		e, err := parseType(text, classes)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		k.types[name] = e
	}
	calls := func(owner string, builtins []api.Builtin) {
		for _, b := range builtins {
			add(owner+b.Name, b.Returns.Type)
		}
	}
	calls("", language.Functions)
	for _, c := range language.Classes {
		calls(c.Name+".", c.Methods)
		for _, a := range c.Attributes {
			add(c.Name+"."+a.Name, a.Type)
		}
	}
	return k
}

// builtin is typed(name, value) for scenarios: it returns the value, which must be
// of the type that the tables say of name.
func (k *typeCheck) builtin(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name string
	var v starlark.Value
	if err := starlark.UnpackPositionalArgs(b.Name(), args, kwargs, 2, &name, &v); err != nil {
		return nil, err
	}
	want, known := k.types[name]
	if !known || !want.admits(v) {
		return nil, fmt.Errorf("%s: the table says %v, got %s %v", name, want, v.Type(), v)
	}
	k.checked[name] = true
	return v, nil
}

// Results of calls, and attributes, have the types of the tables. The methods of
// sessions, which need a guest, are checked in [TestSessions].
func TestTypesAreTrue(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	check := newTypeCheck(t)
	e := runScenario(t, bedtest.Scripted(t, qmptest.Script{}, qmptest.Script{Endless: true}), &testRun{
		extra: starlark.StringDict{"typed": starlark.NewBuiltin("typed", check.builtin)},
		source: `
def of_env(env):
    typed("env.params", env.params)
    typed("env.hosts", env.hosts)
    typed("env.master", env.master)
    typed("env.vms", env.vms)
    typed("env.image_dir", env.image_dir)
    typed("env.vm", env.vm("vm1"))
    assert_eq(str(typed("env.file", env.file("data.txt"))), "of the scenario\n")
    typed("env.artifact", env.artifact("note.txt", "kept"))

def of_params(p):
    typed("params.get", p.get("vms"))
    typed("params.int", p.int("mem"))
    typed("params.bool", p.bool("not_login_after_mig"))
    typed("params.seconds", p.seconds("start_migration_timeout"))
    typed("params.bytes", p.bytes("mig_speed"))
    typed("params.object", p.object("vm1"))
    typed("params.objects", p.objects("vms"))
    typed("params.keys", p.keys())
    typed("params.items", p.items())

def of_host(h, folder):
    typed("host.name", h.name)
    typed("host.address", h.address)
    typed("host.facts", h.facts)
    typed("host.params", h.params)
    r = typed("host.run", h.run("echo out"))
    typed("result.status", r.status)
    typed("result.stdout", r.stdout)
    typed("result.stderr", r.stderr)
    typed("result.duration", r.duration)
    p = typed("host.start", h.start("true"))
    typed("process.wait", p.wait())
    typed("process.kill", p.kill())
    typed("host.write_file", h.write_file(folder + "/one", "text"))
    typed("host.read_file", h.read_file(folder + "/one"))
    typed("host.download", h.download(folder + "/one", folder + "/two"))
    typed("host.upload", h.upload(folder + "/two", folder + "/three"))
    h.upload(b"bytes", folder + "/four")
    assert_eq(h.read_file(folder + "/four"), "bytes")
    typed("host.free_port", h.free_port())
    typed("host.unblock", h.unblock())

def of_tasks(env):
    typed("on", on(env.hosts, lambda h: typed("barrier", barrier("here"))))
    on(env.hosts, lambda h: typed("sync", sync("there", h.name)))
    task = typed("spawn", spawn(lambda: 1))
    typed("task.join", task.join())
    typed("task.name", task.name)
    typed("task.done", task.done)
    typed("parallel", parallel([lambda: 1]))
    typed("sleep", sleep(0))
    typed("now", now())
    typed("random", random(1, 2.5))
    typed("random", random(1, 2))
    typed("wait_for", wait_for(lambda: 1, 1))
    typed("always", always(lambda: True, lambda: 1))
    typed("log", log("here"))
    typed("cleanup", cleanup(lambda: None))
    typed("warn", warn("as was to be"))
    typed("breakpoint", breakpoint())

def of_vm(vm, a):
    typed("vm.host", vm.host)
    typed("vm.start", vm.start(a))
    typed("vm.host", vm.host)
    typed("vm.name", vm.name)
    typed("vm.address", vm.address)
    typed("vm.params", vm.params)
    typed("vm.state", vm.state)
    typed("vm.qmp", vm.qmp("query-status"))
    typed("vm.pause", vm.pause())
    typed("vm.resume", vm.resume())
    typed("vm.dirty_rate", vm.dirty_rate())
    snap = typed("vm.background_snapshot", vm.background_snapshot())
    typed("snapshot.restore", snap.restore(["text"]))
    typed("snapshot.host", snap.host)
    typed("snapshot.bytes", snap.bytes)
    typed("snapshot.pause", snap.pause)
    typed("snapshot.took", snap.took)
    typed("snapshot.stats", snap.stats)
    typed("vm.set_speed", vm.set_speed("1G"))
    typed("vm.set_downtime", vm.set_downtime(0.3))

def of_mig(mig):
    for name in ["number", "vms", "src", "dst", "host", "is_src", "params", "status", "error", "overdue", "stats"]:
        typed("mig." + name, getattr(mig, name))
    typed("mig.vm", mig.vm("vm1"))

def limits(mig):
    of_mig(mig)
    typed("mig.set_speed", mig.set_speed("1G"))
    typed("mig.set_downtime", mig.set_downtime(0.3))

def postcopy(a, b):
    """Moves vm1 by post-copy, held at the switchover; the source never ends by itself."""
    mig = migrate(["vm1"], a, b, postcopy = True, start_work = lambda mig: typed("mig.hold", mig.hold()))
    during = typed("mig.during", mig.during(lambda: True, every = 0.01))
    mig.wait(status = "active")
    typed("mig.ports", mig.ports)
    typed("mig.start_postcopy", mig.start_postcopy())
    mig.wait(status = "pre-switchover")
    typed("mig.release", mig.release())
    mig.wait(status = "postcopy-active")
    typed("mig.pause", mig.pause())
    typed("mig.recover", mig.recover())
    mig.join()
    during.join()

def migration_scenario(env):
    a, b = env.hosts
    folder = env.params["folder"]
    of_env(env)
    of_params(env.params)
    of_host(a, folder)
    of_tasks(env)
    vm = env.vm("vm1")
    of_vm(vm, a)
    mig = typed("migrate", migrate(
        ["vm1"], a, b,
        start_work = limits, check_work = of_mig,
        migrate_src = lambda mig: typed("mig.migrate_vms_src", mig.migrate_vms_src()),
        migrate_dst = lambda mig: typed("mig.migrate_vms_dest", mig.migrate_vms_dest()),
    ))
    typed("mig.wait", mig.wait(status = "completed"))
    typed("mig.wait_status", mig.wait_status("completed"))
    typed("mig.join", mig.join())
    typed("mig.cancel", mig.cancel())
    of_mig(mig)
    typed("threshold", threshold(mig, downtime = "<1h"))
    postcopy(b, a)
    typed("migrate_wait", migrate_wait(["vm1"], a, b))
    reset = typed("vm.expect", vm.expect("RESET"))
    typed("vm.reset", vm.reset())
    typed("expectation.wait", reset.wait(10))
    typed("expectation.close", reset.close())
    typed("vm.destroy", vm.destroy())
`,
		params: map[string]string{"folder": t.TempDir()},
	})
	e.want(t, result.Warn)
	for name := range maps.Keys(check.types) {
		if slices.Contains([]string{
			"fail", "error", "skip", // they do not return
			"host.block_port", "fault.undo", // for root and nftables: see the tests of testbed
			"vm.wait_for_login", "vm.wait_for_serial_login", "vm.reboot", "vm.clock", "vm.upload", "vm.download", // see TestSessions
			"vm.plug_disk", "vm.plug_nic", "vm.device", // see TestDevicesFollowTheGuest
		}, name) || strings.HasPrefix(name, "device.") || strings.HasPrefix(name, "session.") || strings.HasPrefix(name, "clock.") {
			continue
		}
		if !check.checked[name] {
			t.Errorf("%s: not compared", name)
		}
	}
}
