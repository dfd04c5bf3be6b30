// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
)

// WriteText writes the report for a terminal, in 80 columns except for longer names.
func (r *Report) WriteText(w io.Writer) {
	fmt.Fprintf(w, "old  %s\nnew  %s\n", describe(r.Old), describe(r.New))
	for _, note := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", printable.Line(note))
	}
	for i := range r.Variants {
		v := &r.Variants[i]
		fmt.Fprintf(w, "\n%s\n", printable.Line(v.Name))
		if v.StatusChanged() {
			fmt.Fprintf(w, "  %-14s%s -> %s\n", "status", statuses(v.Old), statuses(v.New))
		}
		for j := range v.Changes {
			c := &v.Changes[j]
			line := fmt.Sprintf("  %-14s%10s ->%10s %7s %-17s %-7s %s", label(c.Name), c.show(c.Old), c.show(c.New), c.size(), c.interval(), c.p(), verdict(c))
			fmt.Fprintln(w, strings.TrimRight(line, " "))
			if c.Because != "" && (j+1 == len(v.Changes) || v.Changes[j+1].Because != c.Because) { // once, below the measures it applies to
				fmt.Fprintf(w, "  %s\n", c.Because)
			}
		}
	}
	writeNames(w, "only in the old run", r.OnlyOld)
	writeNames(w, "only in the new run", r.OnlyNew)
	fmt.Fprintf(w, "\n%s\n", r.summary())
	if advice := r.advice(); advice != "" {
		fmt.Fprintln(w, advice)
	}
}

// WriteMarkdown writes the report as Markdown.
func (r *Report) WriteMarkdown(w io.Writer) {
	fmt.Fprintf(w, "**old** %s  \n**new** %s\n", printable.Markdown(describe(r.Old)), printable.Markdown(describe(r.New)))
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\n> %s\n", printable.Markdown(note))
	}
	fmt.Fprint(w, "\n| variant | measure | old | new | change | 95% interval | p | verdict |\n| --- | --- | ---: | ---: | ---: | :---: | ---: | --- |\n")
	for i := range r.Variants {
		v := &r.Variants[i]
		name := printable.Markdown(v.Name)
		if v.StatusChanged() {
			fmt.Fprintf(w, "| %s | status | %s | %s | | | | |\n", name, statuses(v.Old), statuses(v.New))
		}
		for j := range v.Changes {
			c := &v.Changes[j]
			text := string(c.Verdict)
			if c.Because != "" {
				text = c.Because
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s |\n",
				name, label(c.Name), c.show(c.Old), c.show(c.New), c.size(), c.interval(), strings.TrimPrefix(c.p(), "p="), printable.Markdown(text))
		}
	}
	for _, only := range []struct {
		title string
		names []string
	}{{"Only in the old run", r.OnlyOld}, {"Only in the new run", r.OnlyNew}} {
		if len(only.names) > 0 {
			fmt.Fprintf(w, "\n%s:\n\n", only.title)
		}
		for _, name := range only.names {
			fmt.Fprintf(w, "- %s\n", printable.Markdown(name))
		}
	}
	fmt.Fprintf(w, "\n%s\n", r.summary())
	if advice := r.advice(); advice != "" {
		fmt.Fprintln(w, advice)
	}
}

func describe(run result.Run) string {
	return printable.Line(fmt.Sprintf("%s  %s  %s", run.ID, run.Started.Format("2006-01-02 15:04"), run.Status))
}

func writeNames(w io.Writer, title string, names []string) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	for _, name := range names {
		fmt.Fprintf(w, "  %s\n", printable.Line(name))
	}
}

// summary counts the verdicts.
func (r *Report) summary() string {
	counts, changed := map[Verdict]int{}, 0
	for i := range r.Variants {
		if r.Variants[i].StatusChanged() {
			changed++
		}
		for _, c := range r.Variants[i].Changes {
			counts[c.Verdict]++
		}
	}
	return fmt.Sprintf("variants in both runs: %d, %d with a different status\nmeasures: %d better, %d worse, %d without a significant change, %d with too few runs",
		len(r.Variants), changed, counts[Better], counts[Worse], counts[Same], counts[TooFew])
}

// advice is how many repeats are needed to show that one variant of many changed.
func (r *Report) advice() string {
	tested := map[string]int{}
	most, fewest := 0, math.MaxInt
	for _, v := range r.Variants {
		for _, c := range v.Changes {
			if c.P != nil {
				tested[c.Name]++
				most, fewest = max(most, tested[c.Name]), min(fewest, c.Old.Count, c.New.Count)
			}
		}
	}
	if most < 2 {
		return ""
	}
	text := fmt.Sprintf("p: Mann-Whitney U, two-sided, Holm over %d variants of each measure", most)
	if want := minRepeats(alpha / float64(most)); want > fewest {
		text += fmt.Sprintf("; %d runs each\nare needed to show a change in only one of them", want)
	}
	return text
}

// label is a measure's name without the unit.
func label(name string) string {
	name = name[:max(0, strings.LastIndexByte(name, '_'))]
	return strings.ReplaceAll(name, "_", " ")
}

// show writes a median with three digits and its unit.
func (c *Change) show(s Sample) string {
	if s.Median == nil {
		return "-"
	}
	value, unit := *s.Median, c.Unit
	if unit == "ms" && value >= 1000 {
		value, unit = value/1000, "s"
	}
	decimals := 2 // three digits, except for whole milliseconds and for 1000 and more
	switch {
	case value >= 100 || unit == "ms" && value == math.Trunc(value):
		decimals = 0
	case value >= 10:
		decimals = 1
	}
	return strconv.FormatFloat(value, 'f', decimals, 64) + " " + unit
}

// size is the change as text: "~" if it is not significant.
func (c *Change) size() string {
	switch {
	case c.P == nil:
		return ""
	case c.Verdict == Same:
		return "~"
	}
	return signed(c.Percent)
}

func (c *Change) interval() string {
	if c.P == nil {
		return ""
	}
	return "[" + signed(c.Low) + ", " + signed(c.High) + "]"
}

func (c *Change) p() string {
	switch {
	case c.P == nil:
		return ""
	case *c.P < 0.001:
		return "p<0.001"
	}
	return fmt.Sprintf("p=%.3f", *c.P)
}

func verdict(c *Change) string {
	if c.Verdict == Better || c.Verdict == Worse {
		return string(c.Verdict)
	}
	return ""
}

// signed writes a change in at most 7 columns.
func signed(percent *float64) string {
	if percent == nil {
		return "+inf"
	}
	format := "%+.1f%%"
	switch {
	case *percent >= 10000:
		format = "%+.0e%%"
	case *percent >= 100:
		format = "%+.0f%%"
	}
	return fmt.Sprintf(format, *percent)
}

// statuses writes statuses with their counts, the worst first: "2 FAIL 3 PASS".
func statuses(all []result.Status) string {
	counts := map[result.Status]int{}
	for _, s := range all {
		counts[s]++
	}
	if len(counts) == 1 {
		return all[0].String()
	}
	var words []string
	for s := result.Error + 1; s > 0; s-- {
		if n := counts[s-1]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, s-1))
		}
	}
	return strings.Join(words, " ")
}
