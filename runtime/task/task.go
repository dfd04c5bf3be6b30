// SPDX-License-Identifier: Apache-2.0

// Package task runs the tasks of one scenario: its main function, both sides
// of each migration, and whatever it starts with on, spawn and parallel.
//
// Every task is a Starlark thread on a goroutine of its own, but only one of a
// scenario's tasks runs Starlark code at a time: it holds the scenario's lock.
// [Task.Call] holds the lock while Starlark code runs; a builtin that waits releases
// it with [Wait]. So workers may share lists and dicts without data races: other
// tasks run only during waits, and during long computations, so that they do not
// starve. Different scenarios share nothing.
//
// The first task that fails stops its scenario: the context that all tasks
// wait under ends with that failure as its cause, and threads that run
// Starlark code are cancelled.
//
// Scenario's and Task's methods may be called from any goroutine, except that
// Call, CallHeld, Within, Wait and Context belong to the goroutine that runs the
// task.
package task

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/star"
)

// Scenario is one running scenario: its lock, its tasks and what stops them.
type Scenario struct {
	// Failed, if set before Run, is called when all tasks have ended and some have
	// failed. If it returns true, the cleanups are not run.
	Failed func([]*Error) (keep bool)
	// Limits, if set before Run, stop the scenario with a [star.LimitError]. Each of its
	// cleanups may take as much again.
	Limits star.Limits

	ctx   context.Context // ends when the scenario is stopped; a per-scenario value, like a Task's
	stop  context.CancelCauseFunc
	print func(t *Task, message string)
	env   any

	lock  turnLock      // held by the task that runs Starlark code
	steps atomic.Uint64 // Starlark steps of all tasks

	exceeded atomic.Pointer[star.LimitError] // set before a thread is cancelled for it

	group sync.WaitGroup

	mu       sync.Mutex // guards what follows
	failures []*Error
	cleanups []Cleanup
}

// Cleanup is a function to run at the scenario's end.
type Cleanup struct {
	Name string
	Func func(*Task) error
}

// New returns a scenario whose tasks all wait under ctx. print receives what
// Starlark's print writes. env is the embedder's own state, see [Task.Env].
func New(ctx context.Context, env any, print func(t *Task, message string)) *Scenario {
	ctx, stop := context.WithCancelCause(ctx)
	return &Scenario{ctx: ctx, stop: stop, print: print, env: env}
}

// Task is one thread of a scenario.
type Task struct {
	Name string

	sc     *Scenario
	ctx    context.Context
	cancel context.CancelCauseFunc
	thread *starlark.Thread
	scope  any

	counted uint64  // of the thread's steps, those that are in the scenario's; guarded by its lock
	joining []*Task // those that this one waits for in Join; guarded by the scenario's lock

	done   chan struct{}
	result starlark.Value // valid once done is closed
	err    error
}

const localKey = "mhmig.task"

// From returns the task that a Starlark thread belongs to, nil for a thread
// that only loads modules.
func From(thread *starlark.Thread) *Task {
	t, _ := thread.Local(localKey).(*Task)
	return t
}

// Run runs main as the scenario's first task, waits for all tasks, then runs the
// cleanups. It returns the failures in order. Cleanups run even when ctx has ended,
// each for at most cleanupTimeout.
func (s *Scenario) Run(main func(*Task) error, cleanupTimeout time.Duration) []*Error {
	failures := s.run("main", main)
	if len(failures) > 0 && s.Failed != nil && s.Failed(failures) {
		return failures
	}
	return append(failures, s.cleanUp(cleanupTimeout)...)
}

// run runs main and all tasks that it starts.
func (s *Scenario) run(name string, main func(*Task) error) []*Error {
	defer s.Limits.WatchMemory(func() bool { return s.lock.holder.Load() != nil }, s.exceed)()
	s.Go(name, nil, func(t *Task) (starlark.Value, error) { return nil, main(t) })
	if !s.wait() {
		s.abandon(name)
	}
	s.stop(errEnded)
	return s.Failures()
}

// exceed stops the scenario, which uses too much memory. In virtual time the guard is outside of it, and cannot end its
// contexts: it cancels the thread that computes, which then stops the scenario, see explain.
func (s *Scenario) exceed(err *star.LimitError) {
	if s.Limits.Guard == nil {
		s.stop(err)
		return
	}
	s.exceeded.Store(err)
	if thread := s.lock.holder.Load(); thread != nil {
		thread.Cancel(cancelReason)
	}
}

// A computing task is stopped after some Starlark steps. One operation, such as the
// product of huge numbers, is one step however long it takes. The task is abandoned
// when it holds the lock for maxPolls polls.
const (
	pollInterval = 100 * time.Millisecond
	maxPolls     = 30
)

