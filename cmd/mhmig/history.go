// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/history"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// telling is one call of mhmig report history: its flags.
type telling struct {
	query   history.Query
	results string
	format  string
	runs    bool
	rebuild bool
}

func newHistoryCommand() *cobra.Command {
	var t telling
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
				return fmt.Errorf("--limit %d: want 1 or more", t.query.Last)
			case t.runs && len(args) > 0:
				return fmt.Errorf("%s: --runs shows whole runs, want no pattern", args[0])
			}
			return t.tell(command)
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

func (t *telling) tell(command *cobra.Command) error {
	ctx := command.Context()
	notice := complaining(command.ErrOrStderr())
	if t.rebuild {
		if err := history.Rebuild(ctx, t.results, notice); err != nil {
			return usageError(err)
		}
	}
	h, err := history.Open(ctx, t.results, notice)
	if err != nil {
		return usageError(err)
	}
	defer func() { _ = h.Close() }() // nothing is written any more
	if t.runs {
		return show(command, t.format, writeRuns, "runs in "+t.results, func() ([]history.Run, error) { return h.Runs(ctx, t.query) })
	}
	return show(command, t.format, writeVariants, "variants that match, in "+t.results, func() ([]history.Variant, error) { return h.Variants(ctx, t.query) })
}

// show writes what get returns, or says that there is none of what.
func show[T any](command *cobra.Command, format string, write func(io.Writer, []T), what string, get func() ([]T, error)) error {
	all, err := get()
	if err != nil {
		return usageError(err)
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

func writeRuns(w io.Writer, runs []history.Run) {
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

func writeVariants(w io.Writer, variants []history.Variant) {
	paint := terminal.Coloured(os.Stdout)
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
		writeGood(w, v)
	}
}

// writeGood writes since when a variant fails.
func writeGood(w io.Writer, v *history.Variant) {
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

// strip writes the last statuses, the newest on the right, a letter each.
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

// rate says how often a variant passed, and whether that can be relied on.
func rate(v *history.Variant) string {
	if v.Judged == 0 {
		return "never judged"
	}
	text := fmt.Sprintf("%d%% of %d", 100*v.Passed/v.Judged, v.Judged)
	if v.Flaky {
		text += ", flaky (" + counted(v.Flips, "flip", "flips") + ")"
	}
	return text
}

// trend writes a measure of times: its median and what became of it.
func trend(t history.Trend) string {
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
