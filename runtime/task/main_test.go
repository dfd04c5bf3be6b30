// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/runtime/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cleanupLimit is what the tests give each cleanup.
const cleanupLimit = time.Minute

// play runs main() of a Starlark program as a scenario. What the program
// prints is returned, each line with its task's name.
func play(ctx context.Context, t *testing.T, program string) (printed []string, failures []*task.Error) {
	t.Helper()
	main := load(t, program)
	s := task.New(ctx, "the env", func(t *task.Task, message string) {
		printed = append(printed, t.Name+": "+message)
	})
	failures = s.Run(func(t *task.Task) error {
		_, err := t.Call(main)
		return err
	}, cleanupLimit)
	return printed, failures
}

func load(t *testing.T, program string) starlark.Callable {
	t.Helper()
	options := &syntax.FileOptions{While: true, TopLevelControl: true}
	globals, err := starlark.ExecFileOptions(options, &starlark.Thread{}, "test.star", program, predeclared)
	if err != nil {
		t.Fatal(err)
	}
	return globals["main"].(starlark.Callable)
}

// told returns the failures as "task: message".
func told(failures []*task.Error) []string {
	lines := []string{}
	for _, f := range failures {
		lines = append(lines, f.Task+": "+firstLine(f.Error()))
	}
	return lines
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// predeclared are builtins as scenarios have them, each reduced to what it
// asks of the package.
var predeclared = starlark.StringDict{
	// sleep(seconds) waits, and heeds its context's cause.
	"sleep": builtin(func(t *task.Task, args starlark.Tuple) (starlark.Value, error) {
		return task.Wait(t, func(ctx context.Context) (starlark.Value, error) {
			return starlark.None, sleep(ctx, seconds(args[0]), context.Cause)
		})
	}),
	// careless_sleep(seconds) returns the context's bare error.
	"careless_sleep": builtin(func(t *task.Task, args starlark.Tuple) (starlark.Value, error) {
		return task.Wait(t, func(ctx context.Context) (starlark.Value, error) {
			return starlark.None, sleep(ctx, seconds(args[0]), context.Context.Err)
		})
	}),
	"spawn": builtin(func(t *task.Task, args starlark.Tuple) (starlark.Value, error) {
		fn := args[0].(starlark.Callable)
		return handle{t.Scenario().Go(fn.Name(), "a scope", func(t *task.Task) (starlark.Value, error) {
			return t.Call(fn, args[1:]...)
		})}, nil
	}),
	// join(task, seconds) waits for a task, 0 seconds: for ever.
	"join": builtin(func(t *task.Task, args starlark.Tuple) (starlark.Value, error) {
		values, err := t.Join(seconds(args[1]), args[0].(handle).Task)
		if err != nil {
			return nil, err
		}
		return values[0], nil
	}),
	"fail": builtin(func(_ *task.Task, args starlark.Tuple) (starlark.Value, error) {
		return nil, errors.New(string(args[0].(starlark.String)))
	}),
	"cleanup": builtin(func(t *task.Task, args starlark.Tuple) (starlark.Value, error) {
		fn := args[0].(starlark.Callable)
		t.Scenario().AddCleanup(task.Cleanup{Name: fn.Name(), Func: func(t *task.Task) error {
			_, err := t.Call(fn)
			return err
		}})
		return starlark.None, nil
	}),
	// call(fn) is a builtin that calls back.
	"call": builtin(func(t *task.Task, args starlark.Tuple) (starlark.Value, error) {
		v, err := t.CallHeld(args[0].(starlark.Callable))
		if err != nil {
			return nil, fmt.Errorf("call: %w", err)
		}
		return v, nil
	}),
	// within(seconds, fn) calls back with a limit, and says what became of it.
	"within": builtin(func(t *task.Task, args starlark.Tuple) (starlark.Value, error) {
		over := errors.New("over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), seconds(args[0]), over)
		defer cancel()
		v, err := t.Within(ctx, func() (starlark.Value, error) { return t.CallHeld(args[1].(starlark.Callable)) })
		if errors.Is(err, over) {
			return starlark.String("over at " + task.Position(err)), nil
		}
		return v, err
	}),
	"panic":         builtin(func(*task.Task, starlark.Tuple) (starlark.Value, error) { panic("boom") }),
	"panic_waiting": builtin(panicWaiting),
	"where": builtin(func(t *task.Task, _ starlark.Tuple) (starlark.Value, error) {
		return starlark.String(t.CallerPosition().String()), nil
	}),
	"about": builtin(func(t *task.Task, _ starlark.Tuple) (starlark.Value, error) {
		return starlark.String(fmt.Sprintf("%s: env %v, scope %v", t.Name, t.Env(), t.Scope())), nil
	}),
}

func panicWaiting(t *task.Task, _ starlark.Tuple) (starlark.Value, error) {
	return task.Wait(t, func(context.Context) (starlark.Value, error) { panic("boom") })
}

func builtin(f func(*task.Task, starlark.Tuple) (starlark.Value, error)) *starlark.Builtin {
	return starlark.NewBuiltin("builtin", func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return f(task.From(thread), args)
	})
}

func sleep(ctx context.Context, d time.Duration, why func(context.Context) error) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return why(ctx)
	}
}

func seconds(v starlark.Value) time.Duration {
	n, err := starlark.AsInt32(v)
	if err != nil {
		panic(err)
	}
	return time.Duration(n) * time.Second
}

// handle is a task as a Starlark value.
type handle struct{ *task.Task }

func (h handle) String() string        { return h.Name }
func (h handle) Type() string          { return "task" }
func (h handle) Freeze()               {}
func (h handle) Truth() starlark.Bool  { return true }
func (h handle) Hash() (uint32, error) { return 0, errors.New("unhashable: task") }