// wait waits for all tasks. It reports false when the scenario was stopped and a task
// neither ends nor releases the lock.
func (s *Scenario) wait() bool {
	ended := make(chan struct{})
	go func() { s.group.Wait(); close(ended) }() // ends with the tasks
	select {
	case <-ended:
		return true
	case <-s.ctx.Done():
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	last, seen := int64(0), 0
	for seen < maxPolls {
		select {
		case <-ended:
			return true
		case <-ticker.C:
		}
		if turn, held := s.lock.state(); !held || turn != last {
			last, seen = turn, 0
			continue
		}
		seen++
	}
	return false
}

// abandon records that tasks which do not end were abandoned. They end when their
// operation is done, or with the process.
func (s *Scenario) abandon(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := fmt.Errorf("%w; the scenario is in a computation that cannot be stopped, and was abandoned", context.Cause(s.ctx))
	if len(s.failures) == 0 {
		s.failures = append(s.failures, &Error{Task: name, Err: err})
	}
}

var errEnded = errors.New("the scenario ended")

// Failures returns the failures so far, in order.
func (s *Scenario) Failures() []*Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Error(nil), s.failures...)
}

// AddCleanup registers work for the scenario's end. Cleanups run last first, whatever
// happened before. Each runs like a scenario, so it may wait and start tasks; a
// cleanup that it registers in turn runs right after it, within the same time, at
// most maxCleanupDepth deep: one that registers itself ends.
func (s *Scenario) AddCleanup(c Cleanup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, c)
}

func (s *Scenario) popCleanup() (c Cleanup, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.cleanups) - 1
	if last < 0 {
		return Cleanup{}, false
	}
	c = s.cleanups[last]
	s.cleanups = s.cleanups[:last]
	return c, true
}

// maxCleanupDepth limits cleanups that were registered by cleanups.
const maxCleanupDepth = 10

func (s *Scenario) cleanUp(timeout time.Duration) []*Error {
	var failures []*Error
	for c, more := s.popCleanup(); more; c, more = s.popCleanup() {
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(s.ctx), timeout,
			fmt.Errorf("cleanup %s took longer than %v", c.Name, timeout))
		failures = append(failures, s.perform(ctx, c, 1)...)
		cancel()
	}
	return failures
}

// perform runs a cleanup, then the cleanups that it registered, all under ctx. depth
// counts nested cleanups, from 1.
func (s *Scenario) perform(ctx context.Context, c Cleanup, depth int) []*Error {
	own := New(ctx, s.env, s.print)
	own.Limits = s.Limits
	failures := own.run("cleanup "+c.Name, c.Func)
	for next, more := own.popCleanup(); more; next, more = own.popCleanup() {
		var err error
		switch {
		case depth == maxCleanupDepth:
			err = fmt.Errorf("cleanup %s is not run: %d cleanups have registered each other; does it register itself?", next.Name, maxCleanupDepth)
		case ctx.Err() != nil:
			err = fmt.Errorf("cleanup %s is not run: %w", next.Name, context.Cause(ctx))
		default:
			failures = append(failures, own.perform(ctx, next, depth+1)...)
			continue
		}
		return append(failures, &Error{Task: "cleanup " + next.Name, Err: err})
	}
	return failures
}

// Go starts a task that runs f on a new goroutine, without the scenario's lock: f
// enters Starlark through [Task.Call]. scope is the
// embedder's, see [Task.Scope]. A failure of f stops the scenario.
func (s *Scenario) Go(name string, scope any, f func(*Task) (starlark.Value, error)) *Task {
	t := s.newTask(name, scope)
	s.group.Go(func() {
		defer t.cancel(errEnded)
		defer close(t.done)
		t.err = t.protect(func() (err error) {
			t.result, err = f(t)
			return err
		})
		if t.err != nil {
			s.fail(t)
		}
	})
	return t
}

func (s *Scenario) newTask(name string, scope any) *Task {
	t := &Task{Name: name, sc: s, scope: scope, done: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancelCause(s.ctx)
	t.thread = &starlark.Thread{
		Name:       name,
		Print:      func(_ *starlark.Thread, message string) { s.print(t, message) },
		OnMaxSteps: t.yield,
	}
	t.thread.SetLocal(localKey, t)
	return t
}

// Scenario returns the scenario that t is a task of.
func (t *Task) Scenario() *Scenario { return t.sc }

// Env returns the value given to [New].
func (t *Task) Env() any { return t.sc.env }

// Scope returns the value given to [Scenario.Go]: the task's own data, such as the
// side of a migration. Nil for the main task.
func (t *Task) Scope() any { return t.scope }

// Thread returns the task's Starlark thread, for builtins that look into it. It
// belongs to the goroutine that runs the task.
func (t *Task) Thread() *starlark.Thread { return t.thread }

// Context ends when the task has ended or its scenario is stopped, and inside
// [Task.Within] with that. It belongs to the goroutine that runs the task.
func (t *Task) Context() context.Context { return t.ctx }

// Done is closed when the task has ended.
func (t *Task) Done() <-chan struct{} { return t.done }

// Result returns what the task returned; only after Done.
func (t *Task) Result() (starlark.Value, error) { return t.result, t.err }

// CallerPosition returns where the builtin that is running was called.
func (t *Task) CallerPosition() syntax.Position {
	if t.thread.CallStackDepth() < 2 {
		return syntax.Position{}
	}
	return t.thread.CallFrame(1).Pos
}
