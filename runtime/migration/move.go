// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mhmig/mhmig/runtime/guestclock"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

const (
	// sampleInterval is how often query-migrate is asked while a VM moves. The
	// end is seen by QEMU's event, not by this.
	sampleInterval = 250 * time.Millisecond
	// remindInterval is how often it is said that a migration does not converge.
	remindInterval = 30 * time.Second
)

// timeouts is how long is waited for what comes by itself, or not at all.
type timeouts struct {
	settle    time.Duration // for what follows at once: the figures after completed, the destination's RESUME
	peerGrace time.Duration // for the other side's QEMU to die of a failure that was seen on this one, with its last words
	cancel    time.Duration // for QEMU to give a migration up
	answer    time.Duration // for an answer to the question whether there is one, where less than the limit of an exchange
	evidence  time.Duration // for a QEMU to say what it knows of a failure; one that hangs says nothing
}

var defaultTimeouts = timeouts{settle: 20 * time.Second, peerGrace: 2 * time.Second, cancel: 2 * time.Second, answer: 5 * time.Second, evidence: 3 * time.Second}

// move is one VM's way from source to destination.
type move struct {
	vm string
	m  *Migration

	transport Transport
	features  []Feature
	limits    *limits   // one of the features
	finished  time.Time // when the source's QEMU reported the end
	clock     guestclock.Watch

	resetsBefore int    // the source's guest's, when it began to move
	bootID       string // the guest's then, "" if unknown

	// guarded by m.mu
	state    State          // of the source; none before it began
	query    map[string]any // the last query-migrate of the source
	samples  []result.Sample
	source   *testbed.Instance // set while it may be cancelled
	moved    time.Time         // when a sample showed last that something had been sent
	reminded time.Time         // when it was said last that it does not converge
}

func newMove(m *Migration, vm string) *move {
	o := m.options
	mv := &move{vm: vm, m: m, state: qmp.MigrationNone, transport: transports[o.protocol](o)}
	mv.limits = &limits{speed: o.speed, downtime: o.downtime}
	mv.features = []Feature{mv.limits}
	for _, feature := range features {
		mv.features = append(mv.features, feature(o, mv.transport.Traits()))
	}
	return mv
}

// endpoint is an instance as one endpoint of a move.
type endpoint struct{ *testbed.Instance }

func (e endpoint) HostName() string      { return e.Host.Name() }
func (e endpoint) Address() string       { return e.Host.MigrationAddress() }
func (e endpoint) ListenAddress() string { return e.Host.ListenAddress() }
func (e endpoint) Socket() string        { return e.Spec().Migration }

func (e endpoint) Execute(ctx context.Context, command string, arguments, reply any) error {
	return e.Monitor().Execute(ctx, command, arguments, reply)
}

// await sets the destination's QEMU up and makes it wait for the guest.
func (mv *move) await(ctx context.Context, dst *testbed.Instance) error {
	if err := mv.setUp(ctx, DestinationRole, endpoint{dst}); err != nil {
		return err
	}
	if mv.m.traits.LoadsAfterSource {
		return nil
	}
	return mv.transport.Listen(ctx, endpoint{dst})
}

