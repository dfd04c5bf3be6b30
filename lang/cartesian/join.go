// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"bytes"
	"fmt"
	"slices"
)

// A joinList is the decisions and joins of a node with joins while it is walked through. The language's joins change the
// list of their node while other walks through the node read it, and with three words and more, or a join within a
// join, that decides which variants come out: so this list is shared and changes, unlike all else here.
type joinList struct {
	decisions []statement
	joins     []*joinWords
}

// listOf returns the list of a node that has joins, else nil.
func (w *walk) listOf(n *node) *joinList {
	if len(n.joins) == 0 {
		return nil
	}
	if list := w.lists[n]; list != nil {
		return list
	}
	return &joinList{n.decisions, n.joins}
}

// join multiplies the variants at and below n: each word of its joins is a factor. It reports whether there are any.
func (w *walk) join(n *node, list *joinList) bool {
	if len(list.joins) == 0 {
		_, found := w.pass(n, list.decisions)
		return found
	}
	var factors []*pick
	for _, j := range list.joins {
		factors = append(factors, j.factors...)
	}
	if len(factors) > 1 && w.barren(n, factors) {
		return false
	}
	rest := &joinList{decisions: slices.Clip(list.decisions)}
	before := w.lists[n]
	w.lists[n] = rest
	defer func() { w.lists[n] = before }()
	if len(factors) == 0 {
		_, found := w.pass(n, append(rest.decisions, list.joins[0].nothing))
		return found
	}
	return w.multiply(n, factors)
}

// multiply emits each variant for the first of factors, merged with each variant for the others. It reports whether there
// are any.
func (w *walk) multiply(n *node, factors []*pick) (found bool) {
	list := w.lists[n]
	keep := &joinList{decisions: slices.Clip(list.decisions)}
	list.decisions = slices.Concat(keep.decisions, []statement{factors[0]})
	if len(factors) == 1 {
		_, found = w.pass(n, list.decisions)
		return found
	}
	atNode, emit := w.way.clone(), w.emit
	defer func() { w.emit = emit }()
	w.emit = func(d *dict) bool {
		first := d.finished()
		// The other factors go out from n again, and must leave the way of the walk that they interrupt as it is.
		interrupted, resume := w.way, w.emit
		defer func() { w.way, w.emit = interrupted, resume }()
		w.way = atNode.clone()
		w.lists[n] = keep
		merged := newDict(w.ctx, w.config)
		merged.keys = w.dict.keys
		w.emit = func(second *dict) bool {
			found = true
			if err := merged.merge(first, second.finished(), factors[1].place); err != nil {
				w.end(err)
				return false
			}
			return emit == nil || emit(merged)
		}
		w.multiply(n, factors[1:])
		return !w.ended
	}
	w.pass(n, list.decisions)
	return found
}

// merge makes d the first variant with all of the second on top; their names are joined.
func (d *dict) merge(first, second finished, join place) error {
	name, err := mergeNames(first.name, second.name)
	if err != nil {
		return err
	}
	shortName, err := mergeNames(first.shortName, second.shortName)
	if err != nil {
		return err
	}
	d.grow()
	d.reset()
	d.setAll(first)
	d.setAll(second)
	d.name, d.shortName, d.path, d.deps, d.files = name, shortName, second.path, second.deps, first.files
	if len(second.files) > 0 {
		d.files = second.files
	}
	if first.origin != nil {
		d.origin = &origin{
			name: string(name), shortName: string(shortName), first: first.origin, second: second.origin, join: join,
		}
	}
	return nil
}

// mergeNames writes what two names begin with only once, unless it has a named label.
func mergeNames(a, b []byte) ([]byte, error) {
	if bytes.HasPrefix(a, b) || bytes.HasPrefix(b, a) {
		return nil, fmt.Errorf("join: %q and %q are ambiguous, one begins with the other", a, b)
	}
	n := 0
	for a[n] == b[n] {
		n++
	}
	common := a[:max(0, bytes.LastIndexByte(a[:n], '.'))]
	switch {
	case len(common) == 0:
		return slices.Concat(a, []byte{'.'}, b), nil
	case bytes.IndexByte(common, '(') >= 0:
		return slices.Concat(common, a, b), nil
	}
	return slices.Concat(a, b[len(common):]), nil
}
