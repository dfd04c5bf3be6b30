// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/mhmig/mhmig/runtime/exit"
)

// WriteText writes what would run, and where; warnings and errors to stderr.
func (p *Preview) WriteText(w, stderr io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VARIANT\tSCENARIO\tHOSTS\tVMS")
	for _, row := range p.Rows {
		hosts := fmt.Sprint(row.Hosts)
		if row.Hosts > len(p.Hosts) {
			hosts += ": SKIP"
		}
		name := row.Name
		if len(row.After) > 0 {
			name += " (after " + strings.Join(row.After, ", ") + ")"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, row.Scenario, hosts, row.VMs)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	repeats := ""
	switch {
	case p.request.UntilFailure && p.request.Repeat > 0:
		repeats = fmt.Sprintf(", up to %d times", p.request.Repeat)
	case p.request.UntilFailure:
		repeats = ", until one fails"
	case p.request.Repeat > 1:
		repeats = fmt.Sprintf(", %d times", p.request.Repeat)
	}
	fmt.Fprintf(w, "\n%s%s, on %s %s: %s\n", number(len(p.Rows), "variant"), repeats, number(len(p.Hosts), "host"), p.Where, strings.Join(p.Hosts, ", "))
	switch {
	case p.request.Share:
		fmt.Fprintln(w, "as many at the same time as the hosts' memory and processors allow")
	default:
		fmt.Fprintf(w, "at most %d at the same time\n", p.Parallel)
	}
	if p.request.Shuffle {
		fmt.Fprintf(w, "shuffled: --seed %d\n", p.request.Seed)
	}
	for _, line := range p.Warnings.Lines() {
		fmt.Fprintln(stderr, "warning:", line)
	}
	return p.Invalid.Refuse(stderr)
}

// Refuse writes the faults as errors, and returns an error if there are any.
func (f *Faults) Refuse(stderr io.Writer) error {
	wrong := f.Lines()
	for _, line := range wrong {
		fmt.Fprintln(stderr, "error:", line)
	}
	if n := len(wrong); n > 0 {
		return exit.Usage.Wrap(fmt.Errorf("params have wrong values: %d", n))
	}
	return nil
}

// number is n and a noun, in the plural unless n is 1.
func number(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
