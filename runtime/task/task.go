// SPDX-License-Identifier: Apache-2.0

// Package task runs the tasks of one scenario: its main function, both sides
// of each migration, and whatever it starts with on, spawn and parallel.
//
// Every task is a Starlark thread on a goroutine of its own, but only one of a
// scenario's tasks runs Starlark code at a time: it holds the scenario's lock.
// [Task.Call] takes the lock for as long as Starlark code runs; a builtin that
// waits gives it away with [Wait]. So workers may share lists and dicts as
// they like, and there are no data races. Different scenarios share nothing.
//
// The first task that fails stops its scenario: the context that all tasks
// wait under ends with that failure as its cause, and threads that run
// Starlark code are cancelled.
//
// Scenario's and Task's methods may be called from any goroutine, except that
// Call and Wait belong to the goroutine that runs the task.
package task

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// quantum is how many Starlark steps a task runs before it offers the lock to
// its siblings: about a millisecond of work.
const quantum = 100_000

// Scenario is one running scenario: its lock, its tasks and what stops them.
type Scenario struct {
	ctx   context.Context // ends when the scenario is stopped; a per-scenario value, like a Task's
	stop  context.CancelCauseFunc
	print func(t *Task, message string)
	env   any

	lock  sync.Mutex // held by the task that runs Starlark code
	group sync.WaitGroup

	mu       sync.Mutex // guards what follows
	failures []*Error
	cleanups []Cleanup
}

// Cleanup is a piece of work left for the scenario's end.
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

// Run runs main as the scenario's first task, waits for all tasks it left
// behind, then runs the cleanups, last first. It returns what failed, in the
// order in which it failed. cleanupTimeout bounds all cleanups together; they
// run even when ctx has ended.
func (s *Scenario) Run(main func(*Task) error, cleanupTimeout time.Duration) []*Error {
	first := s.Go("main", nil, func(t *Task) (starlark.Value, error) { return nil, main(t) })
	<-first.done
	if first.err == nil {
		s.group.Wait() // tasks that nobody joined may still fail
	}
	s.stop(errEnded)
	s.group.Wait()
	return append(s.Failures(), s.runCleanups(cleanupTimeout)...)
}

var errEnded = errors.New("the scenario ended")

// Failures returns what failed so far, in the order in which it failed.
func (s *Scenario) Failures() []*Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Error(nil), s.failures...)
}

// AddCleanup leaves work for the scenario's end. Cleanups run last first,
// whatever happened before, each as a task of its own.
func (s *Scenario) AddCleanup(c Cleanup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, c)
}

func (s *Scenario) runCleanups(timeout time.Duration) []*Error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(s.ctx), timeout,
		fmt.Errorf("cleanups took longer than %v", timeout))
	defer cancel()
	var errs []*Error
	for {
		s.mu.Lock()
		if len(s.cleanups) == 0 {
			s.mu.Unlock()
			return errs
		}
		c := s.cleanups[len(s.cleanups)-1]
		s.cleanups = s.cleanups[:len(s.cleanups)-1]
		s.mu.Unlock()
		t := s.newTask(ctx, "cleanup "+c.Name, nil)
		if err := t.protect(func() error { return c.Func(t) }); err != nil {
			errs = append(errs, &Error{Task: t.Name, Err: err})
		}
		t.cancel(errEnded)
	}
}

