// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Pause breaks the connection of the migration of each VM that is in post-copy, and
// returns when both ends are paused: QMP migrate-pause on the source, when the guest runs
// on the destination, without which it would be lost. The guest runs there until it needs
// a page that has not arrived. Recover goes on. VMs that have completed, or have lost their
// connection already, are left alone.
func (m *Migration) Pause(ctx context.Context) error {
	moving, err := m.inPostcopy("pause")
	if err != nil {
		return err
	}
	var errs, completed []error
	for _, mv := range moving {
		if err := mv.pause(ctx); errors.Is(err, errCompleted) {
			completed = append(completed, err)
		} else {
			errs = append(errs, err)
		}
	}
	if len(completed) == len(moving) {
		return errors.Join(completed...)
	}
	return errors.Join(errs...)
}

// errCompleted is the error of a move that has completed before it could be paused.
var errCompleted = errors.New("has ended before as completed")

func (mv *move) pause(ctx context.Context) error {
	src, dst, err := mv.bothEnds("pause")
	if err != nil {
		return err
	}
	if _, can := mv.transport.(reconnecting); !can { // the guest would be lost
		return fmt.Errorf("pause: mig_protocol = %s cannot connect again: nothing could recover the migration", mv.m.options.protocol)
	}
	if mv.currentState() == qmp.MigrationPostcopyPaused {
		return mv.waitPausedThere(ctx, "pause", dst)
	}
	arrived := func(State) bool { return dst.HasGuest() }
	if err := mv.waitPostcopy(ctx, "pause", arrived, "the guest runs on the destination"); err != nil {
		return err
	}
	if err := src.Monitor().Execute(ctx, "migrate-pause", nil, nil); err != nil {
		if status, _ := mv.sample(ctx, src.Monitor()); status == qmp.MigrationCompleted {
			return fmt.Errorf("pause: the migration of %s %w: %w", mv.vm, errCompleted, err)
		}
		return blame(ctx, mv, src, SourceRole, err)
	}
	paused := func(s State) bool { return s == qmp.MigrationPostcopyPaused }
	if err := mv.waitPostcopy(ctx, "pause", paused, "the source is paused"); err != nil {
		return err
	}
	src.Log().Info("migration paused")
	return mv.waitPausedThere(ctx, "pause", dst)
}

// PostcopyError is the error of a Pause that has not paused the migration, or of a Recover
// that has found no connection or lost it again: then the migration is still paused, and
// Recover can be called again. Its status is FAIL.
type PostcopyError struct {
	Call string // pause or recover
	VM   string
	Err  error
}

func (e *PostcopyError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Call, e.VM, e.Err) }
func (e *PostcopyError) Unwrap() error { return e.Err }

// Status is FAIL.
func (e *PostcopyError) Status() result.Status { return result.Fail }

// OnlyPostcopyErrors says whether err, of Recover or Pause, is nothing but a *[PostcopyError]
// of one VM or several.
func OnlyPostcopyErrors(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return !OnlyPostcopyErrors(e) })
	}
	_, ok := errors.AsType[*PostcopyError](err)
	return ok
}

// Recover connects both ends of each VM again whose migration in post-copy has lost its
// connection: QMP migrate-recover on the destination, migrate with resume on the source.
// It returns when they are in post-copy again, or have completed, else a *[PostcopyError]
// of each that is not: the others are recovered all the same. VMs that have not lost their
// connection, or have completed, are left alone; one at least must have lost it.
// The destination listens on another port, if mig_port allows it.
func (m *Migration) Recover(ctx context.Context) error {
	moving, err := m.inPostcopy("recover")
	if err != nil {
		return err
	}
	var errs []error
	for _, mv := range moving {
		if mv.currentState() == qmp.MigrationPostcopyPaused {
			errs = append(errs, mv.recover(ctx))
		}
	}
	if len(errs) == 0 {
		return fmt.Errorf("recover: the migration of %s is not paused, its status is %s: wait for postcopy-paused", moving[0].vm, moving[0].currentState())
	}
	return errors.Join(errs...)
}

func (mv *move) recover(ctx context.Context) error {
	src, dst, err := mv.bothEnds("recover")
	if err != nil {
		return err
	}
	if _, can := mv.transport.(reconnecting); !can {
		return fmt.Errorf("recover: mig_protocol = %s cannot connect again", mv.m.options.protocol)
	}
	if err := mv.waitPausedThere(ctx, "recover", dst); err != nil {
		return err
	}
	if err := mv.listenAgain(ctx, dst); err != nil {
		return blame(ctx, mv, dst, DestinationRole, err)
	}
	mv.notePort()
	if err := mv.transport.Send(ctx, resuming{endpoint{src}}, endpoint{dst}); err != nil {
		return blame(ctx, mv, src, SourceRole, err)
	}
	return mv.waitRecovered(ctx, src)
}

