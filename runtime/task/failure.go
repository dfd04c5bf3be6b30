// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"go.starlark.net/starlark"
)

// Error is the failure of one task. If it failed in Starlark code, it has that task's
// Starlark backtrace: see [Backtrace].
type Error struct {
	Task string // the task's name
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Backtrace returns the Starlark call stack that err carries, innermost frame
// last, or "".
func Backtrace(err error) string {
	if eval := evalErrorOf(err); eval != nil {
		return eval.CallStack.String()
	}
	return ""
}

// Position returns where in a .star file err was raised, "" if not in one: the
// innermost frame that is not a builtin.
func Position(err error) string {
	eval := evalErrorOf(err)
	if eval == nil {
		return ""
	}
	for i := len(eval.CallStack) - 1; i >= 0; i-- {
		if pos := eval.CallStack[i].Pos; pos.Line > 0 {
			return pos.String()
		}
	}
	return ""
}

// evalErrorOf returns the Starlark error of err in the task's own code: the innermost
// one, as a builtin that calls back wraps it, but none of another task.
func evalErrorOf(err error) (innermost *starlark.EvalError) {
	if own, ok := err.(*Error); ok {
		err = own.Err
	}
	for err != nil {
		switch e := err.(type) {
		case *Error:
			return innermost // of a joined task
		case *stoppedError:
			if e.at != nil {
				return e.at
			}
			return innermost
		case *starlark.EvalError:
			innermost = e
		case interface{ Unwrap() []error }:
			for _, branch := range e.Unwrap() {
				if eval := evalErrorOf(branch); eval != nil {
					return eval
				}
			}
			return innermost
		}
		err = errors.Unwrap(err)
	}
	return innermost
}

// fail records t's failure and stops the scenario, unless it is a duplicate of
// another task's failure.
func (s *Scenario) fail(t *Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.failures {
		if s.isDuplicate(t.err, known) {
			return
		}
	}
	failure := &Error{Task: t.Name, Err: t.err}
	t.err = failure
	s.failures = append(s.failures, failure)
	s.stop(failure)
}

// isDuplicate reports whether err adds nothing to a known failure: its task was
// stopped, joined the task that failed, or got the same error.
func (s *Scenario) isDuplicate(err error, known *Error) bool {
	_, stopped := errors.AsType[*stoppedError](err)
	return stopped || errors.Is(err, context.Cause(s.ctx)) ||
		errors.Is(err, known) || errors.Is(err, known.Err) || errors.Is(known, err)
}

// stopped returns nil while t is not stopped.
func (t *Task) stopped() error {
	if t.ctx.Err() == nil {
		return nil
	}
	return &stoppedError{cause: context.Cause(t.ctx)}
}

// stoppedError is the error of a task whose scenario was stopped.
type stoppedError struct {
	cause error
	at    *starlark.EvalError // where Starlark code was stopped, nil if in a builtin
}

func (e *stoppedError) Error() string { return e.cause.Error() }
func (e *stoppedError) Unwrap() error { return e.cause }

// The interpreter's error for a cancelled thread has no type of its own, only this
// text.
const (
	cancelReason = "the scenario was stopped"
	cancelText   = "Starlark computation cancelled: " + cancelReason
)

// explain replaces Starlark's error of a cancelled thread by what stopped the task.
// Other errors are returned unchanged.
func (t *Task) explain(err error) error {
	exceeded := t.sc.exceeded.Load()
	if err == nil || t.ctx.Err() == nil && exceeded == nil {
		return err
	}
	root := err
	for next := errors.Unwrap(root); next != nil; next = errors.Unwrap(root) {
		root = next
	}
	if root.Error() != cancelText {
		return err
	}
	if t.ctx.Err() == nil {
		t.sc.stop(exceeded)
	}
	return &stoppedError{cause: context.Cause(t.ctx), at: evalErrorOf(err)}
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
