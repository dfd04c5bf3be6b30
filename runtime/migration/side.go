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
	"github.com/mhmig/mhmig/runtime/vm"
)

// Role is source or destination.
type Role string

// The two roles.
const (
	SourceRole      Role = "source"
	DestinationRole Role = "destination"
)

// Side is the source's or destination's side of a migration.
type Side struct {
	Migration *Migration
	Role      Role
	Host      *testbed.Host

	log *slog.Logger

	mu        sync.Mutex // guards what follows
	instances map[string]*testbed.Instance
	arrivals  map[string]*qmp.Subscription // destination: the events of a guest's arrival
	step      string
	onAdd     func(*testbed.Instance) // called with each instance that is added
}

func newSide(m *Migration, role Role, h *testbed.Host) *Side {
	return &Side{
		Migration: m, Role: role, Host: h,
		log:       m.log.With("host", h.Name(), "side", string(role)),
		instances: map[string]*testbed.Instance{},
		arrivals:  map[string]*qmp.Subscription{},
	}
}

// Log is the variant's log, with the side's host and role.
func (s *Side) Log() *slog.Logger { return s.log }

// IsSource says whether this is the source's side.
func (s *Side) IsSource() bool { return s.Role == SourceRole }

// Party is what the side is called at barriers: its host's name, or its role where a
// guest moves from one QEMU to another on the same host.
func (s *Side) Party() string {
	if plan := s.Migration.Plan; plan.Source == plan.Destination {
		return string(s.Role)
	}
	return s.Host.Name()
}

// Instance returns the side's instance of a VM, nil before it is prepared or
// for a VM that is not part of the migration.
func (s *Side) Instance(vm string) *testbed.Instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances[vm]
}

// Step is the step that the side is in: a name from the table in the package's
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
	s.Migration.barriers.At(s.Party(), step)
	s.log.Info(step, "step", step)
}

// Run runs all steps of the side. It returns nil when the migration has ended on
// this side, else the first error, or ctx's cause. When it fails, the caller must end
// the other side's ctx.
func (s *Side) Run(ctx context.Context) error {
	if s.IsSource() {
		defer close(s.Migration.over)
	}
	defer s.closeArrivals()
	defer s.closeClocks()
	defer s.closeTransports(ctx)
	if err := s.run(ctx); err != nil {
		err = s.locate(ctx, err)
		s.endMove(err)
		return err
	}
	s.log.Info("done", "step", "end")
	s.Migration.barriers.Leave(s.Party(), "its side of the migration has ended")
	return nil
}

func (s *Side) run(ctx context.Context) error {
	if s.IsSource() {
		defer s.Migration.countEvents()()
	}
	moving, stop := s.Migration.untilFailed(ctx)
	defer stop()
	err := s.beforeMove(moving, func(ctx context.Context) error { return s.runSteps(ctx, beforeMove) })
	if err == nil {
		if s.IsSource() {
			defer s.saveRecord() // at the end: the guest's clock stamps on the destination are known then
		}
		err = s.runSteps(moving, duringMove)
	}
	switch {
	case err != nil && s.Migration.tolerates(ctx, err):
		if err := s.endFailedMove(ctx); err != nil {
			return err
		}
		return s.runSteps(ctx, afterFailure)
	case err != nil:
		return err
	case s.Migration.State() == qmp.MigrationCancelled:
		return s.runSteps(ctx, afterCancel)
	}
	return s.runSteps(ctx, afterMove)
}

// endMove records, once, that the source's part of the move has ended, with err or nil,
// and wakes the destination.
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
	send := m.Plan.MigrateSrc
	if send == nil {
		send = func(ctx context.Context, s *Side) error { return s.Send(ctx, m.Plan.VMs) }
	}
	moving, ended := m.startPostcopyWhenDue(ctx)
	err := send(moving, s)
	ended()
	if m.Plan.MigrateSrc != nil {
		if err == nil {
			err = s.each(ctx, s.queryOutcome)
		}
		if err != nil {
			s.abandonUnfinished(ctx)
		}
	}
	if err == nil {
		s.endMove(nil)
	}
	return err
}

