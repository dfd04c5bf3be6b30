// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Role is which of a migration's two sides.
type Role string

// The two sides.
const (
	SourceRole      Role = "source"
	DestinationRole Role = "destination"
)

// Side is a migration seen from one of its two hosts.
type Side struct {
	Migration *Migration
	Role      Role
	Host      *testbed.Host

	log *slog.Logger

	mu       sync.Mutex // guards what follows
	machines map[string]*testbed.Machine
	arrivals map[string]*qmp.Subscription // destination: what tells that a guest has come
	step     string
	onAdd    func(*testbed.Machine) // told of each instance that the side gets
}

func newSide(m *Migration, role Role, h *testbed.Host) *Side {
	return &Side{
		Migration: m, Role: role, Host: h,
		log:      m.log.With("host", h.Name(), "side", string(role)),
		machines: map[string]*testbed.Machine{},
		arrivals: map[string]*qmp.Subscription{},
	}
}

// Log writes with the side's host and role.
func (s *Side) Log() *slog.Logger { return s.log }

// IsSource says whether this is the source's side.
func (s *Side) IsSource() bool { return s.Role == SourceRole }

// Machine returns the side's instance of a VM, nil before it is prepared or
// for a VM that does not take part.
func (s *Side) Machine(vm string) *testbed.Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machines[vm]
}

// Step is what the side is doing: a name from the table in the package's
// documentation.
func (s *Side) Step() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.step
}

func (s *Side) begin(step string) {
	s.mu.Lock()
	s.step = step
	s.mu.Unlock()
	s.Migration.room.At(s.Host.Name(), step)
	s.log.Info(step, "step", step)
}

// Run runs all steps of the side. It returns when the migration is over on
// this side, the first error, or ctx's cause. When it fails, whoever runs both
// sides ends ctx for the other one.
func (s *Side) Run(ctx context.Context) error {
	run := s.runDestination
	if s.IsSource() {
		run = s.runSource
	}
	if err := run(ctx); err != nil {
		return s.locate(ctx, err)
	}
	s.log.Info("done", "step", "end")
	s.Migration.room.Leave(s.Host.Name(), "it is through with the migration")
	return nil
}

func (s *Side) runSource(ctx context.Context) (err error) {
	m := s.Migration
	defer s.closeClocks()
	// The destination must learn of the source's end also when it comes early.
	var once sync.Once
	conclude := func(err error) {
		once.Do(func() {
			m.mu.Lock()
			m.failure = err
			m.broadcastLocked()
			m.mu.Unlock()
			close(m.sourceDone)
		})
	}
	defer func() {
		if err != nil {
			err = s.locate(ctx, err)
		}
		conclude(err)
	}()

	if err := s.early(ctx, s.readySource); err != nil {
		return err
	}
	s.begin("migrate")
	if err := s.each(ctx, s.takeLeave); err != nil {
		return err
	}
	defer s.saveRecord() // at the end: what the guest felt is known when it has settled on the destination
	if m.Plan.MigrateSrc != nil {
		if err = m.Plan.MigrateSrc(ctx, s); err == nil {
			err = s.each(ctx, s.learnEnd)
		}
		if err != nil {
			s.abandonUnended(ctx)
		}
	} else {
		err = s.Send(ctx, m.Plan.VMs)
	}
	if err != nil {
		return err
	}
	conclude(nil)
	if m.Status() == "cancelled" {
		return s.endCancelled(ctx)
	}
	s.begin("mig_finished")
	if err := s.meet(ctx, "mig_finished", limit{m.options.timeout, "mig_timeout"}); err != nil {
		return err
	}
	s.begin("check")
	for _, vm := range m.Plan.VMs {
		s.Machine(vm).Left()
	}
	if m.Plan.CheckSrc != nil {
		err = m.Plan.CheckSrc(ctx, s)
	} else {
		err = s.each(ctx, s.checkLeft)
	}
	if err != nil {
		return err
	}
	if err := s.conclude(ctx); err != nil {
		return err
	}
	if err := s.each(ctx, func(ctx context.Context, vm string) error {
		return m.bed.Remove(ctx, s.Machine(vm))
	}); err != nil {
		return err
	}
	return s.hook(ctx, "post_migration", m.Plan.PostMigration)
}

