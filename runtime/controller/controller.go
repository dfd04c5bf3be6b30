// SPDX-License-Identifier: Apache-2.0

// Package controller executes a request for a run, like mhmig exec: it reads the config,
// plans which variants run, connects to the hosts, runs the variants and writes their
// results. It does not depend on the command line, the builtins and the embedded files:
// the request has what it needs of these.
//
//	outcome, err := controller.Run(ctx, controller.Request{
//		Config: "nightly.cfg", Libraries: libraries, Results: "mhmig-results",
//		Load: load, Execute: execute,
//	}, controller.Sinks{})
//
// [Run] blocks until everything created on hosts is removed, or kept on request.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/attach"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/history"
	"github.com/mhmig/mhmig/runtime/hostsfile"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/pool"
	"github.com/mhmig/mhmig/runtime/report"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Request is a request for a run.
type Request struct {
	Scenario string            // file; "": each variant's param type names it
	Config   string            // file; "": that of DefaultConfig
	Extras   []cartesian.Extra // statements after the config's
	Options  cartesian.Options
	Strict   bool // warnings about the config are errors

	Subset
	MaxVariants  int // more are an error
	Parallel     int // variants at the same time; 0: as many as there are hosts for
	Share        bool
	Timeout      time.Duration // of a variant; 0: none
	RunTimeout   time.Duration // 0: none
	FailFast     bool
	Repeat       int // 0: until a failure
	UntilFailure bool
	Quarantine   string // file; "": none
	Keep         bool   // keep the hosts, VMs and files of failed variants

	Hosts   []string // names, as for ssh; none: a lab
	Lab     Lab
	Results string   // folder of the runs' folders
	Command []string // the command line of the run, for its results
	Version string   // of mhmig, for the results

	DefaultConfig string      // its full name
	Libraries     library.Set // for names of files with @
	// Load loads a scenario.
	Load func(ctx context.Context, path string) (*star.Scenario, error)
	// Execute runs a scenario, until all of its tasks have ended.
	Execute func(context.Context, Execution) run.Verdict
}

// Lab is the lab of a run that names no hosts.
type Lab struct {
	lab.Options
	Own   bool     // do not use the lab of mhmig lab up
	Serve []string // command line of a process that serves a persistent lab
}

// Execution is one scenario on one bed.
type Execution struct {
	Bed      *testbed.Bed
	Scenario *star.Scenario
	// Failed must be called when the scenario has failed, before its cleanups. True skips
	// these.
	Failed func([]*task.Error) (keep bool)
	Mask   func(string) string // hides the run's passwords in messages
}

// Sinks receive the messages of a run. Each may be nil.
type Sinks struct {
	Warn func(diag.List)   // warnings about the config
	Note func(line string) // other messages before the run starts
	// Busy shows an activity that may take long, until done is called.
	Busy func(what string) (done func())
	// Begin is called with the number of planned variants, 0 if unknown, and returns the
	// handler of the run's log records.
	Begin func(planned int) slog.Handler
	// WriteFailed is called with errors of writing the results.
	WriteFailed func(error)
	// Pause shows the user a failure, and the commands to access the hosts and VMs, and
	// waits until the user continues or ctx ends. Nil: failed variants are cleaned up at
	// once.
	Pause func(ctx context.Context, text string)
	// Ended is called when the hosts are cleaned up, before the results are completed.
	Ended func(Outcome)
}

func (s Sinks) note(lines ...string) {
	for _, line := range lines {
		if s.Note != nil {
			s.Note(line)
		}
	}
}

func (s Sinks) writeFailed(err error) {
	if s.WriteFailed != nil {
		s.WriteFailed(err)
	}
}

func (s Sinks) busy(what string) (done func()) {
	if s.Busy == nil {
		return func() {}
	}
	return s.Busy(what)
}

// Outcome is the outcome of a run.
type Outcome struct {
	Nothing string // why there was nothing to do; "": there was something
	Dir     string // folder of its results
	Planned int    // number of variants, including repeats; 0: unknown
	Status  result.Status
	Summary run.Summary
	Kept    []string // the kept failed variants, and the commands to access them
}

