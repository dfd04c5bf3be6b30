// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/runtime/task"
)

// TestScenario runs whole scenarios in virtual time.
func TestScenario(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		program  string
		printed  []string
		failures []string
		took     time.Duration
	}{
		{
			name:    "a wait lets others through",
			program: "def child():\n  sleep(1)\n  print('child')\ndef main():\n  c = spawn(child)\n  sleep(3)\n  print('main')\n  join(c, 0)\n",
			printed: []string{"child: child", "main: main"},
			took:    3 * time.Second,
		},
		{
			name:    "join returns what the task returned",
			program: "def double(n):\n  sleep(1)\n  return 2 * n\ndef main():\n  print([join(c, 0) for c in [spawn(double, n) for n in range(4)]])\n",
			printed: []string{"main: [0, 2, 4, 6]"},
			took:    time.Second,
		},
		{
			name:     "the first failure ends the waits of its siblings",
			program:  "def bad():\n  sleep(1)\n  fail('no')\ndef good():\n  sleep(1000)\ndef main():\n  spawn(good)\n  spawn(bad)\n  sleep(1000)\n",
			failures: []string{"bad: no"},
			took:     time.Second,
		},
		{
			name:     "an echo that says only context canceled is no failure",
			program:  "def bad():\n  sleep(1)\n  fail('no')\ndef main():\n  spawn(bad)\n  careless_sleep(1000)\n",
			failures: []string{"bad: no"},
			took:     time.Second,
		},
		{
			name:     "a wait that begins after the stop returns at once",
			program:  "def bad():\n  fail('no')\ndef main():\n  spawn(bad)\n  call(lambda: sleep(1))\n  sleep(1000)\n",
			failures: []string{"bad: no"},
			took:     0,
		},
		{
			name:     "a failure that passes through join is its own task's, once",
			program:  "def bad():\n  sleep(1)\n  fail('no')\ndef middle():\n  join(spawn(bad), 0)\ndef main():\n  join(spawn(middle), 0)\n",
			failures: []string{"bad: no"},
			took:     time.Second,
		},
		{
			name:     "several joiners of one failure",
			program:  "def bad():\n  sleep(1)\n  fail('no')\ndef joiner(t):\n  join(t, 0)\ndef main():\n  b = spawn(bad)\n  spawn(joiner, b)\n  spawn(joiner, b)\n  join(b, 0)\n",
			failures: []string{"bad: no"},
			took:     time.Second,
		},
		{
			name:     "a task that nobody joined is waited for",
			program:  "def child():\n  sleep(60)\n  print('done')\ndef main():\n  spawn(child)\n",
			printed:  []string{"child: done"},
			failures: []string{},
			took:     time.Minute,
		},
		{
			name:     "and its failure counts",
			program:  "def grandchild():\n  sleep(1)\n  fail('late')\ndef child():\n  spawn(grandchild)\ndef main():\n  spawn(child)\n",
			failures: []string{"grandchild: late"},
			took:     time.Second,
		},
		{
			name:     "join gives up",
			program:  "def child():\n  sleep(60)\ndef main():\n  join(spawn(child), 5)\n",
			failures: []string{"main: child: not finished after 5s"},
			took:     5 * time.Second,
		},
		{
			name:    "join of what has ended needs no time",
			program: "def child():\n  return 7\ndef main():\n  c = spawn(child)\n  sleep(1)\n  print(join(c, 0), join(c, 1))\n",
			printed: []string{"main: 7 7"},
			took:    time.Second,
		},
		{
			name:     "a task cannot join itself",
			program:  "def main():\n  tasks = []\n  def child():\n    join(tasks[0], 0)\n  tasks.append(spawn(child))\n",
			failures: []string{"child: child cannot wait for its own end"},
		},
		{
			name:     "tasks cannot join each other",
			program:  "def main():\n  tasks = []\n  def first():\n    join(tasks[1], 0)\n  def second():\n    sleep(1)\n    join(tasks[0], 0)\n  tasks.append(spawn(first))\n  tasks.append(spawn(second))\n",
			failures: []string{"second: second cannot wait for first, which waits for it"},
			took:     time.Second,
		},
		{
			name:     "a panic is a failure",
			program:  "def main():\n  panic()\n",
			failures: []string{"main: internal error: boom"},
		},
		{
			name:     "a panic while waiting is a failure and keeps the lock in order",
			program:  "def child():\n  sleep(1)\n  panic_waiting()\ndef main():\n  cleanup(lambda: print('cleaned'))\n  spawn(child)\n  sleep(10)\n",
			printed:  []string{"cleanup lambda: cleaned"},
			failures: []string{"child: internal error: boom"},
			took:     time.Second,
		},
		{
			name:    "env, scope and position",
			program: "def main():\n  print(about())\n  print(where())\n  join(spawn(lambda: print(about())), 0)\n",
			printed: []string{"main: main: env the env, scope <nil>", "main: test.star:3:14", "lambda: lambda: env the env, scope a scope"},
		},
		{
			name:    "cleanups run last first",
			program: "def main():\n  for n in range(3):\n    cleanup(lambda: print(n))\n  def last(): print('last')\n  cleanup(last)\n  print('body')\n",
			printed: []string{"main: body", "cleanup last: last", "cleanup lambda: 2", "cleanup lambda: 2", "cleanup lambda: 2"},
		},
		{
			name:     "cleanups run after a failure, in which all may wait",
			program:  "def undo():\n  sleep(2)\n  print('undone')\ndef main():\n  cleanup(undo)\n  sleep(1)\n  fail('no')\n",
			printed:  []string{"cleanup undo: undone"},
			failures: []string{"main: no"},
			took:     3 * time.Second,
		},
		{
			name:    "a cleanup may start tasks",
			program: "def child():\n  sleep(1)\n  return 'child'\ndef undo():\n  print(join(spawn(child), 0))\ndef main():\n  cleanup(undo)\n",
			printed: []string{"cleanup undo: child"},
			took:    time.Second,
		},
		{
			name:     "a failure in a cleanup is further; the next cleanup runs",
			program:  "def child(): fail('child')\ndef undo1(): print('first')\ndef undo2(): join(spawn(child), 0)\ndef undo3(): panic()\ndef main():\n  cleanup(undo1)\n  cleanup(undo2)\n  cleanup(undo3)\n  fail('no')\n",
			printed:  []string{"cleanup undo1: first"},
			failures: []string{"main: no", "cleanup undo3: internal error: boom", "child: child"},
		},
		{
			name:    "what a cleanup leaves behind runs right after it",
			program: "def main():\n  cleanup(lambda: print('outer'))\n  def undo():\n    def inner(): print('inner')\n    cleanup(inner)\n    print('undo')\n  cleanup(undo)\n",
			printed: []string{"cleanup undo: undo", "cleanup inner: inner", "cleanup lambda: outer"},
		},
		{
			name:     "a cleanup that leaves itself ends",
			program:  "def again():\n  print('again')\n  cleanup(again)\ndef main():\n  cleanup(lambda: print('outer'))\n  cleanup(again)\n",
			printed:  append(slices.Repeat([]string{"cleanup again: again"}, 10), "cleanup lambda: outer"),
			failures: []string{"cleanup again: cleanup again is not run: 10 cleanups have registered each other; does it register itself?"},
		},
		{
			name:     "what a cleanup leaves has no time of its own",
			program:  "def inner():\n  sleep(40)\n  print('inner')\ndef outer():\n  cleanup(inner)\n  cleanup(inner)\n  cleanup(inner)\ndef main():\n  cleanup(outer)\n",
			printed:  []string{"cleanup inner: inner"},
			failures: []string{"cleanup inner: cleanup outer took longer than 1m0s", "cleanup inner: cleanup inner is not run: cleanup outer took longer than 1m0s"},
			took:     cleanupLimit,
		},
		{
			name:    "a limit ends a wait, and only that",
			program: "def main():\n  print(within(2, lambda: sleep(1000)))\n  print(within(2, lambda: 'done'))\n  sleep(1)\n  print('on')\n",
			printed: []string{"main: over at test.star:2:32", "main: done", "main: on"},
			took:    3 * time.Second,
		},
		{
			name:    "of two limits the sooner one ends, whichever is inside",
			program: "def main():\n  print(within(5, lambda: within(2, lambda: careless_sleep(1000))))\n  print(within(2, lambda: [within(5, lambda: sleep(1000)), print('never')]))\n  sleep(1)\n",
			printed: []string{"main: over at test.star:2:59", "main: over at test.star:3:51"},
			took:    5 * time.Second,
		},
		{
			name:    "a limit ends a join, not the other task",
			program: "def main():\n  def child():\n    sleep(5)\n    print('child')\n  other = spawn(child)\n  within(2, lambda: join(other, 0))\n  join(other, 0)\n",
			printed: []string{"child: child"},
			took:    5 * time.Second,
		},
		{
			name:     "a failure before the limit stays one",
			program:  "def main():\n  within(5, lambda: fail('no'))\n",
			failures: []string{"main: no"},
		},
		{
			name:     "a scenario that is stopped meanwhile is",
			program:  "def bad():\n  sleep(1)\n  fail('no')\ndef main():\n  spawn(bad)\n  print(within(5, lambda: sleep(1000)))\n",
			failures: []string{"bad: no"},
			took:     time.Second,
		},
		{
			name:     "each cleanup has its own limit",
			program:  "def undo1():\n  sleep(59)\n  print('first')\ndef undo2():\n  sleep(1000)\ndef main():\n  cleanup(undo1)\n  cleanup(undo2)\n",
			printed:  []string{"cleanup undo1: first"},
			failures: []string{"cleanup undo2: cleanup undo2 took longer than 1m0s"},
			took:     cleanupLimit + 59*time.Second,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				printed, failures := play(t.Context(), t, test.program)
				if diff := cmp.Diff(test.printed, printed); diff != "" {
					t.Errorf("printed (-want +got):\n%s", diff)
				}
				if test.failures == nil {
					test.failures = []string{}
				}
				if diff := cmp.Diff(test.failures, told(failures)); diff != "" {
					t.Errorf("failures (-want +got):\n%s", diff)
				}
				if took := time.Since(began); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
			})
		})
	}
}

