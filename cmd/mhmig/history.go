// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

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
		Short: "Show how variants fared in the last runs",
		Long: `Show how variants fared in the last runs: a letter for each status, the newest on
the right (P PASS, W WARN, S SKIP, C CANCEL, F FAIL, E ERROR, . not finished),
which are flaky, the last good run, and medians of what migrations took, with
the change from the older half of the runs to the newer where it is proven.

Flaky is what passes and fails in turn with one scenario and config, or within
one run. VARIANT-PATTERN is a part of names, or has * and ? for the rest of them.

What was read is kept in history.db beside the results folders. Nothing is lost
with that file: it is made anew.`,
		Example: `  mhmig report history
  mhmig report history '*RHEL.6.4*tcp' --limit 50
  mhmig report history --runs --limit 10`,
		Args: arguments(0, 1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 {
				t.query.Pattern = args[0]
			}
			switch {
			case t.format != "text" && t.format != "json":
				return wrongValue("format", t.format, textFormat, "json")
			case t.query.Last < 1:
				return wrongArgument("--limit %d: want 1 or more", t.query.Last)
			case t.runs && len(args) > 0:
				return wrongArgument("%s: --runs shows whole runs, want no pattern", args[0])
			}
			return t.print(command)
		},
	}
	flags := command.Flags()
	flags.StringVar(&t.results, "results", resultsDir, "where the runs are: `DIR`")
	flags.IntVar(&t.query.Last, "limit", 20, "look at the last `N` runs")
	flags.StringVar(&t.format, "format", "text", "text or json")
	flags.BoolVar(&t.runs, "runs", false, "show the runs")
	flags.BoolVar(&t.rebuild, "rebuild", false, "make history.db anew")
	return command
}

func (t *historyFlags) print(command *cobra.Command) error {
	ctx := command.Context()
	notice := errorWriter(command.ErrOrStderr())
	if t.rebuild {
		if err := history.Rebuild(ctx, t.results, notice); err != nil {
			return exit.Usage.Wrap(err)
		}
	}
	h, err := history.Open(ctx, t.results, notice)
	if err != nil {
		return exit.Usage.Wrap(err)
	}
	defer func() { _ = h.Close() }() // nothing is written any more
	if t.runs {
		return show(command, t.format, history.WriteRuns, "runs in "+t.results, func() ([]history.Run, error) { return h.Runs(ctx, t.query) })
	}
	write := func(w io.Writer, all []history.Variant) { history.WriteVariants(w, all, terminal.Coloured(os.Stdout)) }
	return show(command, t.format, write, "variants that match, in "+t.results, func() ([]history.Variant, error) { return h.Variants(ctx, t.query) })
}

// show writes what get returns, or says that there is none of what.
func show[T any](command *cobra.Command, format string, write func(io.Writer, []T), what string, get func() ([]T, error)) error {
	all, err := get()
	if err != nil {
		return exit.Usage.Wrap(err)
	}
	return flushed(command, func(out io.Writer) error {
		switch {
		case format == "json":
			return writeJSON(out, all)
		case len(all) == 0:
			fmt.Fprintf(command.ErrOrStderr(), "mhmig: no %s\n", what)
		default:
			write(out, all)
		}
		return nil
	})
}
