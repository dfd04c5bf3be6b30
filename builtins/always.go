// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

var everyParam = Param{"every", Seconds, Value(500 * time.Millisecond), "the pause between two calls"}

// alwaysFunction is always, the check beside a function of the scenario; mig.during is
// that beside a migration.
var alwaysFunction = &Builtin{
	Name: "always", Waits: true,
	Params: []Param{
		{"fn", calledWith(""), Required, "the check: called without arguments, again and again; that it fails or returns False fails the scenario"},
		{"body", calledWith(""), Required, "what is done meanwhile: called once, without arguments"},
		everyParam,
	},
	Doc: "Calls body, and the check fn all the time meanwhile, at least once. A call of fn that still runs when body returns is stopped; " +
		"one that fails because the guest has moved to another host during it is made again, so fn logs in itself.",
	Returns: Return{"any", "what body has returned"},
	Fn:      alwaysFn,
}

func alwaysFn(t *task.Task, a *Args) (starlark.Value, error) {
	c, err := newCheck(t, a, "always")
	if err != nil {
		return nil, err
	}
	over := make(chan struct{})
	c.over, c.outlivesMoves = over, true
	checking := c.start(t, func(context.Context) error { return nil })
	v, err := t.CallHeld(arg[starlark.Callable](a, "body"))
	close(over)
	if err != nil {
		return nil, err
	}
	if _, err := t.Join(0, checking); err != nil {
		return nil, err
	}
	return v, nil
}

// migDuring starts the check of a migration that moves.
func migDuring(t *task.Task, a *Args) (starlark.Value, error) {
	c, err := newCheck(t, a, "mig.during")
	if err != nil {
		return nil, err
	}
	r := self(a).running
	c.over, c.failed = r.MoveEnded(), r.MoveFailed
	checking := c.start(t, r.WaitMoving)
	return stateOf(t).newObject("task", checking, checking.Name), nil
}

// check is a function of the scenario that is called again and again beside something
// else.
type check struct {
	builtin       string
	fn            starlark.Callable
	every         time.Duration
	at            string          // where in the scenario it was started
	over          <-chan struct{} // closed when what it is beside has ended
	failed        func() bool     // whether that has an error of its own
	outlivesMoves bool            // fn can be called when a guest has moved, and when that has ended as well
}

func newCheck(t *task.Task, a *Args, builtin string) (*check, error) {
	c := &check{
		builtin: builtin, fn: arg[starlark.Callable](a, "fn"), every: arg[time.Duration](a, "every"),
		at: position(t),
	}
	if c.every <= 0 {
		return nil, misusef("every: got 0, want more than 0, so that other tasks can run")
	}
	return c, nil
}

// errOver is the cause when a call of a check is stopped.
var errOver = errors.New("what it is checked beside has ended")

// start starts the task that calls the function when ready has returned; its result is
// the number of calls that were completed.
func (c *check) start(t *task.Task, ready func(context.Context) error) *task.Task {
	name := fmt.Sprintf("%s %s", c.builtin, c.fn.Name())
	return t.Scenario().Go(name, t.Scope(), func(t *task.Task) (starlark.Value, error) {
		if err := ready(t.Context()); err != nil {
			return nil, err
		}
		calls, err := c.repeat(t)
		switch {
		case err != nil:
			return nil, err
		case calls == 0 && c.outlivesMoves:
			calls, err = 1, c.call(t, t.Context())
		case calls == 0 && !c.failed():
			err = result.Error.Wrap(fmt.Errorf("%s: %s was never completed while the migration moved (%s): it was over too soon, see migrate(hold=True)", c.builtin, c.fn.Name(), c.at))
		}
		return starlark.MakeInt(calls), err
	})
}

// repeat calls the function until it is over, and returns how many calls were completed.
func (c *check) repeat(t *task.Task) (calls int, err error) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-c.over:
			cancel(errOver)
		case <-ctx.Done():
		}
	}()
	defer func() {
		cancel(nil)
		<-watching
	}()
	var left *testbed.Instance // by its guest during the last call
	for {
		select {
		case <-c.over:
			return calls, nil
		default:
		}
		err := c.call(t, ctx)
		moved, isMoved := errors.AsType[*testbed.MovedError](err)
		switch {
		case errors.Is(err, errOver), isMoved && !c.outlivesMoves:
			return calls, nil
		case isMoved && moved.Left != left: // a second time, fn uses what it had before the move
			left = moved.Left
		case err != nil:
			return calls, err
		default:
			left = nil
			calls++
		}
		select {
		case <-time.After(c.every):
		case <-c.over:
		case <-ctx.Done():
			if t.Context().Err() != nil {
				return calls, context.Cause(t.Context())
			}
		}
	}
}

// call calls the function once; ctx stops it.
func (c *check) call(t *task.Task, ctx context.Context) error { //nolint:revive // a task's methods have the task first
	v, err := t.Within(ctx, func() (starlark.Value, error) { return t.Call(c.fn) })
	if err == nil && v == starlark.False {
		return result.Fail.Wrap(fmt.Errorf("%s: %s has returned False (%s)", c.builtin, c.fn.Name(), c.at))
	}
	return err
}
