// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// vmHandle is a handle of a VM: on a side of a migration of its instance there, else of
// the running instance.
type vmHandle struct {
	name string
	side *migration.Side // nil: the running instance
}

func (s *scenarioState) vm(name string, side *migration.Side) *object {
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

// instanceOf returns the instance of a handle, nil if there is none.
func (s *scenarioState) instanceOf(h *vmHandle) *testbed.Instance {
	if h.side != nil {
		return h.side.Instance(h.name)
	}
	return s.bed.Current(h.name)
}

// selfInstance returns the instance of a method's receiver.
func selfInstance(t *task.Task, a *Args) (*testbed.Instance, error) {
	h := a.Self.(*vmHandle)
	if inst := stateOf(t).instanceOf(h); inst != nil {
		return inst, nil
	}
	return nil, misusef("%s: not running on any host; vm.start starts it", h.name)
}

var loginTimeoutParam = Param{"timeout", Seconds, Computed("the param login_timeout"), "how long to try"}

func vmClass() *Class {
	return &Class{
		Name: "vm",
		Doc:  "A VM: the QEMU process on a host, and the guest inside.",
		Attrs: []Attr{
			{"name", "string", "the VM's name", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.String(self.(*vmHandle).name), nil
			}},
			{"host", "host | None", "the host on which it runs; None when it does not run", func(s *scenarioState, self any) (starlark.Value, error) {
				if inst := s.instanceOf(self.(*vmHandle)); inst != nil {
					return s.host(inst.Host), nil
				}
				return starlark.None, nil
			}},
			{"params", "params", "the variant's params as they are for this VM", func(s *scenarioState, self any) (starlark.Value, error) {
				h := self.(*vmHandle)
				if inst := s.instanceOf(h); inst != nil {
					return s.params(inst.Params()), nil
				}
				return s.params(s.bed.Params().Object(h.name)), nil
			}},
			{"address", "string | None", "how the guest is reached: with nic_mode = tap its own address, the param nic_ip or the one that a login has found; with nic_mode = user 127.0.0.1:PORT on vm.host, where QEMU forwards the param shell_port, once a login has found it. Else None", func(s *scenarioState, self any) (starlark.Value, error) {
				if inst := s.instanceOf(self.(*vmHandle)); inst != nil && inst.KnownAddress() != "" {
					return starlark.String(inst.KnownAddress()), nil
				}
				return starlark.None, nil
			}},
			{"state", "string", "QEMU's run state: running, paused, inmigrate, postmigrate, …; none when there is no instance", func(s *scenarioState, self any) (starlark.Value, error) {
				if inst := s.instanceOf(self.(*vmHandle)); inst != nil {
					return starlark.String(inst.State()), nil
				}
				return starlark.String("none"), nil
			}},
		},
		Methods: append([]*Builtin{
			{
				Name: "start", Waits: true, Params: []Param{
					{"host", Host, Computed("the one where it runs or the first"), "the host to run on"},
					{"params", Params, Value(cartesian.Params(nil)), "params of the variant to change for this start; migrate needs them too, as it starts the destination"},
				},
				Doc:     "Starts the VM. Nothing happens when it runs on that host already, which is an ERROR with params; that it runs on another one is an ERROR.",
				Returns: Nothing,
				Fn:      vmStart,
			},
			{
				Name: "wait_for_login", Waits: true, Params: []Param{loginTimeoutParam, checkParam},
				Doc:     "Logs in to the guest by SSH, as soon as that is possible.",
				Returns: Return{"session | None", "a new session in the guest; None if there was no login in time, with check=False"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return login(t, a, (*testbed.Instance).WaitForLogin)
				},
			},
			{
				Name: "wait_for_serial_login", Waits: true, Params: []Param{loginTimeoutParam, checkParam},
				Doc:     "Logs in to the guest on its serial console, as soon as that is possible.",
				Returns: Return{"session | None", "a new session in the guest; None if there was no login in time, with check=False"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return login(t, a, (*testbed.Instance).WaitForSerialLogin)
				},
			},
			{
				Name: "qmp", Waits: true, Params: []Param{{"command", String, Required, "a QMP command"}}, Fields: "arguments",
				Doc: "Executes a QMP command. A _ in the name of an argument stands for a -, unless QEMU's schema has the name with it, such as bps_rd of block_set_io_throttle. Keys of dicts are as they are written. " +
					"The param monitor_timeout limits how long QEMU may take to answer. " +
					"cont, system_reset and system_wakeup are refused on a source whose migration has completed, and migrate_cancel in postcopy: they would lose the guest. So would calc-dirty-rate with mode=dirty-bitmap under TCG, which is a SKIP. " +
					"Unlike pause and reset, a stop, a system_reset and whatever human-monitor-command does do not count as requested by the scenario; a quit is treated like destroy.",
				Returns: Return{"any", "what QEMU has answered"},
				Fn:      vmQMP,
			},
			{
				Name: "expect",
				Params: []Param{
					{"event", EventName, Required, "a QMP event's name"},
					{"match", dataMatch, None, "what the event's data must have"},
				},
				Doc:     "Begins to collect events of the VM, on whichever host it runs, also of instances that are started later; on a side of a migration only of the instance there. expectation.wait takes them.",
				Returns: Return{"expectation", "the subscription"},
				Fn:      vmExpect,
			},
			{
				Name: "pause", Waits: true,
				Doc:     "Pauses the guest (QMP stop). A migration moves it paused, and resumes it where it has arrived. A guest that is paused at the scenario's end for any other reason is a FAIL if it has been migrated, else an ERROR.",
				Returns: Nothing,
				Fn:      control((*testbed.Instance).Stop),
			},
			{
				Name: "resume", Waits: true,
				Doc:     "Resumes the guest (QMP cont). Refused on a source whose migration has completed.",
				Returns: Nothing,
				Fn:      control((*testbed.Instance).Cont),
			},
			{
				Name: "reset", Waits: true,
				Doc:     "Resets the guest (QMP system_reset) and returns at once; vm.reboot also waits for the next boot. A reset that neither has requested is a FAIL from the start of the first migration on. Refused on a source whose migration has completed.",
				Returns: Nothing,
				Fn:      control((*testbed.Instance).Reset),
			},
			{
				Name: "reboot", Waits: true,
				Params: []Param{
					{"how", oneOf("qmp", "shell"), Value("qmp"), "qmp: by a reset, as vm.reset does; shell: by the guest's command of the param reboot_command, in a new session; its reset counts as requested until login_timeout after the timeout"},
					loginTimeoutParam, checkParam,
				},
				Doc:     "Reboots the guest and waits until its next boot accepts a login: by SSH, or on the serial console if the VM has no NIC. It may be migrated meanwhile. Its sessions end.",
				Returns: Return{"session | None", "a session of the new boot; None if there was no login in time, with check=False"},
				Fn:      vmReboot,
			},
			{
				Name: "destroy", Waits: true,
				Params:  []Param{{"gracefully", Bool, Value(true), "whether QEMU is told to quit; with False it is killed by SIGKILL, as the loss of its host ends it"}},
				Doc:     "Ends the VM's QEMU at once. A QEMU that ends by a signal, with an exit status other than 0 or with a sanitizer's report is a FAIL; so is a guest that was reset after its first migration without a request. One that was stopped without a request, or had panicked, is a FAIL if it has been migrated, else an ERROR.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					inst, err := selfInstance(t, a)
					if err != nil {
						return nil, err
					}
					end := stateOf(t).bed.Remove
					if !arg[bool](a, "gracefully") {
						end = stateOf(t).bed.Kill
					}
					return wait(t, func(ctx context.Context) error {
						return errors.Join(cmp.Or(inst.CheckEnd(ctx), inst.CheckStopped(ctx)), end(ctx, inst))
					})
				},
			},
			{
				Name: "dirty_rate", Waits: true, Params: []Param{{"seconds", Int, Value(1), "how long QEMU measures: 1 to 60"}},
				Doc: "Measures how much different memory the guest writes to (QMP calc-dirty-rate, by sampling pages). A guest that writes to more per second than the migration sends does not converge: see the param mig_prediction. " +
					"A QEMU that cannot, before 5.2, is a SKIP.",
				Returns: Return{"int", "in bytes per second, by whole MiB"},
				Fn:      vmDirtyRate,
			},
			{
				Name: "set_speed", Waits: true, Params: []Param{{"bytes_per_second", Bytes, Required, "the limit"}},
				Doc:     "Limits the bandwidth of this VM's migrations (QEMU's max-bandwidth).",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return setParameter(t, a, "max-bandwidth", arg[int64](a, "bytes_per_second"))
				},
			},
			{
				Name: "set_downtime", Waits: true, Params: []Param{{"limit", Seconds, Required, "how long the guest may be stopped"}},
				Doc:     "Limits the downtime of this VM's migrations (QEMU's downtime-limit).",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return setParameter(t, a, "downtime-limit", arg[time.Duration](a, "limit").Milliseconds())
				},
			},
		}, append(plugMethods, snapshotMethod, clockMethod, uploadMethod, downloadMethod)...),
	}
}

