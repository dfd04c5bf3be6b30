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

// Run runs a scenario's entry function on a prepared bed, until all its tasks
// and cleanups are over.
func Run(ctx context.Context, bed *testbed.Bed, entry starlark.Callable) run.Verdict {
	s := NewScene(bed)
	sc := task.New(ctx, s, Print)
	failures := sc.Run(func(t *task.Task) error {
		_, err := t.Call(entry, s.Env())
		return err
	}, cleanupTimeout)
	return run.Verdict{Failures: failures, Warnings: s.warnings}
}