// waitRecovered waits until a source that was resumed is in post-copy again.
func (mv *move) waitRecovered(ctx context.Context, src *testbed.Instance) error {
	connected := false
	recovered := func(s State) bool {
		connecting := s == qmp.MigrationPostcopyRecover || s == qmp.MigrationPostcopyRecoverSetup
		connected = connected || connecting
		return !connecting && (connected || s != qmp.MigrationPostcopyPaused)
	}
	err := mv.waitPostcopy(ctx, "recover", recovered, "the source is in post-copy again")
	if err == nil && mv.currentState() == qmp.MigrationPostcopyPaused {
		err = &PostcopyError{"recover", mv.vm, fmt.Errorf("%s is paused again: it could not connect, or the connection was lost again", src)}
	}
	if err == nil {
		src.Log().Info("migration recovered")
	}
	return err
}

// inPostcopy returns the moves that are in post-copy, at least one. It is an error if one
// is neither that nor has completed.
func (m *Migration) inPostcopy(what string) (moving []*move, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range m.Plan.VMs {
		switch mv := m.moves[name]; {
		case mv.source != nil && mv.state.Postcopy():
			moving = append(moving, mv)
		case mv.state != qmp.MigrationCompleted:
			return nil, mv.notInPostcopy(what)
		}
	}
	if len(moving) == 0 {
		return nil, m.moves[m.Plan.VMs[0]].notInPostcopy(what)
	}
	return moving, nil
}

func (mv *move) notInPostcopy(what string) error {
	return fmt.Errorf("%s: the migration of %s is not in post-copy, its status is %s: call mig.start_postcopy, and wait for the status postcopy-active", what, mv.vm, mv.state)
}

// bothEnds returns both ends of a move in post-copy, unless it has ended meanwhile.
func (mv *move) bothEnds(what string) (src, dst *testbed.Instance, err error) {
	dst = mv.m.Destination.Instance(mv.vm)
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	if mv.source == nil || dst == nil {
		return nil, nil, mv.notInPostcopy(what)
	}
	return mv.source, dst, nil
}

// waitPostcopy waits until a condition holds for the source's state. It fails if that
// takes too long, or if the move ends before.
func (mv *move) waitPostcopy(ctx context.Context, what string, holds func(State) bool, condition string) error {
	m := mv.m
	late := &PostcopyError{what, mv.vm, fmt.Errorf("waited %v until %s", m.timeouts.settle, condition)}
	waiting, cancel := context.WithTimeoutCause(ctx, m.timeouts.settle, late)
	defer cancel()
	for {
		over := isClosed(m.sourceDone) // before the check: it may hold at the very end
		m.mu.Lock()
		state, changed := mv.state, m.changed
		m.mu.Unlock()
		switch {
		case holds(state):
			return nil
		case state == qmp.MigrationCompleted:
			return fmt.Errorf("%s: the migration of %s %w", what, mv.vm, errCompleted)
		case state.Terminal():
			return fmt.Errorf("%s: the migration of %s has ended before as %s", what, mv.vm, state)
		case over: // with an error, as the state is none of an end
			return fmt.Errorf("%s: the migration of %s has ended before: %w", what, mv.vm, m.failed())
		}
		select {
		case <-changed:
		case <-m.sourceDone:
		case <-waiting.Done():
			return fmt.Errorf("%w; its status is %s", context.Cause(waiting), state)
		}
	}
}

// noticeGrace is how long a destination may take to notice that the connection is lost,
// before it is told.
const noticeGrace = 2 * time.Second

