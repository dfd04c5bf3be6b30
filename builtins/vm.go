// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// vmHandle stands for a VM: on a side of a migration for its instance there,
// else for the instance that runs at the moment.
type vmHandle struct {
	name string
	side *migration.Side // nil: the one that runs
}

func (s *Scene) vm(name string, side *migration.Side) *object {
	label := name
	if side != nil {
		label += "@" + side.Host.Name()
	}
	for k, o := range s.objects {
		if h, ok := k.(*vmHandle); ok && *h == (vmHandle{name, side}) {
			return o
		}
	}
	return s.object("vm", &vmHandle{name, side}, label)
}

// machine returns the instance behind a handle, nil when there is none.
func (s *Scene) machine(h *vmHandle) *testbed.Machine {
	if h.side != nil {
		return h.side.Machine(h.name)
	}
	return s.bed.Current(h.name)
}

// instance is machine for a method, which cannot do without.
func instance(t *task.Task, a *Args) (*testbed.Machine, error) {
	h := a.Self.(*vmHandle)
	if m := sceneOf(t).machine(h); m != nil {
		return m, nil
	}
	return nil, misusef("%s: not running on any host; vm.start starts it", h.name)
}

func vmClass() *Class {
	return &Class{
		Name: "vm",
		Doc:  "A VM: the QEMU process on a host, and the guest inside.",
		Attrs: []Attr{
			{"name", "the VM's name", func(_ *Scene, self any) (starlark.Value, error) {
				return starlark.String(self.(*vmHandle).name), nil
			}},
			{"host", "the host it runs on; None when it does not run", func(s *Scene, self any) (starlark.Value, error) {
				if m := s.machine(self.(*vmHandle)); m != nil {
					return s.host(m.Host), nil
				}
				return starlark.None, nil
			}},
			{"params", "the variant's params as this VM sees them", func(s *Scene, self any) (starlark.Value, error) {
				h := self.(*vmHandle)
				if m := s.machine(h); m != nil {
					return s.params(m.Params()), nil
				}
				return s.params(s.bed.Params().Object(h.name)), nil
			}},
			{"state", "QEMU's run state as its events tell: running, paused, inmigrate, postmigrate, …; none when there is no instance", func(s *Scene, self any) (starlark.Value, error) {
				if m := s.machine(self.(*vmHandle)); m != nil {
					return starlark.String(m.State()), nil
				}
				return starlark.String("none"), nil
			}},
		},
		Methods: []*Builtin{
			{
				Name: "start", Waits: true, Params: []Param{{"host?", Host, "where; default: where it runs, else the first host"}},
				Doc: "Starts the VM. One that runs there already is left alone; one that runs on another host is an ERROR.",
				Fn:  vmStart,
			},
			{
				Name: "wait_for_login", Waits: true, Params: []Param{{"timeout?", Seconds, "default: the param login_timeout"}},
				Doc: "Returns a new session in the guest, by SSH.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return login(t, a, (*testbed.Machine).WaitForLogin)
				},
			},
			{
				Name: "wait_for_serial_login", Waits: true, Params: []Param{{"timeout?", Seconds, "default: the param login_timeout"}},
				Doc: "Returns a new session in the guest, on the serial console.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return login(t, a, (*testbed.Machine).WaitForSerialLogin)
				},
			},
			{
				Name: "qmp", Waits: true, Params: []Param{{"command", String, "a QMP command"}}, Fields: "arguments",
				Doc: "Sends a command to QEMU and returns its answer. A _ in the name of an argument stands for a -. " +
					"An answer may take as long as the param monitor_timeout says, 10 s by default. " +
					"cont, system_reset and system_wakeup are refused on a source that has completed, and migrate_cancel in post-copy: they lose guests. " +
					"A stop, a system_reset and what human-monitor-command does are not taken as asked for, as pause and reboot are; a quit is, as destroy is.",
				Fn: vmQMP,
			},
			{
				Name: "pause", Waits: true, Doc: "Stops the guest (QMP stop). One that stands still at the scenario's end otherwise is a FAIL, once it has moved, else an ERROR.",
				Fn: control((*testbed.Machine).Stop),
			},
			{
				Name: "resume", Waits: true, Doc: "Lets the guest go on (QMP cont). Refused on a source that has completed its migration.",
				Fn: control((*testbed.Machine).Cont),
			},
			{
				Name: "reboot", Waits: true, Doc: "Resets the guest (QMP system_reset). Any other reset between migrate and the end of check is a FAIL. Refused on a source that has completed its migration.",
				Fn: control((*testbed.Machine).Reset),
			},
			{
				Name: "destroy", Waits: true, Doc: "Ends the VM at once. A QEMU that ends by a signal, with a status other than 0 or with a complaint of a sanitizer is a FAIL.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					m, err := instance(t, a)
					if err != nil {
						return nil, err
					}
					bed := sceneOf(t).bed
					return wait(t, func(ctx context.Context) error { return bed.Remove(ctx, m) })
				},
			},
			{
				Name: "set_speed", Waits: true, Params: []Param{{"bytes_per_second", Bytes, "the limit"}},
				Doc: "Limits the bandwidth of this VM's migrations (max-bandwidth).",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return setParameter(t, a, "max-bandwidth", arg[int64](a, "bytes_per_second"))
				},
			},
			{
				Name: "set_downtime", Waits: true, Params: []Param{{"limit", Seconds, "how long the guest may stand still"}},
				Doc: "Limits the downtime of this VM's migrations (downtime-limit).",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return setParameter(t, a, "downtime-limit", arg[time.Duration](a, "limit").Milliseconds())
				},
			},
		},
	}
}

