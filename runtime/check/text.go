// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// styles are those of the verdicts.
var styles = map[Verdict]terminal.Style{
	OK: terminal.Green, Skipped: terminal.Dim, Warning: terminal.Yellow, Failed: terminal.Red,
}

const (
	leastFound = 30 // columns; with fewer, what was found is below its check
	indent     = "    "
)

// WriteText writes a table of the checks, in lines of at most width columns, but for the
// fixes, which are to be pasted. Write errors are ignored.
func (r *Report) WriteText(w io.Writer, width int, coloured bool) {
	checkWidth, whereWidth := len("CHECK"), len("HOST")
	for _, c := range r.Checks {
		checkWidth, whereWidth = max(checkWidth, len(c.Check)), max(whereWidth, terminal.Columns(c.where()))
	}
	before := checkWidth + whereWidth + len("  VERDICT  ") + len("  ")
	head := fmt.Sprintf("%-*s  %-*s  VERDICT  FOUND", checkWidth, "CHECK", whereWidth, "HOST")
	below := width-before < leastFound
	if below {
		head = strings.TrimSuffix(head, "  FOUND")
	}
	fmt.Fprintln(w, terminal.Bold.Paint(head, coloured))
	for _, c := range r.Checks {
		where := c.where()
		start := fmt.Sprintf("%-*s  %s%*s  ", checkWidth, c.Check, where, whereWidth-terminal.Columns(where), "") +
			styles[c.Verdict].Paint(c.Verdict.String(), coloured)
		gap, next := strings.Repeat(" ", len("VERDICT  ")-len(c.Verdict.String())), strings.Repeat(" ", before)
		if below {
			gap, next = "\n"+indent, indent
		}
		for _, line := range terminal.Wrap(printable.Line(c.Found), width-len(next)) {
			fmt.Fprintln(w, start+gap+line)
			start, gap = "", next
		}
		if c.Fix != "" {
			fmt.Fprintln(w, indent+"fix: "+printable.Line(c.Fix))
		}
	}
	fmt.Fprintf(w, "\n%s\n", terminal.Bold.Paint(r.tally(), coloured))
}

// where names the hosts of a check.
func (r Result) where() string {
	switch {
	case len(r.Hosts) == 0:
		return "this machine"
	case len(r.Hosts) == 1:
		return printable.Line(r.Hosts[0])
	case slices.ContainsFunc(betweenHosts, func(p pairCheck) bool { return p.name == r.Check }):
		return printable.Line(r.Hosts[0] + " -> " + r.Hosts[1])
	}
	return "all hosts"
}

// tally is "12 checks: 10 ok, 1 warning, 1 failed".
func (r *Report) tally() string {
	var parts []string
	for v := OK; v <= Failed; v++ {
		if n := r.Count(v); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, v))
		}
	}
	return fmt.Sprintf("%d checks: %s", len(r.Checks), strings.Join(parts, ", "))
}
