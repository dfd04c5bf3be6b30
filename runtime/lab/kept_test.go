// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/lab"
)

// served is the command of a kept lab's process: this test.
var served = []string{"env", "MHMIG_LAB_TEST=serve", os.Args[0]}

func TestKeptLab(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		cache := filepath.Join(t.TempDir(), "cache")
		t.Setenv("MHMIG_CACHE", cache)
		if _, err := lab.Find(); !errors.Is(err, lab.ErrDown) {
			t.Errorf("Find before Up: got %v, want %v", err, lab.ErrDown)
		}
		if err := lab.Down(t.Context(), false); !errors.Is(err, lab.ErrDown) {
			t.Errorf("Down before Up: got %v, want %v", err, lab.ErrDown)
		}
		s, err := lab.Up(t.Context(), lab.Options{Hosts: 2, Kind: kind}, served)
		if err != nil {
			t.Fatal(err)
		}
		defer lab.Down(t.Context(), false)
		found, err := lab.Find()
		if err != nil || found.ID != s.ID || len(found.Configs()) != 2 {
			t.Fatalf("Find: got %v, %v, want lab %s", found, err, s.ID)
		}
		if err := found.Check(t.Context()); err != nil {
			t.Error(err)
		}
		_, err = lab.Up(t.Context(), lab.Options{Hosts: 2, Kind: kind}, served)
		if up, ok := errors.AsType[*lab.UpError](err); !ok || up.State.ID != s.ID {
			t.Errorf("second Up: got %v, want that lab %s is up", err, s.ID)
		}
		h := dial(t, found.Configs()[1])
		run(t, h, daemon)
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if err := lab.Down(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		wantNothingLeft(t, s)
		wantEmpty(t, filepath.Join(cache, "lab"))
		if _, err := lab.Find(); !errors.Is(err, lab.ErrDown) {
			t.Errorf("Find after Down: got %v, want %v", err, lab.ErrDown)
		}
	})
}

func TestKeptLabKilled(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		cache := t.TempDir()
		t.Setenv("MHMIG_CACHE", cache)
		killed := func() *lab.State {
			s, err := lab.Up(t.Context(), lab.Options{Hosts: 2, Kind: kind}, served)
			if err != nil {
				t.Fatal(err)
			}
			h := dial(t, s.Configs()[0])
			run(t, h, daemon)
			h.Close()
			if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "Find knows that the lab is dead", func() error {
				if _, err := lab.Find(); !errors.Is(err, lab.ErrDown) {
					return errors.Join(errors.New("not down"), err)
				}
				return nil
			})
			return s
		}
		first := killed()
		second := killed() // Up has removed the remains of the first
		wantNothingLeft(t, &lab.State{ID: first.ID, ShortDir: first.ShortDir})
		if err := lab.Down(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		wantNothingLeft(t, second)
		wantEmpty(t, filepath.Join(cache, "lab"))
	})
}

func TestUpThatFails(t *testing.T) {
	t.Setenv("MHMIG_CACHE", t.TempDir())
	for _, test := range []struct {
		name    string
		command []string
		hosts   int
		want    string
	}{
		{"no such program", []string{"/no/such/program"}, 1, "start the lab's process: fork/exec /no/such/program: no such file or directory"},
		{"dies", []string{"sh", "-c", "echo out of order >&2; exit 4"}, 1, "the lab's process ended before the lab was up: exit status 4\nout of order"},
		{"bad order", served, 99, "start a lab: hosts: got 99, want 1 to 64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := lab.Up(t.Context(), lab.Options{Hosts: test.hosts}, test.command)
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if _, err := lab.Find(); !errors.Is(err, lab.ErrDown) {
				t.Errorf("Find: got %v, want %v", err, lab.ErrDown)
			}
		})
	}
}

// A lab whose hosts do not answer is not left behind.
func TestUpWithoutAnswer(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("MHMIG_CACHE", cache)
	elsewhere := []string{"env", "MHMIG_LAB_TEST=serve elsewhere", os.Args[0]}
	if s, err := lab.Up(t.Context(), lab.Options{Hosts: 1}, elsewhere); err == nil || s != nil || !strings.Contains(err.Error(), "host1") {
		t.Errorf("got %v, %v, want that host1 does not answer", s, err)
	}
	if _, err := lab.Find(); !errors.Is(err, lab.ErrDown) {
		t.Errorf("Find: got %v, want %v", err, lab.ErrDown)
		if err := lab.Down(t.Context(), true); err != nil {
			t.Error(err)
		}
	}
	wantEmpty(t, filepath.Join(cache, "lab"))
}

// An interrupt ends the wait for a process that is stopped: it is killed after a while.
func TestUpIsInterrupted(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("MHMIG_CACHE", cache)
	t.Cleanup(lab.SetEndGrace(100 * time.Millisecond))
	interrupted := errors.New("interrupted")
	ctx, interrupt := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := lab.Up(ctx, lab.Options{Hosts: 1}, []string{"sh", "-c", `echo $$ >"$MHMIG_CACHE/pid"; kill -STOP $$`})
		ended <- err
	}()
	pid := 0
	eventually(t, "the process is stopped", func() error {
		text, err := os.ReadFile(filepath.Join(cache, "pid"))
		if err != nil {
			return err
		}
		if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			return err
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(stat), " T ") {
			err = errors.New(string(stat))
		}
		return err
	})
	interrupt(interrupted)
	select {
	case err := <-ended:
		if !errors.Is(err, interrupted) {
			t.Errorf("got %v, want %v", err, interrupted)
		}
	case <-time.After(time.Minute):
		t.Errorf("Up still waits for its process")
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		<-ended
	}
}

func TestDefaultFolder(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("MHMIG_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", cache)
	l, err := lab.Start(t.Context(), lab.Options{Hosts: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := filepath.Dir(l.State().Dir), filepath.Join(cache, "mhmig", "lab"); got != want {
		t.Errorf("got %s, want a folder in %s", got, want)
	}
	h, err := host.Dial(t.Context(), l.Hosts()[0], discard)
	if err != nil {
		t.Error(err)
	} else {
		h.Close()
	}
	if _, err := lab.RemoveDead(t.Context()); err != nil { // leaves the living alone
		t.Error(err)
	}
	if err := l.State().Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	wantNothingLeft(t, l.State())
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("%s: %q are left", dir, left)
	}
}
