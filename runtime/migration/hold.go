// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/testbed"
)

const pauseBeforeSwitchover = "pause-before-switchover"

// holding is the feature of a migration that is held: its sources stop before the
// switchover, with the status pre-switchover, until Release. Only a source has to
// support that. One that stops because capabilitys says so goes on at once.
type holding struct{ m *Migration }

func (h holding) Capabilities(role Role) []string {
	if role == SourceRole && h.m.isHeld() {
		return []string{pauseBeforeSwitchover}
	}
	return nil
}

func (holding) Parameters(Role) []string                { return nil }
func (holding) Set(context.Context, Role, Peer) error   { return nil }
func (holding) Reset(context.Context, Role, Peer) error { return nil }

// Check checks that the source stopped before the switchover.
func (h holding) Check(_ context.Context, o *Outcome) error {
	switch {
	case !h.m.isHeld() && !h.m.options.enables(pauseBeforeSwitchover):
		return nil
	case !o.Paused:
		return unused("pause-before-switchover was on, but the source never had the status pre-switchover: it did not stop before the switchover")
	}
	o.Used(pauseBeforeSwitchover, "the source stopped with the status pre-switchover")
	return nil
}

func (m *Migration) isHeld() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held
}

// Hold makes the migration stop before the switchover, with the guests stopped, until
// Release: QEMU's capability pause-before-switchover. It is refused when the source has
// been set up. What ends a hold that is never released is mig_timeout.
func (m *Migration) Hold() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.began {
		return fmt.Errorf("hold: the migration has begun, and QEMU accepts no capability any more: use migrate(hold=True)")
	}
	m.held, m.released = true, false
	return nil
}

// Release lets a migration that is held switch over: migrate-continue for each VM that
// has the status pre-switchover, at once for others when they reach it.
func (m *Migration) Release(ctx context.Context) error {
	m.mu.Lock()
	if !m.held {
		m.mu.Unlock()
		return errors.New("release: the migration is not held: see mig.hold")
	}
	m.released = true
	m.mu.Unlock()
	for _, mv := range m.moves {
		m.mu.Lock()
		src := mv.source
		m.mu.Unlock()
		if src == nil {
			continue
		}
		if err := mv.continueIfReleased(ctx, src); err != nil {
			return blame(ctx, mv, src, SourceRole, err)
		}
	}
	return nil
}

// pauses says whether mhmig has made the source stop before the switchover; m.mu is held.
func (mv *move) pauses() bool {
	return mv.m.held || mv.storage.on || mv.m.options.enables(pauseBeforeSwitchover)
}

// describePause says why a source stands before the switchover.
func (mv *move) describePause() string {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	switch {
	case !mv.pauses():
		return "the source has stopped before the switchover (pre-switchover): the scenario, which has switched pause-before-switchover on, has not sent migrate-continue"
	case mv.m.held && !mv.m.released:
		return "the migration is held at the switchover (pre-switchover): mig.release was not called"
	case !mv.continued:
		return "the source has stopped before the switchover (pre-switchover), and the mirrors of its disks have not ended"
	}
	return "the source has stopped before the switchover (pre-switchover), and does not go on although it was told to (migrate-continue)"
}

// continueIfReleased sends migrate-continue, once, to a source that has stopped before the
// switchover, if the disks' mirrors have ended, and it is not held or released.
func (mv *move) continueIfReleased(ctx context.Context, src *testbed.Instance) error {
	m := mv.m
	m.mu.Lock()
	due := mv.pauses() && (m.released || !m.held) && mv.storage.isDone() && mv.state == qmp.MigrationPreSwitchover && !mv.continued
	mv.continued = mv.continued || due
	released := m.held
	m.mu.Unlock()
	if !due {
		return nil
	}
	src.Log().Info("switchover released")
	err := src.Monitor().Execute(ctx, "migrate-continue", map[string]any{"state": qmp.MigrationPreSwitchover}, nil)
	if _, refused := errors.AsType[*qmp.Error](err); refused && (!released || mv.cancelRequested(src)) {
		src.Log().Info("migrate-continue refused: the migration has gone on, or was cancelled", "error", err)
		return nil // one that stands still ends by mig_timeout
	}
	return err
}
