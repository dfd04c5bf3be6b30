// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/lab"
)

const (
	// patience is for the test's commands to come to a point; the machine may be busy.
	patience = 2 * time.Minute
	// cleanupTimeout is how long a run may take to clean up; on a busy machine too.
	cleanupTimeout = time.Minute
)

// TestInterrupt sends SIGINT to runs at many moments. Each must end soon, say so
// once, and leave nothing on its hosts.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	const simple = `
def migration_scenario(env):
    migrate_wait(["vm1"], env.hosts[0], env.hosts[1])
`
	tests := []struct {
		name     string
		guest    bool // needs one that boots
		scenario string
		args     []string
		moment   string // words of the run's output, after which the signal comes; "": when the file "began" is there
	}{
		{"KVM probe", false, simple, []string{"--param", "accel=kvm", "--param", "qemu_binary=./slow-kvm"}, ""},
		{"disk preparation", false, simple, []string{
			"--param", "images=image1", "--param", "create_image=yes", "--param", "image_size=1M",
			"--param", "qemu_img_binary=./slow-qemu-img",
		}, ""},
		{"scenario", false, "def migration_scenario(env):\n    log(\"now\")\n    sleep(600)\n", nil, "now"},
		{"busy scenario", false, "def migration_scenario(env):\n    log(\"now\")\n    while True:\n        pass\n", nil, "now"},
		{"huge numbers", false, "def migration_scenario(env):\n    env.vm(\"vm1\").start()\n    x = 3\n    log(\"now\")\n    while True:\n        x = x * x\n", nil, "now"},
		{"remote command", false, "def migration_scenario(env):\n    log(\"now\")\n    env.hosts[0].run(\"sleep 600 & sleep 600\")\n", nil, "now"},
		{"start of QEMU", false, simple, []string{"--param", "images="}, "prepare migration=1"},
		{"guest boot", true, simple, nil, "guest runs"},
		{"migration", true, simple, []string{"--param", "mig_speed=1M"}, "migrate uri="},
		{"check_work", true, `
def check(mig):
    session = mig.vm("vm1").wait_for_login()
    log("now")
    session.cmd("sleep 600", timeout = 700)

def migration_scenario(env):
    migrate_wait(["vm1"], env.hosts[0], env.hosts[1], None, check)
`, nil, "now"},
		{"cleanup", false, `
def slow(host):
    log("now")
    host.run("sleep 3")

def migration_scenario(env):
    cleanup(slow, env.hosts[0])
    env.vm("vm1").start()
`, nil, "now"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("it.star", test.scenario)
			w.writeProgram("slow-qemu-img", "touch DIR/began; sleep 600")
			w.writeProgram("slow-kvm", `case "$*" in *"-accel kvm"*) touch DIR/began; sleep 600 ;; esac
