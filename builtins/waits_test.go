// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// witness checks which builtins release the scenario's lock. A sibling task acquires
// the lock repeatedly; a builtin during which it gets the lock releases it.
type witness struct {
	mu      sync.Mutex // guards what follows
	running string     // the builtin that runs now
	seen    map[string]bool
}

// names are the builtins that a scenario uses to watch itself:
func (w *witness) names() starlark.StringDict {
	return starlark.StringDict{
		"watch": starlark.NewBuiltin("watch", w.watch),
		"seen": starlark.NewBuiltin("seen", func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			var name string
			if err := starlark.UnpackPositionalArgs(b.Name(), args, kwargs, 1, &name); err != nil {
				return nil, err
			}
			return starlark.Bool(w.has(name)), nil
		}),
		"look": starlark.NewBuiltin("look", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.running != "" {
				w.seen[w.running] = true
			}
			return starlark.None, nil
		}),
	}
}

// watchLimit is how long a short builtin is called repeatedly until the sibling gets
// the lock during a call.
const watchLimit = 5 * time.Second

// watch calls the builtin until the sibling got the lock during a call; once, if it
// takes long anyway or cannot be repeated.
func (w *witness) watch(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name string
	var fn starlark.Callable
	once := false
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name", &name, "fn", &fn, "once?", &once); err != nil {
		return nil, err
	}
	for limit := time.Now().Add(watchLimit); time.Now().Before(limit); {
		w.set(name)
		v, err := starlark.Call(thread, fn, nil, nil)
		w.set("")
		if err != nil {
			return nil, err
		}
		if once || w.has(name) {
			return v, nil
		}
	}
	return nil, fmt.Errorf("%s has let nobody through in %v", name, watchLimit)
}

func (w *witness) set(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = name
}

func (w *witness) has(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[name]
}

// waiting is the names of all builtins that wait by the table, by whether they need
// a VM.
func waiting() (ordinary, ofVMs []string) {
	for _, f := range builtins.Functions() {
		if f.Waits && f.Name != "migrate_wait" {
			ordinary = append(ordinary, f.Name)
		} else if f.Waits {
			ofVMs = append(ofVMs, f.Name)
		}
	}
	for _, c := range builtins.Classes() {
		for _, m := range c.Methods {
			switch {
			case !m.Waits:
			case slices.Contains([]string{"vm", "session", "mig", "expectation", "device", "snapshot"}, c.Name):
				ofVMs = append(ofVMs, c.Name+"."+m.Name)
			default:
				ordinary = append(ordinary, c.Name+"."+m.Name)
			}
		}
	}
	return ordinary, ofVMs
}

// Every builtin that waits lets the scenario's other tasks run.
func TestWaitsLetOthersThrough(t *testing.T) {
	t.Parallel()
	w := &witness{seen: map[string]bool{}}
	silent := func(context.Context) (builtins.Prompt, error) { return &typed{pause: 20 * time.Millisecond}, nil }
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{extra: w.names(), debug: builtins.Options{Prompt: silent}, source: `
def look_on(over):
    while not over:
        look()
        sleep(0.0001)

def migration_scenario(env):
    over = []
    spawn(look_on, over)
    h = env.hosts[0]
    dir = h.run("mktemp -d").stdout.strip()
    cleanup(h.run, "rm -rf " + dir)
    h.write_file(dir + "/a", "a")

    watch("on", lambda: on(env.hosts, lambda h: None))
    watch("parallel", lambda: parallel([lambda: None]))
    watch("always", lambda: always(lambda: None, lambda: sleep(0.01), every = 0.001))
    watch("breakpoint", breakpoint)
    watch("sleep", lambda: sleep(0.001))
    watch("wait_for", lambda: wait_for(lambda: seen("wait_for"), 300, 0.001), once = True)
    task = spawn(lambda: wait_for(lambda: seen("task.join"), 300, 0.001))
    watch("task.join", task.join, once = True)
    watch("host.run", lambda: h.run("true"))
    watch("host.start", lambda: h.start("true"))
    watch("host.read_file", lambda: h.read_file(dir + "/a"))
    watch("host.write_file", lambda: h.write_file(dir + "/b", "b"))
    watch("host.upload", lambda: h.upload(dir + "/a", dir + "/c"))
    watch("host.download", lambda: h.download(dir + "/a", dir + "/d"))
    watch("host.free_port", h.free_port)
    watch("host.unblock", h.unblock)
    process = h.start("until [ -e %s/seen ]; do sleep 0.01; done" % dir)

    def end_process():
        wait_for(lambda: seen("process.wait"), 300, 0.001)
        h.write_file(dir + "/seen", "")

    spawn(end_process)
    watch("process.wait", process.wait, once = True)
    processes = [h.start("sleep 60") for _ in range(10)]
    watch("process.kill", lambda: processes.pop().kill())

    def meet(h):
        if h == env.master:
            watch("barrier", lambda: barrier("b"), once = True)
            watch("sync", lambda: sync("s"), once = True)
        else:
            wait_for(lambda: seen("barrier"), 300, 0.001)
            barrier("b")
            wait_for(lambda: seen("sync"), 300, 0.001)
            sync("s")

    on(env.hosts[:2], meet)
    over.append(1)
`})
	e.want(t, result.Pass)
	ordinary, _ := waiting()
	w.want(t, ordinary, "host.block_port", "fault.undo")
}

