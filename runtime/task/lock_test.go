// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/task"
)

// TestTasksShareValues lets eight tasks change a list and a dict; the race
// detector watches.
func TestTasksShareValues(t *testing.T) {
	t.Parallel()
	printed, failures := play(t.Context(), t, `
def main():
    items, counts = [], {"n": 0}

    def worker(name):
        for i in range(100):
            items.append((name, i))
            counts["n"] += 1
            counts[name] = counts.get(name, 0) + 1
            sleep(0)

    for w in [spawn(worker, n) for n in range(8)]:
        join(w, 0)
    print(len(items), counts["n"], [counts[n] for n in range(8)])
`)
	want := []string{"main: 800 800 [100, 100, 100, 100, 100, 100, 100, 100]"}
	if diff := cmp.Diff(want, printed); diff != "" || len(failures) > 0 {
		t.Errorf("failures %q, printed (-want +got):\n%s", told(failures), diff)
	}
}

// TestBusyLoopStarvesNobody: the loop ends only when its sibling has run.
func TestBusyLoopStarvesNobody(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the sibling starved"))
	defer cancel()
	_, failures := play(ctx, t, `
def main():
    turns = []

    def sibling():
        for i in range(10):
            turns.append(i)
            sleep(0)

    spawn(sibling)
    while len(turns) < 10:
        pass
`)
	if len(failures) > 0 {
		t.Errorf("failures: got %q, want none", told(failures))
	}
}

// TestShortWorkIsWhole: what a task does between two waits is not interrupted,
// though all its work together is much.
func TestShortWorkIsWhole(t *testing.T) {
	t.Parallel()
	_, failures := play(t.Context(), t, `
def main():
    state = {"halfway": False, "over": False}

    def watcher():
        while not state["over"]:
            if state["halfway"]:
                fail("seen halfway")
            sleep(0)

    for i in range(4):
        spawn(watcher)
    for i in range(50):
        state["halfway"] = True
        for j in range(5000):
            pass
        state["halfway"] = False
        sleep(0)
    state["over"] = True
`)
	if len(failures) > 0 {
		t.Errorf("failures: got %q, want none", told(failures))
	}
}

// TestStopEndsBusyLoop: neither a loop nor one in a callback holds up the end.
func TestStopEndsBusyLoop(t *testing.T) {
	t.Parallel()
	const limit = time.Minute // milliseconds in truth; for ever, if it is broken
	const busy = "def busy():\n  n = 0\n  while True:\n    n += 1\n    if n == 1000:\n      print('begun')\n"
	tests := []struct{ name, program string }{
		{"called", busy + "def main():\n  busy()\n"},
		{"in a callback", busy + "def main():\n  call(busy)\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			main := load(t, test.program)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			begun := make(chan struct{})
			s := task.New(ctx, nil, func(*task.Task, string) { close(begun) })
			var ended time.Time
			s.Go("Ctrl-C", nil, func(*task.Task) (starlark.Value, error) {
				<-begun
				ended = time.Now()
				cancel(errInterrupted)
				return nil, nil
			})
			failures := s.Run(func(t *task.Task) error {
				_, err := t.Call(main)
				return err
			}, cleanupLimit)
			if took := time.Since(ended); took > limit {
				t.Errorf("ended %v after the interruption, want a few milliseconds", took)
			}
			if diff := cmp.Diff([]string{"main: interrupted"}, told(failures)); diff != "" {
				t.Fatalf("failures (-want +got):\n%s", diff)
			}
			if got := task.Backtrace(failures[0]); !strings.HasSuffix(got, "in busy\n") {
				t.Errorf("Backtrace: got %q, want one that ends in busy", got)
			}
			if !errors.Is(failures[0], errInterrupted) {
				t.Errorf("failure does not wrap the context's cause")
			}
		})
	}
}

// TestFailureEndsBusySibling: a loop that was cancelled is no failure of its own.
func TestFailureEndsBusySibling(t *testing.T) {
	t.Parallel()
	_, failures := play(t.Context(), t, `
def busy():
    while True:
        pass

def bad():
    fail("no")

def main():
    for i in range(3):
        spawn(busy)
    sleep(0)
    spawn(bad)
    call(busy)
`)
	if diff := cmp.Diff([]string{"bad: no"}, told(failures)); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
}

// TestWaitLeavesErrorsAlone: an error that has nothing to do with the stop
// stays what it is.
func TestWaitLeavesErrorsAlone(t *testing.T) {
	t.Parallel()
	fault := errors.New("disk full")
	s := task.New(t.Context(), nil, nil)
	fn := starlark.NewBuiltin("fn", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return task.Wait(task.From(thread), func(context.Context) (starlark.Value, error) { return nil, fault })
	})
	failures := s.Run(func(t *task.Task) error {
		_, err := t.Call(fn)
		return err
	}, cleanupLimit)
	if len(failures) != 1 || !errors.Is(failures[0], fault) {
		t.Errorf("failures: got %q, want the fault itself", told(failures))
	}
}

// BenchmarkWait measures what giving the lock away and taking it back costs
// when nobody waits for it.
func BenchmarkWait(b *testing.B) {
	s := task.New(b.Context(), nil, nil)
	wait := starlark.NewBuiltin("wait", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		t := task.From(thread)
		for b.Loop() {
			if _, err := task.Wait(t, func(context.Context) (struct{}, error) { return struct{}{}, nil }); err != nil {
				return nil, err
			}
		}
		return starlark.None, nil
	})
	b.ReportAllocs()
	if failures := s.Run(func(t *task.Task) error {
		_, err := t.Call(wait)
		return err
	}, cleanupLimit); len(failures) > 0 {
		b.Fatal(failures[0])
	}
}

// Code that computes is ended by a limit as well, and the task goes on.
func TestWithinEndsBusyLoop(t *testing.T) {
	t.Parallel()
	printed, failures := play(t.Context(), t, `
def busy():
    while True:
        pass

def main():
    for _ in range(3):
        print(within(1, busy))
    print(len([0 for _ in range(300000)]))
`)
	if len(failures) > 0 {
		t.Errorf("failures: %q", told(failures))
	}
	if len(printed) != 4 || !strings.HasPrefix(printed[2], "main: over at test.star:") || printed[3] != "main: 300000" {
		t.Errorf("printed: got %q", printed)
	}
}