exec qemu-system-x86_64 "$@"`)
			if _, err := os.Stat("/dev/kvm"); err != nil && strings.Contains(test.name, "KVM") {
				t.Skipf("SKIPPED, NOT TESTED: %v", err)
			}
			args := append([]string{"exec", "it.star"}, test.args...)
			if test.guest {
				w.needGuest()
				args = append(args, "--param", "vms=vm1", "--param", "accel=tcg")
			} else {
				args = append(args, "--config", "small.cfg")
			}
			for i := range args {
				args[i] = strings.Replace(args[i], "./slow", w.dir+"/slow", 1)
			}
			r := w.start(args...)
			if test.moment == "" {
				r.awaitFile(filepath.Join(w.dir, "began"))
			} else {
				r.await(test.moment)
			}
			if test.name == "huge numbers" {
				r.awaitComputing()
			}
			r.signal(syscall.SIGINT)
			if code := r.wait(cleanupTimeout); code != int(exit.Interrupted) {
				t.Errorf("exit status: got %d, want %d", code, int(exit.Interrupted))
			}
			text := r.output()
			if n := strings.Count(text, "mhmig: interrupted"); n != 1 {
				t.Errorf("it says %d times that it was interrupted, want once", n)
			}
			verdict := "CANCEL"
			if test.name == "cleanup" {
				verdict = "PASS" // it was over
			}
			if !strings.Contains(text, "1 variant: 1 "+verdict) {
				t.Errorf("the table does not say %s", verdict)
			}
			if strings.Contains(text, "goroutine ") {
				t.Error("it panicked")
			}
			run, err := os.ReadFile(filepath.Join(w.dir, "mhmig-results", "latest", "run.json"))
			if err != nil || !bytes.Contains(run, []byte(`"status": "CANCEL"`)) {
				t.Errorf("run.json: %v: %s", err, run)
			}
			w.wantNothingLeft()
			if t.Failed() {
				t.Logf("output:\n%s", text)
			}
		})
	}
}

// TestInterruptLoad interrupts the top level of a scenario's file in one operation
// that takes for ever.
func TestInterruptLoad(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	w := newWorld(t)
	w.write("begun.star", "x = 3\nwhile True:\n    x = x * x\n")
	r := w.start("exec", "begun.star", "--config", "small.cfg")
	r.awaitComputing()
	r.signal(syscall.SIGINT)
	if code := r.wait(cleanupTimeout); code != int(exit.Interrupted) {
		t.Errorf("exit status: got %d, want %d:\n%s", code, int(exit.Interrupted), r.output())
	}
}

// awaitComputing waits until it has used a second of processor time.
func (r *running) awaitComputing() {
	r.t.Helper()
	const ticksPerSecond = 100
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(patience)
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
		if err != nil {
			r.t.Fatal(err)
		}
		_, fields, _ := bytes.Cut(stat, []byte(") "))
		if user, err := strconv.Atoi(string(bytes.Fields(fields)[11])); err == nil && user >= ticksPerSecond {
			return
		}
		select {
		case <-ticker.C:
		case <-r.ended:
			r.t.Fatalf("it ended:\n%s", r.output())
		case <-timeout:
			r.t.Fatalf("it does not compute:\n%s", r.output())
		}
	}
}

// TestInterruptDial interrupts a run whose host accepts a connection and then
// says nothing.
func TestInterruptDial(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("it.star", "def migration_scenario(env):\n    pass\n")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	dialled := make(chan net.Conn, 1)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		if conn, err := silent.Accept(); err == nil {
			dialled <- conn
		}
	})
	defer accepting.Wait()
	r := w.start("exec", "it.star", "--config", "small.cfg", "--hosts", silent.Addr().String())
	select {
	case conn := <-dialled:
		defer conn.Close()
	case <-time.After(patience):
		t.Fatalf("no connection came:\n%s", r.output())
	}
	r.signal(syscall.SIGINT)
	if code := r.wait(cleanupTimeout); code != int(exit.Interrupted) {
		t.Errorf("exit status: got %d, want %d", code, int(exit.Interrupted))
	}
	if text := r.output(); strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "mhmig: interrupted") {
		t.Errorf("got %q, want one line that says it was interrupted", text)
	}
}

// TestInterruptNetns interrupts a run on a lab of network namespaces: neither
// its processes nor its network links stay.
func TestInterruptNetns(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	for _, program := range []string{sshdProgram, "ip"} {
		if _, err := exec.LookPath(program); err != nil || os.Getuid() != 0 {
			t.Skipf("SKIPPED, NOT TESTED: needs root, OpenSSH and iproute2: %v", err)
		}
	}
	w := newWorld(t)
	w.write("it.star", "def migration_scenario(env):\n    env.vm(\"vm1\").start()\n    log(\"now\")\n    sleep(600)\n")
	r := w.start("exec", "it.star", "--config", "small.cfg", "--lab", "netns")
	r.await("now")
	states, err := filepath.Glob(filepath.Join(w.cache, "lab", "*", "lab.json"))
	if err != nil || len(states) != 1 {
		t.Fatalf("states of labs: got %q, %v, want one", states, err)
	}
	var state lab.State
	text, err := os.ReadFile(states[0])
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if err != nil || len(state.Links) == 0 {
		t.Fatalf("the lab's state: got %+v, %v, want links", state, err)
	}
	r.signal(syscall.SIGINT)
	if code := r.wait(cleanupTimeout); code != int(exit.Interrupted) {
		t.Errorf("exit status: got %d, want %d", code, int(exit.Interrupted))
	}
	for _, link := range state.Links {
		if _, err := os.Stat("/sys/class/net/" + link); err == nil {
			t.Errorf("the network link %s is left", link)
		}
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range environs {
		environ, _ := os.ReadFile(file) // the process may have ended meanwhile
		if bytes.Contains(environ, []byte("MHMIG_LAB="+state.ID)) {
			t.Errorf("a process of the lab is left: %s", file)
		}
	}
	w.wantNothingLeft()
}

// TestInterruptOtherwise ends runs as a closed terminal and a supervisor do, and
// as Ctrl-C does with a tee behind the pipe, which is gone before mhmig has
// cleaned up.
func TestInterruptOtherwise(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	const scenario = "def migration_scenario(env):\n    env.vm(\"vm1\").start()\n    log(\"now\")\n    sleep(600)\n"
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			needSignal(t, s)
			w := newWorld(t)
			w.write("it.star", scenario)
			r := w.start("exec", "it.star", "--config", "small.cfg")
			r.await("now")
			r.signal(s)
			if code := r.wait(cleanupTimeout); code != int(exit.Interrupted) {
				t.Errorf("exit status: got %d, want %d:\n%s", code, int(exit.Interrupted), r.output())
			}
			w.wantNothingLeft()
		})
	}
	t.Run("reader gone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.write("it.star", scenario)
		cmd := w.command("exec", "it.star", "--config", "small.cfg")
		output, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Process.Kill() // fails if it has ended
		lines := bufio.NewScanner(output)
		for lines.Scan() && !strings.HasSuffix(lines.Text(), " now") {
			continue
		}
		if err := errors.Join(output.Close(), cmd.Process.Signal(syscall.SIGINT)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); exitStatus(err) != int(exit.Interrupted) {
			t.Errorf("it ended with %v, want exit status %d", err, int(exit.Interrupted))
		}
		w.wantNothingLeft()
	})
}

// TestInterruptTwice ends a run that is cleaning up at once; mhmig cleanup then
// removes what it has left.
func TestInterruptTwice(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.write("it.star", `
def slow(host):
    log("cleaning")
    host.run("sleep 100")

