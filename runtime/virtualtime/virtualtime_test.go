// SPDX-License-Identifier: Apache-2.0

package virtualtime_test

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/virtualtime"
)

func TestHoursPassAtOnce(t *testing.T) {
	t.Parallel()
	var passed time.Duration
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			err := virtualtime.Run(t.Context(), time.Minute, func() {
				began := time.Now()
				time.Sleep(3 * time.Hour)
				passed = time.Since(began)
			})
			if err != nil {
				t.Error(err)
			}
		})
		group.Wait()
	}
	if passed != 3*time.Hour {
		t.Errorf("got %v of virtual time, want 3h", passed)
	}
}

func TestFaultsAreErrors(t *testing.T) {
	t.Parallel()
	t.Run("panic", func(t *testing.T) {
		t.Parallel()
		err := virtualtime.Run(t.Context(), time.Minute, func() { panic("broken") })
		if e, ok := errors.AsType[*virtualtime.PanicError](err); !ok || e.Value != "broken" || !strings.Contains(e.Stack, "virtualtime_test") {
			t.Errorf("got %v, want a PanicError with the stack", err)
		}
	})
	t.Run("deadlock", func(t *testing.T) {
		t.Parallel()
		err := virtualtime.Run(t.Context(), time.Minute, func() { <-make(chan bool) })
		if e, ok := errors.AsType[*virtualtime.DeadlockError](err); !ok || !strings.Contains(e.Reason, "blocked") {
			t.Errorf("got %v, want a DeadlockError", err)
		}
	})
	t.Run("a goroutine that is left", func(t *testing.T) {
		t.Parallel()
		err := virtualtime.Run(t.Context(), time.Minute, func() {
			never := make(chan bool)
			go func() { <-never }()
		})
		if _, ok := errors.AsType[*virtualtime.DeadlockError](err); !ok {
			t.Errorf("got %v, want a DeadlockError", err)
		}
	})
	t.Run("a wait that is none of the bubble's", func(t *testing.T) {
		t.Parallel()
		var held sync.Mutex
		held.Lock()
		defer held.Unlock()
		err := virtualtime.Run(t.Context(), 100*time.Millisecond, func() {
			held.Lock()
			defer held.Unlock()
		})
		if e, ok := errors.AsType[*virtualtime.StuckError](err); !ok || !strings.Contains(e.Stack, "virtualtime_test") {
			t.Errorf("got %v, want a StuckError with the stack", err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("no more")
		cancel(why)
		var held sync.Mutex
		held.Lock()
		defer held.Unlock()
		err := virtualtime.Run(ctx, time.Minute, func() {
			held.Lock()
			defer held.Unlock()
		})
		if !errors.Is(err, why) {
			t.Errorf("got %v, want %v", err, why)
		}
	})
}

// It works in a program that is no test, and prints nothing.
func TestInAProgram(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/program").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), program).CombinedOutput()
	if err != nil || string(out) != "1h0m0s\n" {
		t.Errorf("got %q, %v, want 1h0m0s", out, err)
	}
}
