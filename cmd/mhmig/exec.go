// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/attach"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/history"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/reach"
	"github.com/mhmig/mhmig/runtime/report"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/terminal"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// historyTimeout is how long a run waits at its end for the history.
const historyTimeout = 20 * time.Second

// execution is one call of mhmig exec: its flags.
type execution struct {
	selection
	choice
	hosts        []string
	lab          labFlags
	results      string
	parallel     int
	share        bool
	timeout      time.Duration
	runTimeout   time.Duration
	failFast     bool
	repeat       int
	untilFailure bool
	quarantine   string
	dryRun       bool
	json         bool
	format       string // of a report to stdout
	verbose      bool
	most         int    // variants
	scenario     string // "": each variant's type names it
	debug        debugFlags

	endVMs bool // set by reach: the params would leave VMs, but they cannot stay
}

func newExecCommand() *cobra.Command {
	var e execution
	command := &cobra.Command{
		Use:   "exec SCENARIO.star|CONFIG.cfg",
		Short: "Run a scenario for each variant of the config",
		Long: `Run a scenario once per variant of the config: on the hosts that --hosts names,
else on the lab that is up (mhmig lab up), else on a lab made for this run. With
a config as the argument, each variant's param type names its scenario: TYPE.star
beside the config, else one that mhmig brings.

A variant runs as soon as enough hosts are free: as many as its param hosts_needed
or its scenario's global hosts_needed says, else a fair share, two at least. One
that depends on a variant that did not pass is CANCEL.

A word of an "only" or "join" of --filter that no variant can match is an error,
and so are no variants at all, or more than --max-variants; with --strict, also
whatever is else only warned of, as for mhmig list.

Exit status: 0 everything passed, 1 some variant failed or erred, 2 wrong
arguments or an error in a file, 3 the hosts, or this machine as their controller
(its disk is full, say), cannot be used, 4 an error that mhmig does not expect,
130 interrupted.`,
		Example: `  mhmig exec scenarios/multihost_migration.star
  mhmig exec my.star --hosts host1.foo.com,host2.foo.com --config my.cfg --filter 'only JeOS'
  mhmig exec my.star --lab netns --lab-hosts 3 --param mem=256
  mhmig exec nightly.cfg --lab-hosts 4 --shard 1/2 --quarantine known.toml --json
  mhmig exec my.star --rerun failed --repeat 20 --until-failure`,
		Args: arguments(1, 1),
		RunE: func(command *cobra.Command, args []string) error {
			if err := e.take(args[0]); err != nil {
				return wrongArguments(err)
			}
			if err := errors.Join(e.check(command.Flags()), e.debug.check()); err != nil {
				return wrongArguments(err)
			}
			outliveReader()
			return e.run(command.Context(), command)
		},
	}
	flags := command.Flags()
	e.selection.flags(flags)
	e.strictFlag(flags)
	e.choice.flags(flags)
	flags.StringVar(&e.config, "config", "", "config `FILE` (default: the one that mhmig brings)")
	flags.StringSliceVar(&e.hosts, "hosts", nil, "hosts to run on, the master first: `NAME,NAME,...`, as for ssh")
	e.lab.flags(flags)
	flags.StringVar(&e.results, "results", "mhmig-results", "`DIR` for the folders of results")
	flags.IntVar(&e.parallel, "parallel", 0, "run at most `N` variants at the same time (default: as many as there are hosts for)")
	flags.BoolVar(&e.share, "share", false, "let variants share hosts, as far as memory and processors allow")
	flags.DurationVar(&e.timeout, "timeout", 0, "end a variant after this `TIME`, such as 30m (default: no limit)")
	flags.DurationVar(&e.runTimeout, "run-timeout", 0, "end the run after this `TIME` (default: no limit)")
	flags.BoolVar(&e.failFast, "fail-fast", false, "begin no further variant after a FAIL or ERROR")
	flags.IntVar(&e.repeat, "repeat", 1, "run all variants `N` times")
	flags.BoolVar(&e.untilFailure, "until-failure", false, "repeat until a FAIL or ERROR, at most as often as --repeat says")
	flags.StringVar(&e.quarantine, "quarantine", "", "`FILE` (TOML) of variants whose failures are only warnings for a time")
	flags.BoolVar(&e.dryRun, "dry-run", false, "only show what would run, and where")
	flags.IntVar(&e.most, "max-variants", 10_000, "refuse a config with more than `N` variants")
	e.debug.flags(flags)
	flags.StringVar(&e.format, "format", textFormat, "also write the run's report to stdout, as `FORMAT` of mhmig report: tap, junit, md, json, html, github")
	flags.BoolVar(&e.json, "json", false, "write events to stdout as JSON lines instead of text for people")
	flags.BoolVarP(&e.verbose, "verbose", "v", false, "show every remote command and QMP message")
	return command
}

