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

// commandTimeout is how long a command on a host may take when the scenario
// does not say.
const commandTimeout = 60 * time.Second

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
				Doc: "Runs a command and returns its status, stdout and stderr.",
				Fn:  hostRun,
			},
			{
				Name: "start", Waits: true, Params: []Param{{"command", String, "run by sh on the host"}},
				Doc: "Starts a command that goes on by itself; at the scenario's end it is killed.",
				Fn:  hostStart,
			},
			{
				Name: "read_file", Waits: true, Params: []Param{pathParam},
				Doc: "Returns a file's content.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, path := a.Self.(*testbed.Host), arg[string](a, "path")
					data, err := task.Wait(t, func(ctx context.Context) ([]byte, error) { return h.ReadFile(ctx, path) })
					return starlark.String(data), err
				},
			},
			{
				Name: "write_file", Waits: true,
				Params: []Param{pathParam, {"data", Content, "what is to be in it"}},
				Doc:    "Writes a file. It stays: leave a cleanup if it should not.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, path, data := a.Self.(*testbed.Host), arg[string](a, "path"), arg[string](a, "data")
					return wait(t, func(ctx context.Context) error { return h.WriteFile(ctx, path, []byte(data), 0o644) })
				},
			},
			{
				Name: "upload", Waits: true,
				Params: []Param{{"local", String, "a file on this machine"}, pathParam},
				Doc:    "Copies a file to the host.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, local, path := a.Self.(*testbed.Host), arg[string](a, "local"), arg[string](a, "path")
					return wait(t, func(ctx context.Context) error { return h.Upload(ctx, local, path) })
				},
			},
			{
				Name: "download", Waits: true,
				Params: []Param{pathParam, {"local", String, "a file on this machine"}},
				Doc:    "Copies a file from the host.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, path, local := a.Self.(*testbed.Host), arg[string](a, "path"), arg[string](a, "local")
					return wait(t, func(ctx context.Context) error { return h.Download(ctx, path, local) })
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
				Name: "block_port", Waits: true, Params: []Param{{"port", Int, "a TCP port"}},
				Doc: "Drops all TCP packets to or from the port on this host (nftables, root). Undone with undo, unblock, or at the scenario's end.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					h, port := a.Self.(*testbed.Host), arg[int](a, "port")
					block, err := task.Wait(t, func(ctx context.Context) (*testbed.Block, error) { return h.BlockPort(ctx, port) })
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

func hostRun(t *task.Task, a *Args) (starlark.Value, error) {
	h, command := a.Self.(*testbed.Host), arg[string](a, "command")
	timeout, check := max(argOr(a, "timeout", commandTimeout), time.Nanosecond), argOr(a, "check", true)
	sc := scopeOf(t)
	out, err := task.Wait(t, func(ctx context.Context) (host.Output, error) {
		env, err := syncEnv(ctx, t, sc, h)
		if err != nil {
			return host.Output{}, err
		}
		return h.Run(ctx, host.Command{Script: command, Env: env, Timeout: timeout})
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
