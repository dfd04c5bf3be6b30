// SPDX-License-Identifier: Apache-2.0

package live

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/terminal"
)

// drawingEnv has the test's program draw a view on its terminal, for another one to
// look at.
const drawingEnv = "MHMIG_TEST_DRAWS"

func TestMain(m *testing.M) {
	if os.Getenv(drawingEnv) != "" {
		drawForEver()
	}
	os.Exit(m.Run())
}

// drawForEver draws three variants, and writes a line above whenever its standard
// input has one.
func drawForEver() {
	v := New(os.Stderr, Options{Planned: 3})
	log := slog.New(v.Handler())
	for i := range 3 {
		log.Info("variant begins", "variant", fmt.Sprintf("%03d-%s", i+1, strings.Repeat("variant", i+2)))
	}
	for {
		var word string
		if _, err := fmt.Scanln(&word); err != nil || word == "end" {
			v.Close()
			fmt.Println("ended")
			os.Exit(0)
		}
		fmt.Fprintln(v, "it said", word)
	}
}

// blanksAtEnd are what tmux has where a longer line was before.
var blanksAtEnd = regexp.MustCompile(`(?m) +$`)

// TestTmux: in a terminal that is cleared, becomes narrow, wide, low and high, there
// is one view and no copy of it, and nothing else is lost.
func TestTmux(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("THE LIVE VIEW IS NOT TRIED IN A REAL TERMINAL: there is no tmux here; .ci/install-test-packages installs it")
	}
	dir := t.TempDir()
	fifo := filepath.Join(dir, "words")
	tmux := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "tmux", append([]string{"-S", filepath.Join(dir, "socket"), "-f", "/dev/null"}, args...)...)
		cmd.Env = append(os.Environ(), "TMUX=", "TERM=xterm")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		return string(out)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mkfifo", fifo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tmux("new-session", "-d", "-x", "90", "-y", "20", "-s", "view",
		fmt.Sprintf("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo before $i; done; %s=1 %s <%s; sleep 600", drawingEnv, program, fifo))
	t.Cleanup(func() {
		end := exec.Command("tmux", "-S", filepath.Join(dir, "socket"), "kill-server")
		if out, err := end.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	words, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer words.Close()
	tty := strings.TrimSpace(tmux("list-panes", "-t", "view", "-F", "#{pane_tty}"))

	// want waits until the whole screen and what was scrolled off show each of the
	// lines so often.
	want := func(after string, counts map[string]int) {
		t.Helper()
		var text, wrong string
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			text, wrong = blanksAtEnd.ReplaceAllString(tmux("capture-pane", "-p", "-J", "-t", "view", "-S", "-"), ""), ""
			for line, n := range counts {
				if got := strings.Count("\n"+text, "\n"+line); got != n {
					wrong += fmt.Sprintf("%q: got %d, want %d\n", line, got, n)
				}
			}
			if wrong == "" {
				return
			}
		}
		t.Fatalf("after %s:\n%s%s", after, wrong, text)
	}
	resize := func(columns, rows int) {
		t.Helper()
		tmux("resize-window", "-t", "view", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows))
	}
	one := map[string]int{"001 ": 1, "002 ": 1, "003 ": 1, "0 of 3 variants done": 1, "before 1\n": 1, "before 12\n": 1}
	want("the beginning", one)
	resize(50, 20)
	want("narrow", one)
	resize(24, 20)
	want("narrower", map[string]int{"001 ": 1, "002 ": 1, "003 ": 1, "0/3 ": 1, "before 12\n": 1})
	resize(100, 20)
	want("wide", one)
	fmt.Fprintln(words, "wide")
	one["it said wide\n"] = 1
	want("a line above", one)
	resize(100, 3)
	want("low", map[string]int{"0 of 3 variants done": 1, "and 2 more running": 1, "it said wide\n": 1})
	resize(100, 20)
	want("high", one)
	resize(100, 1)
	resize(100, 20)
	want("a single row", one)
	clearScreen := exec.CommandContext(t.Context(), "sh", "-c", "printf '\\033[H\\033[2J\\033[3J' >"+tty)
	if out, err := clearScreen.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, line := range []string{"before 1\n", "before 12\n", "it said wide\n"} {
		delete(one, line)
	}
	want("clear", one)
	fmt.Fprintln(words, "cleared")
	one["it said cleared\n"] = 1
	want("a line after clear", one)
	tmux("send-keys", "-R", "-t", "view")
	tmux("clear-history", "-t", "view")
	delete(one, "it said cleared\n")
	want("a reset", one)
	fmt.Fprintln(words, "end")
	want("the end", map[string]int{"0": 0, "ended\n": 1})
}

// TestNoSize: a terminal of 0 by 0 is one of 80 by 24.
func TestNoSize(t *testing.T) {
	t.Parallel()
	reader, tty := openTerminal(t)
	if columns, rows := terminal.Size(tty); columns != 80 || rows != 24 {
		t.Errorf("got %d by %d, want 80 by 24", columns, rows)
	}
	shown := make(chan string)
	go func() { // ends with the terminal
		defer close(shown)
		buf := make([]byte, 64<<10)
		for {
			n, err := reader.Read(buf)
			if err != nil {
				return
			}
			shown <- string(buf[:n])
		}
	}()
	v := New(tty, Options{Planned: 1})
	slog.New(v.Handler()).Info("variant begins", "variant", "001-"+strings.Repeat("long", 40))
	var text string
	for !strings.Contains(text, " of 1 variants done") {
		text += <-shown
	}
	if !strings.Contains(text, "001 longlong") {
		t.Errorf("got %q, want the variant", text)
	}
	go func() {
		for range shown {
		}
	}()
	v.Close()
}
