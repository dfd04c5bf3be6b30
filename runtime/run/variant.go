// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// start makes the results folder of a variant.
func (r *runner) start(v *cartesian.Variant, repeat int, params cartesian.Params, hosts []string) (*result.Variant, error) {
	entry := result.Entry{Name: v.Name, ShortName: v.ShortName, Repeat: repeat, Hosts: hosts, Params: params}
	if r.Origins != nil {
		entry.Origins = r.Origins(v)
	}
	return r.Results.Start(entry)
}

// variant runs the scenario for one variant. The error is one of the results
// folder, without which a variant cannot begin.
func (r *runner) variant(ctx context.Context, number, repeat int, v *cartesian.Variant, l *lease) (result.Status, error) {
	params := maps.Clone(v.Params)
	maps.Copy(params, r.HostParams)
	results, err := r.start(v, repeat, params, l.names())
	if err != nil {
		return result.Error, err
	}
	r.changed()
	began := time.Now()
	log := r.Log.With("variant", results.ID())
	log.Info("variant begins", "name", v.ShortName, "hosts", strings.Join(l.names(), ","))
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("the variant's time (--timeout %v) is over", r.Timeout))
		defer cancel()
	}
	c := testbed.Config{
		Params: params, Results: results, Ledger: r.Ledger, Log: log,
		Name: bedName(r.Results.ID(), number), Shipped: r.Shipped,
	}
	for _, s := range l.slots {
		c.Hosts = append(c.Hosts, testbed.Place{Host: s.host, Number: s.number})
	}
	bed := testbed.New(c)
	var outcome result.Outcome
	if err := bed.Prepare(ctx); err != nil {
		r.addFailure(&outcome, fmt.Errorf("prepare: %w", err))
	} else {
		log.Info("scenario begins", "step", "scenario")
		verdict := r.Scenario(ctx, bed)
		outcome.Warnings = verdict.Warnings
		for _, failure := range verdict.Failures {
			r.addFailure(&outcome, failure)
		}
		if unsettled(&outcome) && ctx.Err() == nil {
			for _, dead := range bed.Dead(ctx) {
				r.addFailure(&outcome, dead)
			}
		}
	}
	if !unsettled(&outcome) && !outcome.Status.OK() && outcome.Evidence == "" {
		outcome.Evidence = bed.Evidence(ctx)
	}
	settle(&outcome)
	log.Info("clean up", "step", "clean_up")
	if err := r.close(ctx, bed, l, outcome.Status); err != nil {
		r.addFailure(&outcome, fmt.Errorf("clean up: %w", err))
		settle(&outcome)
	}
	if notice := r.Quarantine.apply(v.Name, &outcome); notice != "" {
		log.Warn(notice)
	}
	log.Info("variant ends", "step", "end", "status", outcome.Status.String(), "took", time.Since(began).Round(time.Millisecond))
	if err := results.Finish(outcome); err != nil {
		log.Warn("results not written", "error", err)
	}
	r.changed()
	return outcome.Status, nil
}

// close cleans up behind a variant; a host that was lost gets a second try.
func (r *runner) close(ctx context.Context, bed *testbed.Bed, l *lease, status result.Status) error {
	kept, err := bed.Close(ctx, status)
	r.mu.Lock()
	r.kept = r.kept || kept
	kept = r.kept
	r.mu.Unlock()
	lost := l.lost()
	if err == nil || lost == nil {
		return err
	}
	if kept { // the ledger cannot tell what is to stay
		return fmt.Errorf("%w; mhmig cleanup %s removes what is left there, and the VMs that were left on purpose", lost, r.Results.Dir())
	}
	if err := r.reclaim(ctx, bed); err != nil {
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
func (r *runner) addFailure(o *result.Outcome, err error) {
	f := describe(err)
	if errors.Is(err, ErrInterrupted) || errors.Is(err, ErrTimeout) {
		f.Status = result.Cancel
	}
	if f.Position != "" && r.SourceLine != nil {
		f.Source = r.SourceLine(f.Position)
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
