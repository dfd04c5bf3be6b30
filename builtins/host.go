// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// commandTimeout is the default timeout of commands on a host, and of small files.
const commandTimeout = 60 * time.Second

func (s *scenarioState) host(h *testbed.Host) *object { return s.object("host", h, h.Name()) }

var (
	pathParam        = Param{"path", String, Required, "a file on the host"}
	localParam       = Param{"local", String, Required, "a file on the controller, where mhmig runs"}
	fileTimeoutParam = Param{"timeout", Seconds, Value(commandTimeout), "how long it may take"}
	copyTimeoutParam = Param{"timeout", Seconds, Value(10 * time.Minute), "how long it may take"}
)

func hostClass() *Class {
	return &Class{
		Name: "host",
		Doc:  "A host of the run, reached by SSH.",
		Attrs: []Attr{
			{"name", "string", "as given to --hosts; host1, host2, … in the lab", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.String(self.(*testbed.Host).Name()), nil
			}},
			{"address", "string", "the address by which the other hosts reach it for migrations", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.String(self.(*testbed.Host).MigrationAddress()), nil
			}},
			{"facts", "dict[string, string | int]", "kernel, hostname, arch, os, user, cpus, memory (bytes)", func(_ *scenarioState, self any) (starlark.Value, error) {
				return ToStarlark(self.(*testbed.Host).Facts())
			}},
			{"params", "params", "the variant's params as they are for this host", func(s *scenarioState, self any) (starlark.Value, error) {
				return s.params(self.(*testbed.Host).Params), nil
			}},
		},
		Methods: []*Builtin{
			{
				Name: "run", Waits: true,
				Params: []Param{
					{"command", String, Required, "run by sh on the host"},
					{"timeout", Seconds, Value(commandTimeout), "how long it may run; then its whole process group is killed"},
					{"check", Bool, Value(true), "whether an exit status that is not 0 is an ERROR"},
				},
				Doc:     "Runs a command and waits for its end. More than 64 MiB of output is an ERROR. Processes that it leaves in the background are killed at the scenario's end.",
				Returns: Return{"result", "the command's exit status and output"},
				Fn:      hostRun,
			},
			{
				Name: "start", Waits: true, Params: []Param{{"command", String, Required, "run by sh on the host"}},
				Doc:     "Starts a command in the background. At the scenario's end it is killed, with all processes that it has started, but not those that have cleared their environment (env -i), by which they are found. When it has written more than 64 MiB it is killed at once, which is an ERROR.",
				Returns: Return{"process", "the running command"},
				Fn:      hostStart,
			},
			{
				Name: "read_file", Waits: true, Params: []Param{pathParam, fileTimeoutParam},
				Doc:     "Reads a file. One of more than 64 MiB is an ERROR.",
				Returns: Return{"string", "the file's content"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, path := a.Self.(*testbed.Host), arg[string](a, "path")
					data, err := transfer(t, a, func(ctx context.Context) ([]byte, error) { return h.ReadFile(ctx, path) })
					return starlark.String(data), err
				},
			},
			{
				Name: "write_file", Waits: true,
				Params:  []Param{pathParam, {"data", Content, Required, "its new content"}, fileTimeoutParam},
				Doc:     "Writes a file. It stays on the host, unless a cleanup removes it.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, path, data := a.Self.(*testbed.Host), arg[string](a, "path"), arg[string](a, "data")
					return done(transfer(t, a, func(ctx context.Context) (struct{}, error) {
						return struct{}{}, h.WriteFile(ctx, path, []byte(data), 0o644)
					}))
				},
			},
			{
				Name: "upload", Waits: true,
				Params:  []Param{uploadedParam, pathParam, copyTimeoutParam},
				Doc:     "Copies a file to the host. It stays there, unless a cleanup removes it.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, from, path := a.Self.(*testbed.Host), arg[content](a, "local"), arg[string](a, "path")
					return done(transfer(t, a, func(ctx context.Context) (struct{}, error) {
						if from.path == "" {
							return struct{}{}, h.WriteFile(ctx, path, from.data, newFile)
						}
						return struct{}{}, h.Upload(ctx, from.path, path)
					}))
				},
			},
			{
				Name: "download", Waits: true,
				Params:  []Param{pathParam, localParam, copyTimeoutParam},
				Doc:     "Copies a file from the host.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, path, local := a.Self.(*testbed.Host), arg[string](a, "path"), arg[string](a, "local")
					return done(transfer(t, a, func(ctx context.Context) (struct{}, error) {
						return struct{}{}, h.Download(ctx, path, local)
					}))
				},
			},
			{
				Name: "free_port", Waits: true,
				Doc:     "Finds a TCP port on which nothing listens.",
				Returns: Return{"int", "the port"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					port, err := task.Wait(t, a.Self.(*testbed.Host).FreePort)
					return starlark.MakeInt(port), err
				},
			},
			{
				Name: "block_port", Waits: true,
				Params: []Param{
					{"port", Int, Required, "a TCP port, but none by which mhmig reaches a host of the run by SSH"},
					{"how", oneOf(string(testbed.ByDrop), string(testbed.ByReject)), Value(string(testbed.ByDrop)), "drop: packets vanish, as behind a firewall, and peers wait; reject: the answer is a TCP reset, as when nothing listens, and connections break at once"},
					{"timeout", Seconds, Value(10 * time.Minute), "after how long the host undoes it by itself; at most 3600"},
				},
				Doc:     "Drops or rejects all TCP packets to or from the port on this host (by nftables, as root), until fault.undo, host.unblock or the scenario's end. If the timeout has undone it before that, it is an ERROR then.",
				Returns: Return{"fault", "the blocked port, to undo"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, port, by, limit := a.Self.(*testbed.Host), arg[int](a, "port"), testbed.BlockBy(arg[string](a, "how")), arg[time.Duration](a, "timeout")
					block, err := task.Wait(t, func(ctx context.Context) (*testbed.Block, error) { return h.BlockPort(ctx, port, by, limit) })
					if err != nil {
						return nil, err
					}
					return stateOf(t).newObject("fault", block, block.String()), nil
				},
			},
			{
				Name: "unblock", Waits: true,
				Doc:     "Undoes every block_port on this host.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return wait(t, a.Self.(*testbed.Host).Unblock)
				},
			},
		},
	}
}