// receiveVMs is the destination's part of the move, which ends after the source's.
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

func (s *Side) waitFinished(ctx context.Context) error {
	return s.waitForPeer(ctx, "mig_finished", limit{s.Migration.options.timeout, "mig_timeout"})
}

// checkSource checks that the guests have left the source.
func (s *Side) checkSource(ctx context.Context) error {
	for _, vm := range s.Migration.Plan.VMs {
		s.Instance(vm).Left()
	}
	if check := s.Migration.Plan.CheckSrc; check != nil {
		return check(ctx, s)
	}
	return s.each(ctx, s.checkLeft)
}

// checkDestination resumes the guests that have arrived stopped, and checks that all
// guests run.
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

// concludeSource ends the instances that the guests have left, after the final checks.
func (s *Side) concludeSource(ctx context.Context) error {
	if err := s.finalCheck(ctx); err != nil {
		return err
	}
	return s.each(ctx, func(ctx context.Context, vm string) error {
		return s.Migration.bed.Remove(ctx, s.Instance(vm))
	})
}

// prepareSources makes sure that each VM runs on the source, and nowhere else.
func (s *Side) prepareSources(ctx context.Context) error {
	m := s.Migration
	if err := m.checkHosts(ctx); err != nil {
		return err
	}
	if err := m.bed.ClearFor(ctx, m.Plan.VMs, s.Host, m.Plan.Fresh); err != nil {
		return err
	}
	err := s.each(ctx, func(ctx context.Context, vm string) error { return m.bed.PlaceDisks(ctx, vm, s.Host, m.Plan.Params) })
	if err != nil {
		return err
	}
	if err := s.waitForPeer(ctx, "cleared", limit{}); err != nil {
		return err
	}
	return s.each(ctx, s.prepareSource)
}

// prepareDestinations starts the incoming VMs, when the source has ended the VMs'
// instances on other hosts. Some transports' are started in the step migrate.
func (s *Side) prepareDestinations(ctx context.Context) error {
	if err := s.waitForPeer(ctx, "cleared", limit{}); err != nil || s.Migration.traits.startsLate() {
		return err
	}
	return s.each(ctx, s.prepareDestination)
}

// beforeMove runs the side's steps before the move. A QEMU that ends during them ends
// them, whatever the side waits for.
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
				cancel(&earlyExitError{instance})
			case <-watched.Done():
			}
		})
	}
	s.mu.Unlock()
	err := steps(watched)
	s.mu.Lock()
	s.onAdd = nil
	s.mu.Unlock()
	if errors.Is(err, qmp.ErrGone) { // the monitor's end may be seen before Exited
		for _, instance := range all {
			select {
			case <-instance.Exited():
				cancel(&earlyExitError{instance})
			default:
			}
		}
	}
	cancel(nil)
	watching.Wait()
	ended, early := errors.AsType[*earlyExitError](context.Cause(watched))
	if err == nil || !early || !errors.Is(err, ended) && !errors.Is(err, qmp.ErrGone) {
		// The steps were done, and the next ones notice the end; or there is another reason.
		return err
	}
	if s.IsSource() {
		return ended.instance.Ended(ctx)
	}
	return fail(ctx, s.Migration.moves[ended.instance.Name()], ended.instance, DestinationRole, ended.instance.Exit(ctx))
}

// earlyExitError is the cause when a QEMU has ended before the move.
type earlyExitError struct{ instance *testbed.Instance }

func (e *earlyExitError) Error() string { return e.instance.String() + " has ended" }

// prepareSource makes sure that the VM runs here and can be logged in to.
func (s *Side) prepareSource(ctx context.Context, vm string) error {
	m := s.Migration
	launch := m.moves[vm].launch(SourceRole)
	if m.options.startTimeout > 0 {
		launch.MustBoot = "param start_migration_timeout: it is to move while it boots"
	}
	instance, started, err := m.bed.Ensure(ctx, vm, s.Host, m.Plan.Params, launch)
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
		// The guest is to be migrated while it boots: no login.
		return sleep(ctx, m.options.startTimeout)
	}
	if !started {
		if err := instance.CheckHalted(ctx); err != nil {
			return err
		}
		if err := instance.CheckStopped(ctx); err != nil {
			return err
		}
	}
	if instance.PauseRequested() {
		s.log.Info("the guest is paused: it moves without a login before", "vm", vm)
		return nil
	}
	if err := instance.EnsureLogin(ctx, m.options.loginTimeout); err != nil {
		return instance.Blame(ctx, err)
	}
	return s.settleClock(ctx, vm)
}

