// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/explain"
	"github.com/mhmig/mhmig/runtime/controller"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// listFlags is one call of mhmig list: its flags.
type listFlags struct {
	configFlags
	format      string
	limit       int // negative: none
	maxVariants int // variants; 0: any number
	diff        string
}

func newListCommand() *cobra.Command {
	var l listFlags
	command := &cobra.Command{
		Use:   "list [CONFIG.cfg]",
		Short: "List the variants of a config",
		Long: `List the variants of a config, one per line: of CONFIG.cfg, or of mhmig's own.
Nothing is run. No variants is not an error here, except with --strict: then the
exit status is 2, and also for what exec --strict refuses: warnings, words of an
"only" or "join" in files that no variant can match, wrong values of params, and
params whose effect mhmig does not support. The params of 10000 variants are
checked at most, or of as many as are listed. Only exec knows the scenario: list
refuses an unsupported param also if the scenario reads it, and takes it that a
variant runs on two hosts if it does not say how many it needs.

With --diff, compare the variants of two configs, OLD.cfg and the argument: which
were added, which removed, and which params changed. --filter, --param and
--defaults apply to both; values of params are not checked. The exit status is 0
whether they differ or not.`,
		Example: `  mhmig list
  mhmig list my.cfg --filter 'only RHEL.6.4.x86_64' --format jsonl --limit 1
  mhmig list --diff old.cfg new.cfg --filter 'only RHEL'`,
		Args: usage.Arguments(0, 1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 {
				l.config = args[0]
			}
			if err := l.check(command); err != nil {
				return wrongArguments(err)
			}
			if command.Flags().Changed("diff") {
				return l.compare(command)
			}
			config, err := l.parse()
			if err != nil {
				return err
			}
			return l.list(command, config)
		},
	}
	command.SetOut(terminal.NewOutput(os.Stdout)) // the config's own text, for programs: not escaped
	flags := command.Flags()
	l.flags(flags)
	flags.StringVar(&l.format, "format", "names", "what to print for each variant: names, shortnames, jsonl; or count, or tree")
	flags.IntVar(&l.limit, "limit", 0, "stop after `N` variants")
	flags.IntVar(&l.maxVariants, "max-variants", 0, "reject a config with more than `N` variants (default: no limit)")
	l.strictFlag(flags)
	flags.StringVar(&l.diff, "diff", "", "compare with the variants of this older `CONFIG`")
	return command
}

// check rejects invalid flags.
func (l *listFlags) check(command *cobra.Command) error {
	flags := command.Flags()
	if !slices.Contains(explain.Lists, l.format) {
		return usage.WrongValue("format", l.format, explain.Lists...)
	}
	if flags.Changed("limit") && l.limit < 0 {
		return fmt.Errorf("--limit %d: want 0 or more", l.limit)
	}
	if !flags.Changed("limit") {
		l.limit = -1
	}
	if flags.Changed("max-variants") && l.maxVariants < 1 {
		return fmt.Errorf("--max-variants %d: want 1 or more", l.maxVariants)
	}
	for _, name := range []string{l.config, l.diff} {
		if filepath.Ext(name) == ".star" {
			return fmt.Errorf("%s is a scenario, want a config", name)
		}
	}
	if !flags.Changed("diff") {
		return nil
	}
	switch {
	case l.config == "" || l.diff == "":
		return fmt.Errorf("--diff compares two configs: want mhmig list --diff OLD.cfg NEW.cfg")
	case flags.Changed("limit"):
		return fmt.Errorf("--limit: not with --diff")
	case flags.Changed("format") && l.format != "jsonl":
		return fmt.Errorf("--format %s: with --diff, want jsonl or no format", l.format)
	}
	return nil
}

// list writes the variants to stdout.
func (l *listFlags) list(command *cobra.Command, config *cartesian.Config) error {
	ctx, options := command.Context(), l.options()
	if l.strict {
		wait := waitFor(command, "checking the config")
		faults := api.Faults(config, l.extras())
		wait.Done()
		if faults != nil {
			return exit.Usage.Wrap(faults)
		}
	}
	remarks := api.Warnings(config, l.extras())
	// No check is needed if --limit is below.
	if l.maxVariants > 0 && (l.limit < 0 || l.limit > l.maxVariants) {
		wait := waitFor(command, fmt.Sprintf("checking for more than %d variants", l.maxVariants))
		err := controller.CheckNumber(ctx, config, options, l.maxVariants)
		wait.Done()
		if err != nil {
			return err
		}
	}
	if l.strict {
		wait := waitFor(command, "checking the variants' params")
		wrong, err := controller.CheckParams(ctx, config, options, l.limit)
		wait.Done()
		if err == nil {
			err = wrong.Refuse(command.ErrOrStderr())
		}
		if err != nil {
			return err
		}
	}
	if err := diag.Render(command.ErrOrStderr(), remarks, terminal.Coloured(os.Stderr)); err != nil {
		return err
	}
	what := "expanding variants"
	if l.format == "count" {
		what = "counting variants"
	}
	wait := waitFor(command, what)
	defer wait.Done()
	out := bufio.NewWriter(wait.Writer(command.OutOrStdout()))
	some, err := explain.List(ctx, config, out, l.format, l.limit, options)
	if err != nil {
		return flush(out, exit.Usage.Wrap(err))
	}
	if err := flush(out, nil); err != nil || some || l.limit == 0 {
		return err
	}
	wait.Done()
	wait = waitFor(command, "searching why there are no variants")
	defer wait.Done()
	why := slices.DeleteFunc(config.WhyEmpty(ctx, options), func(d diag.Diagnostic) bool {
		return slices.ContainsFunc(remarks, d.Same) // is printed already
	})
	wait.Done()
	if l.strict {
		return exit.Usage.Wrap(append(why, diag.Diagnostic{Message: "no variant is left"}))
	}
	return diag.Render(command.ErrOrStderr(), why, terminal.Coloured(os.Stderr))
}

func flush(w *bufio.Writer, err error) error {
	if flushErr := w.Flush(); err == nil {
		return flushErr
	}
	return err
}
