// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/guestclock"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// remindInterval is how often a warning says that a migration does not converge.
const remindInterval = 30 * time.Second

// timeouts are the limits of waits for QEMU.
type timeouts struct {
	settle    time.Duration // for the final statistics after completed, and the destination's RESUME
	peerGrace time.Duration // for the other side's QEMU to exit after a failure that was seen on this side
	cancel    time.Duration // for QEMU to cancel a migration
	answer    time.Duration // for the answer to a check whether the monitor responds; less than monitor_timeout
	evidence  time.Duration // for collecting evidence after a failure, when a QEMU may hang
}

var defaultTimeouts = timeouts{settle: 20 * time.Second, peerGrace: 2 * time.Second, cancel: 2 * time.Second, answer: 5 * time.Second, evidence: 3 * time.Second}

// move is the migration of one VM.
type move struct {
	vm string
	m  *Migration

	transport  Transport
	features   []Feature
	limits     *limits               // one of the features
	storage    *storage              // likewise
	switchedOn map[Role][]capability // by setCapabilities; each side has its own key
	isSet      bool                  // the features were set, on both ends
	clock      guestclock.Watch
	handover   handover

	departuresBefore int    // of the source, before this one
	resetsBefore     int    // of the guest on the source, when it began to move; before, more than there can be
	bootID           string // of the guest at that time, "" if unknown

	// guarded by m.mu
	state       State          // of the source; none before it began
	port        int            // on which the destination listens; 0: none
	continued   bool           // migrate-continue was sent
	query       map[string]any // the last query-migrate of the source
	sampled     time.Time      // when that was received
	samples     []result.Sample
	throttling  throttling
	switched    bool              // to post-copy
	postcopied  bool              // it had a status of post-copy
	paused      bool              // it had the status pre-switchover
	there       State             // the status of the destination, by its last event
	pausedThere bool              // the source's guest is paused, by whomever
	pauseEvents int               // how many STOP and RESUME the source has sent
	urgent      *qmp.Conn         // a second monitor of the destination, in post-copy; nil: none
	source      *testbed.Instance // set while it may be cancelled
	moved       time.Time         // when a sample last showed progress
	reminded    time.Time         // when a warning last said that it does not converge
	proof       *result.MemoryProof
	checked     []result.FeatureUse // by checkFeatures
	connections Connections
	forecast    forecast
}

func newMove(m *Migration, vm string) *move {
	o := m.options
	mv := &move{vm: vm, m: m, handover: handover{make(chan struct{}), make(chan struct{})}, state: qmp.MigrationNone, resetsBefore: math.MaxInt, switchedOn: map[Role][]capability{}, transport: transports[o.protocol](o)}
	mv.limits = newLimits(o, m.traits)
	mv.storage = newStorage(o)
	mv.features = []Feature{mv.limits, holding{m}, mv.storage}
	for _, feature := range features {
		mv.features = append(mv.features, feature(o, m.traits))
	}
	return mv
}

// endpoint is an instance as one endpoint of a move.
type endpoint struct{ *testbed.Instance }

func (e endpoint) HostName() string      { return e.Host.Name() }
func (e endpoint) Address() string       { return e.Host.MigrationAddress() }
func (e endpoint) ListenAddress() string { return e.Host.ListenAddress() }
func (e endpoint) Machine() Machine      { return e.Host }

func (e endpoint) Execute(ctx context.Context, command string, arguments, reply any) error {
	return e.Monitor().Execute(ctx, command, arguments, reply)
}

func (e endpoint) Supports(ctx context.Context, path string) (bool, error) {
	return e.Monitor().Supports(ctx, path)
}

// listen sets up the destination's QEMU and makes it listen for the guest.
func (mv *move) listen(ctx context.Context, dst *testbed.Instance) error {
	if err := mv.setUp(ctx, DestinationRole, endpoint{dst}); err != nil {
		return err
	}
	if mv.m.proves() {
		dst.HoldArrival() // see arrivesStopped
	}
	if mv.m.traits.LoadsAfterSource {
		return nil
	}
	if err := mv.storage.export(ctx, endpoint{dst}); err != nil {
		return err
	}
	if err := mv.transport.Listen(ctx, endpoint{dst}); err != nil {
		return err
	}
	if t, onTCP := mv.transport.(interface{ listeningPort() int }); onTCP {
		mv.m.mu.Lock()
		mv.port = t.listeningPort()
		mv.m.mu.Unlock()
	}
	return nil
}

