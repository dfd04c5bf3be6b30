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
	instances := b.Instances()
	found := make([]error, len(instances))
	var looking sync.WaitGroup
	for i, instance := range instances {
		looking.Go(func() { found[i] = instance.look(ctx) })
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
func (i *Instance) look(ctx context.Context) error {
	i.mu.Lock()
	has, asked := i.presence.has(), i.asked
	i.mu.Unlock()
	if i.RanTwice() {
		return i.SplitBrain()
	}
	if asked.end {
		return nil
	}
	state, err := i.Status(ctx)
	if err != nil {
		select {
		case <-i.Exited():
			if !has { // how it ended is judged when it is removed
				return nil
			}
			return i.Ended(ctx)
		default:
			return i.hangs(ctx, err)
		}
	}
	switch {
	case i.RanTwice() || !has && state == "running":
		return i.SplitBrain()
	case !has, state == "paused" && asked.pause:
		return nil
	case state != "running":
		return i.Blame(ctx, fmt.Errorf("%s: its guest does not run: it is %s, and nobody has asked for that", i, state))
	case i.panicked():
		return i.Blame(ctx, fmt.Errorf("%s: its guest %w; its console ends:\n  %s", i, errPanicked,
			strings.ReplaceAll(i.Console.Tail(consoleTail), "\n", "\n  ")))
	}
	return nil
}

// hangs is the error of a QEMU that should answer and does not.
func (i *Instance) hangs(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if lost := i.Host.Err(); lost != nil {
		return fmt.Errorf("%s: %w", i, lost)
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
func (i *Instance) panicked() bool {
	if i.Console == nil {
		return false
	}
	lines := panicLines
	if len(i.Resets()) > 0 {
		lines = panicEnding
	}
	return strings.Contains(i.Console.Tail(lines), "Kernel panic - not syncing")
}

// fault is the error of a QEMU that did not end as it should, nil if it did or
// an error has told of it. A QEMU that waited for a guest which never came
// ends with status 1 by design.
func (i *Instance) fault() error {
	exit := i.QEMU.Fault()
	i.mu.Lock()
	told, unused, killed := i.told, i.presence == awaited, i.killed
	i.told = true
	i.mu.Unlock()
	switch {
	case told:
		return nil
	case exit == nil && killed:
		return result.Fail.Errorf("QEMU of %s on %s was told to end by a signal, not by mhmig", i.Name(), i.Host.Name())
	case exit == nil || unused && exit.Status == 1 && len(exit.Sanitizer) == 0:
		return nil
	}
	return result.Fail.Wrap(exit)
}
