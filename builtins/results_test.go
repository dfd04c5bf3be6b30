// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// The results have the logs of each instance and each migration.
func TestResults(t *testing.T) {
	t.Parallel()
	e := runScenario(t, bedtest.Blank(t), &testRun{source: `
def migration_scenario(env):
    a, b = env.hosts
    migrate_wait(["vm1"], a, b)
    migrate_wait(["vm1"], b, a)
`})
	e.want(t, result.Pass)
	for file, want := range map[string][]string{
		"vm/vm1@host1/qemu.cmdline": {"qemu-system-x86_64", "-incoming defer", "pc-i440fx-"},
		"vm/vm1@host1/qmp.jsonl":    {`"execute":"migrate"`, `"execute":"migrate-incoming"`, `"return-path"`},
		"vm/vm1@host2/qmp.jsonl":    {`"execute":"migrate"`, `"event":"RESUME"`},
		"vm/vm1@host1/console.log":  nil,
		"vm/vm1@host2/qemu.log":     nil,
		"params.json":               {`"mem": "16"`},
	} {
		text, err := os.ReadFile(filepath.Join(e.dir, file))
		if err != nil {
			t.Error(err)
		}
		for _, w := range want {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s: want %s in it", file, w)
			}
		}
	}
	for number, way := range map[string][2]string{"1": {"host1", "host2"}, "2": {"host2", "host1"}} {
		text, err := os.ReadFile(filepath.Join(e.dir, result.MigrationsDir, number+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var record result.Migration
		if err := json.Unmarshal(text, &record); err != nil {
			t.Fatal(err)
		}
		if record.Source != way[0] || record.Destination != way[1] || record.Status != "completed" || len(record.VMs) != 1 {
			t.Errorf("migration %s: got %+v", number, record)
			continue
		}
		vm := record.VMs[0]
		if vm.VM != "vm1" || vm.Status != "completed" || vm.Query["total-time"] == nil || len(vm.Samples) == 0 {
			t.Errorf("migration %s: got %+v", number, vm)
		}
	}
}

// VMs are kept if kill_vm or kill_vm_on_error say so for the status, and the ledger
// has them.
func TestKeptVMs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		params cartesian.Params
		body   string
		kept   bool
	}{
		{"kill_vm after pass", cartesian.Params{"kill_vm": "no"}, "pass", true},
		{"kill_vm after fail", cartesian.Params{"kill_vm": "no"}, "fail('x')", false},
		{"kill_vm_on_error after fail", cartesian.Params{"kill_vm_on_error": "no"}, "fail('x')", true},
		{"kill_vm_on_error after pass", cartesian.Params{"kill_vm_on_error": "no"}, "pass", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			params["start_vm"] = "yes"
			e := runScenario(t, params, &testRun{params: tt.params, left: true, source: "def migration_scenario(env): " + tt.body})
			running := bedtest.Processes(t, e.name)
			if kept := slices.ContainsFunc(running, func(line string) bool { return strings.Contains(line, "qemu-system-x86_64") }); kept != tt.kept {
				t.Errorf("running at the end: got %q, want that there are some: %t", running, tt.kept)
			}
			if tt.kept {
				e.wantLog(t, "left running", "because=")
				removeLeftovers(t, e.name)
			}
		})
	}
}

// A blocked port accepts no connections until it is unblocked, and no block remains
// at the end.
func TestBlockPort(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	needNftables(t)
	const connect = `timeout 1 bash -c ': </dev/tcp/127.0.0.1/%d'`
	w := &witness{seen: map[string]bool{}}
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{extra: w.names(), source: `
def look_on(over):
    while not over:
        look()
        sleep(0.0001)

def migration_scenario(env):
    over = []
    spawn(look_on, over)
    h = env.hosts[0]
    port = h.free_port()
    # Nobody listens: a refusal comes at once, a drop does not come.
    refused = lambda: h.run("` + strings.ReplaceAll(connect, `'`, `\'`) + `" % port, check = False).status
    assert_eq(refused(), 1)
    f = watch("host.block_port", lambda: h.block_port(port), once = True)
    assert_eq(type(f), "fault")
    assert_eq(str(f), "fault port %d of host1 blocked" % port)
    assert_eq(refused(), 124)
    watch("fault.undo", f.undo, once = True)
    f.undo()
    assert_eq(refused(), 1)
    h.block_port(port)
    h.unblock()
    assert_eq(refused(), 1)
    h.block_port(port)
    h.block_port(port).undo()
    assert_eq(refused(), 124)
    over.append(1)
`})
	e.want(t, result.Pass)
	w.want(t, []string{"host.block_port", "fault.undo"})
	tables, err := exec.Command("nft", "list", "tables").Output()
	if err != nil {
		t.Fatal(err)
	}
	if name := strings.ReplaceAll(e.name, "-", "_"); strings.Contains(string(tables), name) {
		t.Errorf("left: %s", tables)
	}
}

// A port that is blocked by reject refuses new connections at once and breaks open ones.
func TestBlockPortByReject(t *testing.T) {
	t.Parallel()
	needNftables(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	open, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := open.SetDeadline(time.Now().Add(awaitTimeout)); err != nil {
		t.Fatal(err)
	}
	reset := func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		_, _ = open.Write([]byte("x"))
		_, err := open.Read(make([]byte, 1))
		return starlark.Bool(errors.Is(err, syscall.ECONNRESET)), nil
	}
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{extra: starlark.StringDict{"reset": starlark.NewBuiltin("reset", reset)}, source: `
def migration_scenario(env):
    h, port = env.hosts[0], env.params.int("port")
    connect = lambda: h.run("timeout 20 bash -c ': </dev/tcp/127.0.0.1/%d'" % port, check = False).status
    assert_eq(connect(), 0)
    f = h.block_port(port, how = "reject")
    assert_eq(connect(), 1)
    assert_eq(reset(), True)
    f.undo()
    assert_eq(connect(), 0)
`, params: map[string]string{"port": strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)}})
	e.want(t, result.Pass)
}
