// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"slices"
	"strings"
)

// A statementList is the statements of a node with joins while it is walked through. The language's joins change the
// list of their node while other walks through the node read it, and with three words and more, or a join within a
// join, that decides which variants come out: so this list is shared and changes, unlike all else here.
type statementList struct{ statements []statement }

// join multiplies the variants at and below n: each word of its joins is a factor.
func (w *walk) join(n *node, list *statementList, inherited *segment, emit func(*dict) bool) bool {
	var words []word
	rest := new(statementList)
	for _, s := range list.statements {
		if j, ok := s.(*joinWords); ok {
			words = append(words, j.filter...)
		} else {
			rest.statements = append(rest.statements, s)
		}
	}
	before := w.lists[n]
	w.lists[n] = rest
	defer func() { w.lists[n] = before }()
	if len(words) == 0 { // nothing to multiply with: as "only" without a word
		rest.statements = append(rest.statements, &pick{only: true})
		return w.passList(n, inherited, emit)
	}
	return w.multiply(n, words, inherited, emit)
}

// multiply calls emit with each dict for the first of words, merged with each dict for the others.
func (w *walk) multiply(n *node, words []word, inherited *segment, emit func(*dict) bool) bool {
	atNode := w.way
	atNode.on = slices.Clone(w.on)
	list := w.lists[n]
	keep := &statementList{slices.Clone(list.statements)}
	list.statements = append(slices.Clip(list.statements), &pick{filter: filter{words[0]}, only: true})
	if len(words) == 1 {
		return w.passList(n, inherited, emit)
	}
	return w.passList(n, inherited, func(first *dict) bool {
		first = first.clone()
		// The other factors go out from n again, and must leave the way of the walk that they interrupt as it is.
		interrupted := w.way
		defer func() { w.way = interrupted }()
		w.way = atNode.clone()

		w.lists[n] = keep
		return w.multiply(n, words[1:], inherited, func(second *dict) bool {
			merged, err := merge(first, second)
			if err != nil {
				w.err = err
				return false
			}
			return emit(merged)
		})
	})
}

func (w *walk) passList(n *node, inherited *segment, emit func(*dict) bool) bool {
	statements := w.lists[n].statements
	decides, _ := decide(statements)
	return w.pass(n, statements, decides, inherited, emit)
}

// merge returns first with all of second on top; their names are joined.
func merge(first, second *dict) (*dict, error) {
	name, err := mergeNames(first.name, second.name)
	if err != nil {
		return nil, err
	}
	shortName, err := mergeNames(first.shortName, second.shortName)
	if err != nil {
		return nil, err
	}
	merged := first.clone()
	second.all(func(k keyID) { merged.set(k, second.values[k]) })
	merged.name, merged.shortName, merged.dep = name, shortName, second.dep
	if second.files != nil {
		merged.files = second.files
	}
	return merged, nil
}

// mergeNames writes what two names begin with only once, unless it has a named label.
func mergeNames(a, b string) (string, error) {
	if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
		return "", fmt.Errorf("join: cannot tell %q and %q apart, one begins with the other", a, b)
	}
	n := 0
	for a[n] == b[n] {
		n++
	}
	common := a[:max(0, strings.LastIndexByte(a[:n], '.'))]
	switch {
	case common == "":
		return a + "." + b, nil
	case strings.Contains(common, "("):
		return common + a + b, nil
	}
	return common + a[len(common):] + b[len(common):], nil
}
