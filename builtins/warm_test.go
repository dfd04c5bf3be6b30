// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// tells starts a guest, which tells of itself, and moves it where the param moves says so:
// it works in its memory then, and looks whether all is there.
const tells = `
load("@std//work.star", "start_memory_work")

def migration_scenario(env):
    a, b = env.hosts
    vm = env.vm("vm1")
    vm.start(a)
    session = vm.wait_for_login()
    log("guest",
        random = session.cmd("head -c 16 /dev/urandom | od -An -tx1").strip(),
        name = session.cmd("hostname").strip(),
        boot = session.cmd("cat /proc/sys/kernel/random/boot_id").strip(),
        disk = session.cmd("md5sum </dev/vda", timeout = 300).strip(),
        clock = session.cmd("date +%s").strip(),
    )
    if env.params.bool("moves"):
        start_memory_work(session, env.params)
        migrate_wait(["vm1"], a, b, fresh = False)
        vm.wait_for_login().cmd("memwork check", timeout = 300)
`

// own is the params of VMs with JeOS and a disk, and a folder of their own for states.
func own(t *testing.T) (cartesian.Params, *testbed.States) {
	t.Helper()
	params := small(t)
	params["images"], params["memory_work"] = "image1", "16M"
	return params, &testbed.States{Dir: filepath.Join(t.TempDir(), "states")}
}

// guestSaid finds what the guest of a play has told of itself.
func guestSaid(t *testing.T, e ended, what string) string {
	t.Helper()
	m := regexp.MustCompile(`INFO .*\bguest .*\b` + what + `=("[^"]*"|\S*)`).FindStringSubmatch(e.log)
	if m == nil {
		t.Fatalf("the guest has not told its %s", what)
	}
	return strings.Trim(m[1], `"`)
}

// wantStart checks how the guest of a play that passed was started.
func wantStart(t *testing.T, e ended, saved bool, words ...string) {
	t.Helper()
	e.want(t, result.Pass)
	e.wantLog(t, words...)
	if got := strings.Contains(e.log, "the guest's state is saved"); got != saved {
		t.Errorf("saved a state: got %v, want %v", got, saved)
	}
}

// A guest that is restored has the same disk, and is else its own: its randomness, its
// boot ID, the host's time. It moves, with all of its memory. A state that has its checksum
// and that QEMU cannot load costs a boot, not an error, and is not tried again.
func TestWarmStart(t *testing.T) {
	t.Parallel()
	params, states := own(t)
	var at int64 // when the last guest has told of itself
	play := func(moves string) ended {
		return runScenario(t, params, &testRun{source: tells, params: cartesian.Params{"moves": moves}, kept: states, on: func(message string, _ map[string]string, _ *testRun) {
			if message == "guest" {
				at = time.Now().Unix()
			}
		}})
	}
	first := play("no")
	wantStart(t, first, true, "guest starts warm")
	time.Sleep(3 * time.Second) // the state is to be so old
	second := play("yes")
	wantStart(t, second, false, "guest starts warm", "migration completed")
	if clock, err := strconv.ParseInt(guestSaid(t, second, "clock"), 10, 64); err != nil || clock < at-1 || clock > at+1 {
		t.Errorf("the restored guest's clock: got %d, %v, want the host's, %d", clock, err, at)
	}
	for _, what := range []string{"random", "boot"} {
		if one, other := guestSaid(t, first, what), guestSaid(t, second, what); one == other {
			t.Errorf("%s of two restored guests: both have %s", what, one)
		}
	}

	folder := filepath.Join(states.Dir, savedKey(t, states.Dir))
	garbage := []byte("no state of any QEMU")
	err := os.WriteFile(filepath.Join(folder, "state"), garbage, 0o600)
	if err := errors.Join(err, os.WriteFile(filepath.Join(folder, "sum"), checksum(t, folder), 0o600)); err != nil {
		t.Fatal(err)
	}
	third := play("no")
	wantStart(t, third, false, "WARN", "guest starts cold why=")
	if left := savedKeys(t, states.Dir); len(left) > 0 {
		t.Errorf("the state that cannot be loaded is still there: %v", left)
	}
	for _, what := range []string{"name", "disk"} {
		if cold, warm := guestSaid(t, third, what), guestSaid(t, second, what); cold != warm {
			t.Errorf("%s: got %s of a restored guest, want that of one that has booted, %s", what, warm, cold)
		}
	}
}