// take decides what the argument is.
func (e *execution) take(argument string) error {
	if filepath.Ext(argument) != configEnding {
		e.scenario = argument
		return nil
	}
	if e.config != "" {
		return fmt.Errorf("%s is a config, and --config %s another: want a scenario with --config, or one config alone", argument, e.config)
	}
	e.config = argument
	return nil
}

// check refuses flags that cannot be meant so, before anything is made.
func (e *execution) check(flags *pflag.FlagSet) error {
	if err := errors.Join(e.choice.check(flags), checkFormat(e.format)); err != nil {
		return err
	}
	switch {
	case flags.Changed("timeout") && e.timeout <= 0:
		return fmt.Errorf("--timeout %v: want more than 0", e.timeout)
	case flags.Changed("run-timeout") && e.runTimeout <= 0:
		return fmt.Errorf("--run-timeout %v: want more than 0", e.runTimeout)
	case flags.Changed("parallel") && e.parallel < 1:
		return fmt.Errorf("--parallel %d: want 1 or more", e.parallel)
	case e.repeat < 1:
		return fmt.Errorf("--repeat %d: want 1 or more", e.repeat)
	case flags.Changed("quarantine") && e.quarantine == "":
		return errors.New("--quarantine: empty, want a file")
	case e.dryRun && (e.json || e.format != textFormat):
		return errors.New("--dry-run is for people: want it without --json and --format")
	case e.json && e.format != textFormat:
		return fmt.Errorf("--json and --format %s: both are for stdout, want one or the other", e.format)
	case e.json && e.verbose:
		return errors.New("--json and --verbose: want one or the other")
	case e.most < 1:
		return fmt.Errorf("--max-variants %d: want 1 or more", e.most)
	}
	if e.untilFailure && !flags.Changed("repeat") {
		e.repeat = 0 // no limit
	}
	switch {
	case !flags.Changed("hosts"):
		return e.lab.check(flags)
	case flags.Changed("lab") || flags.Changed("lab-hosts"):
		return errors.New("--hosts names hosts that are there, --lab and --lab-hosts make some: want one or the other")
	case len(e.hosts) == 0: // from an unset variable, say: it must not mean the lab
		return errors.New("--hosts: empty, want names of hosts")
	}
	for i, name := range e.hosts {
		switch {
		case strings.TrimSpace(name) != name || name == "":
			return fmt.Errorf("--hosts: got the name %q, want names with commas between them and no blanks", name)
		case slices.Contains(e.hosts[:i], name):
			return fmt.Errorf("--hosts: %s is named twice; for two names of one machine, use aliases in ~/.ssh/config", name)
		}
	}
	return nil
}

