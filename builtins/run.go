// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// cleanupTimeout bounds all that a scenario left for its end.
const cleanupTimeout = 60 * time.Second

// Debug is what the user who debugs a scenario wants; the zero value is nobody.
type Debug struct {
	// Prompt takes the terminal for a talk at a breakpoint, until Close. It waits
	// while others have it, or until ctx ends. Nil: there is no terminal.
	Prompt func(ctx context.Context) (Prompt, error)
	// Failed is called when the scenario has failed, before its cleanups run. True
	// leaves these out. Nil: false.
	Failed func([]*task.Error) (keep bool)
}

// Run runs a scenario's entry function on a prepared bed, until all its tasks
// and cleanups are over.
func Run(ctx context.Context, bed *testbed.Bed, entry starlark.Callable, debug Debug) run.Verdict {
	s := NewScene(bed)
	s.debug = debug
	sc := task.New(ctx, s, Print)
	sc.Failed = debug.Failed
	failures := sc.Run(func(t *task.Task) error {
		_, err := t.Call(entry, s.Env())
		return err
	}, cleanupTimeout)
	return run.Verdict{Failures: failures, Warnings: s.warnings}
}
