// SPDX-License-Identifier: Apache-2.0

package cartesian

import "slices"

// A labelID stands for a label: an identifier alone, or one of a named set in the form "(set=name)".
type labelID int32

// labelTable numbers the labels of a config.
type labelTable struct {
	texts []string
	ids   map[string]labelID
}

func (t *labelTable) id(text string) labelID {
	id, ok := t.ids[text]
	if !ok {
		id = labelID(len(t.texts))
		t.ids[text] = id
		t.texts = append(t.texts, text)
	}
	return id
}

// filterID returns the number by which a filter asks for l.
func (t *labelTable) filterID(l label) labelID {
	if l.Set == "" {
		return t.id(l.Name)
	}
	return t.id("(" + l.Set + "=" + l.Name + ")")
}

// A nodeLabel is a label of a variant. A filter may ask for it by its name alone, and by its name within its set. Both
// are the same for variants of unnamed sets.
type nodeLabel struct {
	name, full labelID
}

func (l nodeLabel) is(asked labelID) bool { return l.name == asked || l.full == asked }

// A labelSet is a set of labels, with both numbers of each.
type labelSet []uint64

func (s labelSet) has(id labelID) bool {
	word := int(id >> 6)
	return word < len(s) && s[word]&(1<<(id&63)) != 0
}

func (s labelSet) add(id labelID) { s[id>>6] |= 1 << (id & 63) }

// A filter is any of some words, each of which is all of some rows, each of which is labels that follow each other.
type filter []word

type word [][]labelID

// matches tells whether the filter holds for a variant with the labels path, outermost first. It then holds for
// whatever lies below too, because paths only grow.
func (f filter) matches(path []nodeLabel) bool {
	for _, w := range f {
		if w.matches(path) {
			return true
		}
	}
	return false
}

func (w word) matches(path []nodeLabel) bool {
	for _, row := range w {
		if !occurs(row, path) {
			return false
		}
	}
	return true
}

// mightMatch tells whether the filter can hold for something at or below a node with the labels path, when below are
// the labels of all nodes under it. It may say yes too often, never no too often.
func (f filter) mightMatch(path []nodeLabel, below labelSet) bool {
	for _, w := range f {
		if w.mightMatch(path, below) {
			return true
		}
	}
	return false
}

func (w word) mightMatch(path []nodeLabel, below labelSet) bool {
	for _, row := range w {
		if !rowMightOccur(row, path, below) {
			return false
		}
	}
	return true
}

// rowMightOccur tells whether the labels of row that path does not have yet are all below.
func rowMightOccur(row []labelID, path []nodeLabel, below labelSet) bool {
	// The common case is quick to see: nothing of a row can come before its last label.
	if last := row[len(row)-1]; !below.has(last) {
		return occurs(row, path)
	}
	missing := len(row)
	for missing > 0 && below.has(row[missing-1]) {
		missing--
	}
	// row[:missing] must come from the path: row[missing-1] is not below.
	if missing == 0 {
		return true
	}
	for n := min(len(row)-1, len(path)); n >= missing; n-- {
		if startsAt(row[:n], path, len(path)-n) {
			return true
		}
	}
	return occurs(row, path)
}

// occurs tells whether the labels of row follow each other somewhere in path.
func occurs(row []labelID, path []nodeLabel) bool {
	for i := 0; i+len(row) <= len(path); i++ {
		if startsAt(row, path, i) {
			return true
		}
	}
	return false
}

func startsAt(row []labelID, path []nodeLabel, at int) bool {
	for i, asked := range row {
		if !path[at+i].is(asked) {
			return false
		}
	}
	return true
}

// compile numbers the labels of a filter.
func (f filterText) compile(t *labelTable) filter {
	compiled := make(filter, 0, len(f.Words))
	for _, w := range f.Words {
		rows := make(word, 0, len(w))
		for _, r := range w {
			row := make([]labelID, len(r))
			for i, l := range r {
				row[i] = t.filterID(l)
			}
			rows = append(rows, row)
		}
		compiled = append(compiled, rows)
	}
	return slices.Clip(compiled)
}
