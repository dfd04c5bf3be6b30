// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// waitInterval is how often the figures of a migration are looked at for a
// condition that QEMU has no event for.
const waitInterval = 20 * time.Millisecond

// Condition is a state of a migration under way. One field is set.
type Condition struct {
	Status    string // the migration's, in QEMU's words
	Event     string // a QMP event of any of its VMs, on either side, from now on
	Passes    int    // that every VM's RAM has been gone through so often
	Remaining *int64 // that every VM has at most so many bytes of RAM left to send
}

func (c Condition) String() string {
	switch {
	case c.Status != "":
		return "status " + c.Status
	case c.Event != "":
		return "event " + c.Event
	case c.Remaining != nil:
		return fmt.Sprintf("%d bytes remaining", *c.Remaining)
	default:
		return fmt.Sprintf("%d passes", c.Passes)
	}
}

// Wait waits until c holds. It fails when the migration ends first, saying how
// it ended, and when ctx ends.
func (m *Migration) Wait(ctx context.Context, c Condition) error {
	holds := m.statusHolds
	switch {
	case c.Event != "":
		return m.waitEvent(ctx, c)
	case c.Status == "":
		holds = m.figuresHold
	}
	for {
		m.mu.Lock()
		status, changed := m.statusLocked(), m.changed
		m.mu.Unlock()
		if holds(ctx, c) {
			return nil
		}
		if isTerminal(status) || m.isOver() {
			return m.endedFirst(c)
		}
		var tick <-chan time.Time
		if c.Status == "" {
			tick = time.After(waitInterval)
		}
		select {
		case <-changed:
		case <-tick:
		case <-m.sourceDone:
		case <-ctx.Done():
			return fmt.Errorf("waited for %s, the migration is %s: %w", c, status, context.Cause(ctx))
		}
	}
}

func (m *Migration) isOver() bool {
	select {
	case <-m.sourceDone:
		return true
	default:
		return false
	}
}

func (m *Migration) endedFirst(c Condition) error {
	if failure := m.failed(); failure != nil {
		return fmt.Errorf("waited for %s, but the migration ended first: %s: %w", c, m.Status(), failure)
	}
	return fmt.Errorf("waited for %s, but the migration ended first: %s", c, m.Status())
}

func (m *Migration) statusHolds(_ context.Context, c Condition) bool { return m.Status() == c.Status }

// figuresHold looks at every VM's query-migrate.
func (m *Migration) figuresHold(ctx context.Context, c Condition) bool {
	for _, mv := range m.moves {
		m.mu.Lock()
		src := mv.source
		m.mu.Unlock()
		if src == nil {
			return false
		}
		var query struct {
			RAM *struct {
				Passes    int   `json:"dirty-sync-count"`
				Remaining int64 `json:"remaining"`
			} `json:"ram"`
		}
		err := src.Monitor().Execute(ctx, "query-migrate", nil, &query)
		switch {
		case err != nil || query.RAM == nil:
			return false
		case c.Remaining != nil && (query.RAM.Remaining > *c.Remaining || query.RAM.Passes == 0):
			return false
		case c.Remaining == nil && query.RAM.Passes < c.Passes:
			return false
		}
	}
	return true
}

func (m *Migration) waitEvent(ctx context.Context, c Condition) error {
	seen := make(chan qmp.Event)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var subscriptions []*qmp.Subscription
	defer func() {
		for _, s := range subscriptions {
			s.Close()
		}
	}()
	for _, vm := range m.Plan.VMs {
		for _, side := range []*Side{m.Source, m.Destination} {
			machine := side.Machine(vm)
			if machine == nil {
				return fmt.Errorf("waited for %s, but %s is not prepared on %s yet: wait for a status first", c, vm, side.Host.Name())
			}
			s := machine.Monitor().Subscribe(c.Event)
			subscriptions = append(subscriptions, s)
			go func() { // ends with the subscription, which this function closes
				for e := range s.C {
					select {
					case seen <- e:
					case <-ctx.Done():
						return
					}
				}
			}()
		}
	}
	select {
	case <-seen:
		return nil
	case <-m.sourceDone:
		select {
		case <-seen:
			return nil
		case <-time.After(waitInterval): // the event and the end may have come together
			return m.endedFirst(c)
		}
	case <-ctx.Done():
		return fmt.Errorf("waited for %s, the migration is %s: %w", c, m.Status(), context.Cause(ctx))
	}
}
