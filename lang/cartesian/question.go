// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"strings"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/mhmig/mhmig/lang/diag"
)

// filterName is the file name of filters that are questions, not part of a config.
const filterName = "<filter>"

var lexerStart = lexer.Position{Line: 1, Column: 1}

// parseFilter reads a filter that stands alone. Errors are a diag.List, whose places count in text.
func parseFilter(text string) (filterText, *source, error) {
	const keyword = "only "
	src, err := newSource(filterName, filterName, text)
	if err != nil {
		return filterText{}, nil, err
	}
	if len(src.lines) > 1 {
		return filterText{}, nil, diag.List{src.diagnostic(lexer.Position{Line: 2, Column: 1}, "a filter has only one line", "")}
	}
	src.lines = []string{strings.Join(src.lines, "")}
	statement := &source{name: filterName, base: filterName, lines: []string{keyword + src.lines[0]}}
	b := &builder{}
	file := b.parse(statement, "")
	if len(b.errs) > 0 {
		b.errs.Sort()
		for i := range b.errs {
			b.errs[i].Pos.Col, b.errs[i].Source = max(1, b.errs[i].Pos.Col-len(keyword)), src.lines[0]
		}
		return filterText{}, nil, onePerLine(b.errs)
	}
	var f filterText
	for _, stmt := range file.body.Statements {
		if stmt, ok := stmt.(*filterStatement); ok {
			f = stmt.Filter
		}
	}
	for _, w := range f.Words {
		for _, row := range w {
			for i := range row {
				row[i].Pos.Column -= len(keyword)
			}
		}
	}
	return f, src, nil
}

// lookUp numbers the labels of a filter without adding any to the table.
func (f filterText) lookUp(t *labelTable) filter {
	var asked filter
	for _, w := range f.Words {
		asked = append(asked, lookUpWord(w, t))
	}
	return asked
}

func lookUpWord(w [][]label, t *labelTable) word {
	var rows word
	for _, r := range w {
		row := make([]labelID, len(r))
		for i, l := range r {
			row[i] = t.lookUp(l)
		}
		rows = append(rows, row)
	}
	return rows
}

func (t *labelTable) lookUp(l label) labelID {
	if id, ok := t.ids[l.text()]; ok {
		return id
	}
	return unknownLabel
}

// text is the label as a filter writes it.
func (l label) text() string {
	if l.Set == "" {
		return l.Name
	}
	return "(" + l.Set + "=" + l.Name + ")"
}

func rowText(row []label) string {
	var b strings.Builder
	for i, l := range row {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(l.text())
	}
	return b.String()
}