// Two runs at the same time, as of two processes, save and restore what they need, one of
// them with two VMs, and leave whole states only: one for each VM.
func TestWarmStartTogether(t *testing.T) {
	t.Parallel()
	params, states := own(t)
	params["images"] = ""
	var running sync.WaitGroup
	for _, vms := range []string{"vm1", "vm1 vm2"} {
		running.Go(func() {
			e := runScenario(t, params, &testRun{kept: &testbed.States{Dir: states.Dir}, params: cartesian.Params{"vms": vms}, source: `
def migration_scenario(env):
    parallel([env.vm(name).start for name in env.params["vms"].split()])
    for name in env.params["vms"].split():
        env.vm(name).wait_for_login()
`})
			e.want(t, result.Pass)
			for vm := range strings.FieldsSeq(vms) {
				e.wantLog(t, vm+"] guest starts warm")
			}
		})
	}
	running.Wait()
	if keys := savedKeys(t, states.Dir); len(keys) != 2 {
		t.Errorf("saved states: got %v, want one for each of the two VMs", keys)
	}
	for _, key := range savedKeys(t, states.Dir) {
		folder := filepath.Join(states.Dir, key)
		sum, err := os.ReadFile(filepath.Join(folder, "sum"))
		if want := checksum(t, folder); err != nil || !bytes.Equal(sum, want) {
			t.Errorf("state %s: the checksum beside it is %s, %v, want %s", key, sum, err, want)
		}
	}
	if hidden, err := filepath.Glob(filepath.Join(states.Dir, ".*")); err != nil || len(hidden) > 0 {
		t.Errorf("left: %v, %v", hidden, err)
	}
}

// onImage is own with an overlay on an image that has content.
func onImage(t *testing.T) (params cartesian.Params, states *testbed.States, image string) {
	t.Helper()
	params, states = own(t)
	image = filepath.Join(t.TempDir(), "installed.raw")
	if err := os.WriteFile(image, []byte(strings.Repeat("installed", 1<<17)), 0o600); err != nil {
		t.Fatal(err)
	}
	params["image_name"], params["image_format"], params["create_image"] = strings.TrimSuffix(image, ".raw"), "raw", "no"
	return params, states, image
}