def migration_scenario(env):
    env.vm("vm1").start()
    cleanup(slow, env.hosts[0])
    log("now")
    sleep(600)
`)
	r := w.start("exec", "it.star", "--config", "small.cfg")
	r.await("now")
	r.signal(syscall.SIGINT)
	r.await("cleaning")
	r.insist(syscall.SIGINT)
	if code := r.wait(20 * time.Second); code != int(exit.Interrupted) {
		t.Errorf("exit status: got %d, want %d", code, int(exit.Interrupted))
	}
	w.cleanUp()
}

// needSignal skips the test if mhmig would not get the signal.
func needSignal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if signal.Ignored(s) {
		t.Skip("NOT TESTED: the tests run under nohup, and so would mhmig: it then goes on, as asked for: ", s)
	}
}

// TestInterruptSentTwice ends runs as coreutils' timeout does, which sends its signal to
// the command and then to its process group, and as a closed terminal, for which kernel
// and shell send one each. It is one interrupt, after which the run is cleaned up.
func TestInterruptSentTwice(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			needSignal(t, s)
			w := newWorld(t)
			w.write("it.star", strings.ReplaceAll(`
def last(host):
    host.run("sleep 0.2; touch DIR/cleaned")

def migration_scenario(env):
    cleanup(last, env.hosts[0])
    log("now")
    sleep(600)
