// SPDX-License-Identifier: Apache-2.0

package cartesian

import "slices"

// foldFrom is how many leaves below a node make it worth to fold what was passed on the way to it.
const foldFrom = 256

// fold replaces what was passed on the way to n by less that does the same, if many variants are to come of it.
func (w *walk) fold(n *node) {
	if w.names || w.emit == nil || n.leaves < foldFrom || len(n.children) == 1 {
		return
	}
	if w.places == nil {
		w.places = make([]foldPlace, len(w.config.keys.keys))
	}
	f := folding{walk: w, below: n.below, folded: make([]statement, 0, 32)}
	for _, statements := range slices.Backward(w.passed) {
		f.add(statements)
	}
	const deep = 16 // what is commonly passed below n
	w.passed = append(make([][]statement, 0, deep), f.folded)
}

// A folding makes one list of statements from several.
type folding struct {
	walk   *walk
	below  bitSet
	folded []statement
	sets   *setKeys // the last of folded, if more keys can be set there
}

// A foldPlace is where a key is in a folding's sets.
type foldPlace struct {
	sets *setKeys
	at   int
}

func (f *folding) add(statements []statement) {
	for _, s := range statements {
		switch s := s.(type) {
		case *setKeys:
			f.set(s)
			continue
		case *guard:
			holds := s.filter.matches(f.walk.path)
			if holds || !s.filter.mightMatch(f.walk.path, f.below) {
				if holds != s.negated {
					f.add(s.body)
				}
				continue
			}
		case *pick, *joinWords:
			continue
		}
		f.sets = nil
		f.folded = append(f.folded, s)
	}
}

func (f *folding) set(s *setKeys) {
	if f.sets == nil {
		f.sets = &setKeys{keys: make([]keyID, 0, 64), values: make([]*value, 0, 64)}
		f.folded = append(f.folded, f.sets)
	}
	for i, k := range s.keys {
		p := &f.walk.places[k]
		if p.sets == f.sets {
			f.sets.values[p.at] = s.values[i]
			continue
		}
		*p = foldPlace{f.sets, len(f.sets.keys)}
		f.sets.keys = append(f.sets.keys, k)
		f.sets.values = append(f.sets.values, s.values[i])
	}
}
