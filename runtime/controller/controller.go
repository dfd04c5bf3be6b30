// SPDX-License-Identifier: Apache-2.0

// Package controller makes a run of a request: it reads the config, plans which
// variants run, reaches the hosts, runs the variants and leaves their results, as
// mhmig exec does. It knows nothing of command lines, of what scenarios can call, and
// of what mhmig brings along: the request has what it needs of these.
//
//	outcome, err := controller.Run(ctx, controller.Request{
//		Config: "nightly.cfg", Libraries: libraries, Results: "mhmig-results",
//		Load: load, Execute: execute,
//	}, controller.Sinks{})
//
// [Run] blocks until all that was made on hosts is gone again, or was left on purpose.
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
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/pool"
	"github.com/mhmig/mhmig/runtime/reach"
	"github.com/mhmig/mhmig/runtime/report"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Request is a run that somebody asks for.
type Request struct {
	Scenario string            // file; "": each variant's param type names it
	Config   string            // file; "": that of DefaultConfig
	Extras   []cartesian.Extra // statements behind the config's
	Options  cartesian.Options
	Strict   bool // refuse what is else only warned of

	Subset
	MaxVariants  int // refuse a config with more
	Parallel     int // variants at the same time; 0: as many as there are hosts for
	Share        bool
	Timeout      time.Duration // of a variant; 0: none
	RunTimeout   time.Duration // 0: none
	FailFast     bool
	Repeat       int // 0: until a failure
	UntilFailure bool
	Quarantine   string // file; "": none
	Keep         bool   // leave what a failed variant has as it is

	Hosts   []string // names, as for ssh; none: those of a lab
	Lab     Lab
	Results string   // folder of the runs' folders
	Command []string // what asked for the run, for its results
	Version string   // of mhmig, for the results

	DefaultConfig string      // its full name
	Libraries     library.Set // what names of files may begin with
	// Load loads a scenario.
	Load func(ctx context.Context, path string) (*star.Scenario, error)
	// Execute executes a scenario, until all that it began is over.
	Execute func(context.Context, Execution) run.Verdict
}

// Lab is the lab of a run that names no hosts.
type Lab struct {
	lab.Options
	Own   bool     // not the one that is up
	Serve []string // command line of a process that serves a lab, for one that stays
}

// Execution is one scenario on one bed.
type Execution struct {
	Bed      *testbed.Bed
	Scenario *star.Scenario
	// Failed is to be called when the scenario has failed, before its own cleanups. True
	// leaves these out.
	Failed func([]*task.Error) (keep bool)
	Mask   func(string) string // hides the run's passwords in what the user is told
}

// Sinks are where a run tells what happens. Each may be nil.
type Sinks struct {
	Warn func(diag.List)   // what is probably not meant so in the config
	Note func(line string) // other things that the user should know before the run begins
	// Working says what goes on and may take long, until done.
	Working func(what string) (done func())
	// Begin is called when it is known how many variants are to run, 0 if nobody can
	// say, and returns what takes the run's records.
	Begin func(planned int) slog.Handler
	// Complain is told what of the results cannot be written.
	Complain func(error)
	// Pause shows the user what has failed, and how to get at it, and waits until they
	// have looked or ctx has ended. Nil: failed variants are cleaned up at once.
	Pause func(ctx context.Context, text string)
	// Ended is called when the hosts are cleaned up and the results are still to be
	// completed.
	Ended func(Outcome)
}

func (s Sinks) note(lines ...string) {
	for _, line := range lines {
		if s.Note != nil {
			s.Note(line)
		}
	}
}

func (s Sinks) complain(err error) {
	if s.Complain != nil {
		s.Complain(err)
	}
}

func (s Sinks) working(what string) (done func()) {
	if s.Working == nil {
		return func() {}
	}
	return s.Working(what)
}

// Outcome is what became of a run.
type Outcome struct {
	Nothing string // why there was nothing to do; "": there was
	Dir     string // folder of its results
	Planned int    // variants, repeats counted; 0: nobody could say
	Status  result.Status
	Summary run.Summary
	Kept    []string // what was left of failed variants, and how to get in
}

// Run carries out a request. The error says why it was not done or did not end as it
// should, with its exit code; how the variants ended is in the outcome.
func Run(ctx context.Context, q Request, s Sinks) (Outcome, error) {
	p, err := NewPlan(ctx, q, s)
	if err != nil {
		return Outcome{}, err
	}
	switch {
	case p.NothingFailed:
		return Outcome{Status: result.Pass, Nothing: "nothing failed in " + q.latest()}, nil
	case p.first == nil:
		return q.leaveEmpty(s)
	}
	r := &controller{Request: q, sinks: s, plan: p}
	r.debug = debugging{keep: q.Keep, pause: s.Pause, seen: map[*testbed.Bed]bool{}}
	return r.perform(ctx)
}

// leaveEmpty leaves the results of a run without variants: who collects them must not
// find those of an older one.
func (q *Request) leaveEmpty(s Sinks) (Outcome, error) {
	folder, err := result.Create(q.Results, q.header(0), s.complain)
	if err != nil {
		return Outcome{}, exit.Usage.Wrap(err)
	}
	folder.BecomeLatest()
	err = folder.Finish(result.Pass)
	report.Keep(folder.Dir(), s.complain).Close()
	return Outcome{Status: result.Pass, Nothing: "no variant is in shard " + q.Shard}, exit.Failed.Wrap(err)
}

