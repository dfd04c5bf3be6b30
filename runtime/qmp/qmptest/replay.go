// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"maps"
	"time"
)

// Moment is what query-migrate answers from a time on, in a migration that is replayed.
type Moment struct {
	After   time.Duration // since the command migrate
	Figures map[string]any
}

// status is the migration's status at the moment.
func (m Moment) status() string {
	status, _ := m.Figures["status"].(string)
	return status
}

// passes is how many passes over the RAM have begun at the moment.
func (m Moment) passes() int {
	ram, _ := m.Figures["ram"].(map[string]any)
	switch n := ram["dirty-sync-count"].(type) {
	case float64:
		return int(n)
	case int64:
		return int(n)
	}
	return 0
}

// replay lets the source's part of a migration happen as it was recorded, until the
// switchover. It is false if the connection has ended, or the migration has failed then.
// Where the recording ends before, further goes on.
func (m *QEMU) replay(moments []Moment, gone <-chan bool, further func(<-chan bool) bool) bool {
	began := time.Now()
	for _, now := range moments {
		if !m.awaitMoment(began.Add(now.After), gone) {
			return false
		}
		m.mu.Lock()
		before, passes := m.status, m.passes
		m.replayed = now.Figures
		m.passes = max(m.passes, now.passes())
		m.mu.Unlock()
		for pass := passes + 1; pass <= now.passes(); pass++ {
			m.emit("MIGRATION_PASS", map[string]any{"pass": pass})
		}
		switch status := now.status(); status {
		case "completed", "pre-switchover", "device":
			m.mu.Lock()
			m.replayed = moments[len(moments)-1].Figures
			m.mu.Unlock()
			return true
		case "failed":
			description, _ := now.Figures["error-desc"].(string)
			m.setStatus(status, description)
			m.BreakMigration()
			return false
		case "cancelling", "cancelled": // by who cancels it
			<-gone
			return false
		case before, "", "none", "setup":
		default:
			m.setStatus(status, "")
		}
	}
	m.mu.Lock()
	m.replayed = nil
	m.mu.Unlock()
	return further(gone)
}

// awaitMoment waits until a time; false: the connection has ended before.
func (m *QEMU) awaitMoment(at time.Time, gone <-chan bool) bool {
	select {
	case <-gone:
		return false
	case <-m.closed:
		return false
	case <-time.After(time.Until(at)):
		m.hold()
		return !m.isClosed()
	}
}

// recorded is the reply of query-migrate in a migration that is replayed.
func (m *QEMU) recorded(reply map[string]any) map[string]any {
	figures := maps.Clone(m.replayed)
	for _, name := range []string{"status", "socket-address", "error-desc"} {
		delete(figures, name)
	}
	if m.status != "completed" { // the last figures are known before
		delete(figures, "downtime")
		delete(figures, "total-time")
	}
	maps.Copy(figures, reply)
	return figures
}