func (s *Side) runDestination(ctx context.Context) (err error) {
	m := s.Migration
	defer s.closeArrivals()
	defer s.closeClocks()
	if err := s.early(ctx, s.readyDestination); err != nil {
		return err
	}
	s.begin("migrate")
	if m.Plan.MigrateDst != nil {
		err = m.Plan.MigrateDst(ctx, s)
	} else {
		err = s.Receive(ctx, m.Plan.VMs)
	}
	if err != nil {
		return err
	}
	select {
	case <-m.sourceDone:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := m.failed(); err != nil {
		return err
	}
	if m.Status() == "cancelled" {
		return s.endCancelled(ctx)
	}
	s.begin("mig_finished")
	if err := s.meet(ctx, "mig_finished", limit{m.options.timeout, "mig_timeout"}); err != nil {
		return err
	}
	s.begin("check")
	if err := s.each(ctx, s.arrive); err != nil {
		return err
	}
	if m.Plan.CheckDst != nil {
		err = m.Plan.CheckDst(ctx, s)
	} else {
		err = s.each(ctx, s.checkArrived)
	}
	if err != nil {
		return err
	}
	if err := s.each(ctx, s.settleClock); err != nil {
		return err
	}
	if m.Plan.CheckWork != nil {
		s.begin("check_work")
		if err := m.Plan.CheckWork(ctx, s); err != nil {
			return err
		}
	}
	if err := s.conclude(ctx); err != nil {
		return err
	}
	return s.hook(ctx, "post_migration", m.Plan.PostMigration)
}

// readySource takes the source through the steps before the move.
func (s *Side) readySource(ctx context.Context) error {
	m := s.Migration
	s.begin("prepare")
	if err := m.bed.ClearFor(ctx, m.Plan.VMs, s.Host, m.Plan.Fresh); err != nil {
		return err
	}
	if err := s.meet(ctx, "cleared", limit{}); err != nil {
		return err
	}
	if err := s.each(ctx, s.prepareSource); err != nil {
		return err
	}
	s.begin("ports")
	if err := s.meet(ctx, "ports", limit{}); err != nil {
		return err
	}
	if m.Plan.StartWork != nil {
		s.begin("start_work")
		if err := m.Plan.StartWork(ctx, s); err != nil {
			return err
		}
	}
	if err := s.meet(ctx, "worked", limit{}); err != nil {
		return err
	}
	return s.hook(ctx, "before_migration", m.Plan.BeforeMigration)
}

// readyDestination takes the destination through the steps before the move.
func (s *Side) readyDestination(ctx context.Context) error {
	m := s.Migration
	s.begin("prepare")
	if err := s.meet(ctx, "cleared", limit{}); err != nil {
		return err
	}
	if err := s.each(ctx, s.prepareDestination); err != nil {
		return err
	}
	s.begin("ports")
	for _, tag := range []string{"ports", "worked"} {
		if err := s.meet(ctx, tag, limit{}); err != nil {
			return err
		}
	}
	return s.hook(ctx, "before_migration", m.Plan.BeforeMigration)
}

// early runs the side's steps before the move. A QEMU that ends during them ends
// them, whatever the side waits for: there is nothing left to move.
func (s *Side) early(ctx context.Context, steps func(context.Context) error) error {
	watched, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	s.mu.Lock()
	s.onAdd = func(machine *testbed.Machine) {
		watching.Go(func() {
			select {
			case <-machine.Exited():
				cancel(&endedEarly{machine})
			case <-watched.Done():
			}
		})
	}
	s.mu.Unlock()
	err := steps(watched)
	cancel(nil)
	watching.Wait()
	s.mu.Lock()
	s.onAdd = nil
	s.mu.Unlock()
	ended, early := errors.AsType[*endedEarly](context.Cause(watched))
	if !early || err != nil && !errors.Is(err, ended) && !errors.Is(err, qmp.ErrGone) {
		return err // nil, or what it says more of
	}
	if s.IsSource() {
		return ended.machine.Ended(ctx)
	}
	reason := errors.New(ended.machine.ExitReason(ctx))
	return fail(ctx, s.Migration.moves[ended.machine.Name()], ended.machine, DestinationRole, reason)
}

// endedEarly is the cause when a QEMU has ended before the move.
type endedEarly struct{ machine *testbed.Machine }

func (e *endedEarly) Error() string { return e.machine.String() + " has ended" }

// prepareSource makes sure that the VM runs here and can be logged in to.
func (s *Side) prepareSource(ctx context.Context, vm string) error {
	m := s.Migration
	machine, started, err := m.bed.Ensure(ctx, vm, s.Host, m.Plan.Params)
	if err != nil {
		return err
	}
	s.add(machine)
	if err := s.listenClock(ctx, machine); err != nil {
		return err
	}
	if m.options.startTimeout > 0 {
		if !started {
			return nil
		}
		// The guest is to be caught while it boots: no login.
		return pause(ctx, m.options.startTimeout)
	}
	if err := machine.EnsureLogin(ctx, m.options.loginTimeout); err != nil {
		return err
	}
	return s.settleClock(ctx, vm)
}

// prepareDestination starts the VM's other half, which waits for the guest.
func (s *Side) prepareDestination(ctx context.Context, vm string) error {
	machine, err := s.Migration.bed.StartIncoming(ctx, vm, s.Host, s.Migration.Plan.Params)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.arrivals[vm] = machine.Monitor().Subscribe("RESUME", "MIGRATION")
	s.mu.Unlock()
	s.add(machine)
	if err := s.listenClock(ctx, machine); err != nil {
		return err
	}
	return s.Migration.moves[vm].listen(ctx, machine)
}

func (s *Side) closeArrivals() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, subscription := range s.arrivals {
		subscription.Close()
	}
}

