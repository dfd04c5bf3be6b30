// SPDX-License-Identifier: Apache-2.0

// Package bedtest has test beds: on hosts of an embedded lab, with real QEMU or scripted
// processes, and on local hosts, with QEMUs and guests that are scripted in the test's
// process and can run in virtual time. It is only for tests.
//
// Its functions must be called by the goroutine of the test.
package bedtest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Lab is an embedded lab and connections to its hosts.
type Lab struct {
	*lab.Lab
	Connected []*host.Host
}

// NewLab starts a lab, which is stopped at the test's end.
func NewLab(t testing.TB, hosts int) *Lab {
	t.Helper()
	started, err := lab.Start(t.Context(), lab.Options{Hosts: hosts, Dir: filepath.Join(t.TempDir(), "lab")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := started.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &Lab{Lab: started}
	for _, c := range started.Hosts() {
		h, err := host.Dial(t.Context(), c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
		l.Connected = append(l.Connected, h)
	}
	return l
}

// Bed is a test bed with its results.
type Bed struct {
	*testbed.Bed
	Name    string // of its folders on the hosts
	Results *result.Variant
	Shared  *testbed.Shared
}

// New returns a bed on hosts of a lab; params override the lab's. At the test's end it is
// closed, and nothing of it may remain on the hosts.
func New(t testing.TB, hosts []*host.Host, labParams, params cartesian.Params, shipped func(name string) (string, error)) *Bed {
	t.Helper()
	return newBed(t, testbed.Remotes(hosts), labParams, params, shipped, nil)
}

// NewLocal is New on so many local hosts, which need no SSH. It is for tests that start
// no VM.
func NewLocal(t testing.TB, count int, params cartesian.Params, shipped func(name string) (string, error)) *Bed {
	t.Helper()
	hosts, folders := LocalHosts(t, count)
	return newBed(t, hosts, folders, params, shipped, NewScriptedQEMUs().Launch)
}

func newBed(t testing.TB, hosts []testbed.Remote, labParams, params cartesian.Params, shipped func(name string) (string, error), launch testbed.Launcher) *Bed {
	t.Helper()
	folder, record := Results(t)
	all := maps.Clone(labParams)
	maps.Copy(all, params)
	variant, err := folder.Start(result.Entry{Name: t.Name(), ShortName: "test", Params: all})
	if err != nil {
		t.Fatal(err)
	}
	b := &Bed{Name: "mhmig-" + folder.ID()[strings.LastIndexByte(folder.ID(), '-')+1:] + "-1", Results: variant}
	b.Shared = testbed.NewShared(b.Name, hosts, record, shipped)
	var numbered []testbed.NumberedHost
	for i, h := range hosts {
		numbered = append(numbered, testbed.NumberedHost{Host: h, Number: i + 1})
	}
	b.Bed = testbed.New(testbed.Config{
		Hosts: numbered, Params: all, Results: variant, Ledger: record, Name: b.Name, Shared: b.Shared, Launch: launch,
		Log: slog.New(folder.Handler()).With("variant", variant.ID()),
	})
	t.Cleanup(func() {
		_, err := b.Close(t.Context(), result.Pass)
		if err := errors.Join(err, b.Shared.Close(context.WithoutCancel(t.Context()))); err != nil {
			t.Error(err)
		}
		if launch == nil { // else there are no processes
			WantNothingLeft(t, labParams, b.Name)
		} else {
			wantNoFolders(t, labParams, b.Name)
		}
		if pending := record.Pending(); len(pending) > 0 {
			t.Errorf("the ledger still has %+v", pending)
		}
		if err := variant.Finish(result.Outcome{}); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Results returns a results folder and a ledger in it, until the test's end.
func Results(t testing.TB) (*result.Folder, *ledger.Ledger) {
	t.Helper()
	folder, err := result.Create(tempDir(t), result.Run{Command: []string{"test"}}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	record, err := ledger.Open(filepath.Join(folder.Dir(), "ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(record.Close(), folder.Finish(result.Pass)); err != nil {
			t.Error(err)
		}
	})
	return folder, record
}

// tempDir returns a new folder, which the test removes; in memory where the system has
// that. The files of hundreds of scripted migrations are small, and many.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "bedtest")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// WantNothingLeft checks that nothing of a bed remains on a lab's hosts: no processes
// whose command lines contain its folders' name, and no folders.
func WantNothingLeft(t testing.TB, labParams map[string]string, name string) {
	t.Helper()
	for _, line := range Processes(t, name) {
		t.Errorf("left running: %s", line)
	}
	wantNoFolders(t, labParams, name)
}

func wantNoFolders(t testing.TB, labParams map[string]string, name string) {
	t.Helper()
	for key, dir := range labParams {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("left in %s: %s (%v)", key, filepath.Join(dir, name), err)
		}
	}
}

// Processes returns the processes of this machine whose command line contains
// text, as "/proc/PID: command line".
func Processes(t testing.TB, text string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		line, _ := os.ReadFile(file) // the process may have just ended
		if bytes.Contains(line, []byte(text)) {
			found = append(found, filepath.Dir(file)+": "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// fakeQEMU is the name of a script that prints this instead of starting a VM.
const (
	fakeQEMU       = "fake-qemu"
	fakeQEMUOutput = "QEMU emulator version 9.2.0\nSupported machines are:\npc-i440fx-9.2  Standard PC\n"
)

// NoQEMU is the params of a variant that starts no VM: its QEMU is a script that prints
// a version and machine types.
func NoQEMU(t testing.TB) cartesian.Params {
	t.Helper()
	fake := filepath.Join(t.TempDir(), fakeQEMU)
	if err := os.WriteFile(fake, []byte("#!/bin/sh\ncat <<'END'\n"+fakeQEMUOutput+"END\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return cartesian.Params{
		"vms": "vm1 vm2", "qemu_binary": fake, "machine_type": "pc-i440fx-9.2", "accel": "tcg", "mem": "32", "mem_vm2": "64",
	}
}

// Scripted is the params of VMs whose QEMU is a scripted process, with a script for the
// source, the first host, and one for the destination, the second. The test's TestMain
// must call [qmptest.Main].
func Scripted(t testing.TB, source, destination qmptest.Script) cartesian.Params {
	t.Helper()
	return cartesian.Params{
		"vms": "vm1", "qemu_binary": qmptest.Program(t), "machine_type": "pc-i440fx-9.2", "accel": "tcg", "mem": "32",
		"extra_params_host1": source.Option(), "extra_params_host2": destination.Option(),
		"start_migration_timeout": "0.01", "not_login_after_mig": "yes",
	}
}

// NeedQEMU skips a test if there is no QEMU, or with -short.
func NeedQEMU(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what needs QEMU")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("NOT TESTED: no qemu-system-x86_64 here; on Debian it is in package qemu-system-x86")
	}
}

// QEMUMajor is the first number of the version of the QEMU that NeedQEMU finds.
func QEMUMajor(t testing.TB) int {
	t.Helper()
	out, err := exec.Command("qemu-system-x86_64", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`version (\d+)\.`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no version in %q", out)
	}
	major, _ := strconv.Atoi(string(m[1]))
	return major
}

// Blank is the params of VMs without a guest: real QEMU, whose BIOS finds no disk. They
// start at once; logins fail.
func Blank(t testing.TB) cartesian.Params {
	t.Helper()
	NeedQEMU(t)
	return cartesian.Params{
		"vms": "vm1", "accel": "tcg", "mem": "16", "start_migration_timeout": "0.01", "not_login_after_mig": "yes",
		"mig_timeout": "20",
	}
}
