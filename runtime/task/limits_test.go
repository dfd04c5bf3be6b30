// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/task"
)

// limited is a program, and how it ends by its limits.
type limited struct {
	name, program string
	limits        star.Limits
	want          string // in its failure; "": it passes
}

// A scenario that computes without end is stopped, wherever it does so.
func TestStepLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []limited{
		{"an endless loop", "def main():\n  while True: pass\n", star.Limits{Steps: 1_000_000}, "main: stopped after 1000000 Starlark steps without an end; is it an endless loop?"},
		{"in a task", "def busy():\n  while True: pass\ndef main():\n  spawn(busy)\n  sleep(60)\n", star.Limits{Steps: 1_000_000}, ": stopped after 1000000 Starlark steps"},
		{"in many tasks, and with waits", "def busy():\n  while True:\n    for _ in range(1000): pass\n    sleep(0)\ndef main():\n  for _ in range(10): spawn(busy)\n", star.Limits{Steps: 1_000_000}, ": stopped after 1000000 Starlark steps"},
		{"less than the limit", "def main():\n  for _ in range(100000): pass\n", star.Limits{Steps: 1_000_000}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.check(t)
		})
	}
}

// So is one that uses more and more memory. The memory of other tests would count.
func TestMemoryLimit(t *testing.T) { //nolint:paralleltest // see above
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	for _, tt := range []limited{
		{"a list that grows", "def main():\n  x = [0] * 1000\n  while True: x.extend([0] * 100000)\n", star.Limits{Memory: now.HeapAlloc + 64<<20}, "main: stopped: "},
		{"a string that grows", "def main():\n  x = 'x' * 1000\n  while len(x): x = x + x\n", star.Limits{Memory: now.HeapAlloc + 64<<20}, "does a list or a string grow without end?"},
		{"garbage", "def main():\n  for _ in range(40): x = 'x' * 5000000\n", star.Limits{Memory: now.HeapAlloc + 64<<20}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runtime.GC() // the garbage of what ran before
			tt.check(t)
		})
	}
}

// Nor does it get far beyond the limit if its turns are short: it waits often, or yields.
func TestMemoryLimitOverTurns(t *testing.T) { //nolint:paralleltest // the memory of other tests would count
	for name, program := range map[string]string{
		"waits":  "def main():\n  x = []\n  for _ in range(2000):\n    x.append('y' * 1000000)\n    sleep(0)\n",
		"yields": "def main():\n  x = []\n  for _ in range(3000000): x.append([0] * 20)\n",
	} {
		t.Run(name, func(t *testing.T) {
			runtime.GC()
			var now, after runtime.MemStats
			runtime.ReadMemStats(&now)
			main := load(t, program)
			s := task.New(t.Context(), nil, nil)
			s.Limits.Memory = now.HeapAlloc + 200<<20
			failures := s.Run(func(t *task.Task) error {
				_, err := t.Call(main)
				runtime.ReadMemStats(&after)
				return err
			}, time.Minute)
			if len(failures) != 1 || !strings.Contains(told(failures)[0], "of memory are in use") || after.HeapAlloc > 3*s.Limits.Memory {
				t.Errorf("failures: %q, with %d MiB in use at a limit of %d MiB", told(failures), after.HeapAlloc>>20, s.Limits.Memory>>20)
			}
		})
	}
}

func (tt limited) check(t *testing.T) {
	t.Helper()
	main := load(t, tt.program)
	s := task.New(t.Context(), nil, nil)
	s.Limits = tt.limits
	cleaned := false
	s.AddCleanup(task.Cleanup{Name: "it", Func: func(*task.Task) error { cleaned = true; return nil }})
	failures := s.Run(func(t *task.Task) error {
		_, err := t.Call(main)
		return err
	}, time.Minute)
	if !cleaned {
		t.Error("the cleanup did not run")
	}
	if tt.want == "" {
		if len(failures) > 0 {
			t.Errorf("failures: %q", told(failures))
		}
		return
	}
	if len(failures) != 1 || !strings.Contains(told(failures)[0], tt.want) {
		t.Fatalf("failures: %q, want one with %q", told(failures), tt.want)
	}
	var limit *star.LimitError
	if !errors.As(failures[0], &limit) || task.Backtrace(failures[0]) == "" && !strings.Contains(tt.program, "spawn") {
		t.Errorf("got %#v with backtrace %q", failures[0].Err, task.Backtrace(failures[0]))
	}
}