// prepareDestination starts the incoming VM and makes it listen.
func (s *Side) prepareDestination(ctx context.Context, vm string) error {
	m := s.Migration
	launch := m.moves[vm].launch(DestinationRole)
	launch.CopyDisks = m.options.storage.on
	instance, err := m.bed.StartIncoming(ctx, vm, s.Host, m.Plan.Params, launch)
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
	return s.Migration.moves[vm].listen(ctx, instance)
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
			return fmt.Errorf("%s is not part of migration %d", vm, m.Number)
		}
		return mv.send(ctx, m.Source.Instance(vm), m.Destination.Instance(vm))
	})
}

// Receive is the destination's migrate step: it waits until the VMs have
// arrived. It returns early when the source has not completed.
func (s *Side) Receive(ctx context.Context, vms []string) error {
	return each(ctx, vms, func(ctx context.Context, vm string) error {
		if s.Migration.traits.startsLate() && s.Migration.moves[vm] != nil {
			if err := s.prepareHandover(ctx, vm); err != nil || s.Instance(vm) == nil {
				return err
			}
		}
		s.mu.Lock()
		instance, arrival := s.instances[vm], s.arrivals[vm]
		s.mu.Unlock()
		if instance == nil {
			return fmt.Errorf("%s is not part of migration %d", vm, s.Migration.Number)
		}
		if s.Migration.traits.LoadsAfterSource {
			if err := s.Migration.moves[vm].load(ctx, instance); err != nil {
				return err
			}
		}
		return s.Migration.moves[vm].receive(ctx, instance, arrival)
	})
}

// checkLeft checks that the guest does not run on the source any more.
func (s *Side) checkLeft(ctx context.Context, vm string) error {
	if s.Migration.traits.Exec {
		return nil // it has become the destination
	}
	instance := s.Instance(vm)
	state, err := instance.Status(ctx)
	if errors.Is(err, qmp.ErrGone) && instance.Host.Err() == nil {
		return s.checkEnded(ctx, instance)
	}
	if err != nil {
		return blame(ctx, s.Migration.moves[vm], instance, SourceRole, err)
	}
	if state == "running" || instance.RanTwice() {
		return fail(ctx, s.Migration.moves[vm], instance, SourceRole, instance.SplitBrain())
	}
	return nil
}

// checkEnded checks that the source's QEMU, whose monitor is closed, has ended as it should:
// one that may be there still may run the guest a second time.
func (s *Side) checkEnded(ctx context.Context, instance *testbed.Instance) error {
	mv := s.Migration.moves[instance.Name()]
	exit := instance.QEMU.Exit(ctx)
	for end := time.Now().Add(s.Migration.timeouts.settle); exit.Status == vm.StillRuns && time.Now().Before(end); exit = instance.QEMU.Exit(ctx) {
		if err := sleep(ctx, waitInterval); err != nil {
			return err
		}
	}
	switch {
	case exit.Status == vm.Unreachable:
		return fmt.Errorf("%s: whether its guest, which has migrated, runs here too is unknown: %w", instance, exit)
	case exit.Abnormal(), exit.Status == vm.StillRuns:
		return fail(ctx, mv, instance, SourceRole, fmt.Errorf("QEMU failed after its guest had migrated: %w", qmp.ErrGone))
	}
	s.log.Warn("QEMU ended after its guest had migrated", "vm", instance.Name(), "reason", exit.Error())
	return nil
}

