// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"cmp"
	"encoding/binary"
	"math/big"
	"slices"
)

// A progress says which joins are in progress, in the order of their nodes: a join that multiplies what other joins
// make goes out from its node again while it is at a variant that these have just merged. Where it comes to their nodes,
// they do not multiply: all that they do is to drop what is not of the factors that they asked for last (see joinList).
type progress []bound

// A bound is the node of a join in progress, and a set of its factors, as bits.
type bound struct {
	node *node
	set  uint
}

func (p progress) find(n *node) (int, bool) {
	return slices.BinarySearchFunc(p, n.index, func(b bound, index int) int { return cmp.Compare(b.node.index, index) })
}

// of returns the set of factors that a node's join in progress is bound by.
func (p progress) of(n *node) (set uint, ok bool) {
	i, ok := p.find(n)
	if !ok {
		return 0, false
	}
	return p[i].set, true
}

func (p progress) has(n *node) bool { _, ok := p.find(n); return ok }

// with returns a progress with one join more.
func (p progress) with(n *node, set uint) progress {
	i, _ := p.find(n)
	return slices.Insert(slices.Clone(p), i, bound{n, set})
}

// appendKey appends what tells the progress from others.
func (p progress) appendKey(key []byte) []byte {
	for _, b := range p {
		key = binary.AppendUvarint(key, uint64(b.node.index)) //nolint:gosec // never negative
		key = binary.AppendUvarint(key, uint64(b.set))
	}
	return key
}

// A tally is numbers of variants, none of them zero, by what is in progress at these variants; the one with the first
// variant comes first.
type tally []tallied

type tallied struct {
	in progress
	n  *big.Int
}

// add adds n times more to the tally, and returns it.
func (t tally) add(more tally, n *big.Int) tally {
	for _, m := range more {
		i := slices.IndexFunc(t, func(own tallied) bool { return slices.Equal(own.in, m.in) })
		if i < 0 {
			i = len(t)
			t = append(t, tallied{m.in, new(big.Int)})
		}
		t[i].n = new(big.Int).Add(t[i].n, new(big.Int).Mul(m.n, n))
	}
	return t
}

func (t tally) total() *big.Int {
	total := new(big.Int)
	for _, m := range t {
		total.Add(total, m.n)
	}
	return total
}
