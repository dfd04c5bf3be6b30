// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/cmd/hostflags"
	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/library/project"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/controller"
	"github.com/mhmig/mhmig/runtime/controller/display"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/interrupt"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/terminal"
	"github.com/mhmig/mhmig/runtime/version"
)

// execFlags is one call of mhmig exec: its flags.
type execFlags struct {
	configFlags
	controller.Request
	lab     hostflags.Lab
	rerun   string
	pause   bool
	dryRun  bool
	json    bool
	format  string // of a report to stdout
	verbose bool
	limits  star.Limits // of the scenario's Starlark
	session bool        // there is no scenario, but a user at a prompt

	keyboard *terminal.Keyboard
}

func newExecCommand() *cobra.Command {
	var e execFlags
	command := &cobra.Command{
		Use:   "exec SCENARIO.star|CONFIG.cfg|RUN.mhmig",
		Short: "Run a scenario for each variant of the config",
		Long: `Run a scenario once per variant of the config: on the hosts of --hosts, else on
the lab that is up (mhmig lab up), else on a lab made for this run. With a config
as the argument, each variant's param type names its scenario: TYPE.star next to
the config, else one of mhmig's own. RUN.mhmig is a file of mhmig archive.

A variant runs as soon as enough hosts are free: as many as its param hosts_needed
or its scenario's global hosts_needed says, else a fair share, at least two. One
that depends on a variant that did not pass is CANCEL.

A word of an "only" or "join" of --filter that no variant can match is an error,
and so are no variants at all, or more than --max-variants; with --strict, also
warnings, as for mhmig list.

Exit status: 0 everything passed, 1 some variant failed or erred, 2 wrong
arguments or an error in a file, 3 the hosts, or this machine as their controller
(its disk is full, say), cannot be used, 4 an error that mhmig does not expect,
130 interrupted.`,
		Example: `  mhmig exec scenarios/multihost_migration.star
  mhmig exec my.star --hosts host1.foo.com,host2.foo.com --config my.cfg --filter 'only JeOS'
  mhmig exec my.star --lab netns --lab-hosts 3 --param mem=256
  mhmig exec nightly.cfg --lab-hosts 4 --shard 1/2 --quarantine known.toml --json
  mhmig exec my.star --rerun failed --repeat 20 --until-failure`,
		Args: usage.Arguments(1, 1),
		RunE: func(command *cobra.Command, args []string) error {
			if err := e.setArgument(args[0]); err != nil {
				return wrongArguments(err)
			}
			if err := e.check(command.Flags()); err != nil {
				return wrongArguments(err)
			}
			interrupt.IgnoreBrokenPipe()
			if filepath.Ext(args[0]) == project.ArchiveExtension {
				remove, err := e.unpack(args[0])
				if err != nil {
					return err
				}
				defer remove()
			}
			return e.run(command.Context(), command)
		},
	}
	flags := command.Flags()
	e.configFlags.flags(flags)
	e.strictFlag(flags)
	flags.StringVar(&e.rerun, "rerun", "", "run only those variants of the latest run that are `WHICH`: failed")
	flags.StringVar(&e.Shard, "shard", "", "run only part `I/N` of the variants; which one a variant is in depends on its name alone")
	flags.BoolVar(&e.Shuffle, "shuffle", false, "run the variants in random order")
	flags.Uint64Var(&e.Seed, "seed", 0, "the `NUMBER` that the order of --shuffle and the scenarios' random numbers depend on (default: random, and printed)")
	flags.StringVar(&e.config, "config", "", "config `FILE` (default: mhmig's own)")
	hostflags.AddHosts(flags, &e.Hosts)
	e.lab.Add(flags)
	flags.StringVar(&e.Results, "results", resultsDir, "`DIR` for the folders of results")
	flags.IntVar(&e.Parallel, "parallel", 0, "run at most `N` variants at the same time (default: as many as there are hosts for)")
	flags.BoolVar(&e.Share, "share", false, "let variants share hosts, as far as memory and processors allow")
	flags.DurationVar(&e.Timeout, "timeout", 0, "end a variant after this `TIME`, such as 30m (default: no limit)")
	flags.DurationVar(&e.RunTimeout, "run-timeout", 0, "end the run after this `TIME` (default: no limit)")
	flags.BoolVar(&e.FailFast, "fail-fast", false, "begin no further variant after a FAIL or ERROR")
	flags.IntVar(&e.Repeat, "repeat", 1, "run all variants `N` times")
	flags.BoolVar(&e.UntilFailure, "until-failure", false, "repeat until a FAIL or ERROR, at most as often as --repeat says")
	flags.StringVar(&e.Quarantine, "quarantine", "", "`FILE` (TOML) of variants whose failures are only warnings until a date")
	flags.BoolVar(&e.dryRun, "dry-run", false, "only show what would run, and where")
	maxVariantsFlag(flags, &e.MaxVariants)
	e.limits = star.DefaultLimits
	flags.Uint64Var(&e.limits.Steps, "max-steps", e.limits.Steps, "end a scenario, or the loading of a file, after `N` Starlark steps, as an ERROR; 0: no limit")
	flags.BoolVar(&e.Keep, "keep", false, "keep VMs and hosts of a failed variant as they are, and a lab made for the run")
	flags.BoolVar(&e.pause, "pause-on-failure", false, "wait for Enter before cleaning up after a failed variant")
	flags.StringVar(&e.format, "format", textFormat, "also write the run's report to stdout, as `FORMAT` of mhmig report: tap, junit, md, json, html, github")
	flags.BoolVar(&e.json, "json", false, "write events to stdout as JSON lines instead of text")
	flags.BoolVarP(&e.verbose, "verbose", "v", false, "show every remote command and QMP message")
	return command
}