func TestFailureHasItsOwnBacktrace(t *testing.T) {
	t.Parallel()
	_, failures := play(t.Context(), t, `
def deep():
    fail("no")

def child():
    call(deep)

def main():
    join(spawn(child), 0)
`)
	if len(failures) != 1 {
		t.Fatalf("failures: got %q, want one", told(failures))
	}
	want := "Traceback (most recent call last):\n" +
		"  test.star:6:9: in child\n" +
		"  <builtin>: in builtin\n" +
		"  test.star:3:9: in deep\n" +
		"  <builtin>: in builtin\n"
	if diff := cmp.Diff(want, task.Backtrace(failures[0])); diff != "" {
		t.Errorf("backtrace (-want +got):\n%s", diff)
	}
	if got, want := task.Position(failures[0]), "test.star:3:9"; got != want {
		t.Errorf("Position: got %q, want %q", got, want)
	}
}

// TestBacktraceIsNotAnotherTasks: an error that a task only passes on has that
// task's place, not the one where the other failed.
func TestBacktraceIsNotAnotherTasks(t *testing.T) {
	t.Parallel()
	raise := func(file string) error {
		_, err := starlark.ExecFileOptions(&syntax.FileOptions{}, &starlark.Thread{}, file, "1 // 0\n", nil)
		return err
	}
	other := &task.Error{Task: "other", Err: raise("other.star")}
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"only another's", &task.Error{Task: "own", Err: fmt.Errorf("join: %w", other)}, ""},
		{"first of several", errors.Join(errors.New("no place"), raise("own.star"), other), "own.star:1:3"},
		{"none of several", errors.Join(errors.New("no place"), errors.New("nor here")), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := task.Position(test.err); got != test.want {
				t.Errorf("Position: got %q, want %q", got, test.want)
			}
		})
	}
}

