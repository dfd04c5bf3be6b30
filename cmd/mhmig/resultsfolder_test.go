// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mhmig/mhmig/runtime/exit"
)

// mountSmall puts a file system of so many KiB on a new folder of the world,
// until the test's end.
func (w *world) mountSmall(name string, kib int) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%dk", kib)); err != nil {
		w.t.Skip("NOT TESTED: a small file system (needs root): ", err)
	}
	w.t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			w.t.Error(err)
		}
	})
	return dir
}

// exec runs mhmig to its end.
func (w *world) exec(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	cmd := w.command(args...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			w.t.Fatal(err)
		}
	}
	if strings.Contains(complaints.String(), "goroutine ") {
		w.t.Errorf("it panicked:\n%s", &complaints)
	}
	return cmd.ProcessState.ExitCode(), out.String(), complaints.String()
}

// wantReadable fails the test if what a run has left of its results cannot be
// read, and returns its JUnit file.
func (w *world) wantReadable(dir string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if err != nil {
		w.t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			w.t.Errorf("junit.xml is not well-formed: %v\n%s", err, data)
			break
		}
	}
	data2, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil || !json.Valid(data2) {
		w.t.Errorf("results.json: %v\n%s", err, data2)
	}
	if code, _, stderr := w.exec("report", dir); code != 0 {
		w.t.Errorf("mhmig report: exit status %d:\n%s", code, stderr)
	}
	return string(data)
}

// fillConfig is variants of which each leaves an artifact of 300 kB.
const (
	fillConfig   = "vms = vm1\nmem = 32\naccel = tcg\nvariants:\n    - a:\n    - b:\n    - c:\n    - d:\n    - e:\n    - f:\n"
	fillScenario = "def migration_scenario(env):\n    env.artifact(\"big.txt\", \"x\" * 300000)\n"
	fineScenario = "def migration_scenario(env):\n    pass\n"
)

// The results disk fills up: the run goes on, says so once for each file, what
// was known stays readable, and once there is room the next run works.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	results := w.mountSmall("small", 1200)
	w.write("fill.cfg", fillConfig)
	w.write("fill.star", fillScenario)
	code, _, stderr := w.exec("exec", "fill.star", "--config", "fill.cfg", "--results", results)
	if code == 0 || code == int(exit.Interrupted) {
		t.Errorf("exit status: got %d, want one of a failure:\n%s", code, stderr)
	}
	if !strings.Contains(stderr, "no space left on device") {
		t.Errorf("nothing says that the disk is full:\n%s", stderr)
	}
	if n := strings.Count("\n"+stderr, "\nmhmig: results are incomplete"); n > 2 { // when it is seen, and at the end
		t.Errorf("it says %d times that results are incomplete:\n%s", n, stderr)
	}
	latest := filepath.Join(results, "latest")
	w.wantReadable(latest)
	w.wantNothingLeft()
	if target, err := filepath.EvalSymlinks(latest); err != nil {
		t.Error(err)
	} else if err := os.RemoveAll(target); err != nil {
		t.Error(err)
	}
	w.write("fine.star", fineScenario)
	if code, _, stderr := w.exec("exec", "fine.star", "--config", "small.cfg", "--results", results); code != 0 {
		t.Errorf("the next run: exit status %d:\n%s", code, stderr)
	}
	w.wantReadable(latest)
}

// A disk that is full from the beginning is this machine's fault, and not an argument's.
func TestDiskFullAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	results := w.mountSmall("small", 100)
	w.write("fine.star", fineScenario)
	w.write("small.cfg", "vms =\n")
	full, err := os.Create(filepath.Join(results, "ballast"))
	if err == nil {
		_, err = io.Copy(full, bytes.NewReader(make([]byte, 1<<20)))
		_ = full.Close()
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	code, _, stderr := w.exec("exec", "fine.star", "--config", "small.cfg", "--results", results)
	if code != int(exit.Hosts) || !strings.Contains(stderr, "no space left on device") || strings.Contains(stderr, "--help") {
		t.Errorf("exit status: got %d, want %d:\n%s", code, exit.Hosts, stderr)
	}
	if code, _, stderr := w.exec("report", results, "-o", filepath.Join(results, "report.txt")); code != int(exit.Usage) {
		t.Errorf("a folder without results: exit status: got %d, want %d:\n%s", code, exit.Usage, stderr)
	}
}