// Send is the source's migrate step: it moves the VMs, all at the same time.
func (s *Side) Send(ctx context.Context, vms []string) error {
	m := s.Migration
	return each(ctx, vms, func(ctx context.Context, vm string) error {
		mv := m.moves[vm]
		if mv == nil {
			return fmt.Errorf("%s does not take part in migration %d", vm, m.Number)
		}
		return mv.send(ctx, m.Source.Machine(vm), m.Destination.Machine(vm))
	})
}

// Receive is the destination's migrate step: it waits until the VMs have
// arrived. It ends early when the source has come to another end than success.
func (s *Side) Receive(ctx context.Context, vms []string) error {
	return each(ctx, vms, func(ctx context.Context, vm string) error {
		s.mu.Lock()
		machine, arrival := s.machines[vm], s.arrivals[vm]
		s.mu.Unlock()
		if machine == nil {
			return fmt.Errorf("%s does not take part in migration %d", vm, s.Migration.Number)
		}
		return s.Migration.moves[vm].receive(ctx, machine, arrival)
	})
}

// checkLeft proves that the guest does not run on the source any more.
func (s *Side) checkLeft(ctx context.Context, vm string) error {
	machine := s.Machine(vm)
	state, err := machine.Status(ctx)
	if errors.Is(err, qmp.ErrGone) && machine.Host.Err() == nil {
		if exit := machine.Exit(ctx); !exit.Abnormal() {
			s.log.Warn("QEMU has ended by itself after its guest had left", "vm", vm, "reason", exit.Error())
			return nil
		}
		return fail(ctx, s.Migration.moves[vm], machine, SourceRole, fmt.Errorf("its guest had left: %w", err))
	}
	if err != nil {
		return blame(ctx, s.Migration.moves[vm], machine, SourceRole, err)
	}
	if state == "running" || machine.Revived() {
		return fail(ctx, s.Migration.moves[vm], machine, SourceRole, machine.TwoCopies())
	}
	return nil
}

