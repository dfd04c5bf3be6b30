// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

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
func (t *labelTable) filterID(l label) labelID { return t.id(l.String()) }

// String returns the label as it stands in names: NAME or (SET=NAME).
func (l label) String() string {
	if l.Set == "" {
		return l.Name
	}
	return "(" + l.Set + "=" + l.Name + ")"
}

// A nodeLabel is a label of a variant. A filter may ask for it by its name alone, and by its name within its set. Both
// are the same for variants of unnamed sets.
type nodeLabel struct {
	name, full labelID
}

func (l nodeLabel) is(asked labelID) bool { return l.name == asked || l.full == asked }

// A rowID stands for a row: labels that a filter wants to follow each other.
type rowID int32

// rowTable numbers the rows of a config's filters, so that a path can remember which of them it has.
type rowTable struct {
	rows [][]labelID
	ids  map[string]rowID
	key  []byte // of the row being looked up

	// By a label: the rows that end with it, and the places in rows that it has otherwise.
	ends   [][]rowID
	within [][]rowPlace
}

// A rowPlace is the first labels of a row, but not all of them.
type rowPlace struct {
	row    rowID
	length int32
}

func (t *rowTable) id(row []labelID) rowID {
	t.key = t.key[:0]
	for _, l := range row {
		t.key = binary.LittleEndian.AppendUint32(t.key, uint32(l))
	}
	id, ok := t.ids[string(t.key)]
	if !ok {
		id = rowID(len(t.rows))
		t.ids[string(t.key)] = id
		t.rows = append(t.rows, row)
	}
	return id
}

// finish makes the look-up by label, given the number of labels.
func (t *rowTable) finish(labels int) {
	t.ends, t.within = make([][]rowID, labels), make([][]rowPlace, labels)
	for id := range t.rows {
		t.index(rowID(id))
	}
}

func (t *rowTable) index(id rowID) {
	row := t.rows[id]
	last := len(row) - 1
	for i, l := range row[:last] {
		t.within[l] = append(t.within[l], rowPlace{id, int32(i + 1)})
	}
	t.ends[row[last]] = append(t.ends[row[last]], id)
}

// clone returns a finished table that can be given rows of its own.
func (t *rowTable) clone() *rowTable {
	return &rowTable{rows: slices.Clip(t.rows), ends: slices.Clone(t.ends), within: slices.Clone(t.within)}
}

// add adds a row to a clone.
func (t *rowTable) add(row []labelID) rowID {
	id := rowID(len(t.rows))
	t.rows = append(t.rows, row)
	for _, l := range row { // the clone shares these lists with the table
		t.ends[l], t.within[l] = slices.Clip(t.ends[l]), slices.Clip(t.within[l])
	}
	t.index(id)
	return id
}

// A filter is any of some words, each of which is all of some rows.
type filter []word

type word []rowID

// compile numbers the labels and rows of a filter.
func (f filterText) compile(labels *labelTable, rows *rowTable) filter {
	compiled := make(filter, 0, len(f.Words))
	for _, w := range f.Words {
		ids := make(word, 0, len(w))
		for _, r := range w {
			row := make([]labelID, len(r))
			for i, l := range r {
				row[i] = labels.filterID(l)
			}
			ids = append(ids, rows.id(row))
		}
		compiled = append(compiled, ids)
	}
	return compiled
}

// A bitSet is a set of small numbers.
type bitSet []uint64

func newBitSet(size int) bitSet { return make(bitSet, (size+63)/64) }

func (s bitSet) has(i int) bool {
	w := i >> 6
	return 0 <= i && w < len(s) && s[w]&(1<<(i&63)) != 0
}

func (s bitSet) add(i int)    { s[i>>6] |= 1 << (i & 63) }
func (s bitSet) remove(i int) { s[i>>6] &^= 1 << (i & 63) }

func (s bitSet) addAll(other bitSet) {
	for i, w := range other {
		s[i] |= w
	}
}

// all calls f for each number in s, in order; f may remove it.
func (s bitSet) all(f func(int)) {
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			f(i<<6 + bits.TrailingZeros64(w))
		}
	}
}

// A labelPath is the labels on a way from the root, outermost first, and the rows that they have.
type labelPath struct {
	rows   *rowTable
	labels []nodeLabel
	found  []rowID // rows that the labels have, as often as they have them, in order
	counts []int32 // by row: how often it is in found
	has    bitSet  // rows that are in found
}

