// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/mhmig/mhmig/runtime/controller"
	"github.com/mhmig/mhmig/runtime/exit"
)

// show prints what would run, and where.
func (e *execFlags) show(w, stderr io.Writer, p *controller.Preview) error {
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
	case e.UntilFailure && e.Repeat > 0:
		repeats = fmt.Sprintf(", up to %d times", e.Repeat)
	case e.UntilFailure:
		repeats = ", until one fails"
	case e.Repeat > 1:
		repeats = fmt.Sprintf(", %d times", e.Repeat)
	}
	fmt.Fprintf(w, "\n%s%s, on %s %s: %s\n", number(len(p.Rows), "variant"), repeats, number(len(p.Hosts), "host"), p.Where, strings.Join(p.Hosts, ", "))
	switch {
	case e.Share:
		fmt.Fprintln(w, "as many at the same time as the hosts' memory and processors allow")
	default:
		fmt.Fprintf(w, "at most %d at the same time\n", p.Parallel)
	}
	if e.Shuffle {
		fmt.Fprintf(w, "shuffled: --seed %d\n", e.Seed)
	}
	for _, line := range p.Warnings.Lines() {
		fmt.Fprintln(stderr, "warning:", line)
	}
	wrong := p.Invalid.Lines()
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
