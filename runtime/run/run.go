// SPDX-License-Identifier: Apache-2.0

// Package run runs a scenario once per variant: as soon as enough hosts are
// free it makes the variant's test bed, hands it to the scenario, judges what
// came of it, and cleans up.
//
// Whatever happens to one variant, the others run; only an interruption, the
// run's time limit, lost hosts, and what the options ask for end a run early.
// [Variants] blocks until the last variant is cleaned up. How variants ended
// goes to the results folder: nothing here grows with their number.
package run

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// ErrInterrupted is the cause of a context that the user has ended.
var ErrInterrupted error = &ending{"interrupted", exit.Interrupted}

// ErrTimeout is the cause of a context that has ended because the run took too
// long.
var ErrTimeout error = &ending{"the run's time is over", exit.Failed}

// ending is why a run ends before its variants do: they are then given up, neither
// right nor wrong.
type ending struct {
	text string
	code exit.Code
}

func (e *ending) Error() string         { return e.text }
func (e *ending) ExitCode() exit.Code   { return e.code }
func (e *ending) Status() result.Status { return result.Cancel }

// Verdict is what a scenario did: what failed, the first failure first, and
// what it warned of.
type Verdict struct {
	Failures []*task.Error
	Warnings []string
}

// Options are what all variants of a run have in common.
type Options struct {
	Pool       Pool
	HostParams cartesian.Params
	Results    *result.Folder
	Ledger     *ledger.Ledger
	Log        *slog.Logger
	Shipped    func(name string) (localPath string, err error)
	Scenario   func(context.Context, *testbed.Bed) Verdict

	// ScenarioHosts is how many hosts a variant's scenario says it needs; 0: it does
	// not say. May be nil.
	ScenarioHosts func(cartesian.Params) int
	// Parallel is how many variants may run at the same time. 0: as many as the
	// hosts allow.
	Parallel int

	// Strict makes an ERROR of what is else only warned of: params that mhmig knows
	// and does not support.
	Strict bool

	Timeout      time.Duration // per variant; 0: none
	RunTimeout   time.Duration // 0: none
	FailFast     bool          // begin no variant after a FAIL or ERROR
	Repeat       int           // run all variants so many times; 0: once
	UntilFailure bool          // repeat until a FAIL or ERROR, at most Repeat times if that is not 0
	Quarantine   *Quarantine   // nil: nothing is in it
	Planned      int           // how many variants there are to run, repeats counted; 0: unknown

	Origins    func(*cartesian.Variant) map[string]string // where params come from, for the results, in a new map; may be nil
	SourceLine func(position string) string               // of a scenario's file; may be nil
	// Opened is called with each bed before anything is made in it, and what it
	// returns when the bed is closed. Nil: nothing.
	Opened func(*testbed.Bed) (closed func())
	// Failed is called when a variant has failed or erred, before its bed is
	// closed. It may block, until ctx ends. True leaves the bed as it is, and its
	// hosts to it. Nil: false.
	Failed func(context.Context, *testbed.Bed, result.Failure) (keep bool)

	Changed func() // called after a variant has begun and after it has ended; may be nil
}

// Summary is how the variants of a run ended.
type Summary struct {
	Counts map[result.Status]int
	NotRun int    // how many of the planned ones never began
	Reason string // why the run ended early; "": it did not

	// Unclean is why what was made for all variants could not be removed; nil: it was.
	Unclean error
}

// Status is the worst status of the variants.
func (s Summary) Status() result.Status {
	worst := result.Running
	for status, n := range s.Counts {
		if n > 0 {
			worst = result.Worst(worst, status)
		}
	}
	return worst
}

// Variants runs the scenario for each variant. Variants begin in the given
// order, but one that waits for hosts or for another variant lets some of the
// next ones pass. While others have all hosts, it waits, until ctx or the run's time
// ends. The error is one of the config, [ErrInterrupted],
// [ErrTimeout], or the [*host.LostError] of a host without which it could not
// go on.
func Variants(ctx context.Context, o Options, variants Sequence) (Summary, error) {
	if o.RunTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.RunTimeout, fmt.Errorf("%w (--run-timeout %v)", ErrTimeout, o.RunTimeout))
		defer cancel()
	}
	r := &runner{Options: o, summary: Summary{Counts: map[result.Status]int{}}}
	r.shared = testbed.NewShared(r.name(), o.Pool.Hosts(), o.Ledger, o.Shipped)
	err := r.all(ctx, variants)
	r.summary.Unclean = r.closeShared(ctx)
	r.summary.Reason = r.stop
	if n := o.Planned - r.started; n > 0 {
		r.summary.NotRun, r.summary.Reason = n, r.reason(err)
	}
	o.Results.NotRun(r.summary.NotRun, r.summary.Reason)
	if names := r.unread.String(); names != "" {
		o.Log.Warn("params that nobody has read", "params", names)
	}
	return r.summary, err
}

// runner is a run that goes on. Its fields belong to the goroutine of
// [Variants], but for those that mu guards.
type runner struct {
	Options
	shared  *testbed.Shared
	unread  unreadParams
	started int
	stop    string // why no further variant begins; "": go on
	summary Summary

	mu   sync.Mutex // guards what follows
	kept bool       // VMs of some variant were left running, as its params ask for
}

// reason says why planned variants did not begin.
func (r *runner) reason(err error) string {
	if err != nil {
		return err.Error()
	}
	if r.stop == "" {
		return "the hosts of variants that failed were left as they are (--keep)"
	}
	return r.stop
}

// lost returns why the first of the run's hosts that is out of reach is so, nil
// when all are there.
func (r *runner) lost() error {
	for _, h := range r.Pool.Hosts() {
		if err := h.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) changed() {
	if r.Changed != nil {
		r.Changed()
	}
}
