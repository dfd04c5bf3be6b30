// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/compare"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/result"
)

// resultsDir is the default folder of the results folders.
const resultsDir = "mhmig-results"

// comparisonWriters are the values of compare's --format.
var comparisonWriters = map[string]func(io.Writer, *compare.Report) error{
	"text": func(w io.Writer, r *compare.Report) error { r.WriteText(w); return nil },
	"md":   func(w io.Writer, r *compare.Report) error { r.WriteMarkdown(w); return nil },
	"json": func(w io.Writer, r *compare.Report) error { return printable.WriteJSON(w, r) },
}

func newCompareCommand() *cobra.Command {
	var results, format string
	var percent float64
	command := &cobra.Command{
		Use:   "compare RUN1 RUN2",
		Short: "Compare two runs, variant by variant",
		Long: `Compare two runs, the old one and the new one: which variants have a different
status, and how the times and the throughput of their migrations changed. A run is a
results folder, the ID of one in --results or a prefix of it, or "latest".

A change is reported only if it is statistically significant (Mann-Whitney U test
over the repeats, adjusted for the number of variants); "~" is no change. At least
four repeats each (--repeat 4 of mhmig exec) are needed.`,
		Example: `  mhmig report compare 20260102T030405Z latest
  mhmig report compare before/mhmig-results/latest mhmig-results/latest --format md
  mhmig report compare 20260102 latest --fail-on-regression 10`,
		Args: usage.Arguments(2, 2),
		RunE: func(command *cobra.Command, args []string) error {
			write, known := comparisonWriters[format]
			switch {
			case !known:
				return usage.WrongValue("format", format, textFormat, "md", "json")
			case !(percent >= 0): // nor NaN
				return wrongArgument("--fail-on-regression %g: want 0 or more", percent)
			}
			var dirs [2]string
			for i, name := range args {
				var err error
				if dirs[i], err = result.FindRun(results, name); err != nil {
					return exit.Usage.Wrap(err)
				}
			}
			report, err := compare.Runs(dirs[0], dirs[1])
			if err != nil {
				return exit.Usage.Wrap(err)
			}
			if err := flushed(command, func(out io.Writer) error { return write(out, report) }); err != nil {
				return err
			}
			if !command.Flags().Changed("fail-on-regression") {
				return nil
			}
			if worse := report.Regressed(percent); len(worse) > 0 {
				return exit.Failed.Wrap(fmt.Errorf("worse by more than %g%%:\n  %s", percent, strings.Join(worse, "\n  ")))
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&results, "results", resultsDir, "`DIR` of the results folders")
	flags.StringVar(&format, "format", "text", "text, md (Markdown) or json")
	flags.Float64Var(&percent, "fail-on-regression", 0, "exit with 1 if a measure is significantly worse by more than `PERCENT`")
	return command
}
