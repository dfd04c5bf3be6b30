// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/history"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// historyFlags is one call of mhmig report history: its flags.
type historyFlags struct {
	query   history.Query
	results string
	format  string
	runs    bool
	rebuild bool
}

func newHistoryCommand() *cobra.Command {
	var t historyFlags
	command := &cobra.Command{
		Use:   "history [VARIANT-PATTERN]",
		Short: "Show the outcomes of variants in the last runs",
		Long: `Show the outcomes of variants in the last runs: a letter for each status, the
newest on the right (P PASS, W WARN, S SKIP, C CANCEL, F FAIL, E ERROR, . not
finished), which are flaky, the last good run, and medians of migration times,
with the change from the older half of the runs to the newer if significant.

A variant is flaky if it passes and fails alternately with one scenario and
config, or within one run. VARIANT-PATTERN is a part of names, or a pattern with
* and ?.

The data are cached in history.db next to the results folders. The file can be
deleted: it is rebuilt.`,
		Example: `  mhmig report history
  mhmig report history '*RHEL.6.4*tcp' --limit 50
  mhmig report history --runs --limit 10`,
		Args: usage.Arguments(0, 1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 {
				t.query.Pattern = args[0]
			}
			switch {
			case t.format != "text" && t.format != "json":
				return usage.WrongValue("format", t.format, textFormat, "json")
			case t.query.Last < 1:
				return wrongArgument("--limit %d: want 1 or more", t.query.Last)
			case t.runs && len(args) > 0:
				return wrongArgument("%s: --runs shows whole runs, want no pattern", args[0])
			}
			return t.print(command)
		},
	}
	flags := command.Flags()
	flags.StringVar(&t.results, "results", resultsDir, "`DIR` of the results folders")
	flags.IntVar(&t.query.Last, "limit", 20, "look at the last `N` runs")
	flags.StringVar(&t.format, "format", "text", "text or json")
	flags.BoolVar(&t.runs, "runs", false, "show the runs")
	flags.BoolVar(&t.rebuild, "rebuild", false, "rebuild history.db")
	return command
}

func (t *historyFlags) print(command *cobra.Command) error {
	ctx := command.Context()
	notice := func(err error) { terminal.WriteError(command.ErrOrStderr(), err) }
	if t.rebuild {
		if err := history.Rebuild(ctx, t.results, notice); err != nil {
			return exit.Usage.Wrap(err)
		}
	}
	h, err := history.Open(ctx, t.results, notice)
	if err != nil {
		return exit.Usage.Wrap(err)
	}
	defer func() { _ = h.Close() }() // read only
	if t.runs {
		return show(command, t.format, history.WriteRuns, "runs in "+t.results, func() ([]history.Run, error) { return h.Runs(ctx, t.query) })
	}
	write := func(w io.Writer, all []history.Variant) { history.WriteVariants(w, all, terminal.Coloured(os.Stdout)) }
	return show(command, t.format, write, "variants that match, in "+t.results, func() ([]history.Variant, error) { return h.Variants(ctx, t.query) })
}

// show writes the result of get, or a message that there is no what.
func show[T any](command *cobra.Command, format string, write func(io.Writer, []T), what string, get func() ([]T, error)) error {
	all, err := get()
	if err != nil {
		return exit.Usage.Wrap(err)
	}
	return flushed(command, func(out io.Writer) error {
		switch {
		case format == "json":
			return printable.WriteJSON(out, all)
		case len(all) == 0:
			fmt.Fprintf(command.ErrOrStderr(), "mhmig: no %s\n", what)
		default:
			write(out, all)
		}
		return nil
	})
}