`, "DIR", w.dir))
			r := w.start("exec", "it.star", "--config", "small.cfg")
			r.await("now")
			r.signal(s)
			r.await("mhmig: interrupted") // else the system could make one of both
			r.signal(s)
			if code := r.wait(cleanupTimeout); code != int(exit.Interrupted) {
				t.Errorf("exit status: got %d, want %d:\n%s", code, int(exit.Interrupted), r.output())
			}
			if _, err := os.Stat(filepath.Join(w.dir, "cleaned")); err != nil {
				t.Errorf("it was not cleaned up: %v:\n%s", err, r.output())
			}
			if n := strings.Count(r.output(), "mhmig: interrupted"); n != 1 {
				t.Errorf("it says %d times that it was interrupted, want once", n)
			}
			run, err := os.ReadFile(filepath.Join(w.dir, "mhmig-results", "latest", "run.json"))
			if err != nil || !bytes.Contains(run, []byte(`"status": "CANCEL"`)) {
				t.Errorf("run.json: %v: %s", err, run)
			}
			w.wantNothingLeft()
		})
	}
}

// TestKilled kills a run. mhmig cleanup, or else the next run, removes what it
// has left.
func TestKilled(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	const scenario = "def migration_scenario(env):\n    env.vm(\"vm1\").start()\n    log(\"now\")\n    sleep(600)\n"
	kill := func(t *testing.T) *world {
		t.Helper()
		w := newWorld(t)
		w.write("it.star", scenario)
		w.write("ok.star", "def migration_scenario(env):\n    pass\n")
		r := w.start("exec", "it.star", "--config", "small.cfg")
		r.await("now")
		r.signal(syscall.SIGKILL)
		r.wait(cleanupTimeout)
		if left, err := remains(w.dir, w.cache); err != nil || !strings.Contains(strings.Join(left, "\n"), "qemu-system-x86_64") {
			t.Fatalf("a killed run should leave QEMU: got %q, %v", left, err)
		}
		return w
	}
	t.Run("cleanup", func(t *testing.T) {
		t.Parallel()
		kill(t).cleanUp()
	})
	t.Run("next run", func(t *testing.T) {
		t.Parallel()
		w := kill(t)
		if out, err := w.command("exec", "ok.star", "--config", "small.cfg").CombinedOutput(); err != nil {
			t.Errorf("the next run: %v\n%s", err, out)
		}
		w.wantNothingLeft()
	})
	t.Run("kept lab", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.write("it.star", scenario)
		if out, err := w.command("lab", "up").CombinedOutput(); err != nil {
			t.Fatalf("lab up: %v\n%s", err, out)
		}
		t.Cleanup(func() {
			if out, err := w.command("lab", "down").CombinedOutput(); err != nil {
				t.Errorf("lab down: %v\n%s", err, out)
			}
			w.wantNothingLeft()
		})
		r := w.start("exec", "it.star", "--config", "small.cfg")
		r.await("now")
		if out, err := w.command("cleanup").CombinedOutput(); exitStatus(err) != int(exit.Usage) || !bytes.Contains(out, []byte("still running")) {
			t.Errorf("cleanup of a run that goes on: got %v: %s", err, out)
		}
		r.signal(syscall.SIGKILL)
		r.wait(cleanupTimeout)
		out, err := w.command("cleanup").CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte(": removed ")) {
			t.Errorf("cleanup: %v\n%s", err, out)
		}
		out, err = w.command("cleanup").CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("mhmig-results: nothing to clean up")) {
			t.Errorf("a second cleanup: %v\n%s", err, out)
		}
		left, err := remains(filepath.Join(w.dir, "mhmig-results"), filepath.Join(w.dir, "no cache"))
		if err != nil || strings.Contains(strings.Join(left, "\n"), "qemu-system-x86_64") {
			t.Errorf("after cleanup: got %q, %v", left, err)
		}
	})
}

// cleanUp runs mhmig cleanup, after which nothing must be left.
func (w *world) cleanUp() {
	w.t.Helper()
	out, err := w.command("cleanup", "mhmig-results/latest").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("mhmig-results/latest: removed ")) {
		w.t.Errorf("cleanup: %v\n%s", err, out)
	}
	w.wantNothingLeft()
}

// writeProgram writes a shell script; DIR in it is the world's folder.
func (w *world) writeProgram(name, script string) {
	w.t.Helper()
	text := "#!/bin/sh\n" + strings.ReplaceAll(script, "DIR", w.dir) + "\n"
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) needGuest() {
	w.t.Helper()
	if testing.Short() {
		w.t.Skip("SKIPPED, NOT TESTED: boots a guest in QEMU")
	}
	if err := giveImage(w.cache); err != nil {
		w.t.Fatal(err)
	}
}

// running is an mhmig that goes on.
type running struct {
	t     testing.TB
	cmd   *exec.Cmd
	ended chan struct{}

	mu      sync.Mutex // guards what follows
	text    bytes.Buffer
	changed chan struct{}
}

// start starts mhmig. It ends with the test at the latest.
func (w *world) start(args ...string) *running {
	w.t.Helper()
	r := &running{t: w.t, cmd: w.command(args...), ended: make(chan struct{}), changed: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = r, r
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() { // ends with the process, which the cleanup waits for
		_ = r.cmd.Wait() // its status is in ProcessState
		close(r.ended)
	}()
	w.t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.ended
	})
	return r
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
	return r.text.Write(p)
}

func (r *running) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// await waits until the output has the words.
func (r *running) await(words string) {
	r.t.Helper()
	r.awaitIn(0, words)
}

// awaitIn waits until the output has words behind its first bytes.
func (r *running) awaitIn(from int, words string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeoutCause(r.t.Context(), patience, fmt.Errorf("%v are over", patience))
	defer cancel()
	for {
		r.mu.Lock()
		text, changed := r.text.String(), r.changed
		r.mu.Unlock()
		if strings.Contains(text[from:], words) {
			return
		}
		select {
		case <-changed:
		case <-r.ended:
			r.t.Fatalf("it ended without saying %q:\n%s", words, r.output())
		case <-ctx.Done():
			r.t.Fatalf("it does not say %q: %v:\n%s", words, context.Cause(ctx), text)
		}
	}
}

// awaitFile waits until there is a file.
func (r *running) awaitFile(name string) {
	r.t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(patience)
	for {
		if _, err := os.Stat(name); err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.ended:
			r.t.Fatalf("it ended without making %s:\n%s", name, r.output())
		case <-timeout:
			r.t.Fatalf("it does not make %s:\n%s", name, r.output())
		}
	}
}

func (r *running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Errorf("%v: %v", s, err)
	}
}

// insist sends the signal until it ends: the first ones may still belong to the interrupt
// before.
func (r *running) insist(s syscall.Signal) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(patience)
	for {
		_ = r.cmd.Process.Signal(s) // fails if it has ended
		select {
		case <-ticker.C:
		case <-r.ended:
			return
		case <-timeout:
			r.t.Fatalf("it does not end:\n%s", r.output())
		}
	}
}

// wait returns the exit status, if it ends within limit.
func (r *running) wait(limit time.Duration) int {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(limit):
		r.t.Fatalf("it did not end within %v:\n%s", limit, r.output())
	}
	return r.cmd.ProcessState.ExitCode()
}

func exitStatus(err error) int {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return 0
	}
	return exit.ExitCode()
}