// Go starts a task that runs f on a goroutine of its own, without the
// scenario's lock: f enters Starlark through [Task.Call]. scope is the
// embedder's, see [Task.Scope]. A failure of f stops the scenario.
func (s *Scenario) Go(name string, scope any, f func(*Task) (starlark.Value, error)) *Task {
	t := s.newTask(s.ctx, name, scope)
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

func (s *Scenario) newTask(ctx context.Context, name string, scope any) *Task {
	t := &Task{Name: name, sc: s, scope: scope, done: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	t.thread = &starlark.Thread{
		Name:       name,
		Print:      func(_ *starlark.Thread, message string) { s.print(t, message) },
		OnMaxSteps: t.yield,
	}
	t.thread.SetMaxExecutionSteps(quantum)
	t.thread.SetLocal(localKey, t)
	return t
}

// fail records t's failure and stops the scenario. A task that ended only
// because the scenario was already stopped adds nothing.
func (s *Scenario) fail(t *Task) {
	var known *Error
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.As(t.err, &known) {
		for _, f := range s.failures {
			if f == known {
				return // a joined task's failure that passed through its joiner
			}
		}
	}
	if cause := context.Cause(s.ctx); cause != nil && len(s.failures) > 0 && isEcho(t.err, cause) {
		return
	}
	failure := &Error{Task: t.Name, Err: t.err}
	t.err = failure
	s.failures = append(s.failures, failure)
	s.stop(failure)
}

// isEcho says that err tells no more than that the scenario was stopped.
func isEcho(err, cause error) bool {
	var stopped *stoppedError
	return errors.Is(err, cause) || errors.Is(cause, err) || errors.As(err, &stopped)
}

// protect turns a panic into an error with the stack in it.
func (t *Task) protect(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// Scenario returns the scenario that t is a task of.
func (t *Task) Scenario() *Scenario { return t.sc }

// Env returns the value given to [New].
func (t *Task) Env() any { return t.sc.env }

// Scope returns the value given to [Scenario.Go]: what sets this task apart,
// such as the side of a migration it runs. Nil for the main task.
func (t *Task) Scope() any { return t.scope }

// Context ends when the task's scenario is stopped.
func (t *Task) Context() context.Context { return t.ctx }

// Done is closed when the task has ended.
func (t *Task) Done() <-chan struct{} { return t.done }

// Result returns what the task returned; only after Done.
func (t *Task) Result() (starlark.Value, error) { return t.result, t.err }

// Call runs Starlark code with the scenario's lock held.
func (t *Task) Call(fn starlark.Callable, args ...starlark.Value) (starlark.Value, error) {
	t.sc.lock.Lock()
	defer t.sc.lock.Unlock()
	if err := t.stopped(); err != nil {
		return nil, err
	}
	release := context.AfterFunc(t.ctx, func() { t.thread.Cancel(context.Cause(t.ctx).Error()) })
	defer release()
	value, err := starlark.Call(t.thread, fn, args, nil)
	if err != nil && t.ctx.Err() != nil {
		var eval *starlark.EvalError
		if errors.As(err, &eval) && errors.Unwrap(eval) == nil {
			// Starlark's own "computation cancelled" says less than the cause.
			return nil, t.stopped()
		}
	}
	return value, err
}

// CallHeld runs Starlark code from inside a builtin, which holds the lock already.
func (t *Task) CallHeld(fn starlark.Callable, args ...starlark.Value) (starlark.Value, error) {
	return starlark.Call(t.thread, fn, args, nil)
}

// CallerPosition returns where the builtin that is running was called.
func (t *Task) CallerPosition() syntax.Position {
	if t.thread.CallStackDepth() < 2 {
		return syntax.Position{}
	}
	return t.thread.CallFrame(1).Pos
}

// yield is Starlark's callback after a quantum of steps: it lets the siblings
// have the lock once, so that a busy loop starves nobody.
func (t *Task) yield(thread *starlark.Thread) {
	t.sc.lock.Unlock()
	runtime.Gosched()
	t.sc.lock.Lock()
	thread.SetMaxExecutionSteps(thread.ExecutionSteps() + quantum)
	if t.ctx.Err() != nil {
		thread.Cancel(context.Cause(t.ctx).Error())
	}
}

// Wait runs f without the scenario's lock, so that other tasks can go on. f
// must not touch Starlark values. It returns at once, without calling f, when
// the scenario was stopped.
func Wait[T any](t *Task, f func(context.Context) (T, error)) (T, error) {
	t.sc.lock.Unlock()
	defer t.sc.lock.Lock()
	if err := t.stopped(); err != nil {
		var zero T
		return zero, err
	}
	v, err := f(t.ctx)
	if err != nil && t.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return v, &stoppedError{cause: context.Cause(t.ctx)}
	}
	return v, err
}

// Join waits for other to end, at most timeout (0: no limit but t's own), and
// returns its result. Like Wait, it gives the lock away.
func (t *Task) Join(other *Task, timeout time.Duration) (starlark.Value, error) {
	return Wait(t, func(ctx context.Context) (starlark.Value, error) {
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%s: not finished after %v", other.Name, timeout))
			defer cancel()
		}
		select {
		case <-other.done:
			return other.result, other.err
		case <-ctx.Done():
			// other may be what stopped the scenario, and its own error says more.
			select {
			case <-other.done:
				return other.result, other.err
			default:
				return nil, context.Cause(ctx)
			}
		}
	})
}

func (t *Task) stopped() error {
	if t.ctx.Err() == nil {
		return nil
	}
	return &stoppedError{cause: context.Cause(t.ctx)}
}

// stoppedError is what a task's waits return after its scenario was stopped.
type stoppedError struct{ cause error }

func (e *stoppedError) Error() string { return "stopped: " + e.cause.Error() }
func (e *stoppedError) Unwrap() error { return e.cause }

// Error is the failure of one task. Its Starlark backtrace, if it failed in
// Starlark code, is the task's own: see [Backtrace].
type Error struct {
	Task string // the task's name
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Backtrace returns the Starlark call stack that err carries, innermost frame
// last, or "".
func Backtrace(err error) string {
	var eval *starlark.EvalError
	if errors.As(err, &eval) {
		return eval.CallStack.String()
	}
	return ""
}

// Position returns where in a .star file err was raised, "" if nowhere:
// the innermost frame that is not a builtin.
func Position(err error) string {
	var eval *starlark.EvalError
	if !errors.As(err, &eval) {
		return ""
	}
	for i := len(eval.CallStack) - 1; i >= 0; i-- {
		if pos := eval.CallStack[i].Pos; pos.Line > 0 {
			return pos.String()
		}
	}
	return ""
}