// Run executes a request. The error says why the run was not done or did not complete,
// with its exit code; the outcome has how the variants ended.
func Run(ctx context.Context, q Request, s Sinks) (Outcome, error) {
	p, err := NewPlan(ctx, q, s)
	if err != nil {
		return Outcome{}, err
	}
	switch {
	case p.NothingFailed:
		return Outcome{Status: result.Pass, Nothing: "nothing failed in " + q.latest()}, nil
	case p.first == nil:
		return q.writeEmpty(s)
	}
	r := &controller{Request: q, sinks: s, plan: p}
	r.debug = debugging{keep: q.Keep, pause: s.Pause, seen: map[*testbed.Bed]bool{}}
	return r.run(ctx)
}

// writeEmpty writes the results of a run without variants, so that the latest results
// are not those of an older run.
func (q *Request) writeEmpty(s Sinks) (Outcome, error) {
	folder, err := result.Create(q.Results, q.header(0), s.writeFailed)
	if err != nil {
		return Outcome{}, exit.Usage.Wrap(err)
	}
	folder.BecomeLatest()
	err = folder.Finish(result.Pass)
	report.NewUpdater(folder.Dir(), s.writeFailed).Close()
	return Outcome{Status: result.Pass, Nothing: "no variant is in shard " + q.Shard}, exit.Failed.Wrap(err)
}

// header is the part of the run's results that is known before it starts.
func (q *Request) header(planned int) result.Run {
	var filters []string
	for _, e := range q.Extras {
		if !e.Param {
			filters = append(filters, e.Text)
		}
	}
	return result.Run{
		Command: q.Command, Version: q.Version, Libraries: q.Libraries.Identities(), Scenario: q.Scenario, Config: q.Config, Filters: filters, Hosts: q.Hosts,
		Seed: q.Seed, Shard: q.Shard, Planned: planned,
	}
}

// controller executes one request.
type controller struct {
	Request
	sinks  Sinks
	plan   *Plan
	debug  debugging
	endVMs bool // the params would keep VMs, but the lab ends with the run
}

