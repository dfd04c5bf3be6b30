// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

var migrateParams = []Param{
	{"vms", VMs, Required, "the VMs to migrate, all at the same time"},
	{"src", Host, Required, "the source host"},
	{"dst", Host, Required, "the destination host"},
	{"start_work", Hook, None, "called with mig on the source, before the migration"},
	{"check_work", Hook, None, "called with mig on the destination, after the migration"},
	{"params", Params, Value(cartesian.Params(nil)), "params of the variant to change for this migration and its VMs"},
	{"before_migration", Hook, None, "called with mig on both sides, after start_work; the migration begins when both have returned"},
	{"migrate_src", Hook, Computed("mig.migrate_vms_src"), "called with mig on the source, to migrate the VMs"},
	{"migrate_dst", Hook, Computed("mig.migrate_vms_dest"), "called with mig on the destination, to receive the VMs"},
	{"check_src", Hook, Computed("no guest runs"), "called with mig on the source, to check it after the migration"},
	{"check_dst", Hook, Computed("each guest runs and accepts a login"), "called with mig on the destination, to check it after the migration"},
	{"post_migration", Hook, None, "called with mig on both sides, at the end"},
	{"hold", Bool, Value(false), "whether it stops before the switchover, with the status pre-switchover, until mig.release: see mig.hold"},
	{"postcopy", Bool, Computed("the param mig_postcopy"), "whether mig.start_postcopy can switch it to post-copy"},
	{"may_fail", Bool, Value(false), "whether it may fail for a reason of the network or the destination, or by mig_timeout, if the guests run on the source then, or vm.destroy has ended them there: mig.join returns False, mig.error says why, mig.overdue whether mig_timeout has ended it. A QEMU that crashes, and a lost guest, are a FAIL all the same"},
	{"fresh", Bool, Computed("only where needed"), "whether guests are restarted on src. True: always, even if they run there. False: never; a guest that runs elsewhere or has ended is an ERROR. Without it: those that do not run on src, with a warning if such a guest ran before"},
}

var (
	waitTimeoutParam = Param{"timeout", Seconds, Value(barrierTimeout), "how long to wait"}
	migratedParam    = Param{"vms", VMs, Computed("all VMs of the migration"), "which of the migration's VMs"}
)

// migrationFunctions migrate VMs.
var migrationFunctions = []*Builtin{
	{
		Name: "migrate", Params: migrateParams,
		Doc: "Starts a migration of VMs from src to dst and returns at once; mig.join waits for its end. " +
			"VMs that do not run on src are started there first. An instance that an earlier migration left on another host is ended; " +
			"a warning says that the restarted guest is a new one: see fresh.",
		Returns: Return{"mig", "the migration"},
		Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
			r, err := startMigration(t, a)
			if err != nil {
				return nil, misuse{err}
			}
			return stateOf(t).mig(r, nil), nil
		},
	},
	{
		Name: "migrate_wait", Waits: true, Params: migrateParams,
		Doc:     "Migrates VMs and waits until the migration has ended: migrate(…).join().",
		Returns: Return{"mig", "the migration, which has ended"},
		Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
			r, err := startMigration(t, a)
			if err != nil {
				return nil, misuse{err}
			}
			if err := r.join(t, 0); err != nil {
				return nil, err
			}
			return stateOf(t).mig(r, nil), nil
		},
	},
	thresholdFunction,
}

// preparedParam matches the params of VMs and disks that are prepared before the
// scenario.
var preparedParam = regexp.MustCompile(`^(vms|images?|create_image|force_create_image)(_|$)`)

// changedParams are the variant's params with the changes of the argument params.
func changedParams(t *task.Task, a *Args) (cartesian.Params, error) {
	bed, changes := stateOf(t).bed, arg[cartesian.Params](a, "params")
	params := maps.Clone(bed.Params())
	for key := range changes {
		if preparedParam.MatchString(key) {
			return nil, fmt.Errorf("params: %s: VMs and their disks were prepared before the scenario; set it in the config or by --param", key)
		}
		if meant := api.NearestParam(key, slices.Sorted(maps.Keys(params))); meant != "" {
			return nil, fmt.Errorf("params: no param %q; did you mean %q?", key, meant)
		}
	}
	maps.Copy(params, changes)
	for _, p := range api.IneffectiveParams(params) {
		if _, changed := changes[p.Key]; changed {
			return nil, fmt.Errorf("params: %s", p)
		}
	}
	bed.SetParams(changes, t.CallerPosition().String())
	return params, nil
}