// arrive lets a guest run that arrived stopped, and makes the destination's
// instance the VM's current one.
func (s *Side) arrive(ctx context.Context, vm string) error {
	m, machine := s.Migration, s.Machine(vm)
	machine.Arrive()
	state, err := machine.Status(ctx)
	if err == nil && state == "paused" {
		err = machine.Cont(ctx)
	}
	if err != nil && ctx.Err() == nil {
		return fail(ctx, m.moves[vm], machine, DestinationRole, err)
	}
	return err
}

// checkArrived proves that the guest runs on the destination and answers.
func (s *Side) checkArrived(ctx context.Context, vm string) error {
	m, machine := s.Migration, s.Machine(vm)
	state, err := machine.Status(ctx)
	if err == nil && state != "running" {
		err = fmt.Errorf("the guest is %s after the migration, not running", state)
	}
	if err == nil {
		_, err = m.moves[vm].checkResets()
	}
	if err == nil && m.options.login {
		err = machine.EnsureLogin(ctx, m.options.loginTimeout)
		if _, reset := m.moves[vm].checkResets(); reset != nil { // which explains a login that failed
			err = reset
		}
	}
	if err != nil && ctx.Err() == nil {
		return fail(ctx, m.moves[vm], machine, DestinationRole, err)
	}
	return err
}

// learnEnd asks QEMU how a migration ended that migrate_src has made by itself.
func (s *Side) learnEnd(ctx context.Context, vm string) error {
	mv, machine := s.Migration.moves[vm], s.Machine(vm)
	if isTerminal(mv.state()) {
		return nil
	}
	status, err := mv.sample(ctx, machine.Monitor())
	switch {
	case err != nil:
		return blame(ctx, mv, machine, SourceRole, err)
	case status == "" && s.Migration.wasCancelled():
		status = "cancelled"
	case !isTerminal(status):
		return fmt.Errorf("migrate_src has returned, but the migration of %s is not over: it is %s", machine, cmp.Or(status, "not begun"))
	}
	mv.setStatus(status)
	return nil
}

// abandonUnended gives up what migrate_src has begun by itself and not brought to
// an end.
func (s *Side) abandonUnended(ctx context.Context) {
	_ = s.each(context.WithoutCancel(ctx), func(ctx context.Context, vm string) error {
		if !isTerminal(s.Migration.moves[vm].state()) {
			abandon(ctx, s.Machine(vm))
		}
		return nil
	})
}

// endCancelled is the end of a cancelled migration. A guest whose move was
// cancelled goes on where it was, and the destination's instance is ended; one
// that had moved before stays moved.
func (s *Side) endCancelled(ctx context.Context) error {
	s.begin("cancelled")
	end := s.dismiss
	if s.IsSource() {
		end = s.goOn
	}
	if err := s.each(ctx, end); err != nil {
		return err
	}
	if err := s.meet(ctx, "cancelled", limit{s.Migration.options.finishTimeout, "finish_timeout"}); err != nil || !s.IsSource() {
		return err
	}
	return s.each(ctx, func(ctx context.Context, vm string) error {
		if s.Migration.moves[vm].completed() {
			return s.Migration.bed.Remove(ctx, s.Machine(vm))
		}
		return nil
	})
}

// goOn is the source's part of the end of a cancelled move.
func (s *Side) goOn(ctx context.Context, vm string) error {
	mv, machine := s.Migration.moves[vm], s.Machine(vm)
	if mv.completed() {
		s.log.Warn("it had moved before the migration was cancelled, and stays moved", "vm", vm)
		machine.Left()
		return nil
	}
	if mv.limits != (limits{}) { // what was set for this migration is not for the next one
		if err := machine.Monitor().Execute(ctx, "migrate-set-parameters", mv.limits, nil); err != nil {
			return blame(ctx, mv, machine, SourceRole, err)
		}
	}
	if s.Migration.options.offline {
		return blame(ctx, mv, machine, SourceRole, machine.Cont(ctx))
	}
	state, err := machine.Status(ctx)
	if err == nil {
		err = mv.checkBoot(ctx, machine, false)
	}
	if err == nil && state != "running" {
		err = fmt.Errorf("the guest is %s on the source after the migration was cancelled, not running", state)
	}
	if err != nil && ctx.Err() == nil {
		return fail(ctx, mv, machine, SourceRole, err)
	}
	return err
}

