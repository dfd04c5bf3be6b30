// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/result"
)

// inTerminal starts a command on a terminal of its own, which is also keyboard. Where
// nothing is drawn, but for a first argument TERM=….
func (w *world) inTerminal(args ...string) (r *running, keyboard *os.File) {
	w.t.Helper()
	kind := "TERM=dumb"
	if strings.HasPrefix(args[0], "TERM=") {
		kind, args = args[0], args[1:]
	}
	r = &running{t: w.t, cmd: w.command(args...), ended: make(chan struct{}), changed: make(chan struct{})}
	r.cmd.Env = append(r.cmd.Env, kind)
	keyboard, err := pty.StartWithSize(r.cmd, &pty.Winsize{Rows: 24, Cols: 120})
	if err != nil {
		w.t.Fatal(err)
	}
	var copying sync.WaitGroup
	copying.Go(func() { _, _ = io.Copy(r, keyboard) }) // EIO: the other end is closed
	go func() {
		_ = r.cmd.Wait()
		copying.Wait()
		close(r.ended)
	}()
	w.t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.ended
		_ = keyboard.Close()
	})
	return r, keyboard
}

func press(t *testing.T, keyboard io.Writer, keys string) {
	t.Helper()
	if _, err := io.WriteString(keyboard, keys); err != nil {
		t.Fatal(err)
	}
}

// TestPauseOnFailure: while a failed run waits, others look at its VM; Enter, or
// Ctrl-C, then cleans up.
func TestPauseOnFailure(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	for _, key := range []string{"\r", "\x03"} {
		w := newWorld(t)
		w.write("it.star", "def migration_scenario(env):\n    env.vm(\"vm1\").start()\n    fail(\"look\")\n")
		began := time.Now()
		r, keyboard := w.inTerminal("exec", "it.star", "--config", "small.cfg", "--pause-on-failure")
		r.await("press Enter to clean up and continue")
		waits := time.Now()
		if text := r.output(); !strings.Contains(text, "paused: 001 FAIL: it.star:3:9: look") || !strings.Contains(text, "mhmig qmp vm1 --run") {
			t.Errorf("it does not say what failed and how to get in:\n%s", text)
		}
		for _, args := range [][]string{{"lab", "ssh", "host2"}, {"lab", "ssh", "--run", "mhmig-results/latest", "host2"}} {
			visit := w.command(append(args, "echo $MHMIG_LAB_HOST")...)
			if out, err := visit.CombinedOutput(); err != nil || string(out) != "host2\n" {
				t.Errorf("%v: %v\n%s", args, err, out)
			}
		}
		query := w.command("qmp", "vm1")
		query.Stdin = strings.NewReader("query-status\n")
		out, err := query.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte(`"status":"running"`)) || !bytes.Contains(out, []byte("may affect")) {
			t.Errorf("qmp: %v\n%s", err, out)
		}
		if text := r.output(); !strings.Contains(text, "paused") || strings.Contains(text, "clean up\r\n") {
			t.Errorf("what it does while it waits:\n%s", text)
		}
		paused := time.Since(waits)
		press(t, keyboard, key)
		if code := r.wait(cleanupTimeout); code != int(exit.Failed) && key == "\r" || code != int(exit.Interrupted) && key != "\r" {
			t.Errorf("exit status after %q: got %d\n%s", key, code, r.output())
		}
		all := time.Since(began).Seconds()
		if text := r.output(); strings.LastIndex(text, "clean up\r\n") < strings.LastIndex(text, "clean up and continue") {
			t.Errorf("it does not say that it cleans up afterwards:\n%s", text)
		}
		var outcome result.Outcome
		files, err := filepath.Glob(w.dir + "/mhmig-results/latest/001*/outcome.json")
		if err != nil || len(files) != 1 {
			t.Fatalf("outcomes: got %v, %v", files, err)
		}
		if data, err := os.ReadFile(files[0]); err != nil || json.Unmarshal(data, &outcome) != nil {
			t.Fatalf("outcome: %v\n%s", err, data)
		}
		if took := outcome.Seconds; took <= 0 || took > all-paused.Seconds() {
			t.Errorf("seconds: got %v of %v, of which %v were a pause", took, all, paused)
		}
		w.wantNothingLeft()
	}
}

// TestEndOfWorld: a test that fails while a lab and VMs are kept leaves nothing.
func TestEndOfWorld(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.write("it.star", "def migration_scenario(env):\n    env.vm(\"vm1\").start()\n    fail(\"look\")\n")
	if code, _, stderr := w.exec("exec", "it.star", "--config", "small.cfg", "--keep"); code != int(exit.Failed) || !strings.Contains(stderr, "\nkept: 001 FAIL") {
		t.Fatalf("exec --keep: exit status %d\n%s", code, stderr)
	}
	_, status, _ := w.exec("lab", "status")
	_, number, _ := strings.Cut(status, "(process ")
	number, _, _ = strings.Cut(number, ")")
	pid, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("mhmig lab status: %v\n%s", err, status)
	}
	w.end()
	w.wantNothingLeft()
	command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // nothing when it is gone, or dead and nobody has noticed
	if bytes.Contains(command, []byte("lab\x00serve")) {
		t.Errorf("the lab's process %d goes on: %q", pid, command)
	}
}

