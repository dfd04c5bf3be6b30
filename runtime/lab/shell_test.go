// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/lab"
)

func TestLoginCommand(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		l := start(t, kind, 2)
		var stdout, stderr bytes.Buffer
		status, err := l.State().Login(t.Context(), "host2", lab.Login{
			Command: "cat; echo $MHMIG_LAB_HOST >&2; exit 9",
			Stdin:   strings.NewReader("typed"), Stdout: &stdout, Stderr: &stderr,
		})
		if err != nil || status != 9 || stdout.String() != "typed" || stderr.String() != "host2\n" {
			t.Errorf("got %d, %v, %q, %q", status, err, &stdout, &stderr)
		}
		if status, err := l.State().Login(t.Context(), "host1", lab.Login{Command: "kill -TERM $$"}); err != nil || status != 143 {
			t.Errorf("killed command: got %d, %v, want 143", status, err)
		}
		if _, err := l.State().Login(t.Context(), "host3", lab.Login{}); err == nil || err.Error() != "host3: no such host; the lab has host1 to host2" {
			t.Errorf("unknown host: got %v", err)
		}
		enough := errors.New("enough")
		for _, after := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 200 * time.Millisecond} {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(after, func() { cancel(enough) })
			if _, err := l.State().Login(ctx, "host1", lab.Login{Command: "sleep 4000"}); !errors.Is(err, enough) {
				t.Errorf("cancelled after %v: got %v, want %v", after, err, enough)
			}
		}
	})
}

func TestLoginTerminal(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		l := start(t, kind, 1)
		keyboard, typed := io.Pipe()
		screen := &screen{}
		resized := make(chan lab.Size)
		go func() { // ends with the shell; the terminal echoes the line, in which the word is another
			io.WriteString(typed, "stty size; echo $TERM; sleep 5000 &\n")
			screen.await(t, "31 101")
			screen.await(t, "vt220")
			resized <- lab.Size{Columns: 77, Rows: 22}
			io.WriteString(typed, "until test \"$(stty size)\" = '22 77'; do sleep 0.1; done; echo re''sized\n")
			screen.await(t, "resized")
			io.WriteString(typed, "sh -c 'echo fore''ground; exec sleep 6000'\n")
			screen.await(t, "foreground")
			io.WriteString(typed, "\x03") // interrupts it
			io.WriteString(typed, "exit 5\n")
		}()
		status, err := l.State().Login(t.Context(), "host1", lab.Login{
			Stdin: keyboard, Stdout: screen, Stderr: screen,
			Terminal: &lab.Terminal{Type: "vt220", Size: lab.Size{Columns: 101, Rows: 31}, Resized: resized},
		})
		keyboard.Close()
		if err != nil || status != 5 {
			t.Errorf("got %d, %v, want 5; the screen:\n%s", status, err, screen.text())
		}
		if !strings.Contains(screen.text(), "host1:~") {
			t.Errorf("no prompt in\n%s", screen.text())
		}
	})
}

// TestHangUp: closing the terminal ends the shell with its jobs.
func TestHangUp(t *testing.T) {
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("NOT TESTED: the tests run under nohup, and what they start inherits that")
	}
	l := start(t, lab.Embedded, 1)
	keyboard, typed := io.Pipe()
	screen := &screen{}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // ends with the shell
		// Bash passes the signal on only while it waits for a line. The terminal echoes this
		// one, in which the prompt is written differently.
		io.WriteString(typed, "sleep 7000 & sleep 7000 & PS1=star''ted\n")
		screen.await(t, "started")
		cancel()
	}()
	_, err := l.State().Login(ctx, "host1", lab.Login{
		Stdin: keyboard, Stdout: screen, Stderr: screen, Terminal: &lab.Terminal{Type: "dumb", Size: lab.Size{Columns: 80, Rows: 24}},
	})
	keyboard.Close()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	eventually(t, "the shell and its jobs end", func() error {
		if left := processesOf(t, l.State().ID); len(left) > 0 {
			return errors.New(strings.Join(left, "\n"))
		}
		return nil
	})
}

// screen collects what a terminal shows.
type screen struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes.Write(p)
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes.String()
}

// await waits until the screen shows text.
func (s *screen) await(t *testing.T, text string) {
	deadline := time.Now().Add(time.Minute)
	for !strings.Contains(s.text(), text) {
		if time.Now().After(deadline) {
			t.Errorf("no %q on the screen:\n%s", text, s.text())
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