func newLabelPath(rows *rowTable) *labelPath {
	return &labelPath{rows: rows, counts: make([]int32, len(rows.rows)), has: newBitSet(len(rows.rows))}
}

func (p *labelPath) clone() *labelPath {
	return &labelPath{p.rows, roomy(p.labels, 16), roomy(p.found, 32), slices.Clone(p.counts), slices.Clone(p.has)}
}

// A pathMark is a path's length.
type pathMark struct{ labels, found int }

// extend appends labels, and returns what cut takes to undo that.
func (p *labelPath) extend(labels []nodeLabel) pathMark {
	mark := pathMark{len(p.labels), len(p.found)}
	for _, l := range labels {
		p.labels = append(p.labels, l)
		p.note(l.name)
		if l.full != l.name {
			p.note(l.full)
		}
	}
	return mark
}

// note counts the rows that end with the last label, which is asked for as id.
func (p *labelPath) note(id labelID) {
	for _, r := range p.rows.ends[id] {
		if row := p.rows.rows[r]; len(row) > 1 && !endsWith(p.labels, row) {
			continue
		}
		if p.counts[r]++; p.counts[r] == 1 {
			p.has.add(int(r))
		}
		p.found = append(p.found, r)
	}
}

func (p *labelPath) cut(mark pathMark) {
	for _, r := range p.found[mark.found:] {
		if p.counts[r]--; p.counts[r] == 0 {
			p.has.remove(int(r))
		}
	}
	p.labels, p.found = p.labels[:mark.labels], p.found[:mark.found]
}

// endsWith reports whether the last labels of a path are row.
func endsWith(path []nodeLabel, row []labelID) bool {
	at := len(path) - len(row)
	if at < 0 {
		return false
	}
	for i, asked := range row {
		if !path[at+i].is(asked) {
			return false
		}
	}
	return true
}

// matches reports whether the filter holds for a variant with the labels of p. It then holds for whatever lies below
// too, because paths only grow.
func (f filter) matches(p *labelPath) bool {
	for _, w := range f {
		if w.matches(p) {
			return true
		}
	}
	return false
}

func (w word) matches(p *labelPath) bool {
	for _, r := range w {
		if p.counts[r] == 0 {
			return false
		}
	}
	return true
}

// mightMatch reports whether the filter can hold for something at or below the end of p, when below are the labels of all
// nodes under it. It may say yes too often, never no too often.
func (f filter) mightMatch(p *labelPath, below bitSet) bool {
	for _, w := range f {
		if w.mightMatch(p, below) {
			return true
		}
	}
	return false
}

func (w word) mightMatch(p *labelPath, below bitSet) bool {
	for _, r := range w {
		if p.counts[r] == 0 && !mightGet(p.rows.rows[r], p.labels, below) {
			return false
		}
	}
	return true
}

// mightGet reports whether a row that a path does not have can be completed by labels that are below.
func mightGet(row []labelID, path []nodeLabel, below bitSet) bool {
	missing := len(row)
	for missing > 0 && below.has(int(row[missing-1])) {
		missing--
	}
	if missing == 0 {
		return true
	}
	// row[missing-1] is not below: row[:missing] must be the end of p, or a longer part of row.
	for n := len(row) - 1; n >= missing; n-- {
		if endsWith(path, row[:n]) {
			return true
		}
	}
	return false
}

// appendState appends to key what of p decides about the given rows further down: which of them it has, and which it
// may complete.
func (p *labelPath) appendState(key []byte, rows bitSet) []byte {
	for i, w := range rows {
		if w != 0 {
			key = binary.LittleEndian.AppendUint64(key, w&p.has[i])
		}
	}
	if len(p.labels) == 0 {
		return key
	}
	begun := func(id labelID) {
		for _, at := range p.rows.within[id] {
			if rows.has(int(at.row)) && p.counts[at.row] == 0 && endsWith(p.labels, p.rows.rows[at.row][:at.length]) {
				key = binary.LittleEndian.AppendUint32(key, uint32(at.row))
				key = binary.LittleEndian.AppendUint32(key, uint32(at.length))
			}
		}
	}
	last := p.labels[len(p.labels)-1]
	begun(last.name)
	if last.full != last.name {
		begun(last.full)
	}
	return key
}
