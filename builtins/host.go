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

// How long things on a host may take when the scenario does not say.
const (
	commandTimeout = 60 * time.Second
	copyTimeout    = 10 * time.Minute
	blockTimeout   = 10 * time.Minute
)

func (s *Scene) host(h *testbed.Host) *object { return s.object("host", h, h.Name()) }

var pathParam = Param{"path", String, "a file on the host"}

func hostClass() *Class {
	return &Class{
		Name: "host",
		Doc:  "A machine reached by SSH.",
		Attrs: []Attr{
			{"name", "as given to --hosts; host1, host2, … in the lab", func(_ *Scene, self any) (starlark.Value, error) {
				return starlark.String(self.(*testbed.Host).Name()), nil
			}},
			{"address", "where its peers reach it for migrations", func(_ *Scene, self any) (starlark.Value, error) {
				return starlark.String(self.(*testbed.Host).MigrationAddress()), nil
			}},
			{"facts", "dict of kernel, hostname, arch, os, user, cpus, memory (bytes)", func(_ *Scene, self any) (starlark.Value, error) {
				return toStarlark(self.(*testbed.Host).Facts())
			}},
			{"params", "the variant's params as this host sees them", func(s *Scene, self any) (starlark.Value, error) {
				return s.params(self.(*testbed.Host).Params), nil
			}},
		},
		Methods: []*Builtin{
			{
				Name: "run", Waits: true,
				Params: []Param{
					{"command", String, "run by sh on the host"},
					{"timeout?", Seconds, "default: 60; then the command's whole process group is killed"},
					{"check?", Bool, "whether an exit status that is not 0 is an ERROR; default: True"},
				},
				Doc: "Runs a command and returns its status, stdout and stderr. More than 64 MiB of output is an ERROR. What it leaves in the background is ended with the scenario.",
				Fn:  hostRun,
			},
			{
				Name: "start", Waits: true, Params: []Param{{"command", String, "run by sh on the host"}},
				Doc: "Starts a command that goes on by itself. At the scenario's end it is killed, with all it has started. When it has written more than 64 MiB it is killed at once, which is an ERROR.",
				Fn:  hostStart,
			},
			{
				Name: "read_file", Waits: true, Params: []Param{pathParam, {"timeout?", Seconds, "default: 60"}},
				Doc: "Returns a file's content. More than 64 MiB is an ERROR.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, path := a.Self.(*testbed.Host), arg[string](a, "path")
					data, err := transfer(t, a, commandTimeout, func(ctx context.Context) ([]byte, error) { return h.ReadFile(ctx, path) })
					return starlark.String(data), err
				},
			},
			{
				Name: "write_file", Waits: true,
				Params: []Param{pathParam, {"data", Content, "what is to be in it"}, {"timeout?", Seconds, "default: 60"}},
				Doc:    "Writes a file. It stays: leave a cleanup if it should not.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, path, data := a.Self.(*testbed.Host), arg[string](a, "path"), arg[string](a, "data")
					return done(transfer(t, a, commandTimeout, func(ctx context.Context) (struct{}, error) {
						return struct{}{}, h.WriteFile(ctx, path, []byte(data), 0o644)
					}))
				},
			},
			{
				Name: "upload", Waits: true,
				Params: []Param{{"local", String, "a file on this machine"}, pathParam, {"timeout?", Seconds, "default: 600"}},
				Doc:    "Copies a file to the host. It stays: leave a cleanup if it should not.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, local, path := a.Self.(*testbed.Host), arg[string](a, "local"), arg[string](a, "path")
					return done(transfer(t, a, copyTimeout, func(ctx context.Context) (struct{}, error) {
						return struct{}{}, h.Upload(ctx, local, path)
					}))
				},
			},
			{
				Name: "download", Waits: true,
				Params: []Param{pathParam, {"local", String, "a file on this machine"}, {"timeout?", Seconds, "default: 600"}},
				Doc:    "Copies a file from the host.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, path, local := a.Self.(*testbed.Host), arg[string](a, "path"), arg[string](a, "local")
					return done(transfer(t, a, copyTimeout, func(ctx context.Context) (struct{}, error) {
						return struct{}{}, h.Download(ctx, path, local)
					}))
				},
			},
			{
				Name: "free_port", Waits: true,
				Doc: "Returns a TCP port that nobody listens on.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					port, err := task.Wait(t, a.Self.(*testbed.Host).FreePort)
					return starlark.MakeInt(port), err
				},
			},
			{
				Name: "block_port", Waits: true,
				Params: []Param{
					{"port", Int, "a TCP port, but none by which mhmig reaches a host of the run by SSH"},
					{"timeout?", Seconds, "after so long the host undoes it by itself; at most 3600, default: 600"},
				},
				Doc: "Drops all TCP packets to or from the port on this host (nftables, root). Undone with undo, unblock, or at the scenario's end; to find it undone before, by the timeout, is an ERROR then.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, port, limit := a.Self.(*testbed.Host), arg[int](a, "port"), argOr(a, "timeout", blockTimeout)
					block, err := task.Wait(t, func(ctx context.Context) (*testbed.Block, error) { return h.BlockPort(ctx, port, limit) })
					if err != nil {
						return nil, err
					}
					return sceneOf(t).newObject("fault", block, block.String()), nil
				},
			},
			{
				Name: "unblock", Waits: true,
				Doc: "Undoes all block_port of this host.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return wait(t, a.Self.(*testbed.Host).Unblock)
				},
			},
		},
	}
}

