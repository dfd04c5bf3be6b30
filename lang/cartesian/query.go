// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"slices"
	"strings"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/mhmig/mhmig/lang/diag"
)

// filterName is the file name of filters that are queries, not part of a config.
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

// isFilter reports whether text is a filter that stands alone.
func isFilter(text string) bool {
	f, _, err := parseFilter(text)
	return err == nil && len(f.Words) > 0
}

// A query is a filter that is asked of a config, and no part of it: any of some words, each of which is all of some
// rows of labels. It is tried on paths as they are, without what a labelPath remembers.
type query []queryWord

type queryWord [][]labelID

// unknownLabel stands for a label that is in no table.
const unknownLabel labelID = -1

// lookUp numbers the labels of a filter without adding any to the table.
func (f filterText) lookUp(t *labelTable) query {
	var asked query
	for _, w := range f.Words {
		asked = append(asked, lookUpWord(w, t))
	}
	return asked
}

func lookUpWord(w [][]label, t *labelTable) queryWord {
	var rows queryWord
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
	if id, ok := t.ids[l.String()]; ok {
		return id
	}
	return unknownLabel
}

// query is a filter of the config as a query.
func (t *rowTable) query(f filter) query {
	q := make(query, len(f))
	for i, w := range f {
		for _, r := range w {
			q[i] = append(q[i], t.rows[r])
		}
	}
	return q
}

// String returns the filter as it could be written.
func (f filterText) String() string {
	words := make([]string, len(f.Words))
	for i, w := range f.Words {
		rows := make([]string, len(w))
		for j, row := range w {
			rows[j] = rowText(row)
		}
		words[i] = strings.Join(rows, "..")
	}
	return strings.Join(words, ", ")
}

func rowText(row []label) string {
	texts := make([]string, len(row))
	for i, l := range row {
		texts[i] = l.String()
	}
	return strings.Join(texts, ".")
}

// matches reports whether the query holds for a path, and for all that lies below.
func (q query) matches(path []nodeLabel) bool {
	return slices.ContainsFunc(q, func(w queryWord) bool { return w.matches(path) })
}

func (w queryWord) matches(path []nodeLabel) bool {
	return !slices.ContainsFunc(w, func(row []labelID) bool { return !occurs(row, path) })
}

// mightMatch reports whether the query can hold for something at or below a path, when below are the labels there.
func (q query) mightMatch(path []nodeLabel, below bitSet) bool {
	return slices.ContainsFunc(q, func(w queryWord) bool { return w.mightMatch(path, below) })
}

func (w queryWord) mightMatch(path []nodeLabel, below bitSet) bool {
	return !slices.ContainsFunc(w, func(row []labelID) bool {
		return !occurs(row, path) && !mightGet(row, path, below)
	})
}

// occurs reports whether the labels of row follow each other somewhere in path.
func occurs(row []labelID, path []nodeLabel) bool {
	for i := len(row); i <= len(path); i++ {
		if endsWith(path[:i], row) {
			return true
		}
	}
	return false
}
