// SPDX-License-Identifier: Apache-2.0

// Package report makes reports of a results folder: for continuous
// integration (JUnit, TAP, GitHub's annotations), for programs (results.json
// and its schema), for reviews (Markdown) and for people (one HTML page).
//
//	err := report.JUnit(os.Stdout, "mhmig-results/latest")
//
// Each is a function of the folder alone, so that it can be made of a run that
// goes on, has ended, or was killed; a Keeper makes three of them again and
// again while the run goes. They read variant by variant: what is held in
// memory does not grow with the files of a run.
//
// No report is green that should not be: a variant that did not end is an
// error, and a run that was killed, was interrupted, or could not begin ends
// with an error of its own.
//
// Whatever a guest has printed, a report is valid, and can be shown on a terminal
// or in a job's output: package printable says how that is done. Only Annotations
// writes what GitHub obeys.
//
// Concurrency: the functions may be called by any goroutine; Keeper says it
// of itself.
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

// The names of the reports in a results folder.
const (
	JUnitFile = "junit.xml"
	JSONFile  = "results.json"
	HTMLFile  = "report.html"
)

// outcomes yields the variants of a results folder in their order. What cannot
// be read of one is a warning of it.
func outcomes(dir string) iter.Seq2[result.Outcome, error] {
	return func(yield func(result.Outcome, error) bool) {
		for o, err := range result.Outcomes(dir) {
			if err != nil && o.ID != "" {
				o.Warnings = append(o.Warnings, fmt.Sprintf("results are incomplete: %v", err))
				err = nil
			}
			if o.Status == result.Running {
				o.Message = cmp.Or(o.Message, "did not end: mhmig was killed, or is still at it")
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// wholeRun is the name of what outcomesAndRun adds.
const wholeRun = "(the whole run)"

// outcomesAndRun yields what outcomes does, and then one more that stands for
// the run, if that has something to say which its variants do not.
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

// RunProblem is what the run of a results folder has to say that its variants do not: that
// it did not end, could not begin, or left variants out. "": nothing.
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

// runNotEnded is what there is to say of a run without an end.
const runNotEnded = "the run did not end: mhmig was killed, or is still at it"

// runProblem is the same for a report that shows the variants which did not end; its
// message is empty if there is nothing.
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
			o.Status = result.Skip // the reason for red is elsewhere
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
		o.Message = fmt.Sprintf("the run ended with %s, and not because of a variant: what mhmig wrote to its terminal says why", run.Status)
	}
	return o
}

// marshal is value in JSON, with & < > as they are, and fit for a terminal.
func marshal(value any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return printable.JSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), err
}

// label is the name that a person knows a variant by.
func label(o result.Outcome) string {
	name := cmp.Or(o.ShortName, o.Name, o.ID)
	if o.Repeat > 0 {
		name += fmt.Sprintf(" (repeat %d)", o.Repeat)
	}
	return name
}

// title is what a run is about: the name of its scenario, else of its config.
func title(run result.Run) string {
	file := filepath.Base(cmp.Or(run.Scenario, run.Config, run.ID))
	return printable.Line(strings.TrimSuffix(file, filepath.Ext(file)))
}

// failures are all that went wrong in a variant, the first thing first.
func failures(o result.Outcome) []result.Failure {
	if o.Failure == (result.Failure{Status: o.Status}) && o.Status.OK() {
		return o.Further
	}
	return append([]result.Failure{o.Failure}, o.Further...)
}

// place is where a failure was seen, in words.
func place(f result.Failure) string {
	return strings.Join(strings.Fields(strings.Join([]string{f.Side, f.Host, f.VM, f.Phase}, " ")), " ")
}

// describe says all that is known of a failure but its message, for people.
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

// split takes FILE:LINE:COLUMN apart; line is 0 where there is none.
func split(at string) (file string, line, column int) {
	m := position.FindStringSubmatch(at)
	if m == nil {
		return at, 0, 0
	}
	line, _ = strconv.Atoi(m[2]) // digits only; none in a column that is left out
	column, _ = strconv.Atoi(m[3])
	return m[1], line, column
}

// clock is a duration as people read it: 113ms, 0.4s, 59.9s, 1m02s.
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
