// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/star"
)

// quantum is how many Starlark steps a task runs without a wait before it yields the
// lock to other tasks: about a millisecond.
const quantum = 100_000

// turnLock is a mutex that counts how often it is locked, and knows who holds it.
type turnLock struct {
	mutex  sync.Mutex
	turns  atomic.Int64 // odd while the lock is held
	holder atomic.Pointer[starlark.Thread]
}

// Lock takes the lock for a thread.
func (l *turnLock) Lock(holder *starlark.Thread) {
	l.mutex.Lock()
	l.turns.Add(1)
	l.holder.Store(holder)
}

// Unlock releases the lock.
func (l *turnLock) Unlock() {
	l.holder.Store(nil)
	l.turns.Add(1)
	l.mutex.Unlock()
}

// state returns a number that differs each time the lock is held, and whether it is
// held now.
func (l *turnLock) state() (turn int64, held bool) {
	turn = l.turns.Load()
	return turn, turn%2 == 1
}

// Call runs Starlark code with the scenario's lock held. It blocks until the
// lock is free, and returns early when the scenario is stopped.
func (t *Task) Call(fn starlark.Callable, args ...starlark.Value) (starlark.Value, error) {
	t.sc.lock.Lock(t.thread)
	defer t.sc.lock.Unlock()
	if err := t.stopped(); err != nil {
		return nil, err
	}
	t.renew()
	release := t.cancelWith(t.ctx)
	defer release()
	value, err := starlark.Call(t.thread, fn, args, nil)
	return value, t.explain(err)
}

// CallHeld runs Starlark code from within a builtin, which holds the lock.
func (t *Task) CallHeld(fn starlark.Callable, args ...starlark.Value) (starlark.Value, error) {
	return starlark.Call(t.thread, fn, args, nil)
}

// Within runs f, which calls Starlark code, with ctx, which is derived from the task's
// Context: when ctx ends, waits and computations of the code are cancelled, and the
// error matches ctx's cause. The task itself goes on.
func (t *Task) Within(ctx context.Context, f func() (starlark.Value, error)) (starlark.Value, error) { //nolint:contextcheck // ctx is derived from the task's
	outer := t.ctx
	t.ctx = ctx
	release := t.cancelWith(ctx)
	defer func() {
		release()
		t.ctx = outer
		if outer.Err() != nil {
			return
		}
		t.thread.Uncancel()
		if outer.Err() != nil { // ended just now: Uncancel has undone its cancellation
			t.thread.Cancel(cancelReason)
		}
	}()
	value, err := f()
	return value, t.explain(err)
}

// cancelWith cancels the thread when ctx ends, until release, which waits for a
// cancellation in progress.
func (t *Task) cancelWith(ctx context.Context) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		t.thread.Cancel(cancelReason)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// yield is Starlark's callback after a quantum of steps: it releases the lock once, so
// that a busy loop does not starve other tasks.
func (t *Task) yield(*starlark.Thread) {
	t.sc.lock.Unlock()
	runtime.Gosched()
	t.sc.lock.Lock(t.thread)
	t.renew()
}

// renew gives t a full quantum, so that short code between two waits does not yield. It
// counts the steps since the last one, and stops the scenario when they are too many.
func (t *Task) renew() {
	steps := t.thread.ExecutionSteps()
	used := t.sc.steps.Add(steps - t.counted)
	t.counted = steps
	t.thread.SetMaxExecutionSteps(steps + quantum)
	if limit := t.sc.Limits.Steps; limit > 0 && used > limit {
		t.sc.stop(&star.LimitError{What: "steps", Limit: limit, Used: used})
	}
}

// Wait runs f without the scenario's lock, so that other tasks can go on. f
// must not touch Starlark values. Wait is called by a builtin, with the lock
// held. It returns at once, without calling f, when the scenario was stopped.
func Wait[T any](t *Task, f func(context.Context) (T, error)) (T, error) {
	t.sc.lock.Unlock()
	defer func() {
		t.sc.lock.Lock(t.thread)
		t.renew()
	}()
	if err := t.stopped(); err != nil {
		var zero T
		return zero, err
	}
	v, err := f(t.ctx)
	if err != nil && errors.Is(err, t.ctx.Err()) {
		err = t.stopped() // names the cause, which "context canceled" does not
	}
	return v, err
}

// UnfinishedError is the error of Join when its timeout expires.
type UnfinishedError struct {
	Task    string
	Timeout time.Duration
}

func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("%s: not finished after %v", e.Task, e.Timeout)
}

// Join waits for all of others to end, at most timeout (0: no limit but t's own), and
// returns their results; the first that has failed is the error, and when the timeout
// expires, an *UnfinishedError. Like Wait, it releases the lock. Tasks that join each
// other in a cycle would deadlock: the last one gets an error.
func (t *Task) Join(timeout time.Duration, others ...*Task) ([]starlark.Value, error) {
	for _, other := range others {
		if other == t {
			return nil, fmt.Errorf("%s cannot wait for its own end", t.Name)
		}
		if other.waitsFor(t, map[*Task]bool{}) {
			return nil, fmt.Errorf("%s cannot wait for %s, which waits for it", t.Name, other.Name)
		}
	}
	t.joining = others
	defer func() { t.joining = nil }()
	return Wait(t, func(ctx context.Context) ([]starlark.Value, error) {
		var expired <-chan time.Time
		if timeout > 0 {
			timer := time.NewTimer(timeout)
			defer timer.Stop()
			expired = timer.C
		}
		values := make([]starlark.Value, len(others))
		for i, other := range others {
			var late error
			select {
			case <-other.done:
			case <-expired:
				late = &UnfinishedError{other.Name, timeout}
			case <-ctx.Done():
				late = context.Cause(ctx)
			}
			select {
			case <-other.done: // its own error may be the cause
				late = other.err
			default:
			}
			if late != nil {
				return nil, late
			}
			values[i] = other.result
		}
		return values, nil
	})
}

// waitsFor says whether t is a task, or waits for it by Join, at the end of whichever
// chain. The scenario's lock is held.
func (t *Task) waitsFor(other *Task, seen map[*Task]bool) bool {
	if t == other {
		return true
	}
	seen[t] = true
	return slices.ContainsFunc(t.joining, func(next *Task) bool { return !seen[next] && next.waitsFor(other, seen) })
}
