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

	mu        sync.Mutex // guards what follows
	instances map[string]*testbed.Instance
	arrivals  map[string]*qmp.Subscription // destination: what tells that a guest has come
	step      string
	onAdd     func(*testbed.Instance) // told of each instance that the side gets
}

func newSide(m *Migration, role Role, h *testbed.Host) *Side {
	return &Side{
		Migration: m, Role: role, Host: h,
		log:       m.log.With("host", h.Name(), "side", string(role)),
		instances: map[string]*testbed.Instance{},
		arrivals:  map[string]*qmp.Subscription{},
	}
}

// Log writes with the side's host and role.
func (s *Side) Log() *slog.Logger { return s.log }

// IsSource says whether this is the source's side.
func (s *Side) IsSource() bool { return s.Role == SourceRole }

// Instance returns the side's instance of a VM, nil before it is prepared or
// for a VM that does not take part.
func (s *Side) Instance(vm string) *testbed.Instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances[vm]
}

// Step is what the side is doing: a name from the table in the package's
// documentation, "" before the first.
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
	defer s.closeArrivals()
	defer s.closeClocks()
	if err := s.run(ctx); err != nil {
		err = s.locate(ctx, err)
		s.endMove(err)
		return err
	}
	s.log.Info("done", "step", "end")
	s.Migration.room.Leave(s.Host.Name(), "it is through with the migration")
	return nil
}

func (s *Side) run(ctx context.Context) error {
	if err := s.beforeMove(ctx, func(ctx context.Context) error { return s.runSteps(ctx, beforeMove) }); err != nil {
		return err
	}
	if s.IsSource() {
		defer s.saveRecord() // at the end: what the guest felt is known when it has settled on the destination
	}
	if err := s.runSteps(ctx, inMove); err != nil {
		return err
	}
	if s.Migration.State() == qmp.MigrationCancelled {
		return s.runSteps(ctx, afterCancel)
	}
	return s.runSteps(ctx, afterMove)
}

// endMove tells the destination, once, how the source's part of the move has ended,
// with err or without: also when that comes early.
func (s *Side) endMove(err error) {
	if !s.IsSource() {
		return
	}
	m := s.Migration
	m.ended.Do(func() {
		m.mu.Lock()
		m.failure = err
		m.broadcastLocked()
		m.mu.Unlock()
		close(m.sourceDone)
	})
}

// sendVMs is the source's part of the move.
func (s *Side) sendVMs(ctx context.Context) error {
	m := s.Migration
	if err := s.each(ctx, s.noteBoot); err != nil {
		return err
	}
	var err error
	if m.Plan.MigrateSrc != nil {
		if err = m.Plan.MigrateSrc(ctx, s); err == nil {
			err = s.each(ctx, s.askOutcome)
		}
		if err != nil {
			s.abandonUnended(ctx)
		}
	} else {
		err = s.Send(ctx, m.Plan.VMs)
	}
	if err == nil {
		s.endMove(nil)
	}
	return err
}

// receiveVMs is the destination's part of the move, which is over when the source's is.
func (s *Side) receiveVMs(ctx context.Context) (err error) {
	m := s.Migration
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
		return m.failed()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Side) meetFinished(ctx context.Context) error {
	return s.waitForPeer(ctx, "mig_finished", limit{s.Migration.options.timeout, "mig_timeout"})
}

// checkSource proves that the guests have left.
func (s *Side) checkSource(ctx context.Context) error {
	for _, vm := range s.Migration.Plan.VMs {
		s.Instance(vm).Left()
	}
	if check := s.Migration.Plan.CheckSrc; check != nil {
		return check(ctx, s)
	}
	return s.each(ctx, s.checkLeft)
}