// arrive resumes a guest that arrived stopped, and makes the destination's instance
// the VM's current one.
func (s *Side) arrive(ctx context.Context, vm string) error {
	m, instance := s.Migration, s.Instance(vm)
	instance.Arrive()
	state, err := instance.Status(ctx)
	if err == nil {
		if wrong := cmp.Or(m.moves[vm].checkPause(ctx, state, instance), m.moves[vm].checkPanic(ctx)); wrong != nil {
			return wrong
		}
	}
	if err == nil && testbed.IsPaused(state) {
		err = instance.Cont(ctx)
	}
	if err == nil {
		err = m.moves[vm].reset(ctx, DestinationRole, endpoint{instance})
	}
	if err != nil && ctx.Err() == nil {
		return fail(ctx, m.moves[vm], instance, DestinationRole, err)
	}
	return err
}

// checkArrived checks that the guest runs on the destination and accepts a login.
func (s *Side) checkArrived(ctx context.Context, vm string) error {
	m, instance := s.Migration, s.Instance(vm)
	state, err := instance.Status(ctx)
	if err == nil && state != "running" {
		err = fmt.Errorf("the guest is %s after the migration, not running", state)
	}
	if err == nil {
		_, err = m.moves[vm].checkResets(ctx)
	}
	if err == nil && m.options.login {
		err = instance.EnsureLogin(ctx, m.options.loginTimeout)
		if _, reset := m.moves[vm].checkResets(ctx); reset != nil { // the reason of a failed login
			err = reset
		}
	}
	if err != nil && ctx.Err() == nil {
		return fail(ctx, m.moves[vm], instance, DestinationRole, err)
	}
	return err
}

// queryOutcome asks QEMU for the final status of a migration that migrate_src has
// started itself.
func (s *Side) queryOutcome(ctx context.Context, vm string) error {
	mv, instance := s.Migration.moves[vm], s.Instance(vm)
	if mv.currentState().Terminal() {
		return nil
	}
	status, err := mv.sample(ctx, instance.Monitor())
	if instance.Departures() == mv.departuresBefore {
		status = qmp.MigrationNone // what QEMU reports is an earlier one
	}
	switch {
	case err != nil:
		return blame(ctx, mv, instance, SourceRole, err)
	case !status.Begun() && s.Migration.wasCancelled(),
		(status == qmp.MigrationCancelled || status == qmp.MigrationFailed) && instance.CancelRequested(): // see finish
		mv.setState(qmp.MigrationCancelled)
		return nil
	case !status.Terminal():
		return fmt.Errorf("migrate_src has returned, but the migration of %s has not ended: its status is %s", instance, cmp.Or(status, qmp.MigrationNone))
	}
	return mv.finish(ctx, instance, s.Migration.Destination.Instance(vm), status)
}

// abandonUnfinished abandons the migrations that migrate_src has started itself and
// that have not ended.
func (s *Side) abandonUnfinished(ctx context.Context) {
	_ = s.each(context.WithoutCancel(ctx), func(ctx context.Context, vm string) error {
		if !s.Migration.moves[vm].currentState().Terminal() {
			s.Migration.abandon(ctx, s.Instance(vm))
		}
		return nil
	})
}

// keepSource is the source's part after a cancelled or failed move.
func (s *Side) keepSource(ctx context.Context, vm string) error {
	mv, instance := s.Migration.moves[vm], s.Instance(vm)
	if mv.completed() {
		s.log.Warn("its move completed before the migration was cancelled or had failed: it stays on the destination", "vm", vm)
		instance.Left()
		return nil
	}
	if mv.runsOnDestination() {
		return mv.splitBrain(ctx, instance)
	}
	if instance.Removed() { // by the scenario: see Plan.MayFail
		s.log.Info("the scenario has ended its source: it runs nowhere", "vm", vm)
		return nil
	}
	// Its parameters must not apply to the next migration.
	if err := mv.reset(ctx, SourceRole, endpoint{instance}); err != nil {
		return blame(ctx, mv, instance, SourceRole, err)
	}
	if s.Migration.options.offline && !instance.PauseRequested() {
		if err := instance.Cont(ctx); err != nil {
			return blame(ctx, mv, instance, SourceRole, err)
		}
	}
	state, err := s.resumedState(ctx, instance)
	if err == nil {
		err = mv.checkBoot(ctx, instance, false)
	}
	if err == nil && !isKept(instance, state) {
		err = fmt.Errorf("the guest is %s on the source after the migration has ended as %s, not running", state, mv.currentState())
	}
	if err != nil && ctx.Err() == nil {
		return fail(ctx, mv, instance, SourceRole, err)
	}
	return err
}