// header is what is known of the run beforehand.
func (q *Request) header(planned int) result.Run {
	var filters []string
	for _, e := range q.Extras {
		if !e.Param {
			filters = append(filters, e.Text)
		}
	}
	return result.Run{
		Command: q.Command, Version: q.Version, Scenario: q.Scenario, Config: q.Config, Filters: filters, Hosts: q.Hosts,
		Seed: q.Seed, Shard: q.Shard, Planned: planned,
	}
}

// controller carries out one request.
type controller struct {
	Request
	sinks  Sinks
	plan   *Plan
	debug  debugging
	endVMs bool // the params would leave VMs, but they cannot stay
}

// perform runs the plan's variants.
func (r *controller) perform(ctx context.Context) (outcome Outcome, err error) {
	image, err := guestImage(ctx, r.plan.first)
	if err != nil {
		return Outcome{}, err
	}
	outcome.Planned = r.plan.Count * r.Repeat // 0: until a failure
	outcome.Status = result.Error             // until something better is known
	handler := slog.DiscardHandler
	if r.sinks.Begin != nil {
		handler = r.sinks.Begin(outcome.Planned)
	}
	folder, err := result.Create(r.Results, r.header(outcome.Planned), r.sinks.complain)
	if err != nil {
		return Outcome{}, exit.Usage.Wrap(err)
	}
	outcome.Dir = folder.Dir()
	reports := report.Keep(folder.Dir(), r.sinks.complain)
	defer func() {
		if errors.Is(err, run.ErrInterrupted) {
			outcome.Status = result.Cancel
		}
		err = errors.Join(err, exit.Failed.Wrap(folder.Finish(outcome.Status)))
		reports.Close()
		r.remember(ctx)
	}()
	folder.Public(jeos.Password)
	defer func() { err = hiding(err, folder.Mask) }()
	log := slog.New(folder.Masked(slog.NewMultiHandler(folder.Handler(), handler)))
	for _, place := range folder.Hide(r.plan.first.Params) {
		log.Warn("a password cannot be hidden everywhere", "param", place.Param, "not_hidden", place.Where)
	}
	if err := folder.Plan(r.plan.names); err != nil {
		r.sinks.complain(err)
	}
	if r.Shuffle {
		log.Info("shuffled", "seed", r.Seed)
	}

	record, err := ledger.Open(filepath.Join(folder.Dir(), reach.LedgerFile))
	if err != nil {
		return outcome, exit.Usage.Wrap(err)
	}
	defer func() { err = errors.Join(err, record.Close()) }()

	r.debug.folder, r.debug.mask = folder.Dir(), folder.Mask
	consoles, err := attach.Serve(ctx, folder.Dir())
	if err != nil {
		return outcome, exit.Usage.Wrap(fmt.Errorf("offer the VMs' consoles: %w", err))
	}
	defer func() { err = errors.Join(err, consoles.Close()) }()

	hosts, labParams, closeHosts, err := r.reach(ctx, folder.Dir(), log)
	if err != nil {
		return outcome, err
	}
	shared, err := pool.NewLocal(ctx, testbed.Remotes(hosts), r.Share)
	if err != nil {
		return outcome, errors.Join(err, closeHosts())
	}
	log.Info("run begins", "variants", outcome.Planned, "results", folder.Dir())
	summary, err := run.Variants(ctx, run.Options{
		Pool: shared, HostParams: r.labParams(labParams), Results: folder, Ledger: record, Log: log,
		Shipped: func(name string) (string, error) { return shippedFile(ctx, image, name) },
		Scenario: func(variantCtx context.Context, bed *testbed.Bed) run.Verdict {
			return r.Execute(variantCtx, Execution{
				Bed: bed, Scenario: r.plan.Scenario(bed.Params()), Mask: folder.Mask,
				Failed: func(failures []*task.Error) bool { return r.debug.scenarioFailed(ctx, bed, failures) },
			})
		},
		ScenarioHosts: func(p cartesian.Params) int { return r.plan.Scenario(p).HostsNeeded },
		Parallel:      r.Parallel, Strict: r.Strict, Planned: outcome.Planned,
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

// facts are how a run has ended, for its last event.
func facts(s run.Summary, worst result.Status, dir string) []any {
	facts := []any{"status", worst.String()}
	for status := result.Pass; status <= result.Error; status++ {
		if n := s.Counts[status]; n > 0 {
			facts = append(facts, strings.ToLower(status.String()), n)
		}
	}
	if s.NotRun > 0 {
		facts = append(facts, "not_begun", s.NotRun)
	}
	if s.Reason != "" {
		facts = append(facts, "because", s.Reason)
	}
	return append(facts, "results", dir)
}

// historyTimeout is how long a run waits at its end for the history.
const historyTimeout = 20 * time.Second

// remember brings the history of all runs up to date, also when this one was
// interrupted. What it cannot do now, the next run does.
func (r *controller) remember(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), historyTimeout, fmt.Errorf("not done after %v", historyTimeout))
	defer cancel()
	if err := history.Sync(ctx, r.Results, r.sinks.complain); err != nil {
		r.sinks.complain(err)
	}
}

// hiding is err with its text as hide leaves it.
func hiding(err error, hide func(string) string) error {
	if err == nil || hide(err.Error()) == err.Error() {
		return err
	}
	return exit.Of(err).Wrap(errors.New(hide(err.Error())))
}
