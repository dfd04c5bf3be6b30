// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
)

// ErrNoTable is the error of Table for a run that has no variant with such params.
var ErrNoTable = errors.New("no variant of this run has these params")

// The params that are the rows and columns of @std//cfg/matrix.cfg.
var (
	MatrixRows    = []string{"feature", "kind", "load"}
	MatrixColumns = []string{"transport"}
)

// Table returns the format of a table in Markdown: how the variants ended, with the total
// time and the downtime of their migrations. Its rows and columns are the values of
// params: those of a config's named sets of variants, for example. A variant that lacks
// some of the params is in the row of the others; one that lacks all of them is in none.
func Table(rows, columns []string) Format {
	return func(w io.Writer, dir string) error {
		t := &table{title: strings.Join(rows, " "), cells: map[tablePlace]*figures{}}
		for o, err := range outcomes(dir) {
			if err != nil {
				return err
			}
			var params cartesian.Params
			read(filepath.Join(dir, o.ID, result.ParamsFile), &params)
			p := tablePlace{values(params, rows), values(params, columns)}
			if p.row == "" || p.column == "" {
				continue
			}
			moves, err := result.Migrations(filepath.Join(dir, o.ID))
			if err != nil {
				o.Warnings = append(o.Warnings, fmt.Sprintf("results are incomplete: %v", err))
			}
			t.add(p, o, moves)
		}
		if len(t.cells) == 0 {
			return fmt.Errorf("%w: %s, %s", ErrNoTable, strings.Join(rows, ", "), strings.Join(columns, ", "))
		}
		_, err := io.WriteString(w, t.markdown())
		return err
	}
}

// values are the values of params in one line.
func values(params cartesian.Params, names []string) string {
	var all []string
	for _, name := range names {
		if value := params[name]; value != "" {
			all = append(all, value)
		}
	}
	return strings.Join(all, " ")
}

// table has its rows, columns and remarks in the order in which they were met.
type table struct {
	title         string
	rows, columns []string
	cells         map[tablePlace]*figures
	remarks       []string
	kinds         []string // of the remarks, see [table.remark]
}

// tablePlace is where a cell is.
type tablePlace struct{ row, column string }

// figures are what the variants of a cell have shown.
type figures struct {
	status              result.Status // the worst
	totalTime, downtime float64       // ms, the longest ones; 0: not known
	remarks             []int         // from 1
}

func (t *table) add(p tablePlace, o result.Outcome, moves []result.Migration) {
	c := t.cells[p]
	if c == nil {
		c = &figures{}
		t.cells[p] = c
		t.rows, t.columns = withNew(t.rows, p.row), withNew(t.columns, p.column)
	}
	c.status = result.Worst(c.status, o.Status)
	for _, f := range failures(o) {
		t.remark(c, o, f.Message)
	}
	if o.Status == result.Running {
		t.remark(c, o, o.Message)
	}
	for _, warning := range o.Warnings {
		t.remark(c, o, warning)
	}
	for _, m := range moves {
		for _, vm := range m.VMs {
			f := newMoved(vm)
			c.totalTime, c.downtime = max(c.totalTime, f.TotalTime), max(c.downtime, f.Downtime)
			if f.ProofSkipped != "" {
				t.remark(c, o, "the memory was not compared: "+f.ProofSkipped)
			}
			for _, feature := range f.Features {
				if !feature.Used {
					t.remark(c, o, feature.Feature+" had nothing to do: "+feature.Seen)
				}
			}
		}
	}
}

// remark adds a text to a cell. Cells share one that says the same of each variant's first
// host, second host and so on, whichever these were.
func (t *table) remark(c *figures, o result.Outcome, text string) {
	text, _, _ = strings.Cut(text, "\n")
	kind := text
	for i, name := range o.Hosts {
		kind = regexp.MustCompile(`\b`+regexp.QuoteMeta(name)+`\b`).ReplaceAllLiteralString(kind, fmt.Sprintf("\x00%d", i))
	}
	i := slices.Index(t.kinds, kind)
	if i < 0 {
		i = len(t.kinds)
		t.kinds, t.remarks = append(t.kinds, kind), append(t.remarks, text)
	}
	if !slices.Contains(c.remarks, i+1) {
		c.remarks = append(c.remarks, i+1)
	}
}

// text is the cell in the table.
func (c *figures) text() string {
	if c == nil {
		return "-"
	}
	var b strings.Builder
	b.WriteString(c.status.String())
	if c.totalTime > 0 {
		fmt.Fprintf(&b, " %.2f s, %.0f ms", c.totalTime/1000, c.downtime)
	}
	for _, i := range c.remarks {
		fmt.Fprintf(&b, " [%d]", i)
	}
	return b.String()
}

func (t *table) markdown() string {
	lines := [][]string{append([]string{t.title}, t.columns...), nil}
	for _, row := range t.rows {
		line := []string{row}
		for _, column := range t.columns {
			line = append(line, t.cells[tablePlace{row, column}].text())
		}
		lines = append(lines, line)
	}
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, text := range line {
			line[i] = printable.Markdown(text)
			widths[i] = max(widths[i], len(line[i]))
		}
	}
	for _, width := range widths {
		lines[1] = append(lines[1], strings.Repeat("-", width))
	}
	var b strings.Builder
	for _, line := range lines {
		for i, text := range line {
			fmt.Fprintf(&b, "| %-*s ", widths[i], text)
		}
		b.WriteString("|\n")
	}
	b.WriteString("\nA cell has the status, and the longest total time and downtime that QEMU reports. -: not in this run.\n")
	for i, text := range t.remarks {
		fmt.Fprintf(&b, "\n%d. %s", i+1, printable.Markdown(text))
	}
	if len(t.remarks) > 0 {
		b.WriteString("\n")
	}
	return b.String()
}
