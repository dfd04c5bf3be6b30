// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/task"
)

var sleepFunction = &Builtin{
	Name: "sleep", Waits: true, Params: []Param{{"seconds", Seconds, Required, "how long to wait"}},
	Doc:     "Waits for a time. Where it is a state that matters, wait for the state: mig.wait, wait_for.",
	Returns: Nothing,
	Fn:      sleepFn,
}

var waitForFunction = &Builtin{
	Name: "wait_for", Waits: true,
	Params: []Param{
		{"fn", calledWith(""), Required, "called without arguments until it returns a true value"},
		{"timeout", Seconds, Required, "how long to try"},
		{"step", Seconds, Value(time.Second), "the pause between two calls"},
		{"what", String, Computed("the name of fn"), "what is waited for, for the error message"},
		checkParam,
	},
	Doc:     "Calls fn until it returns a true value. When the time is over, a call that still runs is stopped, and it is an ERROR.",
	Returns: Return{"any", "the value that fn has returned; None if the time was over, with check=False"},
	Fn:      waitForFn,
}

func sleepFn(t *task.Task, a *Args) (starlark.Value, error) {
	return nil, sleep(t, arg[time.Duration](a, "seconds"))
}

func sleep(t *task.Task, d time.Duration) error {
	_, err := task.Wait(t, func(ctx context.Context) (struct{}, error) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return struct{}{}, nil
		case <-ctx.Done():
			return struct{}{}, context.Cause(ctx)
		}
	})
	return err
}

// lastCall is the limit of the last call of wait_for's function, at the timeout.
const lastCall = 250 * time.Millisecond

func waitForFn(t *task.Task, a *Args) (starlark.Value, error) {
	fn := arg[starlark.Callable](a, "fn")
	what := argOr(a, "what", fn.Name())
	timeout, step := arg[time.Duration](a, "timeout"), arg[time.Duration](a, "step")
	if step <= 0 {
		return nil, misusef("step: got 0, want more than 0, so that other tasks can run")
	}
	deadline := time.Now().Add(timeout)
	for {
		rest := time.Until(deadline)
		v, err := callWithin(t, max(rest, lastCall), fn)
		switch unfinished, ok := errors.AsType[*unfinishedError](err); {
		case ok:
			return orUnmet(a, nil, &unmetError{fmt.Errorf("wait_for: %s: timeout after %v: the function has not returned%s", what, timeout, unfinished.place())})
		case err != nil:
			return nil, err
		case bool(v.Truth()):
			return v, nil
		case rest <= 0:
			return orUnmet(a, nil, &unmetError{fmt.Errorf("wait_for: %s: timeout after %v", what, timeout)})
		}
		if err := sleep(t, min(step, max(time.Until(deadline), 0))); err != nil {
			return nil, err
		}
	}
}