// resumedState returns the state of a source after a move that has not completed. A QEMU
// that had stopped the guest resumes it shortly after it has reported the end.
func (s *Side) resumedState(ctx context.Context, instance *testbed.Instance) (string, error) {
	deadline := time.Now().Add(s.Migration.timeouts.answer)
	for {
		state, err := instance.Status(ctx)
		if err != nil || isKept(instance, state) || time.Now().After(deadline) {
			return state, err
		}
		if err := sleep(ctx, waitInterval); err != nil {
			return "", err
		}
	}
}

// isKept says whether a run state is that of a guest that has stayed on the source: it
// runs, or is paused as the scenario has requested.
func isKept(instance *testbed.Instance, state string) bool {
	return state == "running" || testbed.IsPaused(state) && instance.PauseRequested()
}

// endDestination is the destination's part after a cancelled or failed move.
func (s *Side) endDestination(ctx context.Context, vm string) error {
	mv, instance := s.Migration.moves[vm], s.Instance(vm)
	switch {
	case instance == nil: // the migration failed before it was started
		return nil
	case mv.completed():
		return s.endCompleted(ctx, vm)
	}
	// The source looks too, but QEMU's answer comes after its events.
	if state, err := instance.Status(ctx); err == nil && state == "running" {
		return mv.splitBrain(ctx, s.Migration.Source.Instance(vm))
	}
	return s.Migration.bed.Remove(ctx, instance)
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

// waitForPeer waits for the other side at a barrier. A limit of 0 means no limit besides
// those of the other side's steps. When the limit expires, the error is that of the
// step that the other side is in.
func (s *Side) waitForPeer(ctx context.Context, tag string, limit limit) error {
	waiting := ctx
	late := fmt.Errorf("not finished after %v (%s)", limit.time, limit.params)
	if limit.time > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeoutCause(ctx, limit.time, late)
		defer cancel()
	}
	began := time.Now()
	_, err := s.Migration.barriers.Sync(waiting, s.Party(), tag, nil, nil)
	s.log.Debug("barrier ended", result.BarrierKey, tag, result.WaitedKey, time.Since(began))
	if errors.Is(err, late) {
		other := s.Migration.Source
		if s.IsSource() {
			other = s.Migration.Destination
		}
		return other.stepError(ctx, fmt.Errorf("%w; %s is waiting at barrier %s", late, s.Host.Name(), tag))
	}
	return err
}

// limit is how long a side waits for the other one, and the params that set it.
type limit struct {
	time   time.Duration
	params string
}

func (s *Side) saveRecord() {
	if err := s.Migration.bed.SaveMigration(s.Migration.Record()); err != nil {
		s.log.Warn("migration record not written", "error", err)
	}
}

// failed returns the error of the source's part of the move.
func (m *Migration) failed() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failure
}

// locate adds to an error, once, the step in which it occurred and the evidence of both
// sides. It keeps the error's status.
func (s *Side) locate(ctx context.Context, err error) error {
	_, isFailure := errors.AsType[*Failure](err)
	_, located := errors.AsType[*StepError](err)
	if isFailure || located {
		return err
	}
	return s.stepError(ctx, err)
}

// stepError returns err as the error of the step that the side is in.
func (s *Side) stepError(ctx context.Context, err error) *StepError {
	step := &StepError{Migration: s.Migration.Number, Host: s.Host.Name(), Side: s.Role, Step: s.Step(), Err: err}
	if ctx.Err() == nil { // else it was stopped: the error that stopped it has the evidence
		step.Evidence = s.Migration.evidence(ctx, s.Migration.Plan.VMs...)
	}
	return step
}

// StepError is an error with the step and the side in which it occurred.
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

// Detail is the evidence as text.
func (e *StepError) Detail() string { return detail(e.Evidence) }

// Status is that of the wrapped error.
func (e *StepError) Status() result.Status { return result.StatusOf(e.Err) }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
