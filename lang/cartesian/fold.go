// SPDX-License-Identifier: Apache-2.0

package cartesian

import "slices"

// When it is worth to fold what was passed on the way to a node, and how often that can be done on one way: all that was
// folded stays in memory until the walk comes back.
const (
	foldLeaves   = 256 // below the node
	foldPassed   = 8   // lists of statements
	foldChildren = 16  // or else so many children of the node
	maxFolds     = 64
)

// fold replaces what was passed on the way to n by less that does the same, if many variants are to come of it.
func (w *walk) fold(n *node) {
	few := len(w.passed) < foldPassed && len(n.children) < foldChildren
	if w.names || w.emit == nil || n.leaves < foldLeaves || few || w.folds == maxFolds {
		return
	}
	if w.folds == len(w.foldings) {
		w.foldings = append(w.foldings, &folding{walk: w, places: make([]foldPlace, len(w.config.keys.keys))})
	}
	f := w.foldings[w.folds]
	w.folds++
	f.below, f.folded, f.sets, f.used = n.below, f.folded[:0], nil, 0
	for _, statements := range slices.Backward(w.passed) {
		f.add(statements)
	}
	f.passed = append(f.passed[:0], f.folded)
	w.passed = f.passed
}

// unfold undoes what fold has done since there were so many foldings.
func (w *walk) unfold(passed [][]statement, folds int) {
	if w.folds > folds {
		w.foldings[folds].passed = w.passed // has grown, maybe
	}
	w.passed, w.folds = passed, folds
}

// A folding makes one list of statements from several. A walk uses its foldings again.
type folding struct {
	walk   *walk
	below  bitSet
	folded []statement
	passed [][]statement // folded, and room for what is passed below
	sets   *setKeys      // the last of folded, if more keys can be set there
	places []foldPlace   // by keyID
	made   []*setKeys
	used   int // of made

	generation int // of sets
}

// A foldPlace is where a key is in a folding's sets, if it is of the same generation.
type foldPlace struct{ generation, at int }

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
		if f.used == len(f.made) {
			f.made = append(f.made, new(setKeys))
		}
		f.sets = f.made[f.used]
		f.used++
		f.generation++
		f.sets.keys, f.sets.values = f.sets.keys[:0], f.sets.values[:0]
		f.folded = append(f.folded, f.sets)
	}
	for i, k := range s.keys {
		p := &f.places[k]
		if p.generation == f.generation {
			f.sets.values[p.at] = s.values[i]
			continue
		}
		*p = foldPlace{f.generation, len(f.sets.keys)}
		f.sets.keys = append(f.sets.keys, k)
		f.sets.values = append(f.sets.values, s.values[i])
	}
}