// load makes the destination's QEMU load the guest when the source has come to its
// end. It does nothing when that is another one than success.
func (mv *move) load(ctx context.Context, dst *testbed.Instance) error {
	select {
	case <-mv.m.sourceDone:
	case <-dst.Exited():
		return mv.awaitVerdict(ctx, dst)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !mv.completed() || mv.m.failed() != nil {
		return nil //nolint:nilerr // who failed has said so
	}
	return blame(ctx, mv, dst, DestinationRole, mv.transport.Listen(ctx, endpoint{dst}))
}

// errOverdue is the cause with which the time of a move ends.
var errOverdue = errors.New("mig_timeout is over")

// send moves the guest: from QMP migrate on the source until the source's QEMU
// has come to an end of it, whichever, or until mig_timeout, which begins with
// that command whatever QEMU answers. A cancelled migration is no error.
func (mv *move) send(ctx context.Context, src, dst *testbed.Instance) error {
	if err := mv.setUpSource(ctx, src); err != nil {
		return blame(ctx, mv, src, SourceRole, err)
	}
	events := src.Monitor().Subscribe("MIGRATION")
	defer events.Close()

	if mv.m.wasCancelled() {
		mv.setState(qmp.MigrationCancelled)
		return nil
	}
	mv.setSource(src)
	defer mv.setSource(nil)
	src.Depart()
	began := time.Now()
	mv.clock.Begin()
	moving, stop := context.WithTimeoutCause(ctx, mv.m.options.timeout, errOverdue)
	defer stop()
	err := mv.transport.Send(moving, endpoint{src}, endpoint{dst})
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
		state, err = mv.follow(moving, src, events)
	}
	if err != nil {
		return mv.giveUp(ctx, src, dst, err)
	}
	err = mv.ending(ctx, src, dst, state)
	mv.finished = time.Now()
	mv.clock.End()
	if err != nil {
		return err
	}
	mv.m.mu.Lock()
	state, query := mv.state, mv.query
	mv.m.mu.Unlock()
	figures := []any{"took", mv.finished.Sub(began).Round(time.Millisecond)}
	if state == qmp.MigrationCompleted {
		figures = append(figures, "total_time_ms", query["total-time"], "downtime_ms", query["downtime"])
	}
	src.Log().Info("migration "+string(state), figures...)
	return nil
}

// setUpSource sets up the source, and makes the guest stand still where it is to.
func (mv *move) setUpSource(ctx context.Context, src *testbed.Instance) error {
	if err := mv.setUp(ctx, SourceRole, endpoint{src}); err != nil {
		return err
	}
	if mv.m.options.offline {
		return src.Monitor().Execute(ctx, "stop", nil, nil)
	}
	return nil
}

