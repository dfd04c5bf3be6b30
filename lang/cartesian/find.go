// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"iter"
	"slices"
	"strings"
)

// An origin is where a variant comes from: one way through the tree, or two origins that a join has merged.
type origin struct {
	name, shortName string

	// Of one way: its nodes from the root to the leaf, and the labels of the variants on it.
	nodes []*node
	path  []nodeLabel

	// Of a join:
	first, second *origin
	join          place
}

// matches reports whether a query holds for the way, or for all that a join has merged.
func (v *origin) matches(q query) bool {
	if v.first != nil {
		return v.first.matches(q) && v.second.matches(q)
	}
	return q.matches(v.path)
}

// A search is which variants to find. The zero search finds all.
type search struct {
	asked query // they match it; nil: all do
	by    naming
	name  string // if they are looked for by a name: it
}

type naming int

const (
	byFilter naming = iota
	byName
	byShortName
)

// find returns the origins of variants in the order of [Config.Variants]. In defaults mode, what is asked for does not
// decide whether a default has a variant.
func (c *Config) find(ctx context.Context, wanted search, o Options) iter.Seq2[*origin, error] {
	return func(yield func(*origin, error) bool) {
		w := c.newNamesWalk(ctx, o)
		w.names, w.tracks = true, true
		if !o.Defaults && !c.root.joined {
			if possible := w.ask(c.hint(wanted)); !possible {
				return
			}
		}
		stopped := false
		w.emit = func(d *dict) bool {
			if v := d.origin; v.is(wanted) {
				stopped = !yield(v, nil)
			}
			return !stopped
		}
		if _, err := w.run(); err != nil && !stopped {
			yield(nil, err)
		}
	}
}

// is compares a variant with what is wanted.
func (v *origin) is(wanted search) bool {
	switch wanted.by {
	case byName:
		return v.name == wanted.name
	case byShortName:
		return v.shortName == wanted.name
	}
	return wanted.asked == nil || v.matches(wanted.asked)
}

// hint is a query that all wanted variants match, so that a walk need not go everywhere; nil if there is none.
func (c *Config) hint(wanted search) query {
	if wanted.by == byFilter || wanted.name == "" {
		return wanted.asked
	}
	var row []labelID
	for text := range strings.SplitSeq(wanted.name, ".") {
		id, ok := c.labels.ids[text]
		if !ok {
			id = unknownLabel
		}
		row = append(row, id)
	}
	if wanted.by == byName {
		return query{{row}}
	}
	var anywhere queryWord // labels of "@" variants may stand between
	for i := range row {
		anywhere = append(anywhere, row[i:i+1])
	}
	return query{anywhere}
}

// ask lets the walk go only where a query may be matched. Possible is false when that is nowhere.
func (w *walk) ask(q query) (possible bool) {
	if q == nil {
		return true
	}
	asked := &pick{id: w.config.picks, only: true}
	rows := w.config.rows.clone()
	for _, asks := range q {
		if slices.ContainsFunc(asks, func(row []labelID) bool { return slices.Contains(row, unknownLabel) }) {
			continue
		}
		var ids word
		for _, row := range asks {
			ids = append(ids, rows.add(row))
		}
		asked.filter = append(asked.filter, ids)
	}
	w.path, w.asked = newLabelPath(rows), newBitSet(len(rows.rows))
	w.open = []statement{asked}
	return len(asked.filter) > 0
}
