// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// waitInterval is the pause between two polls of a QEMU that has been told to end its
// migration.
const waitInterval = 20 * time.Millisecond

// Condition is a condition that Wait waits for. One of Status, Event, Passes, Remaining
// and Sent is set.
type Condition struct {
	Status    State  // the migration's
	Event     string // a QMP event of any of its VMs, on either side, since the start of the migration
	Count     int    // how many of these events; 0 means 1
	Passes    int    // the number of complete passes over every VM's RAM, at least
	Remaining *int64 // the bytes of RAM that every VM still has to send, at most
	Sent      int64  // the bytes that every VM has sent, at least; of those that have not completed, as the others
}

func (c Condition) String() string {
	switch {
	case c.Status != "":
		return "status " + string(c.Status)
	case c.Event != "" && c.Count > 1:
		return fmt.Sprintf("%d events %s", c.Count, c.Event)
	case c.Event != "":
		return "event " + c.Event
	case c.Remaining != nil:
		return fmt.Sprintf("%d bytes remaining", *c.Remaining)
	case c.Sent > 0:
		return fmt.Sprintf("%d bytes sent", c.Sent)
	default:
		return fmt.Sprintf("%d passes", c.Passes)
	}
}

// EndedFirstError is the error of a Wait whose migration has ended before the condition
// held.
type EndedFirstError struct {
	Condition Condition
	State     State // the last one
	Err       error // why it failed, if it has
}

func (e *EndedFirstError) Error() string {
	text := fmt.Sprintf("waited for %s, but the migration ended first: %s", e.Condition, e.State)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *EndedFirstError) Unwrap() error { return e.Err }

// Wait waits until c holds. If the migration ends first, the error is an
// *EndedFirstError; it also fails when ctx ends. An event may come until both sides have
// ended, any other condition holds only while the VMs move.
//
// Wait sends nothing to QEMU: it learns of statuses and events by QEMU's events, and of
// statistics by the samples of the moves, which are taken more often meanwhile. A QEMU
// that does not answer its monitor ends the move, see monitor_timeout, and so the wait.
func (m *Migration) Wait(ctx context.Context, c Condition) error {
	ended := m.sourceDone
	holds := m.reachesFromNow(c.Status)
	switch {
	case c.Event != "":
		ended, holds = m.over, m.eventHolds
	case c.Status == "":
		holds = m.statsHold
		defer m.observe()()
	}
	began := time.Now()
	for {
		over := isClosed(ended) // before the check: it may hold at the very end
		m.mu.Lock()
		held, state, failure, changed := holds(c, began), m.stateLocked(), m.failure, m.changed
		m.mu.Unlock()
		switch {
		case held:
			return nil
		case over || c.Event == "" && state.Terminal() && state != qmp.MigrationFailed: // of a failed one the source's end says why
			return &EndedFirstError{Condition: c, State: state, Err: failure}
		}
		select {
		case <-changed:
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("waited for %s, the migration is %s: %w", c, state, context.Cause(ctx))
		}
	}
}

// WaitMoving waits until QEMU migrates one of the VMs, or the move has ended.
func (m *Migration) WaitMoving(ctx context.Context) error {
	for {
		m.mu.Lock()
		moving, changed := m.movesLocked(), m.changed
		m.mu.Unlock()
		if moving {
			return nil
		}
		select {
		case <-changed:
		case <-m.sourceDone:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// movesLocked says whether one of the VMs has begun to move; m.mu is held.
func (m *Migration) movesLocked() bool {
	for _, mv := range m.moves {
		if mv.state.Begun() {
			return true
		}
	}
	return false
}

// MoveEnded is closed when the source's part of the move has ended.
func (m *Migration) MoveEnded() <-chan struct{} { return m.sourceDone }

// MoveFailed says whether the source's part of the move has ended with an error.
func (m *Migration) MoveFailed() bool { return m.failed() != nil }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// reachesFromNow, eventHolds and statsHold check a condition of a Wait that began at that
// time; m.mu is held. A status may have passed before the Wait is scheduled again.
func (m *Migration) reachesFromNow(status State) func(Condition, time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.reached[status]
	return func(Condition, time.Time) bool { return m.stateLocked() == status || m.reached[status] > before }
}

func (m *Migration) eventHolds(c Condition, _ time.Time) bool {
	return m.events[c.Event] >= max(c.Count, 1)
}

// statsHold checks the last sample of every VM that has not completed. The memory that
// remains can grow again, so an earlier sample says nothing about it.
func (m *Migration) statsHold(c Condition, began time.Time) bool {
	moving := false
	for _, mv := range m.moves {
		if mv.state == qmp.MigrationCompleted {
			continue
		}
		moving = true
		progress := result.Sample{Query: mv.query}.Progress()
		switch {
		case mv.source == nil || progress.Pass == 0:
			return false
		case c.Remaining != nil && (progress.Remaining > *c.Remaining || mv.sampled.Before(began)):
			return false
		case progress.Transferred < c.Sent:
			return false
		case c.Remaining == nil && progress.Passes() < c.Passes:
			return false
		}
	}
	return moving
}

// observe makes the moves take samples every observedInterval, until done.
func (m *Migration) observe() (done func()) {
	change := func(by int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.observers += by
		m.broadcastLocked()
	}
	change(1)
	return func() { change(-1) }
}

// currentInterval returns how often a sample is wanted now, and a channel that is closed
// when that may have changed.
func (m *Migration) currentInterval() (time.Duration, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.observers > 0 {
		return observedInterval, m.changed
	}
	return sampleInterval, m.changed
}

// countEvents counts the events of both sides' instances until stop.
func (m *Migration) countEvents() (stop func()) {
	return m.bed.Watch(func(i *testbed.Instance, e qmp.Event) {
		if i != m.Source.Instance(i.Name()) && i != m.Destination.Instance(i.Name()) {
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.events[e.Name]++
		if status := e.MigrationStatus(); status != "" && i == m.Destination.Instance(i.Name()) {
			m.moves[i.Name()].arrives(status)
		}
		m.broadcastLocked()
	})
}

// arrives notes the destination's status by its last event. That it listens again after a
// pause is an event of the status setup too, and it is paused until the source connects;
// m.mu is held.
func (mv *move) arrives(status State) {
	if mv.there != qmp.MigrationPostcopyPaused || status != qmp.MigrationSetup {
		mv.there = status
	}
}