// TestBreakpointAtTerminal types at a breakpoint; Ctrl-C ends the run.
func TestBreakpointAtTerminal(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	for _, interrupt := range []bool{false, true} {
		w := newWorld(t)
		w.write("it.star", "def migration_scenario(env):\n    secret = 6\n    breakpoint()\n    log(\"went on\")\n")
		r, keyboard := w.inTerminal("exec", "it.star", "--config", "small.cfg")
		r.await("variables: env, secret")
		r.await(">>> ")
		press(t, keyboard, "secret * 7\r")
		r.await("42")
		if interrupt {
			press(t, keyboard, "\x03")
		} else {
			press(t, keyboard, "continue\r")
		}
		code := r.wait(cleanupTimeout)
		switch {
		case interrupt && code != int(exit.Interrupted):
			t.Errorf("exit status after Ctrl-C: got %d\n%s", code, r.output())
		case !interrupt && (code != int(exit.OK) || !strings.Contains(r.output(), "went on")):
			t.Errorf("exit status: got %d\n%s", code, r.output())
		}
		w.wantNothingLeft()
	}
}

// TestScenarioSpeaks: what a scenario prints and logs is seen where the view is drawn,
// with its line, and at a prompt too.
func TestScenarioSpeaks(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.write("it.star", `print("at the top")

def migration_scenario(env):
    words = []
    def chatter():
        wait_for(lambda: "go" in words, 300, 0.01)
        print("from elsewhere")
        words.append("gone")
    task = spawn(chatter)
    print("line one\nline two")
    log("logged", host = "somewhere")
    breakpoint()
    task.join()
`)
	r, keyboard := w.inTerminal("TERM=xterm", "exec", "it.star", "--config", "small.cfg")
	r.await("it.star:1:6: at the top")
	r.await(">>> ")
	for _, want := range []string{"  it.star:10:10: line one\r\n", " line two\r\n", "  it.star:11:8: logged host_=somewhere\r\n"} {
		if text := r.output(); !strings.Contains(text, want) {
			t.Errorf("want %q in\n%s", want, text)
		}
	}
	press(t, keyboard, "print(6 * 7)\r")
	r.await("prompt:1:6: 42")
	press(t, keyboard, "words.append('go')\r")
	r.await("it.star:7:14: from elsewhere\r\r\n>>> ") // the prompt is there again
	press(t, keyboard, "continue\r")
	if code := r.wait(cleanupTimeout); code != int(exit.OK) {
		t.Errorf("exit status: got %d\n%s", code, r.output())
	}
	w.wantNothingLeft()
}

// TestConsoleOfRunningRun joins the console of a run that goes on, from a terminal
// and from a pipe, while the run uses it itself.
func TestConsoleOfRunningRun(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.needGuest()
	w.write("it.star", `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start()
    vm.wait_for_serial_login().close()
    log("now")
    wait_for(lambda: "over" in env.hosts[0].run("cat DIR/over 2>/dev/null; true").stdout, 300, 0.1)
    log("run has it still: " + vm.wait_for_serial_login().cmd("echo $((40+2))"))
`)
	script, err := os.ReadFile(w.dir + "/it.star")
	if err != nil {
		t.Fatal(err)
	}
	w.write("it.star", strings.ReplaceAll(string(script), "DIR", w.dir))
	run := w.start("exec", "it.star", "--param", "vms=vm1", "--param", "accel=tcg")
	run.await("now")

	piped := w.command("console", "vm1")
	piped.Stdin = strings.NewReader("echo $((1000+234))\n")
	out, err := piped.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("1234")) {
		t.Errorf("console, from a pipe: %v\n%s", err, out)
	}
	r, keyboard := w.inTerminal("console", "vm1")
	r.await("Ctrl-] detaches")
	r.await("1234") // the guest is quiet: what it showed before
	press(t, keyboard, "echo $((2000+345))\r")
	r.await("2345")
	press(t, keyboard, "\x1d")
	if code := r.wait(cleanupTimeout); code != int(exit.OK) {
		t.Errorf("exit status of console after Ctrl-]: got %d\n%s", code, r.output())
	}
	w.write("over", "over")
	if code := run.wait(patience); code != int(exit.OK) || !strings.Contains(run.output(), "run has it still: 42") {
		t.Errorf("the run: got %d\n%s", code, run.output())
	}
	log, err := exec.Command("sh", "-c", "cat "+w.dir+"/mhmig-results/latest/001*/vm/vm1@host1/console.log").Output()
	if err != nil || !bytes.Contains(log, []byte("2345")) {
		t.Errorf("the console's log: %v: %q, want what was shown meanwhile", err, log)
	}
	if _, err := os.Stat(w.dir + "/mhmig-results/latest/attach"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of the relay is left: %v", err)
	}
	w.wantNothingLeft()
}

// TestQMPAtTerminal uses the interactive monitor: completion, events, an error.
func TestQMPAtTerminal(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.write("it.star", "def migration_scenario(env):\n    env.vm(\"vm1\").start()\n    log(\"now\")\n    sleep(600)\n")
	run := w.start("exec", "it.star", "--config", "small.cfg")
	run.await("now")
	r, keyboard := w.inTerminal("qmp", "vm1")
	r.await("vm1@host1> ")
	press(t, keyboard, "query-stat\t")
	press(t, keyboard, "us\r")
	r.await(`"status": "running"`)
	press(t, keyboard, "stop\r")
	r.await(" STOP ")
	press(t, keyboard, "\x04")
	if code := r.wait(cleanupTimeout); code != int(exit.OK) {
		t.Errorf("exit status: got %d\n%s", code, r.output())
	}
	run.signal(syscall.SIGINT)
	run.wait(cleanupTimeout)
	w.wantNothingLeft()
}