// load makes the destination's QEMU load the guest when the source has completed. It
// does nothing if the source has ended otherwise. Loading may take mig_timeout again.
func (mv *move) load(ctx context.Context, dst *testbed.Instance) error {
	select {
	case <-mv.m.sourceDone:
	case <-dst.Exited():
		return mv.waitVerdict(ctx, dst)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if ctx.Err() != nil { // the source may have removed what it has saved
		return context.Cause(ctx)
	}
	if mv.completed() && mv.m.failed() == nil {
		return mv.loadSaved(ctx, dst)
	}
	return nil // the failed side reports it
}

// loadSaved makes the destination's QEMU load what the source has saved.
func (mv *move) loadSaved(ctx context.Context, dst *testbed.Instance) error {
	ctx, cancel := context.WithTimeoutCause(ctx, mv.m.options.timeout, fmt.Errorf("not ready to load the guest after mig_timeout = %v", mv.m.options.timeout))
	defer cancel()
	return blame(ctx, mv, dst, DestinationRole, mv.transport.Listen(ctx, endpoint{dst}))
}

// errOverdue is the cause when mig_timeout ends a move.
var errOverdue = errors.New("mig_timeout expired")

// send migrates the guest: from QMP migrate on the source until the migration has
// reached a terminal state there, or until mig_timeout, which starts with that command
// whatever QEMU answers. A cancelled migration is no error.
func (mv *move) send(ctx context.Context, src, dst *testbed.Instance) error {
	if err := mv.setUpSource(ctx, src); err != nil {
		return blame(ctx, mv, src, SourceRole, err)
	}
	events := src.Monitor().Subscribe("MIGRATION", "STOP", "RESUME")
	defer events.Close()
	mv.notePause(ctx, src, mv.nextPauseEvent(false))
	defer mv.storage.close()
	if err := mv.unlessCancelled(mv.storage.start(ctx, mv, src, dst)); err != nil {
		return mv.mirrorsFailed(ctx, src, dst, err)
	}
	if mv.m.traits.startsLate() {
		if err := mv.handover.await(ctx, src); err != nil {
			return err
		}
	}
	if mv.m.wasCancelled() {
		mv.setState(qmp.MigrationCancelled)
		return nil
	}
	mv.setSource(src)
	defer mv.setSource(nil)
	defer mv.closeUrgent()
	src.Depart()
	began := time.Now()
	mv.beginForecast(began)
	mv.clock.Begin()
	moving, stop := context.WithTimeoutCause(ctx, mv.m.options.timeout, errOverdue)
	defer stop()
	err := mv.transport.Send(moving, endpoint{src}, endpoint{dst})
	if mv.m.traits.Handover {
		if err == nil {
			dst, err = mv.finishHandover(moving, src)
		}
		if err != nil {
			return mv.lateFailed(ctx, src, err)
		}
	}
	switch refusal, refused := errors.AsType[*qmp.Error](err); {
	case refused:
		mv.setState(qmp.MigrationFailed)
		return mv.firstFailure(ctx, src, dst, refusal.Error())
	case err != nil:
		return mv.giveUp(ctx, src, dst, err)
	}
	mv.setState(qmp.MigrationSetup)
	if mv.m.wasCancelled() { // while QEMU had nothing to cancel yet
		err = mv.cancel(moving)
	}
	var state State
	if err == nil {
		state, err = mv.follow(moving, src, dst, events)
	}
	if mv.m.traits.Exec && errors.Is(err, qmp.ErrGone) {
		state, dst, err = mv.executed(moving, src, err)
	}
	if err != nil {
		return mv.giveUp(ctx, src, dst, err)
	}
	if err = mv.finish(ctx, src, dst, state); err == nil {
		err = mv.sent(moving, src)
	}
	took := time.Since(began).Round(time.Millisecond)
	mv.clock.End()
	if err != nil {
		return err
	}
	mv.logVerdict(src)
	mv.m.mu.Lock()
	state, query := mv.state, mv.query
	mv.m.mu.Unlock()
	attrs := []any{"took", took}
	if state == qmp.MigrationCompleted {
		for _, figure := range []struct{ name, queried string }{{"total_time_ms", "total-time"}, {"downtime_ms", "downtime"}} {
			if value, reported := query[figure.queried]; reported {
				attrs = append(attrs, figure.name, value)
			}
		}
	}
	src.Log().Info("migration "+string(state), attrs...)
	return nil
}

// setUpSource sets up the source, and stops the guest if mig_offline says so.
func (mv *move) setUpSource(ctx context.Context, src *testbed.Instance) error {
	mv.m.mu.Lock()
	mv.m.began = true
	mv.m.mu.Unlock()
	if err := mv.setUp(ctx, SourceRole, endpoint{src}); err != nil {
		return err
	}
	if mv.m.options.offline {
		if err := src.Monitor().Execute(ctx, "stop", nil, nil); err != nil {
			return err
		}
	}
	return mv.prepareForecast(ctx, src)
}

// follow watches the source until the migration has ended, and returns its state. It
// acts on an event at once; another goroutine polls the statistics, so that a monitor
// that does not answer does not block this one.
func (mv *move) follow(ctx context.Context, src, dst *testbed.Instance, events *qmp.Subscription) (state State, err error) {
	var cancelAt <-chan time.Time // nil: never
	if d := mv.m.options.cancelDelay; d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		cancelAt = timer.C
	}
	var interruptAt <-chan time.Time // nil: not cancelling
	sampling, stop := context.WithCancel(ctx)
	samples := mv.startSampling(sampling, src.Monitor())
	var asking sync.WaitGroup
	defer func() { // the goroutine ends with its channel
		stop()
		for range samples {
		}
		asking.Wait()
	}()
	for {
		select {
		case e, open := <-events.C:
			if !open {
				return "", src.Monitor().Err()
			}
			switch e.Name {
			case "STOP":
				event := mv.nextPauseEvent(false)
				asking.Go(func() { mv.notePause(sampling, src, event) })
				continue
			case "RESUME":
				mv.nextPauseEvent(true)
				continue
			}
			state := e.MigrationStatus()
			if mv.ended(state) {
				return state, nil
			}
			if state.Terminal() { // its monitor is closed next
				continue
			}
			mv.setState(state)
			src.Log().Debug("migration status", "status", string(state))
			if count := mv.connectionCount(state, dst); count != "" {
				asking.Go(func() { mv.countConnections(sampling, src, dst, state, count) })
			}
			if state == qmp.MigrationCancelling && interruptAt == nil {
				interruptAt = time.After(interruptAfter)
			}
			if state == qmp.MigrationPreSwitchover && mv.storage.on {
				if err := mv.unlessCancelled(mv.storage.finish(ctx, mv, src, dst)); err != nil {
					return "", err
				}
			}
			if err := mv.continueIfReleased(ctx, src); err != nil {
				return "", err
			}
		case e, open := <-mv.storage.jobs():
			if open {
				err = mv.unlessCancelled(mv.storage.handle(e))
			} else {
				err = src.Monitor().Err()
			}
			if err != nil {
				return "", err
			}
		case s := <-samples:
			if s.err == nil && mv.ended(s.state) {
				return s.state, nil
			}
			if err := mv.checkSample(ctx, src, s.err); err != nil {
				return "", err
			}
		case <-interruptAt:
			mv.interrupt(ctx, src)
		case <-cancelAt:
			cancelAt = nil
			src.Log().Info("cancel", "after", mv.m.options.cancelDelay)
			if err := mv.m.Cancel(ctx); err != nil {
				return "", err
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// ended says whether a status of the source is the last one. One whose process becomes the
// destination has still to do that when it has completed.
func (mv *move) ended(state State) bool {
	return state.Terminal() && (state != qmp.MigrationCompleted || !mv.m.traits.Exec)
}

// checkSample logs the move's progress after a query-migrate without error, and decides
// whether its error ends the move. A source that has stopped its guest does not answer
// its monitor while it sends the remaining memory, for as long as that takes: then only
// mig_timeout ends it. A source whose guest runs must answer.
func (mv *move) checkSample(ctx context.Context, src *testbed.Instance, err error) error {
	switch {
	case err == nil:
		mv.logProgress(ctx, src)
		return nil
	case errors.Is(err, qmp.ErrSilent) && src.State() != "running":
		src.Log().Warn("no answer from QEMU's monitor at the switchover", "error", err)
		return nil
	case errors.Is(err, qmp.ErrGone):
		return nil // reported when all of its events have been read
	default:
		return err
	}
}

// logProgress logs the move's progress, and warns from time to time if it does not
// converge.
func (mv *move) logProgress(ctx context.Context, src *testbed.Instance) {
	mv.m.mu.Lock()
	progress := result.Sample{Query: mv.query}.Progress()
	remind := progress.Diverges() && time.Since(mv.reminded) > remindInterval
	if remind {
		mv.reminded = time.Now()
	}
	limit := mv.forecast.limits.Bandwidth
	mv.m.mu.Unlock()
	src.Log().LogAttrs(ctx, result.LevelProgress, "progress", progress.Attrs()...)
	if remind {
		src.Log().Warn("the migration does not converge", "passes", progress.Passes(),
			"dirty", rate(progress.Dirty), "sent", rate(progress.Rate), "limit", rate(float64(limit)))
	}
	mv.predictPass(ctx, src)
}

// giveUp abandons a move because of cause. It determines the verdict before it tells
// QEMU to cancel, which changes the evidence.
func (mv *move) giveUp(ctx context.Context, src, dst *testbed.Instance, cause error) error {
	if dst == nil {
		return mv.lateFailed(ctx, src, cause)
	}
	mv.clock.End()
	var err error
	_, mirroring := errors.AsType[*MirrorError](cause)
	switch {
	case mirroring:
		err = mv.firstFailure(ctx, src, dst, cause.Error())
	case errors.Is(cause, errOverdue):
		mv.noteOverdue()
		err = mv.overdue(ctx, src, dst)
	case errors.Is(cause, qmp.ErrSilent):
		err = mv.silentSource(ctx, src, dst, cause)
	case errors.Is(cause, qmp.ErrGone) || errors.Is(cause, qmp.ErrClosed):
		mv.setState(qmp.MigrationFailed)
		return mv.firstFailure(ctx, src, dst, "")
	default: // the scenario was stopped, or QEMU has refused a command
		mv.m.abandon(ctx, src)
		return cause
	}
	mv.m.abandon(ctx, src)
	mv.setState(qmp.MigrationFailed)
	return err
}

// cancelRequested says whether mhmig or the scenario has cancelled the move, by whatever way.
func (mv *move) cancelRequested(src *testbed.Instance) bool {
	return mv.m.wasCancelled() || src.CancelRequested()
}

// unlessCancelled returns err unless it is the end of a mirror of a migration that was
// cancelled: then the destination's QEMU ends, and with it what the disks are copied to,
// maybe before the source's says that it is cancelled.
func (mv *move) unlessCancelled(err error) error {
	if mirror, mirroring := errors.AsType[*MirrorError](err); mirroring && mv.cancelRequested(mv.storage.src) {
		mv.storage.src.Log().Debug("a mirror has ended because the migration was cancelled", "disk", mirror.Disk, "error", mirror.Err)
		return nil
	}
	return err
}

// mirrorsFailed is the verdict of a move whose disks could not be mirrored before the
// guest's memory was to be sent.
func (mv *move) mirrorsFailed(ctx context.Context, src, dst *testbed.Instance, err error) error {
	if errors.Is(err, qmp.ErrSilent) {
		return mv.silentSource(ctx, src, dst, err)
	}
	if _, mirroring := errors.AsType[*MirrorError](err); !mirroring {
		return blame(ctx, mv, src, SourceRole, err)
	}
	mv.setState(qmp.MigrationFailed)
	return mv.firstFailure(ctx, src, dst, err.Error())
}

// finish handles a terminal state of the source.
func (mv *move) finish(ctx context.Context, src, dst *testbed.Instance, state State) error {
	desc, err := mv.finalSample(ctx, src.Monitor(), state)
	if err != nil && src.Monitor().Err() == nil {
		return blame(ctx, mv, src, SourceRole, err)
	}
	if state == qmp.MigrationFailed && mv.cancelRequested(src) {
		// To cancel, QEMU first shuts the return path down, and may report the closed
		// connection as a failure before it sets the status cancelling.
		src.Log().Debug("failed because it was cancelled", "error", desc)
		state = qmp.MigrationCancelled
	}
	mv.setState(state)
	switch state {
	case qmp.MigrationCompleted:
		if delay := mv.m.options.cancelDelay; delay > 0 {
			return fmt.Errorf("%s: the migration completed before cancel_delay = %v", src, delay)
		}
		if mv.m.wasCancelled() {
			src.Log().Warn("the migration completed before it could be cancelled")
		}
		return nil
	case qmp.MigrationCancelled:
		if mv.m.wasCancelled() {
			return nil
		}
		if mv.runsOnDestination() {
			return mv.splitBrain(ctx, src)
		}
		if src.Removed() { // a QEMU that quits cancels it first
			mv.setState(qmp.MigrationFailed)
			return fail(ctx, mv, src, SourceRole, errors.New("QEMU cancels a migration when it is told to quit"))
		}
		return fmt.Errorf("%s: the migration was cancelled, but not by mig.cancel or cancel_delay", src)
	default:
		if err := mv.lacksZeroCopy(endpoint{src}, desc); err != nil {
			return err
		}
		return mv.firstFailure(ctx, src, dst, desc)
	}
}

func (mv *move) setSource(src *testbed.Instance) {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	mv.source = src
}

func (mv *move) currentState() State {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	return mv.state
}

// completed says whether the migration has completed on the source.
func (mv *move) completed() bool { return mv.currentState() == qmp.MigrationCompleted }

func (mv *move) setState(state State) {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	if mv.state != state {
		mv.state = state
		mv.postcopied = mv.postcopied || state.Postcopy()
		mv.paused = mv.paused || state == qmp.MigrationPreSwitchover
		mv.m.reached[mv.m.stateLocked()]++
		mv.m.broadcastLocked()
	}
}

// runsOnDestination says whether the guest runs on the destination already, shortly
// before the source has completed. QEMU would let it run on the source again after a
// migrate_cancel then: two copies.
func (mv *move) runsOnDestination() bool {
	dst := mv.m.Destination.Instance(mv.vm)
	return dst != nil && dst.HasGuest()
}

// splitBrain is the FAIL of a move that has not completed although the guest runs on the
// destination: the source has resumed it too.
func (mv *move) splitBrain(ctx context.Context, source *testbed.Instance) error {
	return fail(ctx, mv, source, SourceRole, fmt.Errorf("split brain: the guest ran on %s already when the migration ended as %s: two copies of it used one disk",
		mv.m.Plan.Destination.Name(), mv.currentState()))
}

// receive waits on the destination until the guest has arrived: until it runs,
// or, if it arrives stopped, until its state is loaded. It returns early, without
// error, when the source has not completed: the source's side reports that.
func (mv *move) receive(ctx context.Context, dst *testbed.Instance, events *qmp.Subscription) error {
	sourceDone, limit := mv.m.sourceDone, mv.m.timeouts.settle
	if mv.m.traits.LoadsAfterSource {
		limit = mv.m.options.timeout
	}
	var timeout <-chan time.Time
	for {
		select {
		case e, open := <-events.C:
			if !open {
				return mv.waitVerdict(ctx, dst)
			}
			if e.MigrationStatus() == qmp.MigrationFailed && mv.m.traits.LoadsAfterSource {
				if err := mv.loadError(ctx, dst, "completed"); err != nil {
					return err
				}
			}
			if e.Name == "RESUME" || e.MigrationStatus() == qmp.MigrationCompleted {
				return nil
			}
		case <-dst.Exited():
			return mv.waitVerdict(ctx, dst)
		case <-sourceDone:
			if err := mv.m.failed(); err != nil || !mv.completed() {
				return err
			}
			sourceDone = nil
			timeout = time.After(limit)
			if _, err := dst.Status(ctx); errors.Is(err, qmp.ErrSilent) {
				return fail(ctx, mv, dst, DestinationRole, err)
			}
		case <-timeout:
			return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("the source reports completed, but the guest does not run here after %v", limit))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// waitVerdict returns the error of a destination whose QEMU has ended: the source's
// side determines it, unless the connection to the host is lost, or the source has
// completed before and the guest was being loaded.
func (mv *move) waitVerdict(ctx context.Context, dst *testbed.Instance) error {
	select {
	case <-dst.Host.Lost():
		return fmt.Errorf("%s: %w", dst, dst.Host.Err())
	case <-mv.m.sourceDone:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := mv.m.failed(); err != nil || !mv.completed() || !mv.m.traits.LoadsAfterSource {
		return err
	}
	exit := dst.Exit(ctx)
	if t, on := mv.transport.(OnHosts); on {
		if failure := t.Explain(ctx); failure.End == DestinationRole {
			return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("%s; %w", failure.Why, exit))
		}
	}
	return fail(ctx, mv, dst, DestinationRole, exit)
}

// Record returns the record of the migration so far.
func (m *Migration) Record() result.Migration {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := result.Migration{Number: m.Number, Source: m.Plan.Source.Name(), Destination: m.Plan.Destination.Name(), Status: string(m.stateLocked())}
	for _, name := range m.Plan.VMs {
		mv := m.moves[name]
		r.VMs = append(r.VMs, result.MovedVM{VM: name, Status: string(mv.state), Query: mv.query, Samples: slices.Clone(mv.samples), Guest: mv.clock.Figures(), Proof: mv.proofRecord(), Features: mv.checked, Predictions: mv.judged()})
	}
	return r
}