// transfer copies a file within the timeout of the call.
func transfer[T any](t *task.Task, a *Args, do func(context.Context) (T, error)) (T, error) {
	timeout := arg[time.Duration](a, "timeout")
	return task.Wait(t, func(ctx context.Context) (T, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done after %v", timeout))
		defer cancel()
		return do(ctx)
	})
}

// done is the result of a builtin that returns nothing.
func done(_ struct{}, err error) (starlark.Value, error) { return nil, err }

func hostRun(t *task.Task, a *Args) (starlark.Value, error) {
	h, command := a.Self.(*testbed.Host), arg[string](a, "command")
	timeout, check := max(arg[time.Duration](a, "timeout"), time.Nanosecond), arg[bool](a, "check")
	sc := scopeOf(t)
	out, err := task.Wait(t, func(ctx context.Context) (host.Output, error) {
		env, err := syncEnv(ctx, t, sc, h)
		if err != nil {
			return host.Output{}, err
		}
		return h.RunCommand(ctx, host.Command{Script: command, Env: env, Timeout: timeout})
	})
	var exit *host.ExitError
	if errors.As(err, &exit) && !check {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return stateOf(t).newObject("result", &out, fmt.Sprintf("status %d", out.Status)), nil
}

func hostStart(t *task.Task, a *Args) (starlark.Value, error) {
	h, command := a.Self.(*testbed.Host), arg[string](a, "command")
	sc := scopeOf(t)
	p, err := task.Wait(t, func(ctx context.Context) (*testbed.Process, error) {
		env, err := syncEnv(ctx, t, sc, h)
		if err != nil {
			return nil, err
		}
		return h.StartCommand(ctx, host.Command{Script: command, Env: env})
	})
	if err != nil {
		return nil, err
	}
	t.Scenario().AddCleanup(task.Cleanup{Name: "kill " + command, Func: func(c *task.Task) error { return p.Kill(c.Context()) }})
	return stateOf(t).newObject("process", p, command), nil
}

// resultClass is what host.run returns.
func resultClass() *Class {
	return &Class{
		Name: "result",
		Doc:  "How a command on a host ended.",
		Attrs: []Attr{
			{"status", "int", "the exit status", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.MakeInt(self.(*host.Output).Status), nil
			}},
			{"stdout", "string", "what it wrote to standard output", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.String(self.(*host.Output).Stdout), nil
			}},
			{"stderr", "string", "what it wrote to standard error", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.String(self.(*host.Output).Stderr), nil
			}},
			{"duration", "float", "how long it ran, in seconds", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.Float(self.(*host.Output).Duration.Seconds()), nil
			}},
		},
	}
}

// processClass is what host.start returns.
func processClass() *Class {
	return &Class{
		Name: "process",
		Doc:  "A command that runs in the background on a host.",
		Methods: []*Builtin{
			{
				Name: "wait", Waits: true, Params: []Param{{"timeout", Seconds, Value(commandTimeout), "how long to wait"}, checkParam},
				Doc:     "Waits for the command's end.",
				Returns: Return{"result | None", "the command's exit status and output; None if it still runs, with check=False"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					p, timeout := a.Self.(*testbed.Process), arg[time.Duration](a, "timeout")
					running := &unmetError{fmt.Errorf("%s: still running after %v", p, timeout)}
					out, err := task.Wait(t, func(ctx context.Context) (host.Output, error) {
						ctx, cancel := context.WithTimeoutCause(ctx, timeout, running)
						defer cancel()
						out, err := p.Wait(ctx)
						if errors.Is(err, running) {
							return out, running
						}
						return out, err
					})
					if err != nil {
						return orUnmet(a, nil, err)
					}
					return stateOf(t).newObject("result", &out, fmt.Sprintf("status %d", out.Status)), nil
				},
			},
			{
				Name: "kill", Waits: true,
				Doc:     "Kills the command and all processes that it has started.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return wait(t, a.Self.(*testbed.Process).Kill)
				},
			},
		},
	}
}

// faultClass is an injected fault.
func faultClass() *Class {
	return &Class{
		Name: "fault",
		Doc:  "A fault that the scenario has injected, until it is undone.",
		Methods: []*Builtin{{
			Name: "undo", Waits: true,
			Doc:     "Undoes the fault. Once it is undone, nothing happens.",
			Returns: Nothing,
			Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
				return wait(t, a.Self.(*testbed.Block).Undo)
			},
		}},
	}
}
