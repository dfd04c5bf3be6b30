// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// start creates the results folder of a variant.
func (r *runner) start(v *cartesian.Variant, repeat int, params cartesian.Params, origins map[string]string, hosts []string) (*result.Variant, error) {
	entry := result.Entry{Name: v.Name, ShortName: v.ShortName, Repeat: repeat, Hosts: hosts, Params: params, Origins: origins}
	return r.Results.Start(entry)
}

// labOrigin is the origin of params that the lab sets.
const labOrigin = "the lab"

// origins returns where each param of a variant was set, nil if unknown.
func (r *runner) origins(v *cartesian.Variant) map[string]string {
	if r.Origins == nil {
		return nil
	}
	origins := r.Origins(v)
	for key := range r.HostParams {
		origins[key] = labOrigin
	}
	return origins
}

// unit is a running variant.
type unit struct {
	*runner
	number  int // among all variants that the run has started, from 1
	variant *cartesian.Variant
	repeat  int
	params  cartesian.Params
	origins map[string]string // where each param was set; nil: unknown
	lease   Lease
	stay    bool // the hosts are kept as the variant left them
	results *result.Variant
}

// run runs the scenario for the variant, and determines its status. met says whether
// variants that depend on it can run: quarantine does not change that.
func (u *unit) run(ctx context.Context) (status result.Status, met bool) {
	u.changed()
	log := u.Log.With("variant", u.results.ID())
	log.Info("variant begins", append(u.label(), "hosts", strings.Join(names(u.lease), ","))...)
	for _, place := range u.results.Unhidden() {
		place.Warn(log)
	}
	runCtx := ctx
	if u.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, u.Timeout, fmt.Errorf("the variant timed out (--timeout %v)", u.Timeout))
		defer cancel()
	}
	c := testbed.Config{
		Params: u.params, Results: u.results, Ledger: u.Ledger, Log: log,
		Name: fmt.Sprintf("%s-%d", u.name(), u.number), Shared: u.shared, Launch: u.Launch,
		ColdStart: u.ColdStart != nil && u.ColdStart(u.params), Seed: u.Seed + uint64(max(u.repeat-1, 0)),
	}
	c.Hosts = u.lease.Hosts()
	bed := testbed.New(c)
	if u.Opened != nil {
		defer u.Opened(bed)()
	}
	var outcome result.Outcome
	if err := u.checkParams(&outcome); err != nil {
		u.addFailure(&outcome, fmt.Errorf("prepare: %w", err))
	} else if err := bed.Prepare(ctx); err != nil {
		u.addFailure(&outcome, fmt.Errorf("prepare: %w", err))
	} else {
		log.Info("scenario begins", "step", "scenario")
		verdict := u.Scenario(ctx, bed)
		outcome.Warnings = append(outcome.Warnings, verdict.Warnings...)
		outcome.Notices, outcome.Machines = bed.Notices(), bed.Machines()
		for i, failure := range verdict.Failures {
			if !repeats(failure, verdict.Failures[:i]) {
				u.addFailure(&outcome, failure)
			}
		}
		u.finalCheck(runCtx, bed, &outcome)
	}
	if !isUnsettled(&outcome) && !outcome.Status.OK() && outcome.Evidence == "" {
		outcome.Evidence = bed.Evidence(ctx)
	}
	settleStatus(&outcome)
	if u.Failed != nil && !outcome.Status.OK() && u.Failed(runCtx, bed, outcome.Failure) {
		bed.Keep()
		u.stay = true
		u.mu.Lock()
		u.kept = true
		u.mu.Unlock()
	} else {
		log.Info("clean up", "step", "clean_up")
		err := u.close(ctx, bed, u.lease, outcome.Status)
		for _, fault := range bed.Faults() {
			u.addFailure(&outcome, fault)
		}
		if err != nil {
			log.Error("clean-up failed", "error", err) // the message at the variant's end has the first failure only
			u.addFailure(&outcome, fmt.Errorf("clean up: %w", err))
		}
		settleStatus(&outcome)
	}
	if seed, drawn := bed.RandomSeed(); drawn && !outcome.Status.OK() {
		outcome.Notices = append(outcome.Notices, fmt.Sprintf("--seed %d gives it the same random numbers", seed))
	}
	outcome.Unread = unread(u.params, bed.ParamsRead(), bed.ParamsSet(), u.origins)
	u.unread.add(outcome.Unread)
	met = outcome.Status == result.Pass || outcome.Status == result.Warn
	if notice := u.Quarantine.apply(u.variant.Name, &outcome); notice != "" {
		log.Warn(notice)
	}
	facts := append(u.label(), "step", "end", "status", outcome.Status.String(), "took", u.results.Took().Round(time.Millisecond))
	if outcome.Message != "" {
		facts = append(facts, "because", outcome.Message)
	}
	log.Info("variant ends", facts...)
	if err := u.results.Finish(outcome); err != nil {
		log.Warn("results not written", "error", err)
	}
	u.changed()
	return outcome.Status, met
}

// finalCheckAfterEnd limits the last look at the guests when the run has ended.
const finalCheckAfterEnd = 5 * time.Second