// Disks that are overlays on an image are kept with the state: each guest has them as they
// were then, whatever others have written. A changed image has a state of its own.
func TestWarmStartWithDisks(t *testing.T) {
	t.Parallel()
	params, states, image := onImage(t)
	run := &testRun{kept: states, params: cartesian.Params{"moves": "no"}, source: `
def migration_scenario(env):
    a, b = env.hosts
    vm = env.vm("vm1")
    vm.start(a)
    session = vm.wait_for_login()
    log("guest", disk = session.cmd("md5sum </dev/vda", timeout = 300).strip())
    session.cmd("dd if=/dev/urandom of=/dev/vda bs=64k count=4 && sync")
    written = session.cmd("md5sum </dev/vda", timeout = 300)
    if env.params.bool("moves"):
        migrate_wait(["vm1"], a, b, fresh = False)
    if vm.wait_for_login().cmd("echo 3 >/proc/sys/vm/drop_caches; md5sum </dev/vda", timeout = 300) != written:
        fail("the disk is another one")
    vm.destroy()
    vm.start(a)
`}
	const used = "guest starts cold why=\"its disks have been"
	first := runScenario(t, params, run)
	wantStart(t, first, true, "guest starts warm", used)
	kept := filepath.Join(states.Dir, savedKey(t, states.Dir), "disks", "vm1-image1.qcow2")
	before, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	run.params["moves"] = "yes"
	second := runScenario(t, params, run)
	wantStart(t, second, false, "guest starts warm", "migration completed", used)
	if one, other := guestSaid(t, first, "disk"), guestSaid(t, second, "disk"); one != other {
		t.Errorf("the disks of two restored guests: %s and %s", one, other)
	}
	if after, err := os.ReadFile(kept); err != nil || sha256.Sum256(after) != sha256.Sum256(before) {
		t.Errorf("a guest has written to the disk that is kept (%v)", err)
	}

	if err := os.WriteFile(image, []byte(strings.Repeat("updated", 1<<17)), 0o600); err != nil {
		t.Fatal(err)
	}
	looks := &testRun{kept: states, source: `
def migration_scenario(env):
    env.vm("vm1").start()
    log("guest", disk = env.vm("vm1").wait_for_login().cmd("md5sum </dev/vda", timeout = 300).strip())
`}
	third := runScenario(t, params, looks)
	wantStart(t, third, true, "guest starts warm")
	if old, updated := guestSaid(t, second, "disk"), guestSaid(t, third, "disk"); old == updated {
		t.Errorf("the disk on an image that was changed: got %s as before", old)
	}

	// A kept disk that was damaged is not used.
	for _, key := range savedKeys(t, states.Dir) {
		if err := os.WriteFile(filepath.Join(states.Dir, key, "disks", "vm1-image1.qcow2"), before[:100], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	starts := &testRun{kept: states, source: `
def migration_scenario(env):
    env.vm("vm1").start()
`}
	wantStart(t, runScenario(t, params, starts), false, "WARN", "guest starts cold why=\"the saved state is damaged\"")
}

// An installed guest that cannot be told that it was restored boots. That is known from
// then on: no other run boots one in vain.
func TestGuestThatCannotBeTold(t *testing.T) {
	t.Parallel()
	params, states, _ := onImage(t)
	params["kernel_params"] = "quiet " + params["kernel_params"] // so it is not taken for JeOS
	const start = `
def migration_scenario(env):
    env.vm("vm1").start()
`
	const saving, why = "booting the guest once, to save its state", "it has neither perl nor python3"
	for run := range 2 {
		e := runScenario(t, params, &testRun{kept: states, source: start})
		e.want(t, result.Pass)
		e.wantLog(t, "guest starts cold why=", why)
		if got, want := strings.Contains(e.log, saving), run == 0; got != want {
			t.Errorf("run %d: boots a guest to save its state: got %v, want %v", run, got, want)
		}
		if regexp.MustCompile(`WARN .*guest starts cold`).MatchString(e.log) {
			t.Errorf("run %d: that is expected, and no warning", run)
		}
	}
}

// A guest whose state cannot be saved boots, and it is not tried again in the run.
func TestStateThatCannotBeSaved(t *testing.T) {
	t.Parallel()
	params, _ := own(t)
	params["images"] = ""
	e := runScenario(t, params, &testRun{kept: &testbed.States{Dir: "/proc/mhmig-states"}, source: `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start()
    vm.wait_for_login()
    vm.destroy()
    vm.start()
`})
	e.want(t, result.Pass)
	e.wantLog(t, "WARN", "guest starts cold why=", "/proc/mhmig-states", `guest starts cold why="saving its state has failed before in this run"`)
}

// checksum is that of the state in a folder.
func checksum(t *testing.T, folder string) []byte {
	t.Helper()
	state, err := os.Open(filepath.Join(folder, "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = state.Close() }()
	cksum := exec.Command("cksum")
	cksum.Stdin = state
	sum, err := cksum.Output()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// savedKeys are the names of the states in a folder.
func savedKeys(t *testing.T, dir string) []string {
	t.Helper()
	used, err := filepath.Glob(filepath.Join(dir, "*", "used"))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, file := range used {
		keys = append(keys, filepath.Base(filepath.Dir(file)))
	}
	return keys
}

// savedKey is the name of the only state in a folder.
func savedKey(t *testing.T, dir string) string {
	t.Helper()
	keys := savedKeys(t, dir)
	if len(keys) != 1 {
		t.Fatalf("states in %s: got %v, want one", dir, keys)
	}
	return keys[0]
}