// waitPausedThere waits until the destination has noticed that its migration is paused: it
// does not listen again before. One that notices nothing, because the network was cut and
// it has sent nothing since, is told by QMP migrate-pause.
func (mv *move) waitPausedThere(ctx context.Context, what string, dst *testbed.Instance) error {
	late := &PostcopyError{what, mv.vm, fmt.Errorf("%s did not notice within %v that the connection is lost", dst, mv.m.timeouts.settle)}
	ctx, cancel := context.WithTimeoutCause(ctx, mv.m.timeouts.settle, late)
	defer cancel()
	tell := time.NewTimer(noticeGrace)
	defer tell.Stop()
	for {
		mv.m.mu.Lock()
		state, changed := mv.there, mv.m.changed
		mv.m.mu.Unlock()
		if state == qmp.MigrationPostcopyPaused {
			return nil
		}
		select {
		case <-changed:
		case <-tell.C:
			dst.Log().Info("migrate-pause: it has not noticed that the connection is lost")
			err := mv.urgentMonitor(dst).ExecuteOutOfBand(ctx, "migrate-pause", nil, nil)
			if _, refused := errors.AsType[*qmp.Error](err); err != nil && !refused { // it may have noticed now
				return blame(ctx, mv, dst, DestinationRole, err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reconnecting is a [Transport] whose destination can listen for the second time.
type reconnecting interface {
	// listenAgain makes the destination listen with listen, which may fail because a port
	// is in use. It asks QEMU nothing.
	listenAgain(ctx context.Context, destination Peer, listen func(uri string) error) error
}

// listenAgain makes the destination listen for the source again: QMP migrate-recover, out
// of band, as its main thread may be blocked until it gets more of the guest's memory.
func (mv *move) listenAgain(ctx context.Context, dst *testbed.Instance) error {
	known, err := dst.Monitor().Supports(ctx, "migrate-recover")
	if err != nil {
		return err
	}
	if !known {
		return result.Skip.Errorf("%s: this QEMU has no command migrate-recover: QEMU 3.0 or later has it", dst)
	}
	monitor := mv.urgentMonitor(dst)
	return mv.transport.(reconnecting).listenAgain(ctx, endpoint{dst}, func(uri string) error {
		dst.Log().Info("migrate-recover", "uri", uri)
		return monitor.ExecuteOutOfBand(ctx, "migrate-recover", map[string]any{"uri": uri}, nil)
	})
}

// notePort notes the port on which the destination listens now, if it does on TCP.
func (mv *move) notePort() {
	t, onTCP := mv.transport.(interface{ listeningPort() int })
	if !onTCP {
		return
	}
	mv.m.mu.Lock()
	mv.port = t.listeningPort()
	mv.m.mu.Unlock()
}

// urgentMonitor is the monitor for commands that are executed out of band.
func (mv *move) urgentMonitor(dst *testbed.Instance) *qmp.Conn {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	if mv.urgent != nil {
		return mv.urgent
	}
	return dst.Monitor()
}

// openUrgent opens a second monitor of the destination, before it is in post-copy: one
// that is blocked negotiates nothing. Without it, as when mhmig qmp is connected, recover
// uses the first one. The schema is asked now as well.
func (mv *move) openUrgent(ctx context.Context) {
	dst := mv.m.Destination.Instance(mv.vm)
	mv.m.mu.Lock()
	isOpen := mv.urgent != nil
	mv.m.mu.Unlock()
	if dst == nil || dst.Spec().SpareQMP == "" || isOpen {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, mv.m.timeouts.answer, qmp.ErrSilent)
	defer cancel()
	_, err := dst.Monitor().Supports(ctx, "migrate-recover")
	if err == nil {
		var monitor *qmp.Conn
		if monitor, err = mv.dialUrgent(ctx, dst); err == nil {
			mv.keepUrgent(monitor)
			return
		}
	}
	dst.Log().Warn("no second monitor for post-copy: if QEMU's main thread blocks, the migration cannot be recovered", "error", err)
}

func (mv *move) dialUrgent(ctx context.Context, dst *testbed.Instance) (*qmp.Conn, error) {
	conn, err := dst.Host.Dial(ctx, "unix", dst.Spec().SpareQMP)
	if err != nil {
		return nil, err
	}
	return qmp.New(ctx, conn, qmp.Options{Name: dst.String(), Logger: dst.Log(), OutOfBand: true})
}

// keepUrgent keeps the second monitor for the rest of the move. If that has ended
// meanwhile, nobody would close it, and QEMU serves no other client there.
func (mv *move) keepUrgent(monitor *qmp.Conn) {
	mv.m.mu.Lock()
	keep := mv.source != nil && mv.urgent == nil
	if keep {
		mv.urgent = monitor
	}
	mv.m.mu.Unlock()
	if !keep {
		_ = monitor.Close()
	}
}

// closeUrgent closes it when the move has ended, after which there is no source to be
// switched: keepUrgent keeps none any more.
func (mv *move) closeUrgent() {
	mv.m.mu.Lock()
	monitor := mv.urgent
	mv.urgent, mv.source = nil, nil
	mv.m.mu.Unlock()
	if monitor != nil {
		_ = monitor.Close()
	}
}

// resuming is a source whose migration is resumed.
type resuming struct{ Peer }

func (p resuming) Execute(ctx context.Context, command string, arguments, reply any) error {
	if command == "migrate" {
		given, _ := arguments.(map[string]any)
		resume := maps.Clone(given)
		resume["resume"] = true
		arguments = resume
	}
	return p.Peer.Execute(ctx, command, arguments, reply)
}
