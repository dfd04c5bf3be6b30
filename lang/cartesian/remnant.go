// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"encoding/binary"
	"slices"
)

// A remnant is what a statement still says when a part of the labels of a variant is known: words and rows that are
// decided are gone from its filter. Remnants that say the same have the same number.
type remnant struct {
	kind   remnantKind
	filter filter
	body   []remnantID // of conditions
	effect statement   // of remnantEffect
	long   []rowID     // rows of several labels in it and its body
}

type remnantID int32

type remnantKind byte

const (
	remnantOnly remnantKind = iota
	remnantNo
	remnantIf // a condition; its body are remnants that decide which variants there are, in any order
	remnantUnless
	remnantEffect // a statement that changes values
	effectIf      // a condition; its body are effects, in the order of the text
	effectUnless
)

// remnantTable numbers remnants.
type remnantTable struct {
	rows     *rowTable
	remnants []remnant
	ids      map[string]remnantID
	effects  map[statement]remnantID
	key      []byte
}

func newRemnantTable(rows *rowTable) *remnantTable {
	return &remnantTable{rows: rows, ids: map[string]remnantID{}, effects: map[statement]remnantID{}}
}

// truth is what is known of a row or a filter.
type truth int8

const (
	never truth = iota
	undecided
	always
)

// A look says what is known of rows.
type look func(rowID) truth

func (t *remnantTable) id(kind remnantKind, f filter, body []remnantID) remnantID {
	k := t.key[:0]
	k = append(k, byte(kind))
	for _, w := range f {
		k = binary.AppendUvarint(k, uint64(len(w)))
		for _, r := range w {
			k = binary.AppendUvarint(k, uint64(r)) //nolint:gosec // never negative
		}
	}
	k = append(k, 0)
	for _, b := range body {
		k = binary.AppendUvarint(k, uint64(b)) //nolint:gosec // never negative
	}
	t.key = k
	id, ok := t.ids[string(k)]
	if !ok {
		id = remnantID(len(t.remnants)) //nolint:gosec // memory ends before
		t.ids[string(k)] = id
		t.remnants = append(t.remnants, remnant{kind: kind, filter: f, body: body, long: t.longRows(f, body)})
	}
	return id
}

func (t *remnantTable) longRows(f filter, body []remnantID) (long []rowID) {
	for _, w := range f {
		for _, r := range w {
			if len(t.rows.rows[r]) > 1 {
				long = append(long, r)
			}
		}
	}
	for _, b := range body {
		long = append(long, t.remnants[b].long...)
	}
	slices.Sort(long)
	return slices.Compact(long)
}

// effect returns the remnant that is a statement which changes values.
func (t *remnantTable) effect(s statement) remnantID {
	id, ok := t.effects[s]
	if !ok {
		id = remnantID(len(t.remnants)) //nolint:gosec // memory ends before
		t.effects[s] = id
		t.remnants = append(t.remnants, remnant{kind: remnantEffect, effect: s})
	}
	return id
}

// maxSubsumed is up to how many words a filter is searched for words that say less than others.
const maxSubsumed = 24

// decide returns what a look leaves of a filter, in one form for all filters that mean the same (mostly).
func (f filter) decide(known look) (truth, filter) {
	var left filter
next:
	for _, w := range f {
		var rest word
		for _, r := range w {
			switch known(r) {
			case never:
				continue next
			case undecided:
				rest = append(rest, r)
			}
		}
		if len(rest) == 0 {
			return always, nil
		}
		slices.Sort(rest)
		left = append(left, slices.Compact(rest))
	}
	if len(left) == 0 {
		return never, nil
	}
	slices.SortFunc(left, slices.Compare)
	left = slices.CompactFunc(left, slices.Equal)
	if len(left) <= maxSubsumed {
		all := slices.Clone(left)
		left = slices.DeleteFunc(left, func(w word) bool {
			return slices.ContainsFunc(all, func(other word) bool { return len(other) < len(w) && w.hasAll(other) })
		})
	}
	return undecided, left
}

