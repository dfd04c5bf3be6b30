// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
)

// What a scenario asks of a guest that has no login is an ERROR, and a FAIL once it was
// in a migration.
func TestInsideWithoutLogin(t *testing.T) {
	t.Parallel()
	nic := cartesian.Params{"nics": "nic1", "folder": t.TempDir()}
	before := filepath.Join(nic["folder"], "x")
	if err := os.WriteFile(before, []byte("from before"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // its cases have ended then
		if text, err := os.ReadFile(before); err != nil || string(text) != "from before" {
			t.Errorf("the file that a download was to replace: got %q, %v, want it as it was", text, err)
		}
	})
	for _, call := range []string{`vm.clock(timeout=5)`, `vm.upload(b"text", "/tmp/x", timeout=5)`, `vm.download("/tmp/x", env.params["folder"] + "/x", timeout=5)`} {
		runScripted(t, []scriptedCase{
			{name: call + " before a migration", params: nic, status: result.Error, want: []string{"vm1@host1: no login: "}, text: `
	vm.start(a)
	` + call},
			{name: call + " after a migration", params: nic, status: result.Fail, want: []string{"vm1@host2: no login: "}, text: `
	migrate_wait(["vm1"], a, b)
	` + call},
		})
	}
}

// The guest's clock, and files to and from it, before and after a migration.
func TestInside(t *testing.T) {
	t.Parallel()
	typed := starlark.NewBuiltin("typed", newTypeCheck(t).builtin)
	folder := t.TempDir()
	large := make([]byte, 3<<20+1)
	_, _ = rand.Read(large)
	kernel := filepath.Join(folder, "bzimage")
	if err := os.WriteFile(kernel, []byte("mhmig's\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "large"), large, 0o750); err != nil {
		t.Fatal(err)
	}
	e := runScenario(t, small(t), &testRun{extra: starlark.StringDict{"typed": typed}, shipped: map[string]string{"jeos:bzimage": kernel}, source: `
def read_clock(vm):
    before = now()
    c = typed("vm.clock", vm.clock())
    for name in ["guest", "host", "uncertainty"]:
        typed("clock." + name, getattr(c, name))
    if c.host < before or c.host > now() or abs(c.guest - c.host) > c.uncertainty + 5:
        fail("guest %s, host %s, uncertainty %s" % (c.guest, c.host, c.uncertainty))

def migration_scenario(env):
    a, b = env.hosts
    vm = env.vm("vm1")
    vm.start(a)
    assert_eq(vm.address, None)
    read_clock(vm)
    typed("vm.address", vm.address)
    if not vm.address.startswith("127.0.0.1:") or int(vm.address.split(":")[1]) < 1024:
        fail(vm.address)
    folder = env.params["folder"]
    sum = typed("vm.upload", vm.upload(folder + "/large", "/tmp/large file"))
    assert_eq(vm.upload(env.file("data.txt"), "/tmp/empty"), env.params["short"])
    vm.upload("jeos:bzimage", "/tmp/kernel")
    assert_eq(vm.wait_for_login().cmd("cat /tmp/kernel"), "mhmig's\n")
    migrate_wait(["vm1"], a, b)
    read_clock(vm)
    assert_eq(vm.wait_for_login().cmd("stat -c %a '/tmp/large file' /tmp/empty; sha256sum <'/tmp/large file'"), "750\n644\n" + sum + "  -\n")
    assert_eq(typed("vm.download", vm.download("/tmp/large file", folder + "/back")), sum)
    assert_eq(vm.download("/tmp/large file"), sum)
    vm.download("/tmp/none", folder + "/none")
`, params: cartesian.Params{"folder": folder, "short": fmt.Sprintf("%x", sha256.Sum256([]byte("of the scenario\n")))}})
	e.want(t, result.Fail, "download /tmp/none: ", "ended with status ", "/tmp/none")
	back, err := os.ReadFile(filepath.Join(folder, "back"))
	if err != nil || !bytes.Equal(back, large) {
		t.Errorf("got %d bytes, %v, want what was uploaded", len(back), err)
	}
	if _, err := os.Stat(filepath.Join(folder, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after an error: got %v, want no file", err)
	}
}
