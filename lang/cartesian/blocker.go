// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// A blocker is the ways of a set's default, which keep the others of the set from counting: a part that is blocked
// counts only where none of its blocker's parts has a variant. Of parts that have variants only where others have some,
// a blocker does without. At each node, all that are the same are one.
type blocker struct {
	number uint32 // for keys
	parts  []*part
}

// blocker returns the blocker that parts at n are; nil if there are none.
func (t *counter) blocker(n *node, parts []*part) *blocker {
	parts = t.needed(n, parts)
	if len(parts) == 0 {
		return nil
	}
	keys := make([]string, len(parts))
	for i, p := range parts {
		keys[i] = p.key
	}
	slices.Sort(keys)
	var key []byte
	for _, k := range keys {
		key = binary.AppendUvarint(key, uint64(len(k)))
		key = append(key, k...)
	}
	b := t.blockers[string(key)]
	if b == nil {
		t.numbered++
		b = &blocker{t.numbered, parts}
		t.blockers[string(key)] = b
	}
	return b
}

// maxBetter is how many parts are looked at as to whether others are needed beside them.
const maxBetter = 64

// needed returns parts of which no other one is wherever they are.
func (t *counter) needed(n *node, parts []*part) []*part {
	sorted := slices.Clone(parts)
	slices.SortStableFunc(sorted, func(a, b *part) int { return len(a.open) - len(b.open) })
	var needed []*part
	for _, p := range sorted {
		if slices.ContainsFunc(needed[:min(len(needed), maxBetter)], func(better *part) bool { return t.isWhere(n, better, p) }) {
			continue
		}
		if !t.states.traced { // nobody asks what became of it
			bare := *p
			bare.states = nil
			p = &bare
		}
		needed = append(needed, p)
	}
	return needed
}

// isWhere reports whether there are variants of p, surely, wherever there are some of other.
func (t *counter) isWhere(n *node, p, other *part) bool {
	if p.join != nil || other.join != nil || len(p.blockers) > 0 || !slices.Equal(p.begun, other.begun) {
		return false
	}
	for i := range p.has {
		more, less := p.has[i]&^other.has[i], other.has[i]&^p.has[i]
		if more&t.bars[n.index][i] != 0 || less&t.wants[n.index][i] != 0 {
			return false
		}
	}
	for _, id := range p.open {
		if _, found := slices.BinarySearch(other.open, id); !found {
			return false
		}
	}
	return true
}

// block adds to a sum what counts of others where preferred does not.
func (t *counter) block(into *sum, n *node, others, preferred *sum) {
	for _, p := range preferred.parts {
		into.add(p)
	}
	by := t.blocker(n, preferred.parts)
	for _, p := range others.parts {
		if by != nil {
			p = t.blocked(n, p, append(slices.Clip(p.blockers), by))
		}
		into.add(p)
	}
}

// blocked returns a part with other blockers; nil if they never let it count.
func (t *counter) blocked(n *node, p *part, by []*blocker) *part {
	for _, b := range by {
		if slices.ContainsFunc(b.parts, func(better *part) bool { return t.isWhere(n, better, p) }) {
			return nil
		}
	}
	slices.SortFunc(by, func(a, b *blocker) int { return cmp.Compare(a.number, b.number) })
	b := *p
	b.blockers = slices.Compact(by)
	b.key = p.bareKey() + blockersKey(b.blockers)
	return &b
}

// bareKey is the key of a part without its blockers.
func (p *part) bareKey() string { return p.key[:len(p.key)-len(blockersKey(p.blockers))] }

func blockersKey(by []*blocker) string {
	var key []byte
	for _, b := range by {
		key = binary.BigEndian.AppendUint32(key, b.number)
	}
	return string(key)
}

// blockAbove returns a part at n, which it has been extended to, with what has become of its blockers there.
func (t *counter) blockAbove(n *node, p *part, by []*blocker, more []*pick) *part {
	if p == nil || len(by) == 0 {
		return p
	}
	var left []*blocker
	for _, b := range by {
		next, known := t.blocking[b]
		if !known {
			extended := newSum()
			t.extendAll(extended, n, &sum{parts: b.parts}, more)
			next = t.blocker(n, extended.parts)
			t.blocking[b] = next
		}
		if next != nil {
			left = append(left, next)
		}
	}
	return t.blocked(n, p, left)
}

// counts reports whether a part at the root is not blocked, with such joins in progress.
func (t *counter) counts(p *part, in progress) bool {
	return !slices.ContainsFunc(p.blockers, func(by *blocker) bool {
		return slices.ContainsFunc(by.parts, func(b *part) bool {
			if b.join == nil {
				return t.counts(b, in)
			}
			made, wrong := t.valueOf(b, in)
			return wrong != nil || len(made) > 0
		})
	})
}
