// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
)

// WriteRuns writes runs for a terminal.
func WriteRuns(w io.Writer, runs []Run) {
	for _, r := range runs {
		var counts []string
		for s := result.Error + 1; s > 0; s-- {
			if n := r.Outcomes[(s - 1).String()]; n > 0 {
				counts = append(counts, fmt.Sprintf("%d %v", n, s-1))
			}
		}
		took := (time.Duration(r.Seconds) * time.Second).String()
		if r.Status == result.Running {
			took = "-"
		}
		line := fmt.Sprintf("%-23s %s %-7v %8s  %s", r.ID, minute(r.Started), r.Status, took, strings.Join(counts, ", "))
		fmt.Fprintln(w, strings.TrimRight(printable.Line(line), " "))
		if from := strings.TrimSpace(r.Scenario + " " + r.Config); from != "" {
			fmt.Fprintf(w, "  %s\n", printable.Line(from))
		}
	}
}

// WriteVariants writes the outcomes of variants for a terminal; paint colours the
// status letters.
func WriteVariants(w io.Writer, variants []Variant, paint bool) {
	names := map[string]int{}
	for i := range variants {
		names[variants[i].Name]++
	}
	for i := range variants {
		v := &variants[i]
		name := v.Name
		if names[name] > 1 { // of which scenario
			name += " (" + strings.TrimSpace(v.Scenario+" "+v.Config) + ")"
		}
		fmt.Fprintln(w, printable.Line(name))
		fmt.Fprintf(w, "  %s  %s", strip(v.Statuses, paint), rate(v))
		for _, t := range v.Trends {
			if !t.More { // a time
				fmt.Fprintf(w, "  %s", trend(t))
			}
		}
		fmt.Fprintln(w)
		writeLastGood(w, v)
	}
}

// writeLastGood writes the last good and the first bad run of a variant.
func writeLastGood(w io.Writer, v *Variant) {
	switch {
	case v.FirstBad != nil && v.LastGood != nil:
		fmt.Fprintf(w, "  last good %s (%s)\n  first bad %s (%s)\n", printable.Line(v.LastGood.ID), minute(v.LastGood.Started), printable.Line(v.FirstBad.ID), minute(v.FirstBad.Started))
	case v.FirstBad != nil:
		fmt.Fprintf(w, "  no good run; bad since %s (%s)\n", printable.Line(v.FirstBad.ID), minute(v.FirstBad.Started))
	case v.LastGood != nil:
		fmt.Fprintf(w, "  last good %s (%s)\n", printable.Line(v.LastGood.ID), minute(v.LastGood.Started))
	}
}

// shownStatuses is how long a strip is.
const shownStatuses = 24

var statusLetters = map[result.Status]struct{ letter, colour string }{
	result.Running: {".", "2"}, result.Pass: {"P", "32"}, result.Warn: {"W", "33"}, result.Skip: {"S", "2"},
	result.Cancel: {"C", "2"}, result.Fail: {"F", "31"}, result.Error: {"E", "35"},
}

// strip returns a letter for each of the last statuses, the newest on the right.
func strip(statuses []result.Status, paint bool) string {
	var b strings.Builder
	for _, s := range statuses[max(0, len(statuses)-shownStatuses):] {
		l := statusLetters[s]
		if paint {
			l.letter = "\x1b[" + l.colour + "m" + l.letter + "\x1b[0m"
		}
		b.WriteString(l.letter)
	}
	return b.String()
}

// rate is the pass rate of a variant, and whether it is flaky.
func rate(v *Variant) string {
	if v.Decided == 0 {
		return "no verdict yet"
	}
	text := fmt.Sprintf("%d%% of %d", 100*v.Passed/v.Decided, v.Decided)
	if v.Flaky {
		text += ", flaky (" + flips(v.Flips) + ")"
	}
	return text
}

// trend formats a measure of times: its median and change.
func trend(t Trend) string {
	words := strings.Split(t.Name, "_")
	text := strings.Join(words[:len(words)-1], " ") + " "
	if t.Unit == "ms" && t.Median >= 1000 {
		text += strconv.FormatFloat(t.Median/1000, 'f', 2, 64) + " s"
	} else {
		text += strconv.FormatFloat(t.Median, 'f', 0, 64) + " " + t.Unit
	}
	if t.Percent != nil {
		text += fmt.Sprintf(" %+.0f%%", *t.Percent)
	}
	return text
}

func minute(t time.Time) string { return t.Format("2006-01-02 15:04") }

func flips(n int) string {
	if n == 1 {
		return "1 flip"
	}
	return strconv.Itoa(n) + " flips"
}
