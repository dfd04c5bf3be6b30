// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
)

// waitInterval is how often query-migrate is polled for a condition that QEMU has no
// event for.
const waitInterval = 20 * time.Millisecond

// Condition is a condition that Wait waits for. One field is set.
type Condition struct {
	Status    State  // the migration's
	Event     string // a QMP event of any of its VMs, on either side, from now on
	Passes    int    // the number of complete passes over every VM's RAM, at least
	Remaining *int64 // the bytes of RAM that every VM still has to send, at most
}

func (c Condition) String() string {
	switch {
	case c.Status != "":
		return "status " + string(c.Status)
	case c.Event != "":
		return "event " + c.Event
	case c.Remaining != nil:
		return fmt.Sprintf("%d bytes remaining", *c.Remaining)
	default:
		return fmt.Sprintf("%d passes", c.Passes)
	}
}

// Wait waits until c holds. If the migration ends first, the error says how it ended;
// it also fails when ctx ends.
func (m *Migration) Wait(ctx context.Context, c Condition) error {
	holds := m.statusHolds
	switch {
	case c.Event != "":
		return m.waitEvent(ctx, c)
	case c.Status == "":
		holds = m.statsHold
	}
	unfinished, stop := m.untilEnd(ctx)
	defer stop()
	for {
		m.mu.Lock()
		state, changed := m.stateLocked(), m.changed
		m.mu.Unlock()
		held, err := holds(unfinished, c)
		switch {
		case held:
			return nil
		case state.Terminal() || m.hasEnded():
			return m.endedFirst(c)
		case err != nil:
			return fmt.Errorf("waited for %s: %w", c, err)
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
			return fmt.Errorf("waited for %s, the migration is %s: %w", c, state, context.Cause(ctx))
		}
	}
}

// untilEnd returns a context that also ends when the migration's move ends.
func (m *Migration) untilEnd(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-m.sourceDone:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-ended
	}
}

func (m *Migration) hasEnded() bool {
	select {
	case <-m.sourceDone:
		return true
	default:
		return false
	}
}

func (m *Migration) endedFirst(c Condition) error {
	if failure := m.failed(); failure != nil {
		return fmt.Errorf("waited for %s, but the migration ended first: %s: %w", c, m.State(), failure)
	}
	return fmt.Errorf("waited for %s, but the migration ended first: %s", c, m.State())
}

func (m *Migration) statusHolds(_ context.Context, c Condition) (bool, error) {
	return m.State() == c.Status, nil
}

// statsHold checks c against every VM's query-migrate. A command that QEMU refuses is
// an error; a monitor that does not answer is handled by the VM's move, which knows the
// limit.
func (m *Migration) statsHold(ctx context.Context, c Condition) (bool, error) {
	for _, mv := range m.moves {
		m.mu.Lock()
		src := mv.source
		m.mu.Unlock()
		if src == nil {
			return false, nil
		}
		var query map[string]any
		err := src.Monitor().Execute(ctx, "query-migrate", nil, &query)
		if _, refused := errors.AsType[*qmp.Error](err); refused {
			return false, err
		}
		if err != nil {
			return false, nil //nolint:nilerr // polled again soon; a monitor that is gone or does not answer ends the migration itself
		}
		progress := result.Sample{Query: query}.Progress()
		switch {
		case progress.Pass == 0:
			return false, nil
		case c.Remaining != nil && progress.Remaining > *c.Remaining:
			return false, nil
		case c.Remaining == nil && progress.Passes() < c.Passes:
			return false, nil
		}
	}
	return true, nil
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
			instance := side.Instance(vm)
			if instance == nil {
				return fmt.Errorf("waited for %s, but %s is not prepared on %s yet: wait for a status first", c, vm, side.Host.Name())
			}
			s := instance.Monitor().Subscribe(c.Event)
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
		return fmt.Errorf("waited for %s, the migration is %s: %w", c, m.State(), context.Cause(ctx))
	}
}
