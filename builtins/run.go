// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"time"

	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// cleanupTimeout limits each cleanup of a scenario.
const cleanupTimeout = 60 * time.Second

// Options are the options of a run; the zero value means no debugging, and no limits.
type Options struct {
	// Limits stop a scenario that computes without end.
	Limits star.Limits
	// Prompt acquires the terminal for the prompt of a breakpoint, until Close. It waits
	// while another breakpoint has it, or until ctx ends. Nil: there is no terminal.
	Prompt func(ctx context.Context) (Prompt, error)
	// Session runs a session at the Prompt in the place of the scenario's function.
	Session bool
	// Libraries are for load in a session.
	Libraries library.Set
	// Failed is called when the scenario has failed, before its cleanups run. True
	// skips these. Nil: false.
	Failed func([]*task.Error) (keep bool)
}

// Run runs a scenario on a prepared bed, until all its tasks and cleanups have ended.
func Run(ctx context.Context, bed *testbed.Bed, scenario *star.Scenario, options Options) run.Verdict {
	s := newScenarioState(bed)
	s.scenario, s.options = scenario, options
	sc := task.New(ctx, s, Print)
	sc.Failed, sc.Limits = options.Failed, options.Limits
	failures := sc.Run(func(t *task.Task) error {
		if options.Session {
			return session(t)
		}
		_, err := t.Call(scenario.Main, s.env())
		return err
	}, cleanupTimeout)
	return run.Verdict{Failures: failures, Warnings: s.warnings}
}
