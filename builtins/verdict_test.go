// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

func TestVerdicts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		status     result.Status
		message    string
		position   string // line:column, "" for none
	}{
		{"pass", `pass`, result.Pass, "", ""},
		{"fail", `fail("the guest is gone")`, result.Fail, "the guest is gone", "3:9"},
		{"error", `error("no disk")`, result.Error, "no disk", "3:10"},
		{"skip", `skip("not for tcg")`, result.Skip, "not for tcg", "3:9"},
		{"warn", `warn("slow"); warn("slower")`, result.Warn, "", ""},
		{"warn then fail", `warn("slow"); fail("dead")`, result.Fail, "dead", "3:23"},
		{"starlark", `1 // 0`, result.Error, "floored division by zero", "3:7"},
		{"fail in a task", `spawn(lambda: fail("there")).join()`, result.Fail, "there", "3:23"},
		{"skip in on", `on(env.hosts[:1], lambda h: skip("here"))`, result.Skip, "here", "3:37"},
		{"fail in wait_for", `wait_for(lambda: fail("asked"), 10)`, result.Fail, "asked", "3:26"},
		{"command", `env.hosts[0].run("exit 3")`, result.Error, "status 3", "3:21"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: "\ndef migration_scenario(env):\n    " + tt.body + "\n"})
			if tt.message == "" {
				e.want(t, tt.status)
			} else {
				e.want(t, tt.status, tt.message)
			}
			position := ""
			if tt.position != "" {
				position = "@test//scenario.star:" + tt.position
			}
			if e.Position != position {
				t.Errorf("position: got %q, want %q", e.Position, position)
			}
		})
	}
}

// Warnings are kept in order, and logged with their position.
func TestWarnings(t *testing.T) {
	t.Parallel()
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: `
def migration_scenario(env):
    warn("first")
    warn("second")
    log("a line\n", answer = 42, yes = True)
    print("printed", 7)
    on(["host2"], lambda h: log("over there"))
`})
	e.want(t, result.Warn)
	if want := []string{"first", "second"}; !slices.Equal(e.Warnings, want) {
		t.Errorf("warnings: got %q, want %q", e.Warnings, want)
	}
	for _, words := range [][]string{
		{"first", "@test//scenario.star:3:9"},
		{"a line", "answer=42", "yes=yes"},
		{"printed 7"},
		{"over there", "host2"},
	} {
		if !containsLine(e.log, words...) {
			t.Errorf("log: want a line with %q", words)
		}
	}
}

func containsLine(text string, words ...string) bool {
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// Cleanups run last first, in every case; one that fails does not stop the others,
// and is a failure.
func TestCleanups(t *testing.T) {
	t.Parallel()
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: `
def told(word):
    sleep(0)
    log("cleanup " + word)

def broken():
    error("cannot clean")

def migration_scenario(env):
    cleanup(told, "one")
    cleanup(broken)
    cleanup(lambda: cleanup(told, "inner"))
    spawn(lambda: cleanup(told, "two")).join()
    fail("at work")
`})
	if e.Status != result.Fail || e.Message != "at work" {
		t.Errorf("got %s %q, want FAIL at work", e.Status, e.Message)
	}
	if len(e.Further) != 1 || e.Further[0].Message != "cannot clean" || e.Further[0].Status != result.Error {
		t.Errorf("further: got %+v, want cannot clean", e.Further)
	}
	at := -1
	for _, word := range []string{"cleanup two", "cleanup inner", "cleanup one"} {
		i := strings.Index(e.log, word)
		if i < at {
			t.Errorf("log: %q comes too early or not at all", word)
		}
		at = i
	}
}