// setArgument sets the scenario or the config.
func (e *execFlags) setArgument(argument string) error {
	if filepath.Ext(argument) != configExtension {
		e.Scenario = argument
		return nil
	}
	if e.config != "" {
		return fmt.Errorf("%s is a config, and --config %s another: want a scenario with --config, or one config alone", argument, e.config)
	}
	e.config = argument
	return nil
}

// check rejects invalid flags, before anything is made.
func (e *execFlags) check(flags *pflag.FlagSet) error {
	if err := errors.Join(e.checkChoice(flags), checkFormat(e.format)); err != nil {
		return err
	}
	switch {
	case flags.Changed("timeout") && e.Timeout <= 0:
		return fmt.Errorf("--timeout %v: want more than 0", e.Timeout)
	case flags.Changed("run-timeout") && e.RunTimeout <= 0:
		return fmt.Errorf("--run-timeout %v: want more than 0", e.RunTimeout)
	case flags.Changed("parallel") && e.Parallel < 1:
		return fmt.Errorf("--parallel %d: want 1 or more", e.Parallel)
	case e.Repeat < 1:
		return fmt.Errorf("--repeat %d: want 1 or more", e.Repeat)
	case flags.Changed("quarantine") && e.Quarantine == "":
		return errors.New("--quarantine: empty, want a file")
	case e.dryRun && (e.json || e.format != textFormat):
		return errors.New("--dry-run prints text: want it without --json and --format")
	case e.json && e.format != textFormat:
		return fmt.Errorf("--json and --format %s both write to stdout: want one or the other", e.format)
	case e.json && e.verbose:
		return errors.New("--json and --verbose: want one or the other")
	case e.MaxVariants < 1:
		return fmt.Errorf("--max-variants %d: want 1 or more", e.MaxVariants)
	}
	e.keyboard = terminal.NewKeyboard(os.Stdin, os.Stderr)
	if e.pause && !e.keyboard.IsInteractive() {
		return errors.New("--pause-on-failure: standard input or error is not a terminal: use --keep instead")
	}
	if e.UntilFailure && !flags.Changed("repeat") {
		e.Repeat = 0 // no limit
	}
	return hostflags.Check(flags, e.Hosts, &e.lab)
}

// checkChoice rejects an invalid selection of variants.
func (e *execFlags) checkChoice(flags *pflag.FlagSet) error {
	switch {
	case flags.Changed("rerun") && e.rerun != "failed":
		return fmt.Errorf("--rerun %s: want failed", e.rerun)
	case e.Shard != "" || flags.Changed("shard"):
		if _, err := run.ParseShard(e.Shard); err != nil {
			return fmt.Errorf("--shard: %w", err)
		}
	}
	if !flags.Changed("seed") {
		e.Seed = 1 + uint64(rand.Uint32()) // short enough to be typed
	}
	return nil
}

