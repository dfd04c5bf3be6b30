// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"slices"
	"strings"
)

// namesMayCollide reports whether two variants that differ, of factors of n's joins that are merged, may have names of which
// one begins with the other: joins fail on these. It may say so too often. A variant that is joined with itself is
// another matter, see counter.collision.
func (t *counter) namesMayCollide(n *node, factors []*pick) bool {
	for i := range len(factors) - 1 {
		for _, short := range []bool{false, true} {
			m := &collision{short: short, above: t.above[n.index], seen: map[pair]bool{}}
			first, second := m.side(t, n, factors[i].filter), m.side(t, n, factors[i+1].filter)
			if m.meet(first, second, "", false) {
				return true
			}
		}
	}
	return false
}

// A collision looks for two ways from a node to the leaf that meet in their names. It goes down both at once, as long as
// their names begin alike.
type collision struct {
	short bool
	above bitSet
	seen  map[pair]bool // pairs that do not meet, or are being looked at
}

// maxPairs is where a collision gives up and says yes.
const maxPairs = 1 << 18

// A side is one of the ways.
type side struct {
	node   *node
	words  [][]labelID // the way is to have the labels of one of them, in any order
	labels []labelID   // of words
	found  uint64      // of labels, by index
}

// A pair is what decides whether two sides meet further down. More is what the longer name has more, with a sign in
// front that says whose it is.
type pair struct {
	first, second           *node
	firstFound, secondFound uint64
	more                    string
	apart                   bool
}

func (m *collision) side(t *counter, n *node, f filter) side {
	s := side{node: n}
	for _, w := range f {
		var labels []labelID
		for _, r := range w {
			labels = append(labels, t.config.rows.rows[r]...)
		}
		s.words = append(s.words, labels)
		for _, l := range labels {
			if !slices.Contains(s.labels, l) && len(s.labels) < 64 {
				s.labels = append(s.labels, l)
			}
		}
	}
	return s.to(n)
}

// to returns the side one node further.
func (s side) to(n *node) side {
	s.node = n
	for i, asked := range s.labels {
		if slices.ContainsFunc(n.labels, func(l nodeLabel) bool { return l.is(asked) }) {
			s.found |= 1 << i
		}
	}
	return s
}

// possible reports whether the way may have all labels of a word.
func (m *collision) possible(s side) bool {
	return slices.ContainsFunc(s.words, func(w []labelID) bool {
		return !slices.ContainsFunc(w, func(l labelID) bool {
			i := slices.Index(s.labels, l)
			return i >= 0 && s.found&(1<<i) == 0 && !m.above.has(int(l)) && !s.node.below.has(int(l))
		})
	})
}

func (m *collision) text(n *node) string {
	switch {
	case len(n.labels) == 0, m.short && n.hidden:
		return ""
	case m.short:
		return "." + n.short
	}
	return "." + n.full
}

// meet reports whether two sides may meet. The name of one is as long as more longer than that of the other: of the first
// if more begins with "+", of the second if it begins with "-".
func (m *collision) meet(a, b side, more string, apart bool) bool {
	if !m.possible(a) || !m.possible(b) {
		return false
	}
	p := pair{a.node, b.node, a.found, b.found, more, apart}
	if m.seen[p] {
		return false
	}
	if m.seen[p] = true; len(m.seen) > maxPairs {
		return true
	}
	if !apart && more == "" {
		for _, x := range a.node.children {
			for _, y := range b.node.children {
				text, ok := compareTexts(m.text(x), m.text(y))
				if ok && m.meet(a.to(x), b.to(y), text, x != y) {
					return true
				}
			}
		}
		return false
	}
	// The side that is behind continues.
	shorter, longer := a, strings.TrimPrefix(more, "-")
	first := !strings.HasPrefix(more, "+")
	if more == "" && len(a.node.children) == 0 {
		first = false
	}
	if !first {
		shorter, longer = b, strings.TrimPrefix(more, "+")
	}
	if len(shorter.node.children) == 0 {
		return true
	}
	for _, child := range shorter.node.children {
		next := shorter.to(child)
		if first {
			if text, ok := compareTexts(m.text(child), longer); ok && m.meet(next, b, text, apart) {
				return true
			}
		} else if text, ok := compareTexts(longer, m.text(child)); ok && m.meet(a, next, text, apart) {
			return true
		}
	}
	return false
}

// compareTexts returns what the longer of two texts has more, with its sign; ok if it begins with the other.
func compareTexts(first, second string) (more string, ok bool) {
	switch {
	case first == second:
		return "", true
	case strings.HasPrefix(first, second):
		return "+" + first[len(second):], true
	case strings.HasPrefix(second, first):
		return "-" + second[len(first):], true
	}
	return "", false
}

// labelsRunTogether reports whether the end of a name and the beginning of another one may read as one label: joins write
// names without a dot between them if they begin alike with a named label. Of merged names such a one may begin with
// another though none of the names that they are made from does. It may say so too often.
func (t *counter) labelsRunTogether() bool {
	plain, named := map[string]bool{}, false
	for _, n := range t.order {
		for _, l := range n.labels {
			if l.full == l.name {
				plain[t.config.labels.texts[l.name]] = true
			} else {
				named = true
			}
		}
	}
	if !named {
		return false
	}
	topmost := t.config.root.topmostLabels()
	for text := range plain {
		for end := 1; end < len(text); end++ {
			begins := func(top string) bool { return strings.HasPrefix(top, text[end:]) }
			if plain[text[:end]] && slices.ContainsFunc(topmost, begins) {
				return true
			}
		}
	}
	return false
}

// topmostLabels returns what names may begin with.
func (n *node) topmostLabels() (labels []string) {
	seen := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		switch {
		case seen[n]:
			return
		case len(n.labels) > 0:
			labels = append(labels, n.full)
		}
		if seen[n] = true; n.full == "" {
			for _, child := range n.children {
				visit(child)
			}
		}
	}
	visit(n)
	return labels
}