func vmDirtyRate(t *task.Task, a *Args) (starlark.Value, error) {
	seconds := arg[int](a, "seconds")
	if seconds < 1 || seconds > 60 {
		return nil, misusef("seconds: got %d, want 1 to 60", seconds)
	}
	inst, err := selfInstance(t, a)
	if err != nil {
		return nil, err
	}
	rate, err := task.Wait(t, func(ctx context.Context) (float64, error) {
		rate, err := inst.Monitor().DirtyRate(ctx, time.Duration(seconds)*time.Second)
		if errors.Is(err, qmp.ErrNoDirtyRate) {
			return 0, result.Skip.Errorf("%s: %w", inst, err)
		}
		return rate, inst.BlameGone(ctx, err)
	})
	return starlark.MakeInt64(int64(rate)), err
}

func vmStart(t *task.Task, a *Args) (starlark.Value, error) {
	bed, name := stateOf(t).bed, a.Self.(*vmHandle).name
	where := bed.Hosts()[0]
	if instance := bed.Current(name); instance != nil {
		where = instance.Host
	}
	where = argOr(a, "host", where)
	params, err := changedParams(t, a)
	if err != nil {
		return nil, misuse{err}
	}
	release, err := bed.Claim([]string{name}, "vm.start")
	if err != nil {
		return nil, misuse{err}
	}
	defer release()
	return wait(t, func(ctx context.Context) error {
		_, started, err := bed.Ensure(ctx, name, where, params, vm.Launch{})
		if err == nil && !started && len(arg[cartesian.Params](a, "params")) > 0 {
			err = misusef("params: %s runs on %s already, and they are for its start", name, where.Name())
		}
		return err
	})
}