// run executes the command.
func (e *execFlags) run(ctx context.Context, command *cobra.Command) error {
	q, err := e.request()
	if err != nil {
		return err
	}
	if e.dryRun {
		return preview(ctx, q, command)
	}
	view := display.New(command.OutOrStdout(), command.ErrOrStderr(), e.keyboard)
	view.JSON, view.Verbose, view.Pause = e.json, e.verbose, e.pause
	outcome, err := controller.Run(ctx, q, view.Sinks())
	view.Close()
	switch {
	case outcome.Nothing != "":
		fmt.Fprintln(command.ErrOrStderr(), "nothing to do:", outcome.Nothing)
	case outcome.Dir != "" && !e.json:
		err = errors.Join(err, exit.Usage.Default(writeFinal(e.format, outcome.Dir)))
	}
	if outcome.Dir != "" && !outcome.Status.OK() { // the failures were printed already
		err = errors.Join(err, &exit.Error{Code: exit.Failed})
	}
	return err
}

// request makes the controller's request from the flags.
func (e *execFlags) request() (controller.Request, error) {
	self, err := os.Executable()
	if err != nil {
		return controller.Request{}, exit.Hosts.Wrap(err)
	}
	q := e.Request
	q.Config, q.Extras, q.Options, q.Strict = e.config, e.extras(), e.options(), e.strict
	q.RerunFailed = e.rerun != ""
	q.Lab = controller.Lab{Options: e.lab.Options(), Own: e.lab.WantsOwn(), Serve: []string{self, "lab", "serve"}}
	q.Command, q.Version = os.Args, version.Module()
	if q.Libraries, err = e.libraries(); err != nil {
		return q, err
	}
	q.DefaultConfig, q.Load = shippedConfig, func(ctx context.Context, path string) (*star.Scenario, error) {
		return loadScenario(ctx, q.Libraries, e.limits, path)
	}
	if e.session {
		q.Scenario = "session"
		q.Load = func(context.Context, string) (*star.Scenario, error) { return &star.Scenario{Path: q.Scenario}, nil }
	}
	q.Execute = func(ctx context.Context, x controller.Execution) run.Verdict {
		options := builtins.Options{Failed: x.Failed, Limits: e.limits, Session: e.session, Libraries: q.Libraries}
		switch {
		case e.session:
			options.Prompt = func(ctx context.Context) (builtins.Prompt, error) { return e.sessionPrompt(ctx, x.Mask) }
		case e.keyboard.IsInteractive():
			options.Prompt = func(ctx context.Context) (builtins.Prompt, error) { return e.keyboard.Prompt(ctx, x.Mask) }
		}
		return builtins.Run(ctx, x.Bed, x.Scenario, options)
	}
	return q, nil
}

// loadScenario loads a scenario with the builtins.
func loadScenario(ctx context.Context, libraries library.Set, limits star.Limits, path string) (*star.Scenario, error) {
	predeclared, err := builtins.Predeclared()
	if err != nil {
		return nil, err
	}
	loader := &star.Loader{Predeclared: predeclared, Libraries: libraries, Limits: limits, Print: func(at, message string) {
		terminal.WriteLines(terminal.Escaped(os.Stderr), "", at+": "+message, terminal.Width(os.Stderr))
	}}
	return loader.Scenario(ctx, path)
}

// preview shows what a run would do.
func preview(ctx context.Context, q controller.Request, command *cobra.Command) error {
	stderr := command.ErrOrStderr()
	plan, err := controller.NewPlan(ctx, q, display.Messages(stderr))
	if err != nil {
		return err
	}
	if plan.NothingFailed {
		fmt.Fprintln(stderr, "nothing to do: nothing failed in", filepath.Join(q.Results, result.LatestLink))
		return nil
	}
	would, err := plan.Preview(ctx)
	if err != nil {
		return err
	}
	return would.WriteText(command.OutOrStdout(), stderr)
}
