// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"slices"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
)

// Cont lets the guest run, see [vm.Instance.Cont].
func (m *Machine) Cont(ctx context.Context) error {
	if err := m.refuseDeparted("cont"); err != nil {
		return err
	}
	return m.became("running", m.Instance.Cont(ctx))
}

// Stop pauses the guest, which may stay so until the scenario's end.
func (m *Machine) Stop(ctx context.Context) error {
	return m.became("paused", m.Instance.Stop(ctx))
}

// became notes a state that QEMU was asked for: its event may come a moment
// later than its answer.
func (m *Machine) became(state string, err error) error {
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.asked.pause = state, state == "paused"
	return nil
}

// Reset is the reset button. Unlike other resets, the one that follows is asked
// for: no fault of a guest that is on its way.
func (m *Machine) Reset(ctx context.Context) error {
	if err := m.refuseDeparted("system_reset"); err != nil {
		return err
	}
	m.mu.Lock()
	m.asked.resets++
	m.mu.Unlock()
	err := m.Instance.Reset(ctx)
	if err != nil {
		m.mu.Lock()
		m.asked.resets = max(0, m.asked.resets-1)
		m.mu.Unlock()
	}
	return err
}

// awakening are the commands that make a guest run, or get it ready to.
var awakening = []string{"cont", "system_reset", "system_wakeup"}

// refuseDeparted is the error of a command where the guest has left.
func (m *Machine) refuseDeparted(command string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.presence.departed() {
		return nil
	}
	return fmt.Errorf("%s: %s refused: its guest has moved away (%s), it would run twice", m, command, m.state)
}

// Revived says whether the guest has run here after it had left: twice, then.
func (m *Machine) Revived() bool { return m.whereabouts() == twice }

// Execute sends a QMP command of the scenario's own. What would lose a guest is
// refused: one that makes it run where it has left, and migrate_cancel in
// post-copy. One that makes it run there by another name is a FAIL. A quit is an
// end that was asked for.
func (m *Machine) Execute(ctx context.Context, command string, arguments map[string]any, reply any) error {
	if slices.Contains(awakening, command) {
		if err := m.refuseDeparted(command); err != nil {
			return err
		}
	}
	switch command {
	case "cont":
		return m.Cont(ctx)
	case "quit":
		m.mu.Lock()
		m.asked.end = true
		m.mu.Unlock()
	case "migrate_cancel", "migrate-cancel":
		var query struct {
			Status qmp.MigrationStatus `json:"status"`
		}
		if err := m.Monitor().Execute(ctx, "query-migrate", nil, &query); err != nil {
			return err
		}
		if query.Status.Postcopy() {
			return fmt.Errorf("%s: %s refused in %s: it would destroy the guest on both hosts", m, command, query.Status)
		}
	}
	revived := m.Revived()
	err := m.Monitor().Execute(ctx, command, arguments, reply)
	if err == nil && !revived && m.Revived() {
		return m.TwoCopies()
	}
	return err
}

// TwoCopies is the error of a guest that ran where it had left.
func (m *Machine) TwoCopies() error {
	return result.Fail.Errorf("%s: the guest has moved away, but it ran here again: two copies of it used one disk", m)
}
