// SPDX-License-Identifier: Apache-2.0

// Package run runs a scenario once per variant: as soon as enough hosts are free it
// creates the variant's test bed, runs the scenario on it, determines the status, and
// cleans up.
//
// A failing variant does not affect the others; only an interruption, the run's time
// limit, lost hosts, and options such as --fail-fast end a run early. [Variants] blocks
// until the last variant is cleaned up. The outcomes are written to the results folder:
// memory use does not grow with their number.
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

// ErrTimeout is the cause of a context that the time limit of the run has ended.
var ErrTimeout error = &ending{"the run timed out", exit.Failed}

// ending is why a run ends early: its running variants are then cancelled.
type ending struct {
	text string
	code exit.Code
}

func (e *ending) Error() string         { return e.text }
func (e *ending) ExitCode() exit.Code   { return e.code }
func (e *ending) Status() result.Status { return result.Cancel }

// Verdict is the result of a scenario: its failures, in their order, and its warnings.
type Verdict struct {
	Failures []*task.Error
	Warnings []string
}

// Options are the options of a run.
type Options struct {
	Pool       Pool
	HostParams cartesian.Params
	Results    *result.Folder
	Ledger     *ledger.Ledger
	Log        *slog.Logger
	// Shipped returns the path of one of mhmig's own files, by the value of the param that
	// names it, such as "jeos:kernel".
	Shipped  func(value string) (localPath string, err error)
	Scenario func(context.Context, *testbed.Bed) Verdict
	States   *testbed.States  // where saved states of guests are kept; nil: all guests start cold
	Launch   testbed.Launcher // starts QEMU; nil: as [testbed.Config] does

	// ScenarioHosts returns how many hosts a variant's scenario needs; 0: unknown. May be
	// nil.
	ScenarioHosts func(cartesian.Params) int
	// ScenarioReads returns what a variant's scenario reads of params. Nil: nothing. May be
	// called concurrently.
	ScenarioReads func(cartesian.Params) ScenarioReads
	// ColdStart reports whether the guests of a variant's scenario must boot. May be nil.
	ColdStart func(cartesian.Params) bool
	// Parallel is how many variants may run at the same time. 0: as many as the
	// hosts allow.
	Parallel int

	// Seed is that of the scenarios' random numbers. Each repeat has the next one.
	Seed uint64

	// Strict makes params that mhmig does not support an ERROR, not a warning.
	Strict bool

	Timeout      time.Duration // per variant; 0: none
	RunTimeout   time.Duration // 0: none
	FailFast     bool          // start no variant after a FAIL or ERROR
	Repeat       int           // how many times to run all variants; 0: once
	UntilFailure bool          // repeat until a FAIL or ERROR, at most Repeat times if that is not 0
	Quarantine   *Quarantine   // nil: empty
	Planned      int           // the number of variants to run, including repeats; 0: unknown

	Origins    func(*cartesian.Variant) map[string]string // where params come from, for the results, in a new map; may be nil
	SourceLine func(position string) string               // of a scenario's file; may be nil
	// Opened is called with each bed before it is prepared, and closed when it is closed.
	// May be nil.
	Opened func(*testbed.Bed) (closed func())
	// Failed is called after a FAIL or ERROR of a variant, before its bed is closed. It
	// may block, until ctx ends. True keeps the bed as it is, with its hosts. Nil: false.
	Failed func(context.Context, *testbed.Bed, result.Failure) (keep bool)

	Changed func() // called after a variant has started and after it has ended; may be nil
}

// Summary is how the variants of a run ended.
type Summary struct {
	Counts map[result.Status]int
	NotRun int    // how many of the planned ones were not started
	Reason string // why the run ended early; "": it did not

	// Unclean is the error of removing the files that all variants share; nil: none.
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

// Variants runs the scenario for each variant. Variants start in the given order, but
// some of the next ones may overtake one that waits for hosts or for another variant.
// While other runs use all hosts, it waits, until ctx or the run's time limit ends. The
// error is one of the config, [ErrInterrupted], [ErrTimeout], or the [*host.LostError]
// of a host without which it could not continue.
func Variants(ctx context.Context, o Options, variants Sequence) (Summary, error) {
	if o.RunTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.RunTimeout, fmt.Errorf("%w (--run-timeout %v)", ErrTimeout, o.RunTimeout))
		defer cancel()
	}
	r := &runner{Options: o, summary: Summary{Counts: map[result.Status]int{}}}
	r.shared = testbed.NewShared(r.name(), o.Pool.Hosts(), o.Ledger, o.Shipped)
	if o.States != nil {
		r.shared.KeepStates(o.States)
	}
	err := r.all(ctx, variants)
	r.summary.Unclean = r.closeShared(ctx)
	r.summary.Reason = r.stop
	if n := o.Planned - r.started; n > 0 {
		r.summary.NotRun, r.summary.Reason = n, r.reason(err)
	}
	o.Results.NotRun(r.summary.NotRun, r.summary.Reason)
	if names := r.unread.String(); names != "" {
		o.Log.Warn("params that were never read", "params", names)
	}
	return r.summary, err
}

// runner is a running run. Its fields belong to the goroutine of [Variants], except those
// that mu guards.
type runner struct {
	Options
	shared  *testbed.Shared
	unread  unreadParams
	started int
	stop    string // why no further variant is started; "": continue
	summary Summary

	mu   sync.Mutex // guards what follows
	kept bool       // VMs of some variant were kept running, because of kill_vm or kill_vm_on_error
}

// reason says why planned variants were not started.
func (r *runner) reason(err error) string {
	if err != nil {
		return err.Error()
	}
	if r.stop == "" {
		return "the hosts of failed variants were kept (--keep)"
	}
	return r.stop
}

// lost returns the error of the first of the run's hosts whose connection is lost, nil
// if there is none.
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