// follow watches the source until the migration has ended, and returns how. An
// event that tells of the end counts at once; the figures are asked for beside, by
// a goroutine of their own, so that a QEMU that is silent holds up nothing here.
func (mv *move) follow(ctx context.Context, src *testbed.Instance, events *qmp.Subscription) (state State, err error) {
	var cancelAt <-chan time.Time // nil: never
	if d := mv.m.options.cancelDelay; d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		cancelAt = timer.C
	}
	asking, stop := context.WithCancel(ctx)
	looks := mv.sampleAlong(asking, src.Monitor())
	defer func() { // the goroutine ends with its channel
		stop()
		for range looks {
		}
	}()
	for {
		select {
		case e, open := <-events.C:
			if !open {
				return "", src.Monitor().Err()
			}
			state := e.MigrationStatus()
			if state.Terminal() {
				return state, nil
			}
			mv.setState(state)
			src.Log().Debug("migration status", "status", string(state))
		case l := <-looks:
			if l.err == nil && l.state.Terminal() {
				return l.state, nil
			}
			if err := mv.checkProgress(ctx, src, l.err); err != nil {
				return "", err
			}
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

// statusQuery is what became of one question for the figures.
type statusQuery struct {
	state State
	err   error
}

// sampleAlong asks the source for the figures again and again until ctx ends,
// then closes the channel.
func (mv *move) sampleAlong(ctx context.Context, monitor *qmp.Conn) <-chan statusQuery {
	looks := make(chan statusQuery)
	go func() {
		defer close(looks)
		tick := time.NewTicker(sampleInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			state, err := mv.sample(ctx, monitor)
			select {
			case looks <- statusQuery{state, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return looks
}

// checkProgress says how the move goes on, and decides what a question that failed with
// err, if it did, means. A source that has stopped its guest holds its monitor up
// while it sends the last of it, for as long as that takes: there mig_timeout
// decides. One whose guest runs answers.
func (mv *move) checkProgress(ctx context.Context, src *testbed.Instance, err error) error {
	switch {
	case err == nil:
		mv.tellProgress(ctx, src)
		return nil
	case errors.Is(err, qmp.ErrSilent) && src.State() != "running":
		src.Log().Warn("no answer from QEMU's monitor at the switchover", "error", err)
		return nil
	case errors.Is(err, qmp.ErrGone):
		return nil // its events tell, after the last of them has been read
	default:
		return err
	}
}

// tellProgress says how far the move has come, and from time to time that it will
// not come to an end like this.
func (mv *move) tellProgress(ctx context.Context, src *testbed.Instance) {
	mv.m.mu.Lock()
	progress := result.Sample{Query: mv.query}.Progress()
	remind := progress.Diverges() && time.Since(mv.reminded) > remindInterval
	if remind {
		mv.reminded = time.Now()
	}
	mv.m.mu.Unlock()
	src.Log().LogAttrs(ctx, result.LevelProgress, "progress", progress.Attrs()...)
	if remind {
		src.Log().Warn("the migration does not converge", "passes", progress.Passes(),
			"dirty", rate(progress.Dirty), "sent", rate(progress.Rate), "limit", rate(float64(mv.limits.asked.Bandwidth)))
	}
}

// giveUp ends a move whose end nobody waits for any more, because of cause. The
// verdict is found before QEMU is told, which changes what there is to be seen.
func (mv *move) giveUp(ctx context.Context, src, dst *testbed.Instance, cause error) error {
	mv.clock.End()
	var err error
	switch {
	case errors.Is(cause, errOverdue):
		err = mv.overdue(ctx, src, dst)
	case errors.Is(cause, qmp.ErrSilent):
		err = fail(ctx, mv, src, SourceRole, cause)
	case errors.Is(cause, qmp.ErrGone) || errors.Is(cause, qmp.ErrClosed):
		mv.setState(qmp.MigrationFailed)
		return mv.firstFailure(ctx, src, dst, "")
	default: // the scenario was stopped, or QEMU has refused something
		mv.m.abandon(ctx, src)
		return cause
	}
	mv.m.abandon(ctx, src)
	mv.setState(qmp.MigrationFailed)
	return err
}

// abandon tells QEMU to give a migration up and waits for that, for a moment and
// also when ctx has ended. In post-copy it is refused, and the migration goes on.
func (m *Migration) abandon(ctx context.Context, src *testbed.Instance) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), m.patience.cancel, fmt.Errorf("it has not happened within %v", m.patience.cancel))
	defer cancel()
	err := src.Execute(ctx, "migrate_cancel", nil, nil)
	for err == nil {
		var query struct {
			Status State `json:"status"`
		}
		err = src.Monitor().Execute(ctx, "query-migrate", nil, &query)
		if err == nil && (!query.Status.Begun() || query.Status.Terminal()) {
			src.Log().Info("migration given up", "status", string(query.Status))
			return
		}
		select {
		case <-time.After(waitInterval):
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if !errors.Is(err, qmp.ErrGone) {
		src.Log().Warn("the migration is given up, but could not be cancelled", "error", err)
	}
}

// ending deals with a terminal state of the source.
func (mv *move) ending(ctx context.Context, src, dst *testbed.Instance, state State) error {
	desc, err := mv.finalFigures(ctx, src.Monitor(), state)
	if err != nil && src.Monitor().Err() == nil {
		return blame(ctx, mv, src, SourceRole, err)
	}
	if state == qmp.MigrationFailed && mv.m.wasCancelled() {
		// To cancel, QEMU first shuts the return path down, and may take the broken
		// connection for a failure before it notes that it cancels.
		src.Log().Debug("failed by being cancelled", "error", desc)
		state = qmp.MigrationCancelled
	}
	mv.setState(state)
	switch state {
	case qmp.MigrationCompleted:
		if delay := mv.m.options.cancelDelay; delay > 0 {
			return fmt.Errorf("%s: the migration was over before cancel_delay = %v", src, delay)
		}
		if mv.m.wasCancelled() {
			src.Log().Warn("the migration was over before it could be cancelled")
		}
		return nil
	case qmp.MigrationCancelled:
		if mv.m.wasCancelled() {
			return nil
		}
		return fmt.Errorf("%s: the migration was cancelled, but not by mig.cancel or cancel_delay", src)
	default:
		return mv.firstFailure(ctx, src, dst, desc)
	}
}

// finalFigures reads query-migrate until its figures are there: QEMU reports
// the end a little before it has them.
func (mv *move) finalFigures(ctx context.Context, monitor *qmp.Conn, state State) (errorDesc string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mv.m.patience.settle, errors.New("QEMU gives no figures of the ended migration"))
	defer cancel()
	for {
		if _, err := mv.sample(ctx, monitor); err != nil {
			return "", err
		}
		mv.m.mu.Lock()
		query := mv.query
		mv.m.mu.Unlock()
		desc, _ := query["error-desc"].(string)
		total, _ := query["total-time"].(float64)
		if state != qmp.MigrationCompleted || total > 0 {
			return desc, nil
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

func (mv *move) sample(ctx context.Context, monitor *qmp.Conn) (state State, err error) {
	var query map[string]any
	if err := monitor.Execute(ctx, "query-migrate", nil, &query); err != nil {
		return "", err
	}
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	now := result.Sample{Time: time.Now(), Query: query}
	if before := (result.Sample{Query: mv.query}); mv.query == nil || now.Progress().Transferred != before.Progress().Transferred {
		mv.moved = now.Time
	}
	mv.query = query
	mv.samples = append(mv.samples, now)
	status, _ := query["status"].(string)
	return State(status), nil
}

func (mv *move) setSource(src *testbed.Instance) {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	mv.source = src
}

// currentState is the move's state.
func (mv *move) currentState() State {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	return mv.state
}

// completed says whether the source's QEMU has sent the guest off.
func (mv *move) completed() bool { return mv.currentState() == qmp.MigrationCompleted }

func (mv *move) setState(state State) {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	if mv.state != state {
		mv.state = state
		mv.m.broadcastLocked()
	}
}

// cancel asks the source to give up, if it has begun.
func (mv *move) cancel(ctx context.Context) error {
	mv.m.mu.Lock()
	src := mv.source
	mv.m.mu.Unlock()
	if src == nil {
		return nil
	}
	err := src.Monitor().Execute(ctx, "migrate_cancel", nil, nil)
	if errors.Is(err, qmp.ErrGone) {
		return nil // nothing is left to cancel; who follows the move says why
	}
	return blame(ctx, mv, src, SourceRole, err)
}

// receive waits on the destination until the guest has arrived: until it runs,
// or, when it arrives stopped, until its state is loaded. It returns early,
// without error, when the source has come to another end: that is judged there.
func (mv *move) receive(ctx context.Context, dst *testbed.Instance, events *qmp.Subscription) error {
	sourceDone := mv.m.sourceDone
	var late <-chan time.Time
	for {
		select {
		case e, open := <-events.C:
			if !open {
				return mv.awaitVerdict(ctx, dst)
			}
			if e.Name == "RESUME" || e.MigrationStatus() == qmp.MigrationCompleted {
				return nil
			}
		case <-dst.Exited():
			return mv.awaitVerdict(ctx, dst)
		case <-sourceDone:
			if err := mv.m.failed(); err != nil || !mv.completed() {
				return err
			}
			sourceDone = nil
			late = time.After(mv.m.patience.settle)
			if _, err := dst.Status(ctx); errors.Is(err, qmp.ErrSilent) {
				return fail(ctx, mv, dst, DestinationRole, err)
			}
		case <-late:
			return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("the source says completed, but the guest has not come up after %v", mv.m.patience.settle))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// awaitVerdict is for a destination whose QEMU has ended: the source's side
// finds the words for it, unless it is only out of reach.
func (mv *move) awaitVerdict(ctx context.Context, dst *testbed.Instance) error {
	select {
	case <-dst.Host.Lost():
		return fmt.Errorf("%s: %w", dst, dst.Host.Err())
	case <-mv.m.sourceDone:
		return mv.m.failed()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Record returns what is known of the migration so far.
func (m *Migration) Record() result.Migration {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := result.Migration{Number: m.Number, Source: m.Plan.Source.Name(), Destination: m.Plan.Destination.Name(), Status: string(m.stateLocked())}
	for _, name := range m.Plan.VMs {
		mv := m.moves[name]
		r.VMs = append(r.VMs, result.MovedVM{VM: name, Status: string(mv.state), Query: mv.query, Samples: slices.Clone(mv.samples), Guest: mv.clock.Figures()})
	}
	return r
}
