// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
)

var escape = regexp.MustCompile("\x1b\\[[0-9;]*m")

// TestTerminal runs a scenario that fails, on terminals of several widths: no
// line is longer than the terminal, and colours come only where they are wanted.
func TestTerminal(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.write("judge.star", `
def migration_scenario(env):
    log("a line that is certainly longer than the eighty columns of the terminal that it is shown on")
    warn("careful: there is more to come than anybody would like to read on a narrow terminal")
    fail("the guest has forgotten everything that it was told before it was moved to the other host")
`)
	tests := []struct {
		name    string
		columns uint16
		env     string
		colour  bool
	}{
		{"80", 80, "TERM=xterm", true},
		{"40", 40, "TERM=xterm", true},
		{"no colour", 80, "NO_COLOR=1", false},
		{"dumb", 80, "TERM=dumb", false},
		{"no size", 0, "TERM=xterm", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cmd := w.command("exec", "judge.star", "--config", "small.cfg")
			cmd.Env = append(cmd.Env, "TERM=xterm", test.env)
			text := runInTerminal(t, cmd, test.columns)
			if !strings.Contains(text, "1 variant: 1 FAIL") {
				t.Fatalf("the run did not end as it should:\n%s", text)
			}
			if got := escape.MatchString(text); got != test.colour {
				t.Errorf("colour: got %v, want %v:\n%q", got, test.colour, text)
			}
			plain := escape.ReplaceAllString(text, "")
			if drawn := movement.MatchString(plain); drawn != (test.env != "TERM=dumb") {
				t.Errorf("a live view: got %v:\n%q", drawn, text)
			}
			plain = movement.ReplaceAllString(plain, "")
			for line := range strings.Lines(plain) {
				line = strings.TrimRight(line, "\r\n")
				if strings.HasPrefix(line, "results: ") || oneWord.MatchString(line) {
					continue // a path stays in one piece, to be copied
				}
				columns := int(test.columns)
				if columns == 0 {
					columns = 80
				}
				for shown := range strings.SplitSeq(line, "\r") {
					if n := terminal.Columns(shown); n > columns {
						t.Errorf("%d columns on a terminal of %d: %q", n, columns, shown)
					}
				}
			}
			if i := strings.IndexFunc(plain, func(r rune) bool { return r < ' ' && r != '\r' && r != '\n' }); i >= 0 {
				t.Errorf("control character in %q", plain[i:])
			}
		})
	}
}

var oneWord = regexp.MustCompile(`^ *\S+$`)

// TestLiveView: the view is drawn anew for a terminal that became narrow, and
// Ctrl-C leaves the terminal as it was.
func TestLiveView(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.write("long.star", "def migration_scenario(env):\n    sleep(600)\n")
	w.write("long.cfg", "include small.cfg\nvariants:\n    - "+strings.Repeat("long", 30)+":\n")
	cmd := w.command("exec", "long.star", "--config", "long.cfg")
	cmd.Env = append(cmd.Env, "TERM=xterm")
	screen, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	if err := pty.Setsize(screen, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	frames := make(chan string, 1000)
	go func() { // ends with the terminal
		defer close(frames)
		for buf := make([]byte, 64<<10); ; {
			n, err := screen.Read(buf)
			if err != nil {
				return
			}
			frames <- string(buf[:n])
		}
	}()
	var text strings.Builder
	await := func(what string, there func(lines []string) bool) {
		t.Helper()
		late := time.After(patience)
		for {
			select {
			case frame := <-frames:
				text.WriteString(frame)
				plain := escape.ReplaceAllString(text.String()[strings.LastIndex(text.String(), "\x1b[J")+1:], "")
				if there(strings.Split(movement.ReplaceAllString(plain, ""), "\r\n")) {
					return
				}
			case <-late:
				t.Fatalf("no %s:\n%q", what, text.String())
			}
		}
	}
	width := func(n int) func([]string) bool {
		return func(lines []string) bool {
			for i, line := range lines {
				if strings.HasPrefix(line, "001 ") && i+1 < len(lines) {
					return terminal.Columns(line) == n
				}
			}
			return false
		}
	}
	await("line as wide as the terminal", width(79))
	if err := pty.Setsize(screen, &pty.Winsize{Rows: 24, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	await("line as wide as the narrow terminal", width(39))
	if _, err := screen.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	await("end", func(lines []string) bool { return strings.Contains(strings.Join(lines, ""), "results: ") })
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != int(exit.Interrupted) {
		t.Errorf("exit status: got %d, want %d", code, int(exit.Interrupted))
	}
	after, err := term.GetState(int(tty.Fd()))
	if err != nil || *after != *before {
		t.Errorf("the terminal is not as it was: %v", err)
	}
	if strings.Count(text.String(), "\x1b[?25l") != strings.Count(text.String(), "\x1b[?25h") || strings.Contains(text.String(), "\x1b[?1049h") {
		t.Error("the cursor, or the screen, was not given back")
	}
	if i := strings.LastIndex(text.String(), "\x1b[0m"); strings.LastIndex(text.String(), "\x1b[3") > i || strings.LastIndex(text.String(), "\x1b[1m") > i {
		t.Error("a colour was left on")
	}
	if err := tty.Close(); err != nil {
		t.Error(err)
	}
	w.wantNothingLeft()
}

// movement is what the live view moves the cursor with, clears what it has drawn with,
// and keeps its lines from wrapping with.
var movement = regexp.MustCompile(`\r \x1b\[J\r|\x1b\[\d+A|\x1b\[J|\x1b\[\?7[lh]`)

// runInTerminal returns what a command writes to a terminal that is all of its
// standard streams.
func runInTerminal(t *testing.T, cmd *exec.Cmd, columns uint16) string {
	t.Helper()
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: columns})
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	var text bytes.Buffer
	_, err = io.Copy(&text, screen)
	if !errors.Is(err, syscall.EIO) && err != nil { // EIO: the other end is closed
		t.Error(err)
	}
	_ = cmd.Wait() // its status is what the caller is not interested in
	return text.String()
}

func needQEMU(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: -short leaves out what needs QEMU")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("SKIPPED, NOT TESTED: needs QEMU (package qemu-system-x86)")
	}
}

// world is a folder to run mhmig in, with a home and a cache of its own.
type world struct {
	t          testing.TB
	dir, cache string
}

// newWorld has small.cfg: a VM without a guest, under TCG.
func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t, dir, filepath.Join(dir, "cache")}
	for _, folder := range []string{filepath.Join(dir, "home"), w.cache} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.write("small.cfg", "vms = vm1\nmem = 32\naccel = tcg\n")
	t.Cleanup(w.end)
	return w
}

// end ends what a test that has failed left running.
func (w *world) end() {
	w.t.Helper()
	left, err := remains(w.dir, w.cache)
	if len(left) > 0 {
		err = errors.Join(err, endLab(w.cache))
		removeRemains(left)
	}
	if err != nil {
		w.t.Error(err)
	}
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// command is mhmig with arguments, not started.
func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binDir, "mhmig"), args...)
	cmd.Dir = w.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(w.dir, "home"), "MHMIG_CACHE=" + w.cache}
	return cmd
}

// wantNothingLeft fails the test if runs in this world have left anything on the
// machine.
func (w *world) wantNothingLeft() {
	w.t.Helper()
	left, err := remains(w.dir, w.cache)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(left) > 0 {
		removeRemains(left)
		w.t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}