// want checks that each of the names was seen, except those that the test cannot
// call.
func (w *witness) want(t *testing.T, names []string, untried ...string) {
	t.Helper()
	for _, name := range names {
		switch {
		case w.seen[name]:
		case slices.Contains(untried, name):
			t.Logf("NOT TESTED: %s: needs root and nftables", name)
		default:
			t.Errorf("%s: not watched", name)
		}
	}
}

// The same for builtins that need a VM.
func TestWaitsOfVMsLetOthersThrough(t *testing.T) {
	t.Parallel()
	w := &witness{seen: map[string]bool{}}
	e := runScenario(t, small(t), &testRun{extra: w.names(), params: map[string]string{"folder": t.TempDir()}, source: `
def look_on(over):
    while not over:
        look()
        sleep(0.001)

def migration_scenario(env):
    over = []
    spawn(look_on, over)
    a, b = env.hosts
    vm = env.vm("vm1")
    watch("vm.start", lambda: vm.start(a), once = True)
    watch("vm.wait_for_serial_login", vm.wait_for_serial_login, once = True).close()
    session = watch("vm.wait_for_login", vm.wait_for_login, once = True)
    watch("session.cmd", lambda: session.cmd("true"))
    watch("session.cmd_status", lambda: session.cmd_status("true"))
    watch("session.cmd_output", lambda: session.cmd_output("true"))
    watch("session.cmd_status_output", lambda: session.cmd_status_output("true"))
    watch("session.sendline", lambda: session.sendline("true"))
    watch("session.is_responsive", session.is_responsive)
    watch("session.close", lambda: vm.wait_for_login().close())
    watch("vm.clock", vm.clock)
    watch("vm.upload", lambda: vm.upload(b"text", "/tmp/here"))
    watch("vm.download", lambda: vm.download("/tmp/here", env.params["folder"] + "/here"))
    watch("vm.qmp", lambda: vm.qmp("query-status"))
    expected = vm.expect("STOP")
    watch("expectation.wait", lambda: expected.wait(timeout = 0.01, check = False))
    watch("vm.pause", vm.pause)
    watch("vm.resume", vm.resume)
    watch("vm.dirty_rate", vm.dirty_rate, once = True)
    snaps = []
    watch("vm.background_snapshot", lambda: snaps.append(vm.background_snapshot()), once = True)
    watch("snapshot.restore", snaps[0].restore, once = True)
    watch("vm.set_downtime", lambda: vm.set_downtime(0.3))
    watch("vm.set_speed", lambda: vm.set_speed("10K"))

    def src(mig):
        watch("mig.migrate_vms_src", mig.migrate_vms_src, once = True)

    def dst(mig):
        mig.migrate_vms_dest()

    mig = migrate(["vm1"], a, b, migrate_src = src, migrate_dst = dst)
    mig.wait_status("active")
    wait_for(lambda: seen("mig.migrate_vms_src"), 300, 0.01)
    watch("mig.set_speed", lambda: mig.set_speed("1G"))
    watch("mig.set_downtime", lambda: mig.set_downtime(1))
    watch("mig.join", mig.join, once = True)

    vm.set_speed("10K")
    mig = migrate(["vm1"], b, a)
    watch("mig.wait_status", lambda: mig.wait_status("active"), once = True)
    watch("mig.wait", lambda: mig.wait(remaining = "1G"))
    watch("mig.cancel", mig.cancel)
    mig.join()

    vm.set_speed("1G")
    held = migrate(["vm1"], b, a, hold = True)
    held.wait(status = "pre-switchover")
    watch("mig.release", held.release)
    held.join()
    migrate_wait(["vm1"], a, b)

    settings = {"mig_speed": "1M", "parameters": "max-postcopy-bandwidth", "parameters_value": "20M"}
    broken = migrate(["vm1"], b, a, postcopy = True, params = settings)
    broken.wait(status = "active")
    watch("mig.start_postcopy", broken.start_postcopy)
    broken.wait(status = "postcopy-active")
    watch("mig.pause", broken.pause, once = True)
    watch("mig.recover", broken.recover, once = True)
    broken.join()
    migrate_wait(["vm1"], a, b)

    def dst(mig):
        watch("mig.migrate_vms_dest", mig.migrate_vms_dest, once = True)

    migrate_wait(["vm1"], b, a, migrate_dst = dst)
    watch("migrate_wait", lambda: migrate_wait(["vm1"], a, b), once = True)
    watch("vm.plug_disk", lambda: vm.plug_disk("plugged", size = "1M"), once = True)
    disk = vm.device("plugged")
    vm.wait_for_login()
    watch("device.unplug", disk.unplug, once = True)
    watch("vm.plug_nic", lambda: vm.plug_nic("more"), once = True)
    watch("vm.reset", vm.reset)
    watch("vm.reboot", vm.reboot, once = True)
    watch("vm.destroy", vm.destroy, once = True)
    over.append(1)
`})
	e.want(t, result.Pass)
	_, ofVMs := waiting()
	w.want(t, ofVMs)
}