// The results folder is read-only: one clear error before anything is made; the
// next run, to another place, works.
func TestReadOnlyResults(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	results := w.mountSmall("fixed", 1000)
	w.write("fine.star", fineScenario)
	if code, _, stderr := w.exec("exec", "fine.star", "--config", "small.cfg", "--results", results); code != 0 {
		t.Fatalf("exit status %d:\n%s", code, stderr)
	}
	if err := unix.Mount("none", results, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := w.exec("exec", "fine.star", "--config", "small.cfg", "--results", results)
	if want := "read-only file system; another place: --results DIR\n"; code != int(exit.Usage) || !strings.HasSuffix(stderr, want) || strings.Count(stderr, "\n") != 1 {
		t.Errorf("got %d and %q, want %d and one line that ends in %q", code, stderr, int(exit.Usage), want)
	}
	if code, stdout, stderr := w.exec("report", "history", "--results", results); code != 0 || stdout == "" {
		t.Errorf("history of a folder that cannot be written to: exit status %d, %q, %q", code, stdout, stderr)
	}
	if code, _, stderr := w.exec("exec", "fine.star", "--config", "small.cfg", "--results", filepath.Join(w.dir, "other")); code != 0 {
		t.Errorf("another place: exit status %d:\n%s", code, stderr)
	}
}

// Several runs share one folder at the same time: each has its own results, and
// all are in the history.
func TestRunsShareFolder(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.write("fine.star", fineScenario)
	const runs = 4
	var all sync.WaitGroup
	for range runs {
		all.Go(func() {
			cmd := w.command("exec", "fine.star", "--config", "small.cfg")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
	all.Wait()
	dirs, err := filepath.Glob(filepath.Join(w.dir, "mhmig-results", "*T*Z-*"))
	if err != nil || len(dirs) != runs {
		t.Fatalf("got %d results folders, %v, want %d", len(dirs), err, runs)
	}
	for _, dir := range dirs {
		if junit := w.wantReadable(dir); !strings.Contains(junit, `tests="1"`) {
			t.Errorf("%s: not one variant:\n%s", dir, junit)
		}
	}
	w.wantReadable(filepath.Join(w.dir, "mhmig-results", "latest"))
	code, stdout, stderr := w.exec("report", "history", "--runs", "--format", "json")
	for _, dir := range dirs {
		if code != 0 || !strings.Contains(stdout, filepath.Base(dir)) {
			t.Errorf("%s is not in the history (exit status %d): %s %s", dir, code, stdout, stderr)
		}
	}
	w.wantNothingLeft()
}

// The controller is killed with -9 in the middle: what was known stays readable
// and is not green, mhmig cleanup removes what is left, the next run works, and
// runs the rest with --rerun failed.
func TestKilledMatrix(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.write("three.cfg", "vms = vm1\nmem = 32\naccel = tcg\nvariants:\n    - one:\n    - two:\n    - three:\n")
	w.write("stop.star", `def migration_scenario(env):
    if env.params["shortname"] == "two" and env.hosts[0].run("test -e DIR/again", check = False).status:
        log("now")
        sleep(600)
`)
	data, err := os.ReadFile(filepath.Join(w.dir, "stop.star"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("stop.star", strings.ReplaceAll(string(data), "DIR", w.dir))
	r := w.start("exec", "stop.star", "--config", "three.cfg")
	r.await("now")
	latest := filepath.Join(w.dir, "mhmig-results", "latest")
	awaitText(t, filepath.Join(latest, "junit.xml"), `name="two"`)
	r.signal(syscall.SIGKILL)
	r.wait(cleanupTimeout)
	junit := w.wantReadable(latest)
	if !strings.Contains(junit, `name="one"`) || strings.Count(junit, "<error") != 1 {
		t.Errorf("want one that passed, and one that did not end:\n%s", junit)
	}
	if code, stdout, _ := w.exec("report"); code != 0 || !strings.Contains(stdout, "the run did not end") {
		t.Errorf("mhmig report: exit status %d:\n%s", code, stdout)
	}
	if code, _, stderr := w.exec("cleanup"); code != 0 {
		t.Errorf("mhmig cleanup: exit status %d:\n%s", code, stderr)
	}
	w.wantNothingLeft()
	w.write("again", "")
	code, _, stderr := w.exec("exec", "stop.star", "--config", "three.cfg", "--rerun", "failed")
	if code != 0 || !strings.Contains(stderr, "2 variants: 2 PASS") {
		t.Errorf("--rerun failed: exit status %d, want the variant that was cut off and the one that never began:\n%s", code, stderr)
	}
	w.wantReadable(latest)
	w.wantNothingLeft()
}

// awaitText waits until a file has a text in it.
func awaitText(t *testing.T, path, text string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		data, _ := os.ReadFile(path) // it may not be there yet
		if bytes.Contains(data, []byte(text)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: no %q after %v:\n%s", path, text, patience, data)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
