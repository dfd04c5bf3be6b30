// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
)

// maxFailures is how many variants' failures are shown in full. The report has all.
const maxFailures = 20

// Failures writes, for each failed variant, what the table has no room for: the line
// of the scenario, its backtrace, and the evidence of both hosts. Lines have at most
// width columns.
func Failures(w io.Writer, outcomes iter.Seq2[result.Outcome, error], width int) {
	shown := 0
	for o := range outcomes { //nolint:errcheck // the table shows read errors
		if o.Status.OK() && o.Quarantine == nil {
			continue
		}
		if shown++; shown > maxFailures {
			continue
		}
		for i, f := range append([]result.Failure{o.Failure}, o.Further...) {
			if f.Position == "" && f.Evidence == "" {
				continue // the table shows everything
			}
			title := strings.TrimSpace(f.Status.String() + " " + o.ShortName)
			if i > 0 {
				title = "and then " + f.Status.String()
			}
			fmt.Fprintf(w, "\n%s\n", printable.Line(title))
			WriteLines(w, "  ", describe(f), width)
		}
	}
	if more := shown - maxFailures; more > 0 {
		fmt.Fprintf(w, "\nand %d more failed: see the report\n", more)
	}
}

// describe returns all details of a failure, in lines.
func describe(f result.Failure) string {
	if f.Position == "" {
		return f.Message + "\n" + f.Evidence
	}
	text := f.Position + ": " + f.Message + "\n"
	if source := strings.TrimSpace(f.Source); source != "" {
		text += "    " + source + "\n"
	}
	text += strings.Replace(f.Backtrace, "Traceback (most recent call last):", "called from, innermost last:", 1)
	return text + f.Evidence
}

// Failure writes all details of a failure, in lines of at most width columns.
func Failure(w io.Writer, f result.Failure, width int) { WriteLines(w, "", describe(f), width) }

// WriteLines writes text for a terminal: lines are indented, without control
// characters, and wrapped to width columns.
func WriteLines(w io.Writer, indent, text string, width int) {
	for line := range strings.Lines(printable.Lines(text)) {
		for _, part := range Wrap(indent+strings.TrimRight(line, "\n"), width) {
			fmt.Fprintln(w, part)
		}
	}
}
