// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"encoding/binary"
	"slices"
)

// A searchIndex is what a search for paths knows of the tree. A search asks for the paths that match a filter, and wants to
// go through each part of the tree only once for all ways to it that cannot make a difference there: key tells those
// apart. Only labels that some open or coming filter names can make one.
//
// A searchIndex is used by one goroutine. It does not change its config.
type searchIndex struct {
	config *Config
	asked  query    // what paths must match; nil: nothing
	below  []uint64 // by node: which of labels are below

	// The first labels of asked, each once, and for each word of asked which of them it has. Sets of these labels are
	// bits.
	labels []labelID
	words  []uint64

	own      [][]statement // by node: what decides there; a join is an "only" with all its words
	queries  map[statement]query
	rowsOf   map[statement][]rowID // in what decides
	relevant map[relevance][]rowID
	culprits map[statement]*Culprit
}

// relevance is what the relevant rows depend on: where the way is, and what it has yet to find.
type relevance struct {
	node    int
	missing uint64
}

// maxAskedLabels is how many labels of a query are bits; those beyond only make a search longer.
const maxAskedLabels = 64

func newSearchIndex(c *Config, asked query) *searchIndex {
	s := &searchIndex{
		config: c, asked: asked,
		below:    make([]uint64, c.nodes),
		own:      make([][]statement, c.nodes),
		queries:  map[statement]query{},
		rowsOf:   map[statement][]rowID{},
		relevant: map[relevance][]rowID{},
		culprits: map[statement]*Culprit{},
	}
	for _, w := range asked {
		var bits uint64
		for _, row := range w {
			for _, l := range row {
				i := slices.Index(s.labels, l)
				if i < 0 && len(s.labels) < maxAskedLabels {
					i = len(s.labels)
					s.labels = append(s.labels, l)
				}
				if i >= 0 {
					bits |= 1 << i
				}
			}
		}
		s.words = append(s.words, bits)
	}
	s.visit(c.root, make([]bool, c.nodes))
	return s
}

// visit learns what decides at and below n.
func (s *searchIndex) visit(n *node, seen []bool) {
	if seen[n.index] {
		return
	}
	seen[n.index] = true
	for i, l := range s.labels {
		if n.below.has(int(l)) {
			s.below[n.index] |= 1 << i
		}
	}
	own := n.decisions
	if len(n.joins) > 0 {
		joined := &pick{id: n.joins[0].nothing.id, only: true, place: n.joins[0].place}
		for _, j := range n.joins {
			for _, factor := range j.factors {
				joined.filter = append(joined.filter, factor.filter...)
			}
		}
		own = append(slices.Clip(own), joined)
	}
	s.learnAll(own, nil)
	s.own[n.index] = own
	for _, child := range n.children {
		s.visit(child, seen)
	}
}

// learnAll learns of what decides, in conditions too; within are the conditions around it.
func (s *searchIndex) learnAll(decisions []statement, within []*guard) {
	for _, stmt := range decisions {
		switch stmt := stmt.(type) {
		case *pick:
			s.learn(stmt, stmt.filter, nil)
			s.culprits[stmt] = culprit(stmt, within)
		case *guard:
			s.learnAll(stmt.decisions, append(slices.Clip(within), stmt))
			s.learn(stmt, stmt.filter, stmt.decisions)
		}
	}
}

// learn notes the filter of a statement and its rows; those of body are known.
func (s *searchIndex) learn(stmt statement, f filter, body []statement) {
	s.queries[stmt] = s.config.rows.query(f)
	for _, w := range f {
		s.rowsOf[stmt] = append(s.rowsOf[stmt], w...)
	}
	for _, inner := range body {
		s.rowsOf[stmt] = append(s.rowsOf[stmt], s.rowsOf[inner]...)
	}
}

// A point is where a way from the root has come to: through node, which it has passed.
type point struct {
	node    *node
	path    []nodeLabel
	open    []statement // what decides and is undecided
	missing uint64      // of the labels asked for: those that the path does not have
}