// dismiss is the destination's part of the end of a cancelled move.
func (s *Side) dismiss(ctx context.Context, vm string) error {
	if s.Migration.moves[vm].completed() {
		return s.arrive(ctx, vm)
	}
	return s.Migration.bed.Remove(ctx, s.Machine(vm))
}

func (s *Side) add(machine *testbed.Machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machines[machine.Name()] = machine
	if s.onAdd != nil {
		s.onAdd(machine)
	}
}

// each runs f for all of the migration's VMs.
func (s *Side) each(ctx context.Context, f func(ctx context.Context, vm string) error) error {
	return each(ctx, s.Migration.Plan.VMs, f)
}

// each runs f for all VMs at the same time; the first error ends the others.
func each(ctx context.Context, vms []string, f func(ctx context.Context, vm string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, vm := range vms {
		group.Go(func() error { return f(ctx, vm) })
	}
	return group.Wait()
}

func (s *Side) hook(ctx context.Context, step string, h Hook) error {
	if h == nil {
		return nil
	}
	s.begin(step)
	return h(ctx, s)
}

// meet waits for the other side. A timeout of 0 means no other limit than the
// migration's parts have by themselves. When it is over, the other side is what
// has not come to an end.
func (s *Side) meet(ctx context.Context, tag string, limit limit) error {
	waiting := ctx
	late := fmt.Errorf("not over after %v (%s)", limit.time, limit.params)
	if limit.time > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeoutCause(ctx, limit.time, late)
		defer cancel()
	}
	began := time.Now()
	_, err := s.Migration.room.Sync(waiting, s.Host.Name(), tag, nil, nil)
	s.log.Debug("barrier is over", result.BarrierKey, tag, result.WaitedKey, time.Since(began))
	if errors.Is(err, late) {
		other := s.Migration.Source
		if s.IsSource() {
			other = s.Migration.Destination
		}
		return other.stepError(ctx, fmt.Errorf("%w; %s waits for it at barrier %s", late, s.Host.Name(), tag))
	}
	return err
}

// limit is how long a side waits for the other one, and which params say so.
type limit struct {
	time   time.Duration
	params string
}

func (s *Side) saveRecord() {
	if err := s.Migration.bed.SaveMigration(s.Migration.Record()); err != nil {
		s.log.Warn("migration record not written", "error", err)
	}
}

// failed returns what the source's part of the migration failed with.
func (m *Migration) failed() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failure
}

// locate adds where in the migration an error arose and what both sides' QEMU
// knew then, once, and keeps the verdict it carries.
func (s *Side) locate(ctx context.Context, err error) error {
	_, whole := errors.AsType[*Failure](err)
	_, located := errors.AsType[*StepError](err)
	if whole || located {
		return err
	}
	return s.stepError(ctx, err)
}

// stepError says that err is about what the side is doing now.
func (s *Side) stepError(ctx context.Context, err error) *StepError {
	step := &StepError{Migration: s.Migration.Number, Host: s.Host.Name(), Side: s.Role, Step: s.Step(), Err: err}
	if ctx.Err() == nil { // else it was stopped: others know why
		step.Evidence = s.Migration.evidence(ctx, s.Migration.Plan.VMs...)
	}
	return step
}

// StepError says in which step of which side something went wrong.
type StepError struct {
	Migration int
	Host      string
	Side      Role
	Step      string
	Err       error
	Evidence  []testbed.Evidence // source's, then destination's, of each VM
}

func (e *StepError) Error() string {
	return fmt.Sprintf("migration %d, %s %s, %s: %v", e.Migration, e.Side, e.Host, e.Step, e.Err)
}

func (e *StepError) Unwrap() error { return e.Err }

// Detail is the evidence, for a person.
func (e *StepError) Detail() string { return detail(e.Evidence) }

// Status is that of the error inside.
func (e *StepError) Status() result.Status { return result.StatusOf(e.Err) }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