// running is a migration and the tasks of its two sides.
type running struct {
	*migration.Migration
	source, destination *task.Task
}

// migKey identifies the handle of a migration or of one of its sides.
type migKey struct {
	running *running
	side    *migration.Side // nil: the migration as a whole
}

func startMigration(t *task.Task, a *Args) (*running, error) {
	s := stateOf(t)
	if sc := scopeOf(t); sc != nil && sc.side != nil {
		return nil, fmt.Errorf("not inside a migration's own worker")
	}
	params, err := changedParams(t, a)
	if err != nil {
		return nil, err
	}
	if a.Has("postcopy") {
		params["mig_postcopy"] = paramText(starlark.Bool(arg[bool](a, "postcopy")))
	}
	r := &running{}
	var src, dst *object // the handles of the sides: created here, where the lock is held
	hook := func(name string) migration.Hook {
		fn := arg[starlark.Callable](a, name)
		if fn == nil {
			return nil
		}
		return func(ctx context.Context, side *migration.Side) error {
			self, mig := r.source, src
			if !side.IsSource() {
				self, mig = r.destination, dst
			}
			_, err := self.Within(ctx, func() (starlark.Value, error) { return self.Call(fn, mig) })
			return err
		}
	}
	m, err := migration.New(s.bed, s.migrations+1, migration.Plan{
		VMs:             arg[[]string](a, "vms"),
		Source:          arg[*testbed.Host](a, "src"),
		Destination:     arg[*testbed.Host](a, "dst"),
		Params:          params,
		Fresh:           freshness(a),
		Hold:            arg[bool](a, "hold"),
		MayFail:         arg[bool](a, "may_fail"),
		StartWork:       hook("start_work"),
		CheckWork:       hook("check_work"),
		BeforeMigration: hook("before_migration"),
		MigrateSrc:      hook("migrate_src"),
		MigrateDst:      hook("migrate_dst"),
		CheckSrc:        hook("check_src"),
		CheckDst:        hook("check_dst"),
		PostMigration:   hook("post_migration"),
	})
	if err != nil {
		return nil, err
	}
	s.migrations++
	r.Migration = m
	src, dst = s.mig(r, m.Source), s.mig(r, m.Destination)
	release, err := s.bed.Claim(m.VMs(), fmt.Sprintf("migration %d", m.Number))
	if err != nil {
		return nil, err
	}
	var running atomic.Int32
	running.Store(2)
	begin := make(chan struct{}) // closed when both tasks are set, which the hooks use
	start := func(side *migration.Side) *task.Task {
		name := fmt.Sprintf("migration %d %s", m.Number, side.Role)
		sc := &scope{host: side.Host, party: side.Party(), barriers: m.Barriers(), side: side, shell: newShellSync()}
		return t.Scenario().Go(name, sc, func(t *task.Task) (starlark.Value, error) {
			<-begin
			defer func() {
				if running.Add(-1) == 0 {
					release()
				}
			}()
			sc.owner = t
			return starlark.None, side.Run(t.Context())
		})
	}
	r.source, r.destination = start(m.Source), start(m.Destination)
	close(begin)
	return r, nil
}

// freshness converts the argument fresh.
func freshness(a *Args) testbed.Fresh {
	switch {
	case !a.Has("fresh"):
		return testbed.FreshWarn
	case arg[bool](a, "fresh"):
		return testbed.FreshAlways
	default:
		return testbed.FreshNever
	}
}

// join waits for both sides, at most timeout (0: no limit).
func (r *running) join(t *task.Task, timeout time.Duration) error {
	_, err := join(t, timeout, r.source, r.destination)
	return err
}

func (s *scenarioState) mig(r *running, side *migration.Side) *object {
	label := fmt.Sprintf("%d %s %s->%s", r.Number, strings.Join(r.VMs(), ","), r.Plan.Source.Name(), r.Plan.Destination.Name())
	if side != nil {
		label += " " + string(side.Role)
	}
	return s.object("mig", migKey{r, side}, label)
}

