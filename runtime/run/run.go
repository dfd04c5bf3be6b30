// SPDX-License-Identifier: Apache-2.0

// Package run runs a scenario once per variant: it makes the variant's test
// bed, hands it to the scenario, judges what came of it, and cleans up.
//
// Whatever happens to one variant, the next one runs; only an interruption and
// lost hosts end a run early. [Variants] blocks until the last variant is
// cleaned up.
package run

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// ErrInterrupted is the cause of a context that a person has ended.
var ErrInterrupted = errors.New("interrupted")

// Verdict is what a scenario did: what failed, the first failure first, and
// what it warned of.
type Verdict struct {
	Failures []*task.Error
	Warnings []string
}

// Options are what all variants of a run have in common.
type Options struct {
	Hosts      []*host.Host // the first is the master
	HostParams cartesian.Params
	Results    *result.Folder
	Ledger     *ledger.Ledger
	Log        *slog.Logger
	Timeout    time.Duration // per variant; 0: none
	Shipped    func(name string) (localPath string, err error)
	Scenario   func(context.Context, *testbed.Bed) Verdict
	// Opened is called with each bed before anything is made in it, and what it
	// returns when the bed is closed. Nil: nothing.
	Opened func(*testbed.Bed) (closed func())
	// Failed is called when a variant has failed or erred, before its bed is
	// closed. It may block, until ctx ends. True leaves the bed as it is. Nil: false.
	Failed func(context.Context, *testbed.Bed, result.Failure) (keep bool)
}

// Variants runs the scenario for each variant, one after the other, and
// returns how they ended. Its error is one of the config, ErrInterrupted, or the
// [*host.LostError] of a host whose connection broke.
func Variants(ctx context.Context, o Options, variants iter.Seq2[*cartesian.Variant, error]) ([]result.Outcome, error) {
	var outcomes []result.Outcome
	r := &runner{Options: o}
	for v, err := range variants {
		if err != nil {
			return outcomes, err
		}
		if ctx.Err() != nil {
			return outcomes, context.Cause(ctx)
		}
		if err := r.lost(); err != nil {
			return outcomes, err
		}
		outcome, err := r.variant(ctx, len(outcomes)+1, v)
		if err != nil {
			return outcomes, err
		}
		outcomes = append(outcomes, outcome)
	}
	if ctx.Err() != nil {
		return outcomes, context.Cause(ctx)
	}
	return outcomes, r.lost()
}

// runner is a run that goes on.
type runner struct {
	Options
	kept bool // VMs of some variant were left running, as its params ask for
}

// variant runs the scenario for one variant.
func (r *runner) variant(ctx context.Context, number int, v *cartesian.Variant) (result.Outcome, error) {
	params := maps.Clone(v.Params)
	maps.Copy(params, r.HostParams)
	results, err := r.Results.Start(v.Name, v.ShortName, params)
	if err != nil {
		return result.Outcome{}, err
	}
	began := time.Now()
	log := r.Log.With("variant", results.ID())
	log.Info("variant begins", "name", v.ShortName)
	runCtx := ctx
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("the variant's time (--timeout %v) is over", r.Timeout))
		defer cancel()
	}
	bed := testbed.New(testbed.Config{
		Hosts: r.Hosts, Params: params, Results: results, Ledger: r.Ledger, Log: log,
		Name: bedName(r.Results.ID(), number), Shipped: r.Shipped,
	})
	if r.Opened != nil {
		defer r.Opened(bed)()
	}
	outcome := result.Outcome{Name: v.Name, ShortName: v.ShortName, Started: began}
	if err := bed.Prepare(ctx); err != nil {
		addFailure(&outcome, fmt.Errorf("prepare: %w", err))
	} else {
		log.Info("scenario begins", "step", "scenario")
		verdict := r.Scenario(ctx, bed)
		outcome.Warnings = verdict.Warnings
		for _, failure := range verdict.Failures {
			addFailure(&outcome, failure)
		}
		if unsettled(&outcome) && ctx.Err() == nil {
			for _, dead := range bed.Dead(ctx) {
				addFailure(&outcome, dead)
			}
		}
	}
	settle(&outcome)
	if r.Failed != nil && !outcome.Status.OK() && r.Failed(runCtx, bed, outcome.Failure) {
		bed.Keep()
		r.kept = true
	} else if err := r.close(ctx, bed, outcome.Status); err != nil {
		addFailure(&outcome, fmt.Errorf("clean up: %w", err))
		settle(&outcome)
	}
	outcome.Seconds = time.Since(began).Seconds()
	log.Info("variant ends", "status", outcome.Status.String(), "took", time.Since(began).Round(time.Millisecond))
	if err := results.Finish(outcome); err != nil {
		log.Warn("results not written", "error", err)
	}
	return outcome, nil
}

// close cleans up behind a variant; a host that was lost gets a second try.
func (r *runner) close(ctx context.Context, bed *testbed.Bed, status result.Status) error {
	kept, err := bed.Close(ctx, status)
	r.kept = r.kept || kept
	if err == nil || r.lost() == nil {
		return err
	}
	if r.kept { // the ledger cannot tell what is to stay
		return fmt.Errorf("%w; mhmig cleanup %s removes what is left there, and the VMs that were left on purpose", r.lost(), r.Results.Dir())
	}
	if err := r.reclaim(ctx); err != nil {
		return fmt.Errorf("%w; mhmig cleanup %s tries again", err, r.Results.Dir())
	}
	return nil
}

// settle gives an outcome its status: the first failure's, else WARN or PASS.
func settle(o *result.Outcome) {
	switch {
	case !unsettled(o):
	case len(o.Warnings) > 0:
		o.Status = result.Warn
	default:
		o.Status = result.Pass
	}
}

// unsettled says that nothing has failed so far.
func unsettled(o *result.Outcome) bool {
	return o.Status == result.Running || o.Status == result.Pass || o.Status == result.Warn
}

// addFailure adds a failure to an outcome: as the first one, or to those that
// followed.
func addFailure(o *result.Outcome, err error) {
	f := describe(err)
	if errors.Is(err, ErrInterrupted) {
		f.Status = result.Cancel
	}
	if unsettled(o) {
		o.Failure = f
		return
	}
	o.Further = append(o.Further, f)
}

// describe says what an error knows of itself: its verdict, and where in the
// test, in the migration and in the scenario's file it arose.
func describe(err error) result.Failure {
	f := result.Failure{
		Status: result.StatusOf(err), Message: err.Error(),
		Position: task.Position(err), Backtrace: task.Backtrace(err),
	}
	if step, ok := errors.AsType[*migration.StepError](err); ok {
		f.Host, f.Side, f.Phase, f.Evidence = step.Host, string(step.Side), step.Step, step.Detail()
	}
	if failure, ok := errors.AsType[*migration.Failure](err); ok {
		f.Host, f.VM, f.Side, f.Evidence = failure.Host, failure.VM, string(failure.First), failure.Detail()
		f.Phase = failure.Step
	}
	return f
}

// bedName makes the name of a variant's folders on the hosts from the run's.
func bedName(run string, number int) string {
	short := run[strings.LastIndexByte(run, '-')+1:]
	return fmt.Sprintf("mhmig-%s-%d", short, number)
}