// run plans the run, and then runs it.
func (e *execution) run(ctx context.Context, command *cobra.Command) error {
	scenes := &repertoire{byType: map[string]*star.Scenario{}, config: e.config}
	if e.scenario != "" {
		var err error
		if scenes.one, err = loadScenario(ctx, e.scenario); err != nil {
			return err
		}
	}
	config, err := e.parse()
	if err != nil {
		return err
	}
	faults := config.Typos() // they must not run less, and pass
	if e.strict {
		faults = e.faults(config) //nolint:contextcheck // it looks at the config alone, and ends by itself
	}
	if faults != nil {
		return exit.Usage.Wrap(faults)
	}
	var quarantine *run.Quarantine
	if e.quarantine != "" {
		if quarantine, err = run.ReadQuarantine(e.quarantine); err != nil {
			return exit.Usage.Wrap(err)
		}
	}
	options := e.options()
	plan, err := e.plan(command, config, options, scenes) //nolint:contextcheck // command has it
	if err != nil {
		return err
	}
	stderr := command.ErrOrStderr()
	if err := diag.Render(stderr, e.warnings(config), terminal.Coloured(os.Stderr)); err != nil {
		return err
	}
	for _, line := range slices.Concat(quarantine.Expired(time.Now()), plan.notes) {
		fmt.Fprintln(stderr, "mhmig:", line)
	}
	places := func(v *cartesian.Variant) map[string]string { return origins(ctx, config, options, v) }
	switch {
	case plan.nothingFailed:
		fmt.Fprintf(stderr, "nothing to do: nothing failed in %s\n", e.latest())
		return nil
	case plan.first == nil && !e.dryRun:
		fmt.Fprintf(stderr, "nothing to do: no variant is in shard %s\n", e.shard)
		return e.nothing(command)
	case e.dryRun:
		return e.show(command.OutOrStdout(), stderr, plan, scenes, places)
	}
	runCtx := ctx // without a variant's timeout
	return e.perform(ctx, command, plan, run.Options{
		Quarantine: quarantine,
		Origins:    places,
		Strict:     e.strict,
		Scenario: func(ctx context.Context, bed *testbed.Bed) run.Verdict {
			return builtins.Run(ctx, bed, scenes.of(bed.Params()).Main, e.debug.scenario(runCtx, bed))
		},
		ScenarioHosts: func(p cartesian.Params) int { return scenes.of(p).HostsNeeded },
	})
}

// nothing leaves the results of a run without variants: who collects them must
// not find those of an older one.
func (e *execution) nothing(command *cobra.Command) error {
	complain := complaining(command.ErrOrStderr())
	folder, err := result.Create(e.results, e.header(0), complain)
	if err != nil {
		return exit.Usage.Wrap(err)
	}
	folder.BecomeLatest()
	err = folder.Finish(result.Pass)
	report.Keep(folder.Dir(), complain).Close()
	if err != nil {
		return exit.Failed.Wrap(err)
	}
	return nil
}

// header is what is known of the run beforehand.
func (e *execution) header(planned int) result.Run {
	return result.Run{
		Command: os.Args, Version: version(), Scenario: e.scenario, Config: e.config, Filters: e.filters, Hosts: e.hosts,
		Seed: e.seed, Shard: e.shard, Planned: planned,
	}
}