func migClass() *Class {
	return &Class{
		Name: "mig",
		Doc:  "A migration: what migrate returns; and its source or destination side, which workers and hooks are called with.",
		Attrs: []Attr{
			{"number", "int", "the migration's number in the scenario, from 1", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.MakeInt(self.(migKey).running.Number), nil
			}},
			{"vms", "list[string]", "the names of the VMs that are migrated", func(_ *scenarioState, self any) (starlark.Value, error) {
				return stringList(self.(migKey).running.VMs()), nil
			}},
			{"src", "host", "the source host", func(s *scenarioState, self any) (starlark.Value, error) {
				return s.host(self.(migKey).running.Plan.Source), nil
			}},
			{"dst", "host", "the destination host", func(s *scenarioState, self any) (starlark.Value, error) {
				return s.host(self.(migKey).running.Plan.Destination), nil
			}},
			{"host", "host | None", "the host of this side; None for the migration as a whole", func(s *scenarioState, self any) (starlark.Value, error) {
				if side := self.(migKey).side; side != nil {
					return s.host(side.Host), nil
				}
				return starlark.None, nil
			}},
			{"is_src", "bool", "whether this is the source side", func(_ *scenarioState, self any) (starlark.Value, error) {
				side := self.(migKey).side
				return starlark.Bool(side != nil && side.IsSource()), nil
			}},
			{"params", "params", "the variant's params with this migration's changes", func(s *scenarioState, self any) (starlark.Value, error) {
				return s.params(self.(migKey).running.Plan.Params), nil
			}},
			{"ports", "dict[string, int]", "by VM name, the TCP port on which the destination's QEMU listens for it, after mig.recover the new one; without those that do not listen yet, or not on TCP", func(_ *scenarioState, self any) (starlark.Value, error) {
				return toDict(self.(migKey).running.Ports())
			}},
			{"status", "string", "QEMU's migration status: none, setup, active, completed, failed, cancelled, …; of several VMs that of the one that is furthest from success, so that it is active when all of them have got so far", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.String(self.(migKey).running.State()), nil
			}},
			{"error", "string | None", "why the migration has failed, with may_fail=True; None if it has not", func(_ *scenarioState, self any) (starlark.Value, error) {
				if failure := self.(migKey).running.Tolerated(); failure != nil {
					return starlark.String(failure.Error()), nil
				}
				return starlark.None, nil
			}},
			{"overdue", "bool", "whether mig_timeout has ended the migration, with may_fail=True: QEMU had not noticed until then that it fails", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.Bool(self.(migKey).running.Overdue()), nil
			}},
			{"stats", "dict[string, dict[string, any]]", "by VM name, QEMU's statistics on the source (before the VM is sent only status, none): status, total-time, downtime, setup-time in ms, ram in bytes; " +
				"for a guest that sends clock stamps (param guest_clock) also what they show, in ms: " +
				"guest_downtime from its last stamp on the source to its first on the destination, guest_clock_stop the part of it in which its clock was stopped, " +
				"guest_brownout the sum of its other gaps, guest_longest_gap the longest of them, guest_silence the longest time without a stamp, by the controller's clock; " +
				"with the param memory_proof, when the memory was compared, memory_proof_pages that were, memory_proof_time in ms, in which the guest stood still, and memory_proof_moved, the bytes that the hosts sent for it; " +
				"when the VM has moved, features: by name, a dict with used, False for one that was on and had nothing to do, and seen, the figures that show it; " +
				"if it was predicted whether it converges (see the param mig_prediction), predicted_from, which is dirty rate, first pass or second pass, predicted_convergence, True or False, and predicted_time in ms if it converges; " +
				"at the end prediction_verdict, which is right, wrong or not judged, and prediction_error, predicted_time divided by total-time", func(_ *scenarioState, self any) (starlark.Value, error) {
				return ToStarlark(self.(migKey).running.Stats())
			}},
		},
		Methods: []*Builtin{
			{
				Name: "vm", Params: []Param{{"name", String, Required, "one of vms"}},
				Doc:     "Returns a VM of the migration: on a side the instance on that side's host, else the running one.",
				Returns: Return{"vm", "the VM"},
				Fn:      migVM,
			},
			{
				Name: "join", Waits: true, Params: []Param{{"timeout", Seconds, Computed("no limit beyond the migration's own"), "how long to wait"}, checkParam},
				Doc:     "Waits until both sides have ended. A migration that has failed is a FAIL that names the side that failed first, also with check=False; an ERROR if the scenario has ended that side's QEMU; one that the scenario has cancelled is not: see status. With migrate(may_fail=True), False says that it has failed, and both sides have ended.",
				Returns: Return{"bool", "True; False if it has failed as it may; with check=False whether both sides have ended in time"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					r := self(a).running
					if err := r.join(t, limit(a)); err != nil {
						return met(a, err)
					}
					return starlark.Bool(r.Tolerated() == nil), nil
				},
			},
			{
				Name: "cancel", Waits: true, Params: []Param{checkParam},
				Doc:     "Cancels the migration; the guests stay on the source. Refused once it was switched to post-copy, where it would destroy them: an ERROR.",
				Returns: Return{"bool", "True; with check=False whether it was not refused"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					_, err := wait(t, self(a).running.Cancel)
					if refused, ok := errors.AsType[*migration.CancelRefusedError](err); ok {
						err = &unmetError{refused}
					}
					return met(a, err)
				},
			},
			{
				Name: "wait_status", Waits: true,
				Params: []Param{
					{"status", MigrationStatus, Required, "QEMU's migration status"},
					waitTimeoutParam,
					checkParam,
				},
				Doc:     "Waits until the migration has this status. It is an ERROR, which says how the migration ended, when it ends with another one.",
				Returns: metReturn,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return waitCondition(t, a, migration.Condition{Status: migration.State(arg[string](a, "status"))})
				},
			},
			{
				Name: "wait", Waits: true,
				Params: []Param{
					{"status", MigrationStatus, None, "QEMU's migration status"},
					{"passes", Int, None, "the number of passes over the RAM that every VM has completed"},
					{"remaining", Bytes, None, "how much RAM every VM may still have to send, at most"},
					{"sent", Bytes, None, "how much every VM has sent, at least"},
					{"event", EventName, None, "a QMP event of any of the VMs, on either side; those since the start of the migration count, which includes start_work"},
					{"count", Int, Value(1), "how many such events there must be"},
					waitTimeoutParam,
					checkParam,
				},
				Doc: "Waits until one condition holds: one of status, passes, remaining, sent, event. It is an ERROR, which says how the migration ended, when it ends before. " +
					"An event may also come during the checks after the move.",
				Returns: metReturn,
				Fn:      migWait,
			},
			{
				Name: "start_postcopy", Waits: true,
				Doc: "Switches the migration to post-copy (QMP migrate-start-postcopy), while the VMs move: the guests run on the destination before their memory is there. " +
					"It is an ERROR while one of them does not move yet, and then switches none; those that have completed are passed over. " +
					"It returns at once; mig.wait waits for the status postcopy-active. Needs migrate(postcopy=True) or the param mig_postcopy.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return wait(t, self(a).running.StartPostcopy)
				},
			},
			{
				Name: "pause", Waits: true,
				Doc: "Breaks the connection of a migration in post-copy (QMP migrate-pause), when the guests run on the destination, and returns when both ends have the status postcopy-paused. " +
					"The guests go on until they need memory that has not arrived; mig.recover connects again. Refused over a transport that cannot connect again, such as fd and rdma: the guests would be lost.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return wait(t, self(a).running.Pause)
				},
			},
			{
				Name: "recover", Waits: true, Params: []Param{checkParam},
				Doc: "Connects both ends of a migration again that has lost its connection in post-copy, and has the status postcopy-paused (QMP migrate-recover, and migrate with resume). " +
					"It returns when it is in post-copy again, or has completed. One that cannot connect, or loses the connection again, is a FAIL; it can be recovered again then.",
				Returns: metReturn,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					_, err := wait(t, self(a).running.Recover)
					if migration.OnlyPostcopyErrors(err) {
						err = &unmetError{err}
					}
					return met(a, err)
				},
			},
			{
				Name: "hold",
				Doc: "Makes the migration stop before the switchover until mig.release: the memory is sent, the guests are stopped, and the status is pre-switchover, for which mig.wait waits. " +
					"It is QEMU's capability pause-before-switchover; a SKIP where the source's QEMU has none, and an ERROR when the step migrate has begun: use migrate(hold=True). " +
					"A migration that is never released ends by mig_timeout.",
				Returns: Nothing,
				Fn: func(_ *task.Task, a *Args) (starlark.Value, error) {
					if err := self(a).running.Hold(); err != nil {
						return nil, misuse{err}
					}
					return nil, nil
				},
			},
			{
				Name: "release", Waits: true,
				Doc:     "Lets a migration that is held switch over (QMP migrate-continue), at once or as soon as it gets there.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return wait(t, self(a).running.Release)
				},
			},
			{
				Name:   "during",
				Params: []Param{{"fn", calledWith(""), Required, "the check: called without arguments, again and again; that it fails or returns False fails the scenario"}, everyParam},
				Doc: "Starts a task that calls the check fn all the time while the VMs move, from the status setup on, and returns at once. " +
					"A call that still runs when the move has ended is stopped. If no call was completed during the move, it is an ERROR.",
				Returns: Return{"task", "the task, to join: it returns the number of calls"},
				Fn:      migDuring,
			},
			{
				Name: "set_speed", Waits: true, Params: []Param{{"bytes_per_second", Bytes, Required, "the limit for each VM"}},
				Doc:     "Limits the migration's bandwidth (QEMU's max-bandwidth).",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					r, speed := self(a).running, arg[int64](a, "bytes_per_second")
					return wait(t, func(ctx context.Context) error { return r.SetSpeed(ctx, speed) })
				},
			},
			{
				Name: "set_downtime", Waits: true, Params: []Param{{"limit", Seconds, Required, "how long each guest may be stopped"}},
				Doc:     "Limits the migration's downtime (QEMU's downtime-limit).",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					r, limit := self(a).running, arg[time.Duration](a, "limit")
					return wait(t, func(ctx context.Context) error { return r.SetDowntime(ctx, limit) })
				},
			},
			{
				Name: "migrate_vms_src", Waits: true, Params: []Param{migratedParam},
				Doc:     "Migrates the VMs, all at the same time: what the source does without a migrate_src. Only on the source side.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					side, err := sideOf(a, migration.SourceRole)
					if err != nil {
						return nil, err
					}
					vms := argOr(a, "vms", side.Migration.VMs())
					return wait(t, func(ctx context.Context) error { return side.Send(ctx, vms) })
				},
			},
			{
				Name: "migrate_vms_dest", Waits: true, Params: []Param{migratedParam},
				Doc:     "Waits until the VMs have arrived: what the destination does without a migrate_dst. Only on the destination side.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					side, err := sideOf(a, migration.DestinationRole)
					if err != nil {
						return nil, err
					}
					vms := argOr(a, "vms", side.Migration.VMs())
					return wait(t, func(ctx context.Context) error { return side.Receive(ctx, vms) })
				},
			},
		},
	}
}

