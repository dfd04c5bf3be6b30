// SPDX-License-Identifier: Apache-2.0

// Package report makes reports from a results folder: for continuous integration
// (JUnit, TAP, GitHub annotations), for programs (results.json and its schema), for
// reviews (Markdown) and for browsers (one HTML page).
//
//	err := report.JUnit(os.Stdout, "mhmig-results/latest")
//
// Each is a function of the folder alone, so that it can be made for a run that is
// running, has ended, or was killed; a Updater updates three of them during the run.
// They read variant by variant: memory use does not grow with the files of a run.
//
// A report never shows success by mistake: a variant that did not end is an error,
// and a run that was killed, interrupted, or could not begin has an additional error.
//
// Whatever a guest has printed, a report is valid, and safe for a terminal or a CI
// job's output, see package printable. Only Annotations writes workflow commands.
//
// Concurrency: the functions may be called by any goroutine; for Updater see there.
package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
)

// Format writes one kind of report of the results folder dir to w.
type Format func(w io.Writer, dir string) error

// Formats are the reports by their names. The table's rows and columns are those of
// @std//cfg/matrix.cfg.
var Formats = map[string]Format{
	"md": Markdown, "tap": TAP, "junit": JUnit, "json": JSON, "html": HTML, "square": Square, "github": Annotations, "table": Table(MatrixRows, MatrixColumns),
}

// The names of the reports in a results folder.
const (
	JUnitFile = "junit.xml"
	JSONFile  = "results.json"
	HTMLFile  = "report.html"
)

// outcomes yields the variants of a results folder in their order. Unreadable files
// of a variant become its warnings.
func outcomes(dir string) iter.Seq2[result.Outcome, error] {
	return func(yield func(result.Outcome, error) bool) {
		for o, err := range result.Outcomes(dir) {
			if err != nil && o.ID != "" {
				o.Warnings = append(o.Warnings, fmt.Sprintf("results are incomplete: %v", err))
				err = nil
			}
			if o.Status == result.Running {
				o.Message = cmp.Or(o.Message, "did not end: mhmig was killed, or is still running")
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// wholeRun is the name of what outcomesAndRun adds.
const wholeRun = "(the whole run)"

// outcomesAndRun yields what outcomes does, followed by one more for the run as a
// whole, if that has a problem which its variants do not show.
func outcomesAndRun(run result.Run, dir string) iter.Seq2[result.Outcome, error] {
	return func(yield func(result.Outcome, error) bool) {
		counts := map[result.Status]int{}
		for o, err := range outcomes(dir) {
			counts[o.Status]++
			if !yield(o, err) {
				return
			}
		}
		if o := runProblem(run, counts); o.Message != "" {
			yield(o, nil)
		}
	}
}

// RunProblem returns the problem of a run that its variants do not show: that it did
// not end, could not begin, or skipped variants. "": none.
func RunProblem(dir string) (string, error) {
	run, err := result.LoadRun(dir)
	if err != nil {
		return "", err
	}
	counts := map[result.Status]int{}
	for o, err := range outcomes(dir) {
		if err != nil {
			return "", err
		}
		counts[o.Status]++
	}
	if o := runProblem(run, counts); o.Message != "" {
		return o.Message, nil
	}
	if run.Status == result.Running {
		return runNotEnded, nil
	}
	return "", nil
}

// runNotEnded is the problem of a run without an end.
const runNotEnded = "the run did not end: mhmig was killed, or is still running"

// runProblem is RunProblem for a report that shows the variants which did not end; its
// message is empty if there is none.
func runProblem(run result.Run, counts map[result.Status]int) result.Outcome {
	o := result.Outcome{Name: wholeRun, Started: run.Started, Hosts: run.Hosts, Failure: result.Failure{Status: result.Error}}
	green := counts[result.Running]+counts[result.Fail]+counts[result.Error] == 0
	begun := 0
	for _, n := range counts {
		begun += n
	}
	switch {
	case run.Status == result.Running && (green || begun < run.Planned):
		o.Message = runNotEnded
		if begun < run.Planned {
			o.Message += fmt.Sprintf("; %d of %d variants did not begin", run.Planned-begun, run.Planned)
		}
		if !green {
			o.Status = result.Skip // another entry has the error
		}
	case run.NotRun > 0:
		o.Message = fmt.Sprintf("%d variants did not begin", run.NotRun)
		if run.Planned > 0 {
			o.Message = fmt.Sprintf("%d of %d variants did not begin", run.NotRun, run.Planned)
		}
		if run.Because != "" {
			o.Message += ": " + run.Because
		}
		if !green {
			o.Status = result.Skip
		}
	case run.Status == result.Cancel && counts[result.Cancel] == 0:
		o.Message = "the run was interrupted"
	case !run.Status.OK() && green:
		o.Message = fmt.Sprintf("the run ended with %s, and not because of a variant: see the output of mhmig on its terminal", run.Status)
	}
	return o
}

// marshal is value in JSON, with & < > not escaped, and safe for a terminal.
func marshal(value any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return printable.JSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), err
}

// label is a variant's display name.
func label(o result.Outcome) string {
	name := cmp.Or(o.ShortName, o.Name, o.ID)
	if o.Repeat > 0 {
		name += fmt.Sprintf(" (repeat %d)", o.Repeat)
	}
	return name
}

// title is the name of a run's scenario, else of its config.
func title(run result.Run) string {
	file := filepath.Base(cmp.Or(run.Scenario, run.Config, run.ID))
	return printable.Line(strings.TrimSuffix(file, filepath.Ext(file)))
}

// failures are all failures of a variant, in order.
func failures(o result.Outcome) []result.Failure {
	if o.Failure == (result.Failure{Status: o.Status}) && o.Status.OK() {
		return o.Further
	}
	return append([]result.Failure{o.Failure}, o.Further...)
}

// place is the side, host, VM and phase of a failure.
func place(f result.Failure) string {
	return strings.Join(strings.Fields(strings.Join([]string{f.Side, f.Host, f.VM, f.Phase}, " ")), " ")
}

// describe returns the details of a failure without its message.
func describe(f result.Failure) string {
	var b strings.Builder
	if f.Position != "" {
		fmt.Fprintf(&b, "at %s\n", f.Position)
	}
	if source := strings.TrimSpace(f.Source); source != "" {
		fmt.Fprintf(&b, "    %s\n", source)
	}
	if where := place(f); where != "" {
		fmt.Fprintf(&b, "on %s\n", where)
	}
	for _, text := range []string{f.Backtrace, f.Evidence} {
		if text != "" {
			b.WriteString(strings.TrimRight(text, "\n") + "\n")
		}
	}
	return b.String()
}

var position = regexp.MustCompile(`^(.+?):(\d+)(?::(\d+))?$`)

// split splits FILE:LINE:COLUMN; line is 0 if there is none.
func split(at string) (file string, line, column int) {
	m := position.FindStringSubmatch(at)
	if m == nil {
		return at, 0, 0
	}
	line, _ = strconv.Atoi(m[2]) // digits only; none in a column that is left out
	column, _ = strconv.Atoi(m[3])
	return m[1], line, column
}

// clock formats a duration: 113ms, 0.4s, 59.9s, 1m02s.
func clock(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", seconds)
	}
	return d.Round(time.Second).String()
}
