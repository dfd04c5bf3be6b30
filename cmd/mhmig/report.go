// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/runtime/controller/display"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/report"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// reportFlags is one call of mhmig report: its flags.
type reportFlags struct {
	results       string
	format        string
	out           string
	schema        bool
	rows, columns []string // of the table: params
}

// textFormat is the format for the terminal.
const textFormat = "text"

// annotations is the format that consists of workflow commands, which are not escaped.
const annotations = "github"

func newReportCommand() *cobra.Command {
	var r reportFlags
	names := append([]string{textFormat}, slices.Sorted(maps.Keys(report.Formats))...)
	command := &cobra.Command{
		Use:   "report [RESULTS-DIR]",
		Short: "Write a report of a run in one of several formats",
		Long: `Write a report of a run: of RESULTS-DIR, or of the newest run in it, or else in
--results. It is made from that folder only, also when the run was killed or is
still running.

The formats are text, as printed by exec; md, for a review; html, one page for
browsers; junit and tap, for continuous integration; github, annotations of the
lines of a change; json, whose schema --schema prints; square, a table of the
versions of QEMU between which guests moved, see param qemu_version; table, one
whose --rows and --columns are the values of params, such as those of
@std//cfg/matrix.cfg.

The exit status does not depend on the run's status.`,
		Example: `  mhmig report                                      # the newest run
  mhmig report --format md -o review.md
  mhmig report mhmig-results/20260301T101500Z-a1b2c3 --format html -o report.html
  mhmig report --schema`,
		Args: usage.Arguments(0, 1),
		RunE: func(command *cobra.Command, args []string) error {
			dir := r.results
			if len(args) > 0 {
				dir = args[0]
				if near := diag.Nearest(dir, usage.Subcommands(command)); near != "" && !shipped.Exists(dir) {
					return wrongArgument("there is no results folder %s%s", dir, usage.DidYouMean(near))
				}
			}
			return r.run(command, dir)
		},
	}
	flags := command.Flags()
	flags.StringVar(&r.results, "results", "mhmig-results", "`DIR` of the results folders; the newest is used")
	flags.StringVar(&r.format, "format", textFormat, "`FORMAT` of the report: "+strings.Join(names, ", "))
	flags.StringVarP(&r.out, "output", "o", "", "write to this `FILE` instead of standard output")
	flags.StringSliceVar(&r.rows, "rows", report.MatrixRows, "`PARAMS` whose values are the rows of --format table")
	flags.StringSliceVar(&r.columns, "columns", report.MatrixColumns, "`PARAMS` whose values are its columns")
	flags.BoolVar(&r.schema, "schema", false, "print the JSON Schema of --format json")
	command.AddCommand(newCompareCommand(), newHistoryCommand())
	return command
}

func (r *reportFlags) run(command *cobra.Command, dir string) error {
	if err := checkFormat(r.format); err != nil {
		return err
	}
	format := report.Formats[r.format]
	if r.format == "table" {
		format = report.Table(r.rows, r.columns)
	} else if flags := command.Flags(); flags.Changed("rows") || flags.Changed("columns") {
		return wrongArgument("--rows and --columns: only --format table has them")
	}
	if r.schema {
		if command.Flags().Changed("format") {
			return wrongArgument("--schema: not with --format: it prints the JSON schema, not a report")
		}
		format = func(w io.Writer, _ string) error { _, err := w.Write(report.Schema); return err }
	} else {
		var err error
		if dir, err = result.RunFolder(dir); err != nil {
			return exit.Usage.Wrap(err)
		}
		if r.format == textFormat {
			format = r.text
		}
	}
	write := func(w io.Writer) error {
		buffered := bufio.NewWriter(w)
		return errors.Join(format(buffered, dir), buffered.Flush())
	}
	if r.out == "" {
		return exit.Usage.Default(write(stream(os.Stdout, r.format)))
	}
	return exit.Usage.Default(report.WriteFile(r.out, func(f *os.File) io.Writer { return stream(f, r.format) }, write))
}

// stream is a stream of this process for a report of a format.
func stream(f *os.File, format string) io.Writer {
	if format == annotations {
		return terminal.NewOutput(f)
	}
	return terminal.NewOutput(terminal.Escaped(f))
}

// checkFormat rejects an invalid value of --format.
func checkFormat(format string) error {
	if _, known := report.Formats[format]; known || format == textFormat {
		return nil
	}
	names := append(slices.Sorted(maps.Keys(report.Formats)), textFormat)
	return usage.WrongValue("format", format, names...)
}

// writeFinal writes a run's reports outside of its folder: one to standard output for
// --format, and in GitHub Actions the annotations and the job summary.
func writeFinal(format, dir string) error {
	var errs []error
	onActions := os.Getenv("GITHUB_ACTIONS") == "true"
	if format == textFormat && onActions {
		format = annotations // other formats must not contain them
	}
	w := bufio.NewWriter(stream(os.Stdout, format))
	if format != textFormat {
		errs = append(errs, report.Formats[format](w, dir))
	}
	if onActions {
		errs = append(errs, report.AppendSummary(os.Getenv("GITHUB_STEP_SUMMARY"), dir))
	}
	return errors.Join(append(errs, w.Flush())...)
}

// text writes the report that exec prints at the end of a run.
func (r *reportFlags) text(w io.Writer, dir string) error {
	if r.out == "" {
		return display.Report(w, dir, terminal.Width(os.Stdout), terminal.Coloured(os.Stdout))
	}
	return display.Report(w, dir, math.MaxInt32, false)
}