// checkDestination lets the guests run that have arrived, and proves that they do.
func (s *Side) checkDestination(ctx context.Context) error {
	if err := s.each(ctx, s.arrive); err != nil {
		return err
	}
	var err error
	if check := s.Migration.Plan.CheckDst; check != nil {
		err = check(ctx, s)
	} else {
		err = s.each(ctx, s.checkArrived)
	}
	if err != nil {
		return err
	}
	return s.each(ctx, s.settleClock)
}

// concludeSource ends the instances that the guests have left, when nobody wants to
// look at them any more.
func (s *Side) concludeSource(ctx context.Context) error {
	if err := s.finalCheck(ctx); err != nil {
		return err
	}
	return s.each(ctx, func(ctx context.Context, vm string) error {
		return s.Migration.bed.Remove(ctx, s.Instance(vm))
	})
}

// prepareSources makes sure that each VM runs here, and nowhere else.
func (s *Side) prepareSources(ctx context.Context) error {
	m := s.Migration
	if err := m.checkSameMachine(ctx); err != nil {
		return err
	}
	if err := m.bed.ClearFor(ctx, m.Plan.VMs, s.Host, m.Plan.Fresh); err != nil {
		return err
	}
	if err := s.waitForPeer(ctx, "cleared", limit{}); err != nil {
		return err
	}
	return s.each(ctx, s.prepareSource)
}

// prepareDestinations starts the VMs' other halves, when there are none elsewhere.
func (s *Side) prepareDestinations(ctx context.Context) error {
	if err := s.waitForPeer(ctx, "cleared", limit{}); err != nil {
		return err
	}
	return s.each(ctx, s.prepareDestination)
}

// beforeMove runs the side's steps before the move. A QEMU that ends during them ends
// them, whatever the side waits for: there is nothing left to move.
func (s *Side) beforeMove(ctx context.Context, steps func(context.Context) error) error {
	watched, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	var all []*testbed.Instance // guarded by s.mu
	s.mu.Lock()
	s.onAdd = func(instance *testbed.Instance) {
		all = append(all, instance)
		watching.Go(func() {
			select {
			case <-instance.Exited():
				cancel(&endedEarly{instance})
			case <-watched.Done():
			}
		})
	}
	s.mu.Unlock()
	err := steps(watched)
	s.mu.Lock()
	s.onAdd = nil
	s.mu.Unlock()
	if errors.Is(err, qmp.ErrGone) { // seen here before it is seen there
		for _, instance := range all {
			select {
			case <-instance.Exited():
				cancel(&endedEarly{instance})
			default:
			}
		}
	}
	cancel(nil)
	watching.Wait()
	ended, early := errors.AsType[*endedEarly](context.Cause(watched))
	if !early || err != nil && !errors.Is(err, ended) && !errors.Is(err, qmp.ErrGone) {
		return err // nil, or what it says more of
	}
	if s.IsSource() {
		return ended.instance.Ended(ctx)
	}
	return fail(ctx, s.Migration.moves[ended.instance.Name()], ended.instance, DestinationRole, ended.instance.Exit(ctx))
}

// endedEarly is the cause when a QEMU has ended before the move.
type endedEarly struct{ instance *testbed.Instance }

func (e *endedEarly) Error() string { return e.instance.String() + " has ended" }

// prepareSource makes sure that the VM runs here and can be logged in to.
func (s *Side) prepareSource(ctx context.Context, vm string) error {
	m := s.Migration
	instance, started, err := m.bed.Ensure(ctx, vm, s.Host, m.Plan.Params, m.moves[vm].transport.Launch(SourceRole))
	if err != nil {
		return err
	}
	s.add(instance)
	if err := s.listenClock(ctx, instance); err != nil {
		return err
	}
	if m.options.startTimeout > 0 {
		if !started {
			return nil
		}
		// The guest is to be caught while it boots: no login.
		return sleep(ctx, m.options.startTimeout)
	}
	if err := instance.EnsureLogin(ctx, m.options.loginTimeout); err != nil {
		return err
	}
	return s.settleClock(ctx, vm)
}