// transfer waits for the copying of a file, as long as the call allows.
func transfer[T any](t *task.Task, a *Args, usual time.Duration, do func(context.Context) (T, error)) (T, error) {
	timeout := argOr(a, "timeout", usual)
	return task.Wait(t, func(ctx context.Context) (T, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done after %v", timeout))
		defer cancel()
		return do(ctx)
	})
}

// done is the value of a builtin that returns nothing.
func done(_ struct{}, err error) (starlark.Value, error) { return nil, err }

func hostRun(t *task.Task, a *Args) (starlark.Value, error) {
	h, command := a.Self.(*testbed.Host), arg[string](a, "command")
	timeout, check := max(argOr(a, "timeout", commandTimeout), time.Nanosecond), argOr(a, "check", true)
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
	return sceneOf(t).newObject("result", &out, fmt.Sprintf("status %d", out.Status)), nil
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
	return sceneOf(t).newObject("process", p, command), nil
}

// resultClass is what host.run returns.
func resultClass() *Class {
	return &Class{
		Name: "result",
		Doc:  "How a command on a host ended.",
		Attrs: []Attr{
			{"status", "the exit status", func(_ *Scene, self any) (starlark.Value, error) {
				return starlark.MakeInt(self.(*host.Output).Status), nil
			}},
			{"stdout", "what it wrote", func(_ *Scene, self any) (starlark.Value, error) {
				return starlark.String(self.(*host.Output).Stdout), nil
			}},
			{"stderr", "what it wrote to standard error", func(_ *Scene, self any) (starlark.Value, error) {
				return starlark.String(self.(*host.Output).Stderr), nil
			}},
			{"duration", "seconds", func(_ *Scene, self any) (starlark.Value, error) {
				return starlark.Float(self.(*host.Output).Duration.Seconds()), nil
			}},
		},
	}
}

// processClass is what host.start returns.
func processClass() *Class {
	return &Class{
		Name: "process",
		Doc:  "A command on a host that goes on by itself.",
		Methods: []*Builtin{
			{
				Name: "wait", Waits: true, Params: []Param{{"timeout?", Seconds, "default: 60"}},
				Doc: "Waits for its end and returns its status and output.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					p, timeout := a.Self.(*testbed.Process), argOr(a, "timeout", commandTimeout)
					out, err := task.Wait(t, func(ctx context.Context) (host.Output, error) {
						ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%s: still running after %v", p, timeout))
						defer cancel()
						return p.Wait(ctx)
					})
					if err != nil {
						return nil, err
					}
					return sceneOf(t).newObject("result", &out, fmt.Sprintf("status %d", out.Status)), nil
				},
			},
			{
				Name: "kill", Waits: true, Doc: "Kills it and all it has started.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return wait(t, a.Self.(*testbed.Process).Kill)
				},
			},
		},
	}
}

// faultClass is a fault that is in force until it is undone.
func faultClass() *Class {
	return &Class{
		Name: "fault",
		Doc:  "A fault that was made on purpose, until it is undone.",
		Methods: []*Builtin{{
			Name: "undo", Waits: true, Doc: "Ends the fault; again is fine.",
			Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
				return wait(t, a.Self.(*testbed.Block).Undo)
			},
		}},
	}
}
