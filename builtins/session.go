// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// sessionHandle is a session and the instance of its guest.
type sessionHandle struct {
	*guest.Session
	instance *testbed.Instance
}

// use calls do with the session. Using a session after its guest has migrated is an
// error of the scenario.
func (s *sessionHandle) use(ctx context.Context, bed *testbed.Bed, do func() error) error {
	_, err := useGuest(ctx, bed, s.instance, func() (struct{}, error) { return struct{}{}, do() })
	_, status := errors.AsType[*guest.CmdError](err)
	_, late := errors.AsType[*guest.TimeoutError](err)
	if (status || late) && bed.MovedFrom(s.instance) == nil && isAlive(s.instance, err) {
		return &unmetError{err}
	}
	return err
}

// useGuest calls do, which uses the guest of an instance: an error of the scenario after
// the guest has migrated, or where the scenario has ended it or the session, else the
// guest's.
func useGuest[T any](ctx context.Context, bed *testbed.Bed, i *testbed.Instance, do func() (T, error)) (T, error) {
	var none T
	if err := bed.MovedFrom(i); err != nil {
		return none, err
	}
	v, err := do()
	if err == nil {
		return v, nil
	}
	if local, ok := errors.AsType[*guest.LocalError](err); ok {
		return none, local
	}
	if moved := bed.MovedFrom(i); moved != nil {
		return none, fmt.Errorf("%w (%w)", moved, err)
	}
	destroyed := i.Destroyed()
	switch {
	case destroyed != nil:
		return none, fmt.Errorf("%w (%w)", destroyed, err)
	case errors.Is(err, guest.ErrClosed):
		return none, fmt.Errorf("the scenario has closed this session (%w)", err)
	case errors.Is(err, guest.ErrTakenOver):
		return none, err
	}
	return none, i.Blame(ctx, err)
}

var commandParams = []Param{
	{"command", String, Required, "run by the guest's shell"},
	{"timeout", Seconds, Value(60 * time.Second), "how long it may take: virt-test's default"},
	{"check", Bool, Value(true), "with False a command that does not end in time, or that session.cmd sees fail, does not end the scenario: the result is None. A guest whose QEMU has ended or does not answer still does"},
}

func sessionClass() *Class {
	return &Class{
		Name: "session",
		Doc:  "An open login in a guest: one shell, which keeps its state between commands. A migration ends it: log in again then. The methods are virt-test's.",
		Methods: []*Builtin{
			{
				Name: "cmd", Waits: true, Params: commandParams,
				Doc:     "Runs a command. An exit status that is not 0 ends the scenario: as FAIL in a guest that was migrated, unless it had too little memory for the work; else as ERROR.",
				Returns: Return{"string | None", "the command's output"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return inGuest(t, a, (*guest.Session).Cmd, text)
				},
			},
			{
				Name: "cmd_status", Waits: true, Params: commandParams,
				Doc:     "Runs a command, whatever its exit status.",
				Returns: Return{"int | None", "the command's exit status"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return inGuest(t, a, (*guest.Session).CmdStatus, func(n int) starlark.Value { return starlark.MakeInt(n) })
				},
			},
			{
				Name: "cmd_output", Waits: true, Params: commandParams,
				Doc:     "Runs a command, whatever its exit status.",
				Returns: Return{"string | None", "the command's output"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return inGuest(t, a, (*guest.Session).CmdOutput, text)
				},
			},
			{
				Name: "cmd_status_output", Waits: true, Params: commandParams,
				Doc:     "Runs a command, whatever its exit status.",
				Returns: Return{"tuple[int, string] | None", "the command's exit status and output"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					type ended struct {
						status int
						output string
					}
					run := func(s *guest.Session, ctx context.Context, command string, timeout time.Duration) (ended, error) {
						status, output, err := s.CmdStatusOutput(ctx, command, timeout)
						return ended{status, output}, err
					}
					return inGuest(t, a, run, func(e ended) starlark.Value {
						return starlark.Tuple{starlark.MakeInt(e.status), starlark.String(e.output)}
					})
				},
			},
			{
				Name: "sendline", Waits: true, Params: []Param{{"line", String, Required, "the line"}},
				Doc:     "Types a line and does not wait for its effect.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					s, line := a.Self.(*sessionHandle), arg[string](a, "line")
					bed := stateOf(t).bed
					return wait(t, func(ctx context.Context) error {
						return s.use(ctx, bed, func() error { return s.Sendline(ctx, line) })
					})
				},
			},
			{
				Name: "is_responsive", Waits: true, Params: []Param{{"timeout", Seconds, Value(5 * time.Second), "how long the shell may take to answer"}},
				Doc:     "Finds out whether the shell answers.",
				Returns: Return{"bool", "whether it does"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					s, timeout := a.Self.(*sessionHandle), arg[time.Duration](a, "timeout")
					ok, err := task.Wait(t, func(ctx context.Context) (bool, error) { return s.IsResponsive(ctx, timeout), nil })
					return starlark.Bool(ok), err
				},
			},
			{
				Name: "close", Waits: true,
				Doc:     "Closes the session.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					s := a.Self.(*sessionHandle)
					return wait(t, func(context.Context) error { return s.Close() })
				},
			},
		},
	}
}

func text(s string) starlark.Value { return starlark.String(s) }

// inGuest runs a command in the session and converts its result.
func inGuest[T any](t *task.Task, a *Args, run func(*guest.Session, context.Context, string, time.Duration) (T, error), convert func(T) starlark.Value) (starlark.Value, error) {
	s, command, timeout := a.Self.(*sessionHandle), arg[string](a, "command"), arg[time.Duration](a, "timeout")
	bed := stateOf(t).bed
	v, err := task.Wait(t, func(ctx context.Context) (T, error) {
		var v T
		err := s.use(ctx, bed, func() (err error) { v, err = run(s.Session, ctx, command, timeout); return err })
		return v, err
	})
	if err != nil {
		return orUnmet(a, nil, err)
	}
	return convert(v), nil
}