// prepareDestination starts the VM's other half, which waits for the guest.
func (s *Side) prepareDestination(ctx context.Context, vm string) error {
	m := s.Migration
	instance, err := m.bed.StartIncoming(ctx, vm, s.Host, m.Plan.Params, m.moves[vm].transport.Launch(DestinationRole))
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.arrivals[vm] = instance.Monitor().Subscribe("RESUME", "MIGRATION")
	s.mu.Unlock()
	s.add(instance)
	if err := s.listenClock(ctx, instance); err != nil {
		return err
	}
	return s.Migration.moves[vm].await(ctx, instance)
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
		return mv.send(ctx, m.Source.Instance(vm), m.Destination.Instance(vm))
	})
}

// Receive is the destination's migrate step: it waits until the VMs have
// arrived. It ends early when the source has come to another end than success.
func (s *Side) Receive(ctx context.Context, vms []string) error {
	return each(ctx, vms, func(ctx context.Context, vm string) error {
		s.mu.Lock()
		instance, arrival := s.instances[vm], s.arrivals[vm]
		s.mu.Unlock()
		if instance == nil {
			return fmt.Errorf("%s does not take part in migration %d", vm, s.Migration.Number)
		}
		if s.Migration.traits.LoadsAfterSource {
			if err := s.Migration.moves[vm].load(ctx, instance); err != nil {
				return err
			}
		}
		return s.Migration.moves[vm].receive(ctx, instance, arrival)
	})
}

// checkLeft proves that the guest does not run on the source any more.
func (s *Side) checkLeft(ctx context.Context, vm string) error {
	instance := s.Instance(vm)
	state, err := instance.Status(ctx)
	if errors.Is(err, qmp.ErrGone) && instance.Host.Err() == nil {
		if exit := instance.QEMU.Exit(ctx); !exit.Abnormal() {
			s.log.Warn("QEMU has ended by itself after its guest had left", "vm", vm, "reason", exit.Error())
			return nil
		}
		return fail(ctx, s.Migration.moves[vm], instance, SourceRole, fmt.Errorf("its guest had left: %w", err))
	}
	if err != nil {
		return blame(ctx, s.Migration.moves[vm], instance, SourceRole, err)
	}
	if state == "running" || instance.RanTwice() {
		return fail(ctx, s.Migration.moves[vm], instance, SourceRole, instance.SplitBrain())
	}
	return nil
}

// arrive lets a guest run that arrived stopped, and makes the destination's
// instance the VM's current one.
func (s *Side) arrive(ctx context.Context, vm string) error {
	m, instance := s.Migration, s.Instance(vm)
	instance.Arrive()
	state, err := instance.Status(ctx)
	if err == nil && state == "paused" {
		err = instance.Cont(ctx)
	}
	if err != nil && ctx.Err() == nil {
		return fail(ctx, m.moves[vm], instance, DestinationRole, err)
	}
	return err
}

// checkArrived proves that the guest runs on the destination and answers.
func (s *Side) checkArrived(ctx context.Context, vm string) error {
	m, instance := s.Migration, s.Instance(vm)
	state, err := instance.Status(ctx)
	if err == nil && state != "running" {
		err = fmt.Errorf("the guest is %s after the migration, not running", state)
	}
	if err == nil {
		_, err = m.moves[vm].checkResets()
	}
	if err == nil && m.options.login {
		err = instance.EnsureLogin(ctx, m.options.loginTimeout)
		if _, reset := m.moves[vm].checkResets(); reset != nil { // which explains a login that failed
			err = reset
		}
	}
	if err != nil && ctx.Err() == nil {
		return fail(ctx, m.moves[vm], instance, DestinationRole, err)
	}
	return err
}