// run runs the plan's variants.
func (r *controller) run(ctx context.Context) (outcome Outcome, err error) {
	var own ownGuests
	if err := own.check(ctx, r.plan.first); err != nil {
		return Outcome{}, err
	}
	outcome.Planned = r.plan.Count * r.Repeat // 0: until a failure
	outcome.Status = result.Error             // until it is known
	handler := slog.DiscardHandler
	if r.sinks.Begin != nil {
		handler = r.sinks.Begin(outcome.Planned)
	}
	folder, err := result.Create(r.Results, r.header(outcome.Planned), r.sinks.writeFailed)
	if err != nil {
		return Outcome{}, exit.Usage.Wrap(err)
	}
	outcome.Dir = folder.Dir()
	reports := report.NewUpdater(folder.Dir(), r.sinks.writeFailed)
	defer func() {
		if errors.Is(err, run.ErrInterrupted) {
			outcome.Status = result.Cancel
		}
		err = errors.Join(err, exit.Failed.Wrap(folder.Finish(outcome.Status)))
		reports.Close()
		r.syncHistory(ctx)
	}()
	folder.Public(jeos.Password)
	defer func() { err = maskError(err, folder.Mask) }()
	log := slog.New(folder.Masked(slog.NewMultiHandler(folder.Handler(), handler)))
	for _, place := range folder.Hide(r.plan.first.Params) {
		place.Warn(log)
	}
	if err := folder.Plan(r.plan.names); err != nil {
		r.sinks.writeFailed(err)
	}
	if r.Shuffle {
		log.Info("shuffled", "seed", r.Seed)
	}

	record, err := ledger.Open(filepath.Join(folder.Dir(), hostsfile.LedgerFile))
	if err != nil {
		return outcome, exit.Usage.Wrap(err)
	}
	defer func() { err = errors.Join(err, record.Close()) }()

	r.debug.folder, r.debug.mask = folder.Dir(), folder.Mask
	consoles, err := attach.Serve(ctx, folder.Dir())
	if err != nil {
		return outcome, exit.Usage.Wrap(fmt.Errorf("share the VMs' consoles: %w", err))
	}
	defer func() { err = errors.Join(err, consoles.Close()) }()

	hosts, used, closeHosts, err := r.reach(ctx, folder.Dir(), log)
	if err != nil {
		return outcome, err
	}
	shared, err := pool.NewLocal(ctx, testbed.Remotes(hosts), r.Share)
	if err != nil {
		return outcome, errors.Join(err, closeHosts())
	}
	log.Info("run begins", "variants", outcome.Planned, "results", folder.Dir())
	summary, err := run.Variants(ctx, run.Options{
		Pool: shared, HostParams: r.labParams(used.params()), States: used.states(), Results: folder, Ledger: record, Log: log,
		Shipped: func(value string) (string, error) { return own.file(ctx, value) },
		Scenario: func(variantCtx context.Context, bed *testbed.Bed) run.Verdict {
			return r.Execute(variantCtx, Execution{
				Bed: bed, Scenario: r.plan.Scenario(bed.Params()), Mask: folder.Mask,
				Failed: func(failures []*task.Error) bool { return r.debug.scenarioFailed(ctx, bed, failures) },
			})
		},
		ScenarioHosts: func(p cartesian.Params) int { return r.plan.Scenario(p).HostsNeeded },
		ScenarioReads: func(p cartesian.Params) run.ScenarioReads { return r.plan.Scenario(p) },
		ColdStart:     func(p cartesian.Params) bool { return r.plan.Scenario(p).ColdStart },
		Parallel:      r.Parallel, Seed: r.Seed, Strict: r.Strict, Planned: outcome.Planned,
		Timeout: r.Timeout, RunTimeout: r.RunTimeout, FailFast: r.FailFast, Repeat: r.Repeat, UntilFailure: r.UntilFailure,
		Quarantine: r.plan.quarantine, Origins: func(v *cartesian.Variant) map[string]string { return r.plan.origins(ctx, v) },
		SourceLine: r.Libraries.SourceLine, Changed: reports.Changed,
		Opened: consoles.Opened, Failed: r.debug.failed,
	}, r.plan.Variants)
	outcome.Status = summary.Status()
	unclean := errors.Join(summary.Unclean, closeHosts())
	if unclean != nil {
		log.Error("clean-up failed", "error", unclean)
		outcome.Status = result.Worst(outcome.Status, result.Error)
		defer func() { err = errors.Join(err, exit.Failed.Wrap(fmt.Errorf("clean-up failed: %w", unclean))) }()
	}
	log.Info("run ends", facts(summary, outcome.Status, folder.Dir())...)
	outcome.Summary, outcome.Kept = summary, r.debug.kept
	outcome.Summary.Reason = folder.Mask(summary.Reason)
	if errors.Is(err, run.ErrTimeout) {
		outcome.Status = result.Error
	}
	if r.sinks.Ended != nil {
		r.sinks.Ended(outcome)
	}
	return outcome, err
}

// facts are the attributes of a run's last log record.
func facts(s run.Summary, worst result.Status, dir string) []any {
	facts := []any{"status", worst.String()}
	for status := result.Pass; status <= result.Error; status++ {
		if n := s.Counts[status]; n > 0 {
			facts = append(facts, strings.ToLower(status.String()), n)
		}
	}
	if s.NotRun > 0 {
		facts = append(facts, "not_run", s.NotRun)
	}
	if s.Reason != "" {
		facts = append(facts, "because", s.Reason)
	}
	return append(facts, "results", dir)
}

// historyTimeout limits updating the history at the end of a run.
const historyTimeout = 20 * time.Second

// syncHistory updates the history of all runs, also when this one was interrupted. If it
// fails, the next run does it.
func (r *controller) syncHistory(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), historyTimeout, fmt.Errorf("not done after %v", historyTimeout))
	defer cancel()
	if err := history.Sync(ctx, r.Results, r.sinks.writeFailed); err != nil {
		r.sinks.writeFailed(err)
	}
}

// maskError masks the text of err. It keeps the exit code.
func maskError(err error, mask func(string) string) error {
	if err == nil || mask(err.Error()) == err.Error() {
		return err
	}
	return exit.Of(err).Wrap(errors.New(mask(err.Error())))
}