// arrive goes on from a point to a node with the given own deciding statements. It returns the picks that leave nothing
// there; ok is false when no path there can match what is asked for.
func (s *searchIndex) arrive(n *node, own []statement, from point) (p point, failed []*pick, ok bool) {
	p = point{node: n, path: from.path}
	if len(n.labels) > 0 {
		p.path = append(slices.Clip(from.path), n.labels...)
	}
	p.missing = s.missing(p.path)
	if !s.couldAnswer(p.missing, n) || s.asked != nil && !s.asked.mightMatch(p.path, n.below) {
		return p, nil, false
	}
	p.open = make([]statement, 0, len(own)+len(from.open))
	s.settle(own, &p, &failed)
	s.settle(from.open, &p, &failed)
	return p, failed, true
}

// settle adds to p what it does not decide of list, and to failed the picks that fail.
func (s *searchIndex) settle(list []statement, p *point, failed *[]*pick) {
	for _, stmt := range list {
		switch stmt := stmt.(type) {
		case *pick:
			q := s.queries[stmt]
			matches := q.matches(p.path)
			might := matches || q.mightMatch(p.path, p.node.below)
			switch {
			case stmt.only && !might, !stmt.only && matches:
				*failed = append(*failed, stmt)
			case !matches && might:
				p.open = append(p.open, stmt)
			}
		case *guard:
			q := s.queries[stmt]
			matches := q.matches(p.path)
			switch {
			case !matches && q.mightMatch(p.path, p.node.below):
				p.open = append(p.open, stmt)
			case matches != stmt.negated:
				s.settle(stmt.decisions, p, failed)
			}
		}
	}
}

func (s *searchIndex) missing(path []nodeLabel) uint64 {
	missing := uint64(1)<<len(s.labels) - 1
	for i, asked := range s.labels {
		for _, l := range path {
			if l.is(asked) {
				missing &^= 1 << i
				break
			}
		}
	}
	return missing
}

// couldAnswer reports whether the labels that are missing for a word are all below n.
func (s *searchIndex) couldAnswer(missing uint64, n *node) bool {
	if s.asked == nil {
		return true
	}
	for _, w := range s.words {
		if w&missing&^s.below[n.index] == 0 {
			return true
		}
	}
	return false
}

// key tells p from points below which other paths match, or other picks fail.
func (s *searchIndex) key(p point) string {
	b := make([]byte, 0, 256)
	b = binary.AppendUvarint(b, uint64(p.node.index))
	b = binary.AppendUvarint(b, p.missing)
	for _, stmt := range p.open {
		b = binary.AppendUvarint(b, uint64(decisionID(stmt)))
	}
	b = append(b, 0)
	for _, row := range s.relevantRows(p.node, p.missing) {
		b = appendProgress(b, s.config.rows.rows[row], p.path)
	}
	for _, stmt := range p.open {
		for _, row := range s.rowsOf[stmt] {
			b = appendProgress(b, s.config.rows.rows[row], p.path)
		}
	}
	for _, w := range s.asked {
		for _, row := range w {
			b = appendProgress(b, row, p.path)
		}
	}
	return string(b)
}

// appendProgress writes how far a row has come: that it occurs, or how many of its labels the path ends with, in all
// ways to see it.
func appendProgress(b []byte, row []labelID, path []nodeLabel) []byte {
	if occurs(row, path) {
		return append(b, 1, 0)
	}
	for n := min(len(row)-1, len(path)); n > 0; n-- {
		if endsWith(path, row[:n]) {
			b = binary.AppendUvarint(b, uint64(n+1))
		}
	}
	return append(b, 0)
}

// relevantRows returns the rows of what decides below n on the ways that can have what is missing.
func (s *searchIndex) relevantRows(n *node, missing uint64) []rowID {
	at := relevance{n.index, missing}
	rows, ok := s.relevant[at]
	if ok {
		return rows
	}
	in := make([]bool, len(s.config.rows.rows))
	for _, child := range n.children {
		left := missing & s.missing(child.labels)
		if !s.couldAnswer(left, child) {
			continue
		}
		for _, stmt := range s.own[child.index] {
			for _, row := range s.rowsOf[stmt] {
				in[row] = true
			}
		}
		for _, row := range s.relevantRows(child, left) {
			in[row] = true
		}
	}
	rows = []rowID{}
	for row, relevant := range in {
		if relevant {
			rows = append(rows, rowID(row))
		}
	}
	s.relevant[at] = rows
	return rows
}