// askOutcome asks QEMU how a migration ended that migrate_src has made by itself.
func (s *Side) askOutcome(ctx context.Context, vm string) error {
	mv, instance := s.Migration.moves[vm], s.Instance(vm)
	if mv.currentState().Terminal() {
		return nil
	}
	status, err := mv.sample(ctx, instance.Monitor())
	switch {
	case err != nil:
		return blame(ctx, mv, instance, SourceRole, err)
	case status == "" && s.Migration.wasCancelled():
		status = qmp.MigrationCancelled
	case !status.Terminal():
		return fmt.Errorf("migrate_src has returned, but the migration of %s is not over: it is %s", instance, cmp.Or(status, "not begun"))
	}
	mv.setState(status)
	return nil
}

// abandonUnended gives up what migrate_src has begun by itself and not brought to
// an end.
func (s *Side) abandonUnended(ctx context.Context) {
	_ = s.each(context.WithoutCancel(ctx), func(ctx context.Context, vm string) error {
		if !s.Migration.moves[vm].currentState().Terminal() {
			s.Migration.abandon(ctx, s.Instance(vm))
		}
		return nil
	})
}

// endCancelledSource is the source's end of a cancelled migration: a guest whose
// move was cancelled goes on where it was; one that had moved before stays moved.
func (s *Side) endCancelledSource(ctx context.Context) error {
	if err := s.each(ctx, s.keepSource); err != nil {
		return err
	}
	if err := s.meetCancelled(ctx); err != nil {
		return err
	}
	return s.each(ctx, func(ctx context.Context, vm string) error {
		if s.Migration.moves[vm].completed() {
			return s.Migration.bed.Remove(ctx, s.Instance(vm))
		}
		return nil
	})
}

// endCancelledDestination is the destination's.
func (s *Side) endCancelledDestination(ctx context.Context) error {
	if err := s.each(ctx, s.endDestination); err != nil {
		return err
	}
	return s.meetCancelled(ctx)
}

func (s *Side) meetCancelled(ctx context.Context) error {
	return s.waitForPeer(ctx, "cancelled", limit{s.Migration.options.finishTimeout, "finish_timeout"})
}

// keepSource is the source's part of the end of a cancelled move.
func (s *Side) keepSource(ctx context.Context, vm string) error {
	mv, instance := s.Migration.moves[vm], s.Instance(vm)
	if mv.completed() {
		s.log.Warn("it had moved before the migration was cancelled, and stays moved", "vm", vm)
		instance.Left()
		return nil
	}
	if err := mv.reset(ctx, endpoint{instance}); err != nil { // what was set for this migration is not for the next one
		return blame(ctx, mv, instance, SourceRole, err)
	}
	if s.Migration.options.offline {
		return blame(ctx, mv, instance, SourceRole, instance.Cont(ctx))
	}
	state, err := instance.Status(ctx)
	if err == nil {
		err = mv.checkBoot(ctx, instance, false)
	}
	if err == nil && state != "running" {
		err = fmt.Errorf("the guest is %s on the source after the migration was cancelled, not running", state)
	}
	if err != nil && ctx.Err() == nil {
		return fail(ctx, mv, instance, SourceRole, err)
	}
	return err
}

// endDestination is the destination's part of the end of a cancelled move.
func (s *Side) endDestination(ctx context.Context, vm string) error {
	if s.Migration.moves[vm].completed() {
		return s.arrive(ctx, vm)
	}
	return s.Migration.bed.Remove(ctx, s.Instance(vm))
}

func (s *Side) add(instance *testbed.Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instances[instance.Name()] = instance
	if s.onAdd != nil {
		s.onAdd(instance)
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

// waitForPeer waits for the other side. A timeout of 0 means no other limit than the
// migration's parts have by themselves. When it is over, the other side is what
// has not come to an end.
func (s *Side) waitForPeer(ctx context.Context, tag string, limit limit) error {
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

// Detail is the evidence, for the user.
func (e *StepError) Detail() string { return detail(e.Evidence) }

// Status is that of the error inside.
func (e *StepError) Status() result.Status { return result.StatusOf(e.Err) }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
