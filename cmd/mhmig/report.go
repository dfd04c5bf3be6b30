// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/report"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// reportFlags is one call of mhmig report: its flags.
type reportFlags struct {
	results string
	format  string
	out     string
	schema  bool
}

// textFormat is the form of report that the terminal gets, not a file.
const textFormat = "text"

// annotations is the form whose lines are to be obeyed.
const annotations = "github"

// reportFormats are the values of --format beside it.
var reportFormats = map[string]report.Format{
	"md": report.Markdown, "tap": report.TAP, "junit": report.JUnit, "json": report.JSON, "html": report.HTML, annotations: report.Annotations,
}

func newReportCommand() *cobra.Command {
	var r reportFlags
	names := append([]string{textFormat}, slices.Sorted(maps.Keys(reportFormats))...)
	command := &cobra.Command{
		Use:   "report [RESULTS-DIR]",
		Short: "Report how a run went, in the form that a person or a program wants",
		Long: `Report how a run went: of RESULTS-DIR, or of the newest run in it, or else in
--results. Everything is made from that folder, also when the run was killed, or
still goes on.

The forms are text, as exec prints it; md, to paste into a review; html, one page
for browsers; junit and tap, for continuous integration; github, annotations of
the lines of a change; json, whose form --schema prints.

The exit status does not tell how the run went: exec's has.`,
		Example: `  mhmig report                                      # the newest run
  mhmig report --format md -o review.md
  mhmig report mhmig-results/20260301T101500Z-a1b2c3 --format html -o report.html
  mhmig report --schema`,
		Args: arguments(0, 1),
		RunE: func(command *cobra.Command, args []string) error {
			dir := r.results
			if len(args) > 0 {
				dir = args[0]
				if near := diag.Nearest(dir, subcommands(command)); near != "" && !libraries.Exists(dir) {
					return wrongArgument("there is no results folder %s%s", dir, didYouMean(near))
				}
			}
			return r.run(command, dir)
		},
	}
	flags := command.Flags()
	flags.StringVar(&r.results, "results", "mhmig-results", "`DIR` with the folders of results; the newest is reported")
	flags.StringVar(&r.format, "format", textFormat, "`FORMAT` of the report: "+strings.Join(names, ", "))
	flags.StringVarP(&r.out, "output", "o", "", "write to this `FILE`, and not to standard output")
	flags.BoolVar(&r.schema, "schema", false, "print the JSON Schema of --format json")
	command.AddCommand(newCompareCommand(), newHistoryCommand())
	return command
}

func (r *reportFlags) run(command *cobra.Command, dir string) error {
	if err := checkFormat(r.format); err != nil {
		return err
	}
	format := reportFormats[r.format]
	if r.schema {
		if command.Flags().Changed("format") {
			return wrongArgument("--schema: not with --format: it prints the schema of json, and no report")
		}
		format = func(w io.Writer, _ string) error { _, err := w.Write(report.Schema); return err }
	} else {
		var err error
		if dir, err = runFolder(dir); err != nil {
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
	return exit.Usage.Default(r.writeOutput(write))
}

// stream is a stream of this process as a report of some format gets it.
func stream(f *os.File, format string) io.Writer {
	if format == annotations {
		return &output{w: f}
	}
	return &output{w: escapeCommands(f)}
}

// runFolder is the folder of a run that dir names: dir itself, or the newest in it.
func runFolder(dir string) (string, error) {
	for _, run := range []string{dir, filepath.Join(dir, result.LatestLink)} {
		if _, err := os.Stat(filepath.Join(run, result.RunFile)); err == nil {
			return run, nil
		}
	}
	return "", fmt.Errorf("%s is not a results folder: want a folder that mhmig exec wrote, such as mhmig-results/latest", dir)
}

// writeOutput writes to the file that --output names. A regular file is replaced as a
// whole, when all is written; what is none, such as a FIFO or /dev/stdout, stays what
// it is and is written to. The target of a symbolic link is what counts, not the link.
func (r *reportFlags) writeOutput(write func(io.Writer) error) error {
	path := r.out
	about, err := os.Stat(path)
	switch {
	case err == nil:
		for _, f := range []*os.File{os.Stdout, os.Stderr} { // /dev/stdout, and it is a file that others write to as well
			if of, err := f.Stat(); err == nil && os.SameFile(of, about) {
				return write(stream(f, r.format))
			}
		}
		if !about.Mode().IsRegular() {
			return writeInPlace(path, write)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	case isLink(path): // to a file that is not there yet
		return writeInPlace(path, write)
	}
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	defer func() { _ = file.Cleanup() }() // nothing is left to do after a replacement
	if err := write(file); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}

func isLink(path string) bool {
	about, err := os.Lstat(path)
	return err == nil && about.Mode()&os.ModeSymlink != 0
}

func writeInPlace(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return errors.Join(write(file), file.Close())
}

// checkFormat refuses what is no value of --format.
func checkFormat(format string) error {
	if _, known := reportFormats[format]; known || format == textFormat {
		return nil
	}
	names := append(slices.Sorted(maps.Keys(reportFormats)), textFormat)
	return wrongValue("format", format, names...)
}

// writeFinal writes the reports that a run owes besides its folder's: one to
// standard output if --format asks for it, and on GitHub's machines its
// annotations and its summary.
func writeFinal(format, dir string) error {
	var errs []error
	onActions := os.Getenv("GITHUB_ACTIONS") == "true"
	if format == textFormat && onActions {
		format = annotations // in another form they would stand in the report
	}
	w := bufio.NewWriter(stream(os.Stdout, format))
	if format != textFormat {
		errs = append(errs, reportFormats[format](w, dir))
	}
	if onActions {
		errs = append(errs, appendSummary(os.Getenv("GITHUB_STEP_SUMMARY"), dir))
	}
	return errors.Join(append(errs, w.Flush())...)
}

// appendSummary adds the report to the page that GitHub shows of a job. path is
// "" where there is none.
func appendSummary(path, dir string) error {
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("GITHUB_STEP_SUMMARY: %w", err)
	}
	return errors.Join(report.Markdown(file, dir), file.Close())
}

// text writes what exec writes at the end of a run.
func (r *reportFlags) text(w io.Writer, dir string) error {
	remark, err := report.RunProblem(dir)
	if err != nil {
		return err
	}
	columns, paint := math.MaxInt32, false
	if r.out == "" {
		columns, paint = terminal.Width(os.Stdout), terminal.Coloured(os.Stdout)
	}
	printer := terminal.New(w, terminal.Options{Color: paint, Width: func() int { return columns }})
	printer.Table(result.Outcomes(dir))
	terminal.Failures(w, result.Outcomes(dir), columns)
	if remark != "" {
		fmt.Fprintln(w, printable.Lines(remark))
	}
	return nil
}
