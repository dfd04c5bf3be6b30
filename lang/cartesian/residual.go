// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"encoding/binary"
	"slices"
)

// A residual is what a statement still says when a part of the labels of a variant is known: words and rows that are
// decided are gone from its filter. Residuals that say the same have the same number.
type residual struct {
	kind   residualKind
	filter filter
	body   []residualID // of conditions
	effect statement    // of residualEffect
	long   []rowID      // rows of several labels in it and its body
}

type residualID int32

type residualKind byte

const (
	residualOnly residualKind = iota
	residualNo
	residualIf // a condition; its body are residuals that decide which variants there are, in any order
	residualUnless
	residualEffect // a statement that changes values
	effectIf       // a condition; its body are effects, in the order of the text
	effectUnless
)

// residualTable numbers residuals.
type residualTable struct {
	rows      *rowTable
	residuals []residual
	ids       map[string]residualID
	effects   map[statement]residualID
	key       []byte
}

func newResidualTable(rows *rowTable) *residualTable {
	return &residualTable{rows: rows, ids: map[string]residualID{}, effects: map[statement]residualID{}}
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

func (t *residualTable) id(kind residualKind, f filter, body []residualID) residualID {
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
		id = residualID(len(t.residuals)) //nolint:gosec // memory ends before
		t.ids[string(k)] = id
		t.residuals = append(t.residuals, residual{kind: kind, filter: f, body: body, long: t.longRows(f, body)})
	}
	return id
}

func (t *residualTable) longRows(f filter, body []residualID) (long []rowID) {
	for _, w := range f {
		for _, r := range w {
			if len(t.rows.rows[r]) > 1 {
				long = append(long, r)
			}
		}
	}
	for _, b := range body {
		long = append(long, t.residuals[b].long...)
	}
	slices.Sort(long)
	return slices.Compact(long)
}

// effect returns the residual that is a statement which changes values.
func (t *residualTable) effect(s statement) residualID {
	id, ok := t.effects[s]
	if !ok {
		id = residualID(len(t.residuals)) //nolint:gosec // memory ends before
		t.effects[s] = id
		t.residuals = append(t.residuals, residual{kind: residualEffect, effect: s})
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
func (t *residualTable) appendDecision(out []residualID, s statement, known look) ([]residualID, bool) {
	switch s := s.(type) {
	case *pick:
		if s.only {
			return t.appendPart(out, residualOnly, s.filter, nil, known)
		}
		return t.appendPart(out, residualNo, s.filter, nil, known)
	case *guard:
		kind := residualIf
		if s.negated {
			kind = residualUnless
		}
		return t.appendPart(out, kind, s.filter, func() ([]residualID, bool) {
			var inner []residualID
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

// appendRest appends to out what is left of a residual that decides.
func (t *residualTable) appendRest(out []residualID, id residualID, known look) ([]residualID, bool) {
	c := t.residuals[id]
	return t.appendPart(out, c.kind, c.filter, func() ([]residualID, bool) {
		var inner []residualID
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
func (t *residualTable) appendPart(
	out []residualID, kind residualKind, f filter, body func() ([]residualID, bool), known look,
) ([]residualID, bool) {
	holds, left := f.decide(known)
	switch kind {
	case residualOnly:
		if holds == undecided {
			out = append(out, t.id(kind, left, nil))
		}
		return out, holds != never
	case residualNo:
		if holds == undecided {
			out = append(out, t.id(kind, left, nil))
		}
		return out, holds != always
	}
	if holds == always && kind == residualUnless || holds == never && kind == residualIf {
		return out, true
	}
	inner, possible := body()
	switch {
	case holds != undecided:
		return append(out, inner...), possible
	case !possible && kind == residualIf:
		return append(out, t.id(residualNo, left, nil)), true
	case !possible:
		return append(out, t.id(residualOnly, left, nil)), true
	case len(inner) == 0:
		return out, true
	}
	slices.Sort(inner)
	return append(out, t.id(kind, left, slices.Compact(inner))), true
}

// appendEffects appends to out what is left of a statement that changes values, or of the effects in a condition.
func (t *residualTable) appendEffects(out []residualID, s statement, known look) []residualID {
	g, ok := s.(*guard)
	if !ok {
		return append(out, t.effect(s))
	}
	kind := effectIf
	if g.negated {
		kind = effectUnless
	}
	return t.appendEffectPart(out, kind, g.filter, func() (inner []residualID) {
		for _, s := range g.body {
			inner = t.appendEffects(inner, s, known)
		}
		return inner
	}, known)
}

// appendRestOfEffect appends to out what is left of an effect.
func (t *residualTable) appendRestOfEffect(out []residualID, id residualID, known look) []residualID {
	c := t.residuals[id]
	if c.kind == residualEffect {
		return append(out, id)
	}
	return t.appendEffectPart(out, c.kind, c.filter, func() (inner []residualID) {
		for _, e := range c.body {
			inner = t.appendRestOfEffect(inner, e, known)
		}
		return inner
	}, known)
}

func (t *residualTable) appendEffectPart(out []residualID, kind residualKind, f filter, body func() []residualID, known look) []residualID {
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