func login(t *task.Task, a *Args, by func(*testbed.Instance, context.Context, time.Duration) (*guest.Session, error)) (starlark.Value, error) {
	inst, err := selfInstance(t, a)
	if err != nil {
		return nil, err
	}
	timeout := argOr(a, "timeout", inst.Config().Login.Timeout)
	return newSession(t, a, func(ctx context.Context) (*guest.Session, *testbed.Instance, error) {
		session, err := by(inst, ctx, timeout)
		return session, inst, err
	})
}

func vmReboot(t *task.Task, a *Args) (starlark.Value, error) {
	inst, err := selfInstance(t, a)
	if err != nil {
		return nil, err
	}
	if err := inst.RefuseDeparted("vm.reboot"); err != nil {
		return nil, err
	}
	reboot, timeout := (*testbed.Instance).Reboot, argOr(a, "timeout", inst.Config().Login.Timeout)
	if arg[string](a, "how") == "shell" {
		reboot = (*testbed.Instance).RebootInShell
	}
	return newSession(t, a, func(ctx context.Context) (*guest.Session, *testbed.Instance, error) {
		return reboot(inst, ctx, timeout)
	})
}

// newSession waits for a login and returns its session.
func newSession(t *task.Task, a *Args, login func(context.Context) (*guest.Session, *testbed.Instance, error)) (starlark.Value, error) {
	session, err := task.Wait(t, func(ctx context.Context) (*sessionHandle, error) {
		session, inst, err := login(ctx)
		blamed := inst.Blame(ctx, err)
		if errors.Is(err, testbed.ErrNoLogin) && ctx.Err() == nil && isAlive(inst, blamed) {
			return nil, &unmetError{blamed}
		}
		return &sessionHandle{session, inst}, blamed
	})
	if err != nil {
		return orUnmet(a, nil, err)
	}
	return stateOf(t).newObject("session", session, session.instance.String()), nil
}

// control returns a builtin that calls a method of the instance.
func control(f func(*testbed.Instance, context.Context) error) func(*task.Task, *Args) (starlark.Value, error) {
	return func(t *task.Task, a *Args) (starlark.Value, error) {
		inst, err := selfInstance(t, a)
		if err != nil {
			return nil, err
		}
		return wait(t, func(ctx context.Context) error { return inst.BlameGone(ctx, f(inst, ctx)) })
	}
}

func setParameter(t *task.Task, a *Args, name string, value int64) (starlark.Value, error) {
	return control(func(instance *testbed.Instance, ctx context.Context) error {
		return instance.Monitor().Execute(ctx, "migrate-set-parameters", map[string]any{name: value}, nil)
	})(t, a)
}

func vmQMP(t *task.Task, a *Args) (starlark.Value, error) {
	inst, err := selfInstance(t, a)
	if err != nil {
		return nil, err
	}
	command, given := arg[string](a, "command"), map[string]any{}
	for _, kv := range a.Fields {
		name := string(kv[0].(starlark.String))
		if given[name], err = FromStarlark(kv[1]); err != nil {
			return nil, misusef("%s: %w", name, err)
		}
	}
	reply, err := task.Wait(t, func(ctx context.Context) (reply any, err error) {
		arguments := map[string]any{}
		for name, v := range given {
			if name, err = argumentName(ctx, inst, command, name); err != nil {
				return nil, inst.BlameGone(ctx, err)
			}
			arguments[name] = v
		}
		err = inst.Execute(ctx, command, arguments, &reply)
		return reply, inst.BlameGone(ctx, err)
	})
	if err != nil {
		return nil, err
	}
	return ToStarlark(reply)
}

// argumentName is QMP's name of an argument that a scenario has given to a command. The
// arguments of a few old commands have a _, which is what only QEMU's schema knows.
func argumentName(ctx context.Context, i *testbed.Instance, command, name string) (string, error) {
	if !strings.Contains(name, "_") {
		return name, nil
	}
	asGiven, err := i.Monitor().Supports(ctx, command+"/"+name)
	switch _, refused := errors.AsType[*qmp.Error](err); {
	case err != nil && !refused: // else it has no schema
		return "", err
	case asGiven:
		return name, nil
	}
	return qmpName(name), nil
}