// TestWhatIsSaid: a line says where it comes from, and keeps the fields of its own.
func TestWhatIsSaid(t *testing.T) {
	t.Parallel()
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: `
def migration_scenario(env):
    log("moved", host = "elsewhere", at = 7, migration = 1, n = 2)
    print("printed", 3)
`})
	e.want(t, result.Pass)
	for _, want := range []string{" moved host_=elsewhere at_=7 migration_=1 n=2 at=@test//scenario.star:3:8\n", "] printed 3 at=@test//scenario.star:4:10\n"} {
		if !strings.Contains(e.log, want) {
			t.Errorf("log: got %s, want %q in it", e.log, want)
		}
	}
}

func TestArtifact(t *testing.T) {
	t.Parallel()
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: `
def migration_scenario(env):
    env.artifact("host1/dmesg.txt", "a\n")
    env.artifact("blob", b"\xff")
`})
	e.want(t, result.Pass)
	for name, want := range map[string]string{"host1/dmesg.txt": "a\n", "blob": "\xff"} {
		got, err := os.ReadFile(filepath.Join(e.dir, result.ArtifactsDir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}

// A variant without VMs is for scenarios that only use the hosts: they need nothing
// for VMs.
func TestNoVMs(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"commands": "def migration_scenario(env):\n    assert_eq(env.vms, [])\n    assert_eq(on(env.hosts, lambda h: h.run('echo hello').stdout), {h: 'hello\\n' for h in env.hosts})\n",
		"nothing":  "def migration_scenario(env): pass",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runScenario(t, bedtest.NoQEMU(t), &testRun{source: source, params: map[string]string{
				"vms": " ", "images_base_dir": "/no/such", "kernel": "jeos:nothing", "qemu_binary": "/no/such",
			}}).want(t, result.Pass)
		})
	}
	t.Run("a VM", func(t *testing.T) {
		t.Parallel()
		e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: "def migration_scenario(env): env.vm('vm1').start()", params: map[string]string{"vms": ""}})
		e.want(t, result.Error, `env.vm: name: no VM "vm1"; the param vms has none`)
	})
}

// An error in the preparation of a variant is an ERROR that says what to do, and
// leaves nothing on the hosts.
func TestPrepareErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		params map[string]string
		words  []string
	}{
		{"a path as a name", map[string]string{"vms": "../../../evil"}, []string{`param vms: got "../../../evil", want names of at most 25 letters`}},
		{"no such folder", map[string]string{"images_base_dir_host1": "/no/such"}, []string{"host1: no folder /no/such", "images_base_dir"}},
		{"not shared", map[string]string{"images_base_dir_host2": t.TempDir()}, []string{"shared storage: host2 does not see"}},
		{"no qemu", map[string]string{"qemu_binary_host2": "qemu-system-nothing"}, []string{"host2: no program qemu-system-nothing", "qemu_binary"}},
		{"bad accel", map[string]string{"accel": "magic"}, []string{`accel`, `"magic"`, "auto, kvm, tcg"}},
		{"no image", map[string]string{"images": "image1", "image_name": "images/nothing"}, []string{"host1: no file", "images/nothing.qcow2"}},
		{"bad time", map[string]string{"disk_prepare_timeout": "soon"}, []string{"disk_prepare_timeout", `"soon"`}},
		{"bad start_vm", map[string]string{"start_vm": "maybe"}, []string{"start_vm", `"maybe"`}},
		{"no shipped file", map[string]string{"kernel": "jeos:nothing"}, []string{"no file jeos:nothing"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: "def migration_scenario(env): fail('it began')", params: tt.params})
			e.want(t, result.Error, append(tt.words, "prepare: ")...)
		})
	}
}

// Ctrl-C while the disks are prepared is CANCEL, not an ERROR.
func TestInterruptedPrepare(t *testing.T) {
	t.Parallel()
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{
		source: "def migration_scenario(env): sleep(60)",
		params: map[string]string{"start_vm": "no"},
		on: func(message string, _ map[string]string, p *testRun) {
			if message == "variant begins" {
				p.cancel(run.ErrInterrupted)
			}
		},
	})
	e.want(t, result.Cancel, "interrupted")
}
