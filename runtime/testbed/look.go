// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/mhmig/mhmig/runtime/result"
)

// LastLook looks at all instances once more, at the scenario's end, and returns
// what is wrong: a guest that does not run although nobody has ended or paused
// it, one that runs where it had left. Each guest that has moved is what its
// migration left of it, so that is a FAIL; with others the test could not be
// done.
func (b *Bed) LastLook(ctx context.Context) []error {
	machines := b.Machines()
	found := make([]error, len(machines))
	var looking sync.WaitGroup
	for i, m := range machines {
		looking.Go(func() { found[i] = m.look(ctx) })
	}
	looking.Wait()
	var wrong []error
	for _, err := range found {
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}

// look says what is wrong with the instance, nil if nothing is.
func (m *Machine) look(ctx context.Context) error {
	m.mu.Lock()
	has, asked := m.presence.has(), m.asked
	m.mu.Unlock()
	if m.Revived() {
		return m.TwoCopies()
	}
	if asked.end {
		return nil
	}
	state, err := m.Status(ctx)
	if err != nil {
		select {
		case <-m.Exited():
			if !has { // how it ended is judged when it is removed
				return nil
			}
			return m.Ended(ctx)
		default:
			return m.hangs(ctx, err)
		}
	}
	switch {
	case m.Revived() || !has && state == "running":
		return m.TwoCopies()
	case !has, state == "paused" && asked.pause:
		return nil
	case state != "running":
		return m.Blame(ctx, fmt.Errorf("%s: its guest does not run: it is %s, and nobody has asked for that", m, state))
	case m.panicked():
		return m.Blame(ctx, fmt.Errorf("%s: its guest %w; its console ends:\n  %s", m, errPanicked,
			strings.ReplaceAll(m.Console.Tail(consoleTail), "\n", "\n  ")))
	}
	return nil
}

// hangs is the error of a QEMU that should answer and does not.
func (m *Machine) hangs(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if lost := m.Host.Err(); lost != nil {
		return fmt.Errorf("%s: %w", m, lost)
	}
	return result.Fail.Wrap(err)
}

// How far from the console's end a kernel's last words may be: behind them come
// registers and calls, until it says that this was all.
const (
	panicLines  = 100
	panicEnding = 3
)

// panicked says whether a Linux guest ended in a panic: without a device that
// tells QEMU of it, its console alone does. A guest that was reset may run again.
func (m *Machine) panicked() bool {
	if m.Console == nil {
		return false
	}
	lines := panicLines
	if len(m.Resets()) > 0 {
		lines = panicEnding
	}
	return strings.Contains(m.Console.Tail(lines), "Kernel panic - not syncing")
}

// fault is the error of a QEMU that did not end as it should, nil if it did or
// an error has told of it. A QEMU that waited for a guest which never came
// ends with status 1 by design.
func (m *Machine) fault() error {
	exit := m.Instance.Fault()
	m.mu.Lock()
	told, unused, killed := m.told, m.presence == awaited, m.killed
	m.told = true
	m.mu.Unlock()
	switch {
	case told:
		return nil
	case exit == nil && killed:
		return result.Fail.Errorf("QEMU of %s on %s was told to end by a signal, not by mhmig", m.Name(), m.Host.Name())
	case exit == nil || unused && exit.Status == 1 && len(exit.Sanitizer) == 0:
		return nil
	}
	return result.Fail.Wrap(exit)
}