func (w word) hasAll(other word) bool {
	return !slices.ContainsFunc(other, func(r rowID) bool { return !slices.Contains(w, r) })
}

// appendDecision appends to out what a statement that decides comes to. It returns false when that is: no variant.
func (t *remnantTable) appendDecision(out []remnantID, s statement, known look) ([]remnantID, bool) {
	switch s := s.(type) {
	case *pick:
		if s.only {
			return t.appendPart(out, remnantOnly, s.filter, nil, known)
		}
		return t.appendPart(out, remnantNo, s.filter, nil, known)
	case *guard:
		kind := remnantIf
		if s.negated {
			kind = remnantUnless
		}
		return t.appendPart(out, kind, s.filter, func() ([]remnantID, bool) {
			var inner []remnantID
			for _, d := range s.decisions {
				var ok bool
				if inner, ok = t.appendDecision(inner, d, known); !ok {
					return nil, false
				}
			}
			return inner, true
		}, known)
	}
	return out, true // faults are effects
}

// appendRest appends to out what is left of a remnant that decides.
func (t *remnantTable) appendRest(out []remnantID, id remnantID, known look) ([]remnantID, bool) {
	c := t.remnants[id]
	return t.appendPart(out, c.kind, c.filter, func() ([]remnantID, bool) {
		var inner []remnantID
		for _, d := range c.body {
			var ok bool
			if inner, ok = t.appendRest(inner, d, known); !ok {
				return nil, false
			}
		}
		return inner, true
	}, known)
}

// appendPart appends to out what is left of what decides; body returns the same of a condition's body.
func (t *remnantTable) appendPart(
	out []remnantID, kind remnantKind, f filter, body func() ([]remnantID, bool), known look,
) ([]remnantID, bool) {
	holds, left := f.decide(known)
	switch kind {
	case remnantOnly:
		if holds == undecided {
			out = append(out, t.id(kind, left, nil))
		}
		return out, holds != never
	case remnantNo:
		if holds == undecided {
			out = append(out, t.id(kind, left, nil))
		}
		return out, holds != always
	}
	if holds == always && kind == remnantUnless || holds == never && kind == remnantIf {
		return out, true
	}
	inner, possible := body()
	switch {
	case holds != undecided:
		return append(out, inner...), possible
	case !possible && kind == remnantIf:
		return append(out, t.id(remnantNo, left, nil)), true
	case !possible:
		return append(out, t.id(remnantOnly, left, nil)), true
	case len(inner) == 0:
		return out, true
	}
	slices.Sort(inner)
	return append(out, t.id(kind, left, slices.Compact(inner))), true
}

// appendEffects appends to out what is left of a statement that changes values, or of the effects in a condition.
func (t *remnantTable) appendEffects(out []remnantID, s statement, known look) []remnantID {
	g, ok := s.(*guard)
	if !ok {
		return append(out, t.effect(s))
	}
	kind := effectIf
	if g.negated {
		kind = effectUnless
	}
	return t.appendEffectPart(out, kind, g.filter, func() (inner []remnantID) {
		for _, s := range g.body {
			inner = t.appendEffects(inner, s, known)
		}
		return inner
	}, known)
}

// appendRestOfEffect appends to out what is left of an effect.
func (t *remnantTable) appendRestOfEffect(out []remnantID, id remnantID, known look) []remnantID {
	c := t.remnants[id]
	if c.kind == remnantEffect {
		return append(out, id)
	}
	return t.appendEffectPart(out, c.kind, c.filter, func() (inner []remnantID) {
		for _, e := range c.body {
			inner = t.appendRestOfEffect(inner, e, known)
		}
		return inner
	}, known)
}

func (t *remnantTable) appendEffectPart(out []remnantID, kind remnantKind, f filter, body func() []remnantID, known look) []remnantID {
	holds, left := f.decide(known)
	if holds == always && kind == effectUnless || holds == never && kind == effectIf {
		return out
	}
	inner := body()
	switch {
	case holds != undecided:
		return append(out, inner...)
	case len(inner) == 0:
		return out
	}
	return append(out, t.id(kind, left, inner))
}
