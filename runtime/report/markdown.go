// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/excerpt"
	"github.com/mhmig/mhmig/runtime/result"
)

// Limits of Markdown, as comments are limited to 64 KiB.
const (
	maxFailures = 20
	maxText     = 2000 // bytes of one failure's details
	maxRows     = 10
)

// Markdown writes a summary for a review: the totals, the failures, the slowest
// variants, and the migrations with the longest downtimes.
func Markdown(w io.Writer, dir string) error {
	run, err := result.LoadRun(dir)
	if err != nil {
		return err
	}
	var wrong strings.Builder
	var slow, down top
	counts := map[result.Status]int{}
	failed := 0
	for o, err := range outcomes(dir) {
		if err != nil {
			return err
		}
		counts[o.Status]++
		slow.add(o.Seconds, fmt.Sprintf("| %s | %s | %s |\n", printable.Markdown(label(o)), o.Status, clock(o.Seconds)))
		if len(failures(o)) > 0 && o.Status != result.Skip || len(o.Warnings) > 0 {
			if failed++; failed <= maxFailures {
				writeFailure(&wrong, o)
			}
		}
		moves, _ := result.Migrations(filepath.Join(dir, o.ID)) // a damaged record is not shown
		for _, m := range moves {
			for _, vm := range m.VMs {
				f := newMoved(vm)
				guestDowntime := ""
				if f.GuestDowntime > 0 {
					guestDowntime = fmt.Sprintf("%d ms", f.GuestDowntime)
				}
				down.add(f.Downtime, fmt.Sprintf("| %s | %d: %s → %s | %s | %s | %.0f ms | %s | %s | %s | %.0f |\n",
					printable.Markdown(label(o)), m.Number, printable.Markdown(m.Source), printable.Markdown(m.Destination), printable.Markdown(vm.VM), printable.Markdown(vm.Status), f.Downtime, guestDowntime, clock(f.TotalTime/1000), predicted(vm), f.Passes))
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### mhmig: %s %s\n\n", printable.Markdown(title(run)), run.Status)
	b.WriteString("| variants | PASS | WARN | SKIP | CANCEL | FAIL | ERROR | not ended | time |\n|---|---|---|---|---|---|---|---|---|\n| ")
	total := 0
	for _, n := range counts {
		total += n
	}
	fmt.Fprint(&b, total)
	for _, s := range []result.Status{result.Pass, result.Warn, result.Skip, result.Cancel, result.Fail, result.Error, result.Running} {
		fmt.Fprintf(&b, " | %d", counts[s])
	}
	fmt.Fprintf(&b, " | %s |\n\n", clock(run.Seconds))
	if o := runProblem(run, counts); o.Message != "" {
		fmt.Fprintf(&b, "**%s**\n\n", printable.Markdown(o.Message))
	}
	b.WriteString(wrong.String())
	if failed > maxFailures {
		fmt.Fprintf(&b, "and %d more\n\n", failed-maxFailures)
	}
	down.write(&b, "Longest downtimes", "| variant | migration | VM | status | downtime | guest downtime | total | predicted | passes |\n|---|---|---|---|---|---|---|---|---|\n")
	slow.write(&b, "Slowest variants", "| variant | status | time |\n|---|---|---|\n")
	fmt.Fprintf(&b, "<sub>%s · mhmig %s · hosts: %s</sub>\n", printable.Markdown(run.ID), printable.Markdown(run.Version), printable.Markdown(cmp.Or(strings.Join(run.Hosts, ", "), "lab")))
	_, err = io.WriteString(w, b.String())
	return err
}

// predicted is the last prediction of a VM's migration, and how it came out; "" if there
// is none.
func predicted(vm result.MovedVM) string {
	p, ok := vm.Prediction()
	switch {
	case !ok:
		return ""
	case p.Error > 0:
		return fmt.Sprintf("%s (%.2f of it)", clock(float64(p.Milliseconds)/1000), p.Error)
	case p.Converges:
		return fmt.Sprintf("%s (%s)", clock(float64(p.Milliseconds)/1000), p.Verdict)
	default:
		return fmt.Sprintf("no convergence (%s)", p.Verdict)
	}
}

// writeFailure writes the failures and warnings of a variant.
func writeFailure(b *strings.Builder, o result.Outcome) {
	first := o.Message
	if first == "" && len(o.Warnings) > 0 {
		first = o.Warnings[0]
	}
	fmt.Fprintf(b, "<details><summary><b>%s</b> %s: %s</summary>\n\n", o.Status, printable.Markdown(label(o)), printable.Markdown(excerpt.Head(first, 200)))
	for _, f := range failures(o) {
		writeFenced(b, f.Status.String()+" "+f.Message+"\n"+describe(f))
	}
	if len(o.Warnings) > 0 {
		writeFenced(b, "WARN "+strings.Join(o.Warnings, "\nWARN "))
	}
	if len(o.Notices) > 0 {
		writeFenced(b, strings.Join(o.Notices, "\n"))
	}
	b.WriteString("</details>\n\n")
}

// writeFenced writes text as a code block.
func writeFenced(b *strings.Builder, text string) {
	text = printable.Lines(text)
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	fmt.Fprintf(b, "%s\n%s\n%s\n\n", fence, strings.TrimRight(excerpt.Head(text, maxText), "\n"), fence)
}

// top keeps the table rows with the largest numbers.
type top struct {
	rows []ranked
	all  int
}

type ranked struct {
	number float64
	row    string
}

func (t *top) add(number float64, row string) {
	t.all++
	t.rows = append(t.rows, ranked{number, row})
	slices.SortStableFunc(t.rows, func(a, b ranked) int { return cmp.Compare(b.number, a.number) })
	t.rows = t.rows[:min(len(t.rows), maxRows)]
}

func (t *top) write(b *strings.Builder, title, head string) {
	if t.all == 0 {
		return
	}
	if t.all > maxRows {
		title += fmt.Sprintf(" (%d of %d)", maxRows, t.all)
	}
	fmt.Fprintf(b, "<details><summary>%s</summary>\n\n%s", title, head)
	for _, r := range t.rows {
		b.WriteString(r.row)
	}
	b.WriteString("\n</details>\n\n")
}