// finalCheck looks at the guests of a scenario that has not failed. The time that it takes
// is not the scenario's: --timeout does not keep it from being done, nor does the end of
// the run, but then a QEMU that does not answer soon leaves the variant without a verdict.
// After a skip, what is not a FAIL is part of it: the scenario has stopped anywhere.
func (u *unit) finalCheck(ctx context.Context, bed *testbed.Bed, o *result.Outcome) {
	skipped := o.Status == result.Skip
	if !isUnsettled(o) && !skipped {
		return
	}
	if ctx.Err() != nil {
		ended := context.Cause(ctx)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(context.WithoutCancel(ctx), finalCheckAfterEnd, ended)
		defer cancel()
	}
	for _, wrong := range bed.FinalCheck(ctx) {
		if !skipped || result.StatusOf(wrong) == result.Fail {
			u.addFailure(o, wrong)
		}
	}
}

// checkParams checks the variant's params before anything is created: it returns the
// errors of invalid values, and adds warnings for params that mhmig does not support.
func (u *unit) checkParams(o *result.Outcome) error {
	hosts := 0
	for _, h := range u.lease.Hosts() {
		hosts = max(hosts, h.Number)
	}
	var all []error
	for _, e := range CheckParams(u.params, hosts) {
		all = append(all, e)
	}
	var reads ScenarioReads
	if u.ScenarioReads != nil {
		reads = u.ScenarioReads(u.params)
	}
	for _, d := range Unsupported(u.params, reads) {
		text := d.Text
		if origin := u.origins[d.Key]; origin != "" {
			text = origin + ": " + text
		}
		if u.Strict || d.Decides {
			all = append(all, errors.New(text))
			continue
		}
		u.Log.Warn(text, "variant", u.results.ID())
		o.Warnings = append(o.Warnings, text)
	}
	return errors.Join(all...)
}

// names are the names of a lease's hosts.
func names(l Lease) []string {
	var names []string
	for _, h := range l.Hosts() {
		names = append(names, h.Host.Name())
	}
	return names
}

// label is the variant's attributes in the log messages of its start and end.
func (u *unit) label() []any {
	if u.repeat == 0 {
		return []any{"name", u.variant.ShortName}
	}
	return []any{"name", u.variant.ShortName, "repeat", u.repeat}
}

// close cleans up after a variant; it tries a second time on a lost host.
func (r *runner) close(ctx context.Context, bed *testbed.Bed, l Lease, status result.Status) error {
	kept, err := bed.Close(ctx, status)
	r.mu.Lock()
	r.kept = r.kept || kept
	kept = r.kept
	r.mu.Unlock()
	lost := lost(l)
	if err == nil || lost == nil {
		return err
	}
	if kept { // the ledger does not say what is kept
		return fmt.Errorf("%w; mhmig cleanup %s removes the remains there, and the VMs that were kept", lost, r.Results.Dir())
	}
	if err := r.reclaim(ctx, bed.Owns); err != nil {
		return fmt.Errorf("%w; mhmig cleanup %s tries again", err, r.Results.Dir())
	}
	return nil
}

// settleStatus gives an outcome its status: the first failure's, else WARN or PASS.
func settleStatus(o *result.Outcome) {
	switch {
	case !isUnsettled(o):
	case len(o.Warnings) > 0:
		o.Status = result.Warn
	default:
		o.Status = result.Pass
	}
}

// isUnsettled says that nothing has failed so far.
func isUnsettled(o *result.Outcome) bool {
	return o.Status == result.Running || o.Status == result.Pass || o.Status == result.Warn
}

// repeats says that a failure is of a split brain which one of the earlier failures
// reports too: the scenario and both sides of a migration may find it.
func repeats(failure *task.Error, earlier []*task.Error) bool {
	brain, ok := errors.AsType[*testbed.SplitBrainError](failure)
	return ok && slices.ContainsFunc(earlier, func(e *task.Error) bool {
		known, ok := errors.AsType[*testbed.SplitBrainError](e)
		return ok && known.Instance == brain.Instance
	})
}

// addFailure adds a failure to an outcome: as the first one, or as a further one. What goes
// wrong after a skip comes before it: no verdict is given up for it.
func (r *runner) addFailure(o *result.Outcome, err error) {
	f := describe(err)
	if end, ok := errors.AsType[*ending](err); ok { // overrides the status of wrappers
		f.Status = end.Status()
	}
	if f.Position != "" && r.SourceLine != nil {
		f.Source = r.SourceLine(f.Position)
	}
	switch {
	case isUnsettled(o):
		o.Failure = f
	case o.Status == result.Skip && !f.Status.OK():
		o.Further = slices.Insert(o.Further, 0, o.Failure)
		o.Failure = f
	default:
		o.Further = append(o.Further, f)
	}
}

// describe converts an error to a failure: its status, and where it occurred in the test,
// in the migration and in the scenario's file.
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

// name is the prefix of the names of the run's folders on the hosts.
func (r *runner) name() string {
	id := r.Results.ID()
	return "mhmig-" + id[strings.LastIndexByte(id, '-')+1:]
}