func vmStart(t *task.Task, a *Args) (starlark.Value, error) {
	bed, name := sceneOf(t).bed, a.Self.(*vmHandle).name
	where := bed.Hosts()[0]
	if m := bed.Current(name); m != nil {
		where = m.Host
	}
	where = argOr(a, "host", where)
	release, err := bed.Claim([]string{name}, "vm.start")
	if err != nil {
		return nil, misuse{err}
	}
	defer release()
	return wait(t, func(ctx context.Context) error {
		_, _, err := bed.Ensure(ctx, name, where, bed.Params(), vm.Launch{})
		return err
	})
}

func login(t *task.Task, a *Args, by func(*testbed.Machine, context.Context, time.Duration) (*guest.Session, error)) (starlark.Value, error) {
	m, err := instance(t, a)
	if err != nil {
		return nil, err
	}
	timeout := argOr(a, "timeout", m.Config().Login.Timeout)
	session, err := task.Wait(t, func(ctx context.Context) (*guest.Session, error) {
		session, err := by(m, ctx, timeout)
		return session, m.Blame(ctx, err)
	})
	if err != nil {
		return nil, err
	}
	return sceneOf(t).newObject("session", &sessionHandle{session, m}, m.String()), nil
}

// control makes a builtin of a method that needs nothing but the instance.
func control(f func(*testbed.Machine, context.Context) error) func(*task.Task, *Args) (starlark.Value, error) {
	return func(t *task.Task, a *Args) (starlark.Value, error) {
		m, err := instance(t, a)
		if err != nil {
			return nil, err
		}
		return wait(t, func(ctx context.Context) error { return m.BlameGone(ctx, f(m, ctx)) })
	}
}

func setParameter(t *task.Task, a *Args, name string, value int64) (starlark.Value, error) {
	return control(func(m *testbed.Machine, ctx context.Context) error {
		return m.Monitor().Execute(ctx, "migrate-set-parameters", map[string]any{name: value}, nil)
	})(t, a)
}

func vmQMP(t *task.Task, a *Args) (starlark.Value, error) {
	m, err := instance(t, a)
	if err != nil {
		return nil, err
	}
	command, arguments := arg[string](a, "command"), map[string]any{}
	for _, kv := range a.Fields {
		v, err := fromStarlark(kv[1])
		if err != nil {
			return nil, misusef("%s: %w", string(kv[0].(starlark.String)), err)
		}
		arguments[qmpName(string(kv[0].(starlark.String)))] = v
	}
	reply, err := task.Wait(t, func(ctx context.Context) (any, error) {
		var reply any
		err := m.Execute(ctx, command, arguments, &reply)
		return reply, m.BlameGone(ctx, err)
	})
	if err != nil {
		return nil, err
	}
	return toStarlark(reply)
}
