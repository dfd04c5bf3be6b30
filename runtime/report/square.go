// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
)

// square is how guests moved between versions of QEMU on one machine type. The versions
// are those that the params ask for, else those that Machines of the outcomes have.
type square struct {
	Machine      string   // the param machine_type
	Sources      []string // versions on the first host, the oldest first
	Destinations []string // versions on the others
	Cells        map[pair]*cell
}

// pair is a version on the source and one on the destination.
type pair struct{ Source, Destination string }

// cell is what the variants of a pair have shown.
type cell struct {
	Status     result.Status // the worst
	Types      []string      // versioned machine types
	Deprecated []string      // versions of QEMU that call the type deprecated
	Reasons    []string      // of the variants that did not pass
}

// ErrNoVersions is the error of Square for a run that is not about versions.
var ErrNoVersions = errors.New("no variant of this run has the param qemu_version, and all hosts had the same QEMU; those of @std//cfg/versions.cfg have it")

// Square writes a table for each machine type: how guests moved from each version of QEMU
// to each other, and why they did not.
func Square(w io.Writer, dir string) error {
	squares, err := squares(dir)
	if err != nil {
		return err
	}
	if len(squares) == 0 {
		return ErrNoVersions
	}
	var b strings.Builder
	for i, s := range squares {
		if i > 0 {
			b.WriteString("\n")
		}
		s.write(&b)
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// squares returns the tables of a run, none if it is not about versions.
func squares(dir string) ([]*square, error) {
	type variant struct {
		machine string
		qemus   []program
		outcome result.Outcome
	}
	var variants []variant
	qemus := newPrograms()
	for o, err := range outcomes(dir) {
		if err != nil {
			return nil, err
		}
		if len(o.Hosts) < 2 {
			continue
		}
		var params cartesian.Params
		read(filepath.Join(dir, o.ID, result.ParamsFile), &params)
		v := variant{params["machine_type"], programsOf(o, params), o}
		qemus.note(o, v.qemus)
		variants = append(variants, v)
	}
	if !qemus.differ() {
		return nil, nil
	}
	byMachine := map[string]*square{}
	for _, v := range variants {
		var names []string
		for _, p := range v.qemus {
			names = append(names, qemus.name(p))
		}
		s := byMachine[v.machine]
		if s == nil {
			s = &square{Machine: v.machine, Cells: map[pair]*cell{}}
			byMachine[v.machine] = s
		}
		s.add(pair{names[0], strings.Join(slices.Compact(names[1:]), ", ")}, v.outcome)
	}
	var all []*square
	for _, machine := range slices.Sorted(maps.Keys(byMachine)) {
		s := byMachine[machine]
		slices.SortFunc(s.Sources, compareVersions)
		slices.SortFunc(s.Destinations, compareVersions)
		all = append(all, s)
	}
	return all, nil
}

func (s *square) add(p pair, o result.Outcome) {
	c := s.Cells[p]
	if c == nil {
		c = &cell{}
		s.Cells[p] = c
		s.Sources, s.Destinations = withNew(s.Sources, p.Source), withNew(s.Destinations, p.Destination)
	}
	c.Status = result.Worst(c.Status, o.Status)
	for _, m := range o.Machines {
		c.Types = withNew(c.Types, m.Type)
		for _, host := range m.Deprecated {
			c.Deprecated = withNew(c.Deprecated, m.QEMU[host])
		}
	}
	if o.Status != result.Pass {
		c.Reasons = append(c.Reasons, fmt.Sprintf("%s: %s", o.ID, cmp.Or(o.Message, strings.Join(o.Warnings, "; "), "no reason is recorded")))
	}
}

func withNew(all []string, value string) []string {
	if slices.Contains(all, value) {
		return all
	}
	return append(all, value)
}

// compareVersions orders versions by their numbers: 5.2, 7.2, 10.0.
func compareVersions(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(x, y string) int {
		m, _ := strconv.Atoi(x) // what is no number comes first
		n, _ := strconv.Atoi(y)
		return cmp.Or(cmp.Compare(m, n), cmp.Compare(x, y))
	})
}

// deprecatedMark marks a cell whose machine type is deprecated.
const deprecatedMark = "*"

// Text is the cell in the table.
func (c *cell) Text() string {
	if c == nil {
		return "-"
	}
	text := c.Status.String()
	if len(c.Deprecated) > 0 {
		text += deprecatedMark
	}
	return text
}

// Title is the first reason, for a pointer over the cell.
func (c *cell) Title() string {
	if len(c.Reasons) == 0 {
		return strings.Join(c.Types, ", ")
	}
	return printable.Line(c.Reasons[0])
}

// Row are the cells of a source, in the order of the destinations; nil: not tried.
func (s *square) Row(source string) []*cell {
	var row []*cell
	for _, destination := range s.Destinations {
		row = append(row, s.Cells[pair{source, destination}])
	}
	return row
}

func (s *square) write(b *strings.Builder) {
	fmt.Fprintf(b, "machine_type %s: from the QEMU on the left to the one above\n\n", printable.Line(s.Machine))
	rows := [][]string{append([]string{""}, s.Destinations...)}
	for _, source := range s.Sources {
		row := []string{source}
		for _, c := range s.Row(source) {
			row = append(row, c.Text())
		}
		rows = append(rows, row)
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], len(printable.Line(text)))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, text := range row {
			fmt.Fprintf(&line, "  %-*s", widths[i], printable.Line(text))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	if remarks := s.Remarks(); len(remarks) > 0 {
		fmt.Fprintf(b, "\n  %s\n", strings.Join(remarks, "\n  "))
	}
}

// Remarks are lines of what the table has no room for: why guests did not move, and which
// machine types are deprecated.
func (s *square) Remarks() []string {
	var reasons, deprecated []string
	for _, source := range s.Sources {
		for _, destination := range s.Destinations {
			c := s.Cells[pair{source, destination}]
			if c == nil {
				continue
			}
			for _, reason := range c.Reasons {
				reasons = append(reasons, fmt.Sprintf("%s -> %s  %s", source, destination, reason))
			}
			for _, version := range c.Deprecated {
				deprecated = withNew(deprecated, fmt.Sprintf("%s deprecated by QEMU %s: %s", deprecatedMark, version, strings.Join(c.Types, ", ")))
			}
		}
	}
	var lines []string
	for _, line := range append(reasons, deprecated...) {
		first, _, _ := strings.Cut(line, "\n")
		lines = append(lines, printable.Line(first))
	}
	return lines
}
