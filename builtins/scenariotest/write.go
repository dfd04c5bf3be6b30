// SPDX-License-Identifier: Apache-2.0

package scenariotest

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// Total is how many tests have run.
func (s Summary) Total() int { return s.Passed + s.Failed + s.Skipped }

// String is the line at the end of all tests.
func (s Summary) String() string {
	parts := []string{fmt.Sprintf("%d passed", s.Passed)}
	if s.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", s.Failed))
	}
	if s.Skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d skipped", s.Skipped))
	}
	return fmt.Sprintf("%s in %s", strings.Join(parts, ", "), s.Took.Round(time.Millisecond))
}

// Write writes a result as text: a line, and what went wrong. A verbose one has the
// test's runs and its output too.
func Write(w io.Writer, r Result, verbose bool, width int) {
	line := fmt.Sprintf("%-4s %s:%s (%d ms)", r.Verdict, r.File, r.Name, int(r.Seconds*1000))
	if r.Reason != "" {
		line += ": " + r.Reason
	}
	fmt.Fprintln(w, printable.Line(line))
	if verbose || r.Verdict == Failed {
		for _, run := range r.Runs {
			text := fmt.Sprintf("run %s %s: %s, %.1f s of virtual time", run.Scenario, run.Variant, run.Status, run.Virtual)
			if run.Message != "" {
				text += ": " + run.Message
			}
			terminal.WriteLines(w, "     ", text, width)
		}
		for _, text := range r.Output {
			terminal.WriteLines(w, "     | ", text, width)
		}
	}
	if r.Verdict == Failed {
		r.Failure.Evidence = "" // stacks of a test that did not end: JSON has them
		terminal.Failure(w, r.Failure, width)
	}
}
