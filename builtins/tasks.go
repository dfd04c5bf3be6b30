// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/barrier"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// taskFunctions start tasks and wait.
var taskFunctions = []*Builtin{
	{
		Name: "on", Waits: true,
		Params: []Param{
			{"hosts", Hosts, Required, "the hosts that fn is run for"},
			{"fn", calledWith("host"), Required, "called with the host"},
			{"timeout", Seconds, Computed("no limit"), "how long all of them together may take"},
		},
		Doc:     "Runs fn(host) for all hosts at the same time and waits for the end of all. Inside fn, barrier and sync wait for the other hosts of the call.",
		Returns: Return{"dict[host, any]", "what fn has returned for each host"},
		Fn:      onFn,
	},
	{
		Name: "spawn", Params: []Param{{"fn", Function, Required, "the function that the task runs"}}, Rest: "args",
		Doc:     "Starts fn(*args) as a task and returns at once. If the task fails, the scenario fails.",
		Returns: Return{"task", "the task, to join"},
		Fn:      spawnFn,
	},
	{
		Name: "parallel", Waits: true, Params: []Param{{"fns", FunctionList, Required, "functions that take no arguments"}},
		Doc:     "Runs all functions at the same time and waits for the end of all.",
		Returns: Return{"list[any]", "what each function has returned, in the order of fns"},
		Fn:      parallelFn,
	},
	sleepFunction,
	waitForFunction,
	alwaysFunction,
	nowFunction,
	randomFunction,
}

// taskClass is a task started with spawn.
func taskClass() *Class {
	return &Class{
		Name: "task",
		Doc:  "A task started with spawn.",
		Attrs: []Attr{
			{"name", "string", "the task's name", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.String(self.(*task.Task).Name), nil
			}},
			{"done", "bool", "whether the task has ended", func(_ *scenarioState, self any) (starlark.Value, error) {
				select {
				case <-self.(*task.Task).Done():
					return starlark.True, nil
				default:
					return starlark.False, nil
				}
			}},
		},
		Methods: []*Builtin{{
			Name: "join", Waits: true, Params: []Param{{"timeout", Seconds, Computed("no limit"), "how long to wait"}, checkParam},
			Doc:     "Waits until the task has ended.",
			Returns: Return{"any", "what the task's function has returned; None if it has not ended in time, with check=False"},
			Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
				values, err := join(t, limit(a), a.Self.(*task.Task))
				if err != nil {
					return orUnmet(a, starlark.None, err)
				}
				return values[0], nil
			},
		}},
	}
}

func onFn(t *task.Task, a *Args) (starlark.Value, error) {
	hosts, fn := arg[[]*testbed.Host](a, "hosts"), arg[starlark.Callable](a, "fn")
	if len(hosts) == 0 {
		return nil, misusef("hosts: the list is empty")
	}
	s := stateOf(t)
	names := make([]string, len(hosts))
	for i, h := range hosts {
		for _, other := range names[:i] {
			if other == h.Name() {
				return nil, misusef("hosts: %s is named twice", other)
			}
		}
		names[i] = h.Name()
	}
	barriers := barrier.New(names...)
	tasks := make([]*task.Task, len(hosts))
	for i, h := range hosts {
		handle := s.host(h)
		sc := &scope{host: h, party: h.Name(), barriers: barriers, shell: newShellSync()}
		tasks[i] = t.Scenario().Go(fn.Name()+" on "+h.Name(), sc, func(t *task.Task) (starlark.Value, error) {
			sc.owner = t
			v, err := t.Call(fn, handle)
			if err == nil { // else its failure ends all waits
				barriers.Leave(h.Name(), fn.Name()+" has returned")
			}
			return v, err
		})
	}
	values, err := join(t, limit(a), tasks...)
	if err != nil {
		return nil, err
	}
	results := starlark.NewDict(len(hosts))
	for i, h := range hosts {
		if err := results.SetKey(s.host(h), values[i]); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// limit is the argument timeout, 0 when it was not given: no limit.
func limit(a *Args) time.Duration {
	if !a.Has("timeout") {
		return 0
	}
	return max(arg[time.Duration](a, "timeout"), time.Nanosecond)
}

// join waits for all tasks together, at most timeout (0: no limit), and returns what they
// returned.
func join(t *task.Task, timeout time.Duration, tasks ...*task.Task) ([]starlark.Value, error) {
	values, err := t.Join(timeout, tasks...)
	for i, v := range values {
		values[i] = orNone(v)
	}
	return values, err
}

func spawnFn(t *task.Task, a *Args) (starlark.Value, error) {
	fn, args := arg[starlark.Callable](a, "fn"), a.Rest
	child := t.Scenario().Go(fn.Name(), t.Scope(), func(t *task.Task) (starlark.Value, error) {
		return t.Call(fn, args...)
	})
	return stateOf(t).newObject("task", child, child.Name), nil
}

func parallelFn(t *task.Task, a *Args) (starlark.Value, error) {
	var tasks []*task.Task
	for i, fn := range arg[[]starlark.Callable](a, "fns") {
		tasks = append(tasks, t.Scenario().Go(fn.Name()+"#"+strconv.Itoa(i+1), t.Scope(),
			func(t *task.Task) (starlark.Value, error) { return t.Call(fn) }))
	}
	values, err := join(t, 0, tasks...)
	if err != nil {
		return nil, err
	}
	return starlark.NewList(values), nil
}

// callWithin calls fn. At the limit, the error is an *unfinishedError.
func callWithin(t *task.Task, limit time.Duration, fn starlark.Callable) (starlark.Value, error) {
	expired := errors.New("timeout expired") // distinguishes this call from nested calls of wait_for
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, expired)
	defer cancel()
	v, err := t.Within(ctx, func() (starlark.Value, error) { return t.CallHeld(fn) })
	if errors.Is(err, expired) {
		return nil, &unfinishedError{err}
	}
	return v, err
}

// unfinishedError is the error of a function that was stopped at its limit.
type unfinishedError struct{ error }

// place says where in the scenario the function was stopped, if known.
func (e *unfinishedError) place() string {
	if at := task.Position(e.error); at != "" {
		return "; it was at " + at
	}
	return ""
}

func orNone(v starlark.Value) starlark.Value {
	if v == nil {
		return starlark.None
	}
	return v
}