func TestNoBacktraceOutsideStarlark(t *testing.T) {
	t.Parallel()
	err := &task.Error{Task: "x", Err: errors.New("no")}
	if got := task.Backtrace(err) + task.Position(err); got != "" {
		t.Errorf("backtrace and position: got %q, want none", got)
	}
	if task.From(&starlark.Thread{}) != nil {
		t.Errorf("From(a thread that loads): got a task, want nil")
	}
}

// TestOneFaultToldTwice: the sides of a migration both end with the error that
// one of them has met.
func TestOneFaultToldTwice(t *testing.T) {
	t.Parallel()
	fault := errors.New("the source failed")
	for _, test := range []struct {
		name          string
		first, second error
		want          []string
	}{
		{"the same error", fault, fault, []string{"first: the source failed"}},
		{"wrapped second", fault, fmt.Errorf("waited: %w", fault), []string{"first: the source failed"}},
		{"wrapped first", fmt.Errorf("waited: %w", fault), fault, []string{"first: waited: the source failed"}},
		{"another", fault, errors.New("disk full"), []string{"first: the source failed", "second: disk full"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := task.New(t.Context(), nil, nil)
			failures := s.Run(func(t *task.Task) error {
				first := s.Go("first", nil, func(*task.Task) (starlark.Value, error) { return nil, test.first })
				<-first.Done()
				second := s.Go("second", nil, func(*task.Task) (starlark.Value, error) { return nil, test.second })
				<-second.Done()
				if _, err := first.Result(); !errors.Is(err, test.first) {
					return fmt.Errorf("Result: got %w, want %w", err, test.first)
				}
				return nil
			}, cleanupLimit)
			if diff := cmp.Diff(test.want, told(failures)); diff != "" {
				t.Errorf("failures (-want +got):\n%s", diff)
			}
		})
	}
}