// perform runs the plan's variants. What the caller knows better is in o.
func (e *execution) perform(ctx context.Context, command *cobra.Command, plan *plan, o run.Options) (err error) {
	image, err := guestImage(ctx, plan.first)
	if err != nil {
		return err
	}
	stderr := command.ErrOrStderr()
	planned := plan.count * e.repeat // 0: until a failure
	watch := e.watch(command, planned)
	defer watch.close()
	folder, err := result.Create(e.results, e.header(planned), complaining(watch.out))
	if err != nil {
		return exit.Usage.Wrap(err)
	}
	reports := report.Keep(folder.Dir(), complaining(watch.out))
	status := result.Error // until something better is known
	defer func() {
		if errors.Is(err, run.ErrInterrupted) {
			status = result.Cancel
		}
		if unwritten := folder.Finish(status); unwritten != nil {
			err = errors.Join(err, exit.Failed.Wrap(unwritten))
		}
		reports.Close()
		e.remember(ctx, watch.out)
		if e.json {
			return
		}
		err = errors.Join(err, exit.Usage.Default(writeFinal(e.format, folder.Dir())))
	}()
	folder.Public(jeos.Password)
	e.debug.mask = folder.Mask
	defer func() { err = hiding(err, folder.Mask) }()
	log := slog.New(folder.Masked(slog.NewMultiHandler(folder.Handler(), watch.handler)))
	for _, place := range folder.Hide(plan.first.Params) {
		log.Warn("a password cannot be hidden everywhere", "param", place.Param, "not_hidden", place.Where)
	}
	if err := folder.Plan(plan.names); err != nil {
		complain(watch.out, err)
	}
	if e.shuffle {
		log.Info("shuffled", "seed", e.seed)
	}

	record, err := ledger.Open(filepath.Join(folder.Dir(), reach.LedgerFile))
	if err != nil {
		return exit.Usage.Wrap(err)
	}
	defer func() { err = errors.Join(err, record.Close()) }()

	e.debug.folder = folder.Dir()
	consoles, err := attach.Serve(ctx, folder.Dir())
	if err != nil {
		return exit.Usage.Wrap(fmt.Errorf("offer the VMs' consoles: %w", err))
	}
	defer func() { err = errors.Join(err, consoles.Close()) }()

	hosts, labParams, closeHosts, err := e.reach(ctx, plan.first, folder.Dir(), log)
	if err != nil {
		return err
	}
	log.Info("run begins", "variants", planned, "results", folder.Dir())
	o.Hosts, o.HostParams, o.Results, o.Ledger, o.Log = hosts, e.labParams(labParams), folder, record, log
	o.Shipped = func(name string) (string, error) { return shippedFile(ctx, image, name) }
	o.Parallel, o.Share, o.Planned = e.parallel, e.share, planned
	o.Timeout, o.RunTimeout, o.FailFast = e.timeout, e.runTimeout, e.failFast
	o.Repeat, o.UntilFailure = e.repeat, e.untilFailure
	o.SourceLine, o.Changed = sourceLine, reports.Changed
	o.Opened, o.Failed = consoles.Opened, e.debug.failed
	summary, err := run.Variants(ctx, o, plan.variants)
	status = summary.Status()
	unclean := errors.Join(summary.Unclean, closeHosts())
	if unclean != nil {
		log.Error("clean-up failed", "error", unclean)
		status = result.Worst(status, result.Error)
		defer func() { err = errors.Join(err, exit.Failed.Wrap(fmt.Errorf("clean-up failed: %w", unclean))) }()
	}
	log.Info("run ends", runFacts(summary, status, folder.Dir())...)
	watch.close()
	if !e.json {
		watch.printer.Table(result.Outcomes(folder.Dir()))
		terminal.Failures(stderr, result.Outcomes(folder.Dir()), terminal.Width(os.Stderr))
		switch {
		case summary.NotRun > 0:
			fmt.Fprintf(stderr, "%d of %d variants did not begin: %s\n", summary.NotRun, planned, printable.Lines(folder.Mask(summary.Reason)))
		case summary.Reason != "":
			fmt.Fprintln(stderr, printable.Lines(folder.Mask(summary.Reason)))
		}
		fmt.Fprintf(stderr, "results: %s\n", folder.Dir())
		e.debug.tell(stderr)
	}
	switch {
	case errors.Is(err, run.ErrInterrupted):
		return err
	case errors.Is(err, run.ErrTimeout):
		status = result.Error
		return exit.Failed.Wrap(err)
	case isLost(err):
		return exit.Hosts.Wrap(err)
	case err != nil:
		return exit.Usage.Wrap(err)
	case !status.OK():
		return &exit.Error{Code: exit.Failed}
	}
	return nil
}

// runFacts is how a run has ended, for its last event.
func runFacts(s run.Summary, worst result.Status, dir string) []any {
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

// remember brings the history of all runs up to date, also when this one was
// interrupted. What it cannot do now, the next run does.
func (e *execution) remember(ctx context.Context, out io.Writer) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), historyTimeout, fmt.Errorf("not done after %v", historyTimeout))
	defer cancel()
	notice := complaining(out)
	if err := history.Sync(ctx, e.results, notice); err != nil {
		notice(err)
	}
}

// origins says of each param of a variant where it was set last. It is only for
// the report: what cannot be explained is left out.
func origins(ctx context.Context, config *cartesian.Config, options cartesian.Options, v *cartesian.Variant) map[string]string {
	places := map[string]string{}
	explanation, err := config.Explain(ctx, v.Name, options)
	if err != nil {
		return places
	}
	for _, p := range explanation.Params {
		for _, step := range p.Steps {
			if !step.Kept && step.File != "" {
				places[p.Key] = step.Location.String()
			}
		}
	}
	return places
}

// isLost says that the connection to a host broke.
func isLost(err error) bool {
	_, lost := errors.AsType[*host.LostError](err)
	return lost
}