func migWait(t *task.Task, a *Args) (starlark.Value, error) {
	c := migration.Condition{Status: migration.State(arg[string](a, "status")), Event: arg[string](a, "event"), Passes: arg[int](a, "passes"), Count: arg[int](a, "count")}
	if a.Has("remaining") {
		remaining := arg[int64](a, "remaining")
		c.Remaining = &remaining
	}
	c.Sent = argOr(a, "sent", int64(0))
	given := 0
	for _, name := range []string{"status", "passes", "remaining", "sent", "event"} {
		if a.Has(name) {
			given++
		}
	}
	if a.Has("count") && (c.Event == "" || c.Count < 1) {
		return nil, misusef("count: got %d, want 1 or more, and an event", c.Count)
	}
	if given != 1 {
		return nil, misusef("got %d conditions, want one of status, passes, remaining, sent, event", given)
	}
	return waitCondition(t, a, c)
}

func waitCondition(t *task.Task, a *Args, c migration.Condition) (starlark.Value, error) {
	r, timeout := self(a).running, arg[time.Duration](a, "timeout")
	expired := fmt.Errorf("timeout (%v) expired", timeout)
	_, err := wait(t, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeoutCause(ctx, timeout, expired)
		defer cancel()
		err := r.Wait(ctx, c)
		if errors.Is(err, expired) {
			return &unmetError{err}
		}
		return err
	})
	return met(a, err)
}

func self(a *Args) migKey { return a.Self.(migKey) }

// wait releases the lock for a call that returns nothing but an error.
func wait(t *task.Task, f func(context.Context) error) (starlark.Value, error) {
	_, err := task.Wait(t, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return nil, err
}

func sideOf(a *Args, role migration.Role) (*migration.Side, error) {
	side := self(a).side
	if side == nil || side.Role != role {
		return nil, misusef("only on the %s's side of the migration", role)
	}
	return side, nil
}

func migVM(t *task.Task, a *Args) (starlark.Value, error) {
	name, k := arg[string](a, "name"), self(a)
	if !slices.Contains(k.running.VMs(), name) {
		return nil, misusef("name: no VM %q in this migration, only %s", name, strings.Join(k.running.VMs(), ", "))
	}
	if k.side == nil {
		return stateOf(t).vm(name, nil), nil
	}
	return stateOf(t).vm(name, k.side), nil
}