var errInterrupted = errors.New("interrupted")

// TestContextEnds ends a scenario from outside, in each state a task may be in.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, program string }{
		{"waiting", "def main():\n  cleanup(lambda: print('cleaned'))\n  sleep(1000)\n"},
		{"waiting, without the cause", "def main():\n  cleanup(lambda: print('cleaned'))\n  careless_sleep(1000)\n"},
		{"joining", "def child():\n  sleep(1000)\ndef main():\n  cleanup(lambda: print('cleaned'))\n  c = spawn(child)\n  sleep(1)\n  join(c, 0)\n"},
		{"many", "def child():\n  sleep(1000)\ndef main():\n  cleanup(lambda: print('cleaned'))\n  for i in range(8):\n    spawn(child)\n  sleep(1000)\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, errInterrupted)
				defer cancel()
				began := time.Now()
				printed, failures := play(ctx, t, test.program)
				if took := time.Since(began); took != 5*time.Second {
					t.Errorf("took %v, want 5s", took)
				}
				if diff := cmp.Diff([]string{"cleanup lambda: cleaned"}, printed); diff != "" {
					t.Errorf("printed (-want +got):\n%s", diff)
				}
				if len(failures) != 1 || !errors.Is(failures[0], errInterrupted) || failures[0].Error() != "interrupted" {
					t.Errorf("failures: got %q, want one that says: interrupted", told(failures))
				}
			})
		})
	}
}

func TestContextEndedBefore(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	printed, failures := play(ctx, t, "def main():\n  print('ran')\n")
	if diff := cmp.Diff([]string{"main: interrupted"}, told(failures)); diff != "" || printed != nil {
		t.Errorf("printed %q, failures (-want +got):\n%s", printed, diff)
	}
}
