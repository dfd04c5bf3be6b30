// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"encoding/binary"
	"math/big"
	"slices"
	"strings"
)

// isSum tells whether p is made of sums.
func (p *part) isSum() bool { return p.preferred != nil || p.join != nil }

// sums returns the sums that p is made of.
func (p *part) sums() []*sum {
	if p.join != nil {
		return p.join.sums
	}
	return []*sum{p.preferred, p.others}
}

// extendSums is extend for a part that is made of sums.
func (t *tally) extendSums(n *node, from *part, more []*pick) *part {
	var sums []*sum
	for _, s := range from.sums() {
		extended := newSum()
		t.extendAll(extended, n, s, more)
		sums = append(sums, extended)
	}
	if from.join != nil {
		return from.join.part(sums, from.n)
	}
	return t.preferredPart(n, sums[0], sums[1], from.n)
}

// preferOver returns the parts of a set with a default.
func (t *tally) preferOver(n *node, preferred, others *sum) *sum {
	others = t.without(n, others, preferred)
	switch {
	case len(preferred.parts) == 0:
		return others
	case len(others.parts) == 0:
		return preferred
	}
	s := newSum()
	s.add(t.preferredPart(n, preferred, others, one))
	return s
}

// maxBetter is how many parts are looked at as to whether others are needed beside them.
const maxBetter = 16

// without returns what of others may count if preferred comes to nothing. A part does not if there is one that has
// variants wherever it has some.
func (t *tally) without(n *node, others, preferred *sum) *sum {
	var better []*part
	for _, p := range preferred.parts {
		if !p.isSum() {
			better = append(better, p)
		}
	}
	slices.SortStableFunc(better, func(a, b *part) int { return len(a.open) - len(b.open) })
	better = better[:min(len(better), maxBetter)]
	left := newSum()
	for _, p := range others.parts {
		if p.isSum() || !slices.ContainsFunc(better, func(b *part) bool { return t.isWhere(n, b, p) }) {
			left.add(p)
		}
	}
	return left
}

// isWhere tells whether there are variants of p wherever there are some of other.
func (t *tally) isWhere(n *node, p, other *part) bool {
	if !slices.Equal(p.begun, other.begun) {
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

// preferredPart returns n times what a set with a default comes to; nil if that is nothing.
func (t *tally) preferredPart(at *node, preferred, others *sum, n *big.Int) *part {
	if len(preferred.parts) == 0 {
		preferred, others = others, newSum()
	} else {
		others = t.without(at, others, preferred)
	}
	switch {
	case len(preferred.parts) == 0:
		return nil
	case len(preferred.parts) == 1 && len(others.parts) == 0 && !preferred.parts[0].isSum():
		p := *preferred.parts[0]
		p.n = new(big.Int).Mul(n, p.n)
		return &p
	}
	return &part{key: "?" + sumKey(preferred) + sumKey(others), n: n, preferred: preferred, others: others}
}

// sumKey is the same for sums that are the same.
func sumKey(s *sum) string {
	keys := make([]string, len(s.parts))
	for i, p := range s.parts {
		n := p.n.Bytes()
		key := binary.AppendUvarint(nil, uint64(len(p.key)))
		key = append(key, p.key...)
		key = binary.AppendUvarint(key, uint64(len(n)))
		keys[i] = string(append(key, n...))
	}
	slices.Sort(keys)
	return string(binary.AppendUvarint(nil, uint64(len(keys)))) + strings.Join(keys, "")
}

// A defect is why not all variants can be made.
type defect struct {
	trail *trail // the way to a variant that cannot be built, or that a join cannot tell from itself
	join  bool
}

// value returns the number of a sum at the root, or a defect in it.
func (t *tally) value(s *sum) (*big.Int, *defect) {
	total := new(big.Int)
	for _, p := range s.parts {
		n, wrong := t.valueOf(p)
		if wrong != nil {
			return nil, wrong
		}
		total.Add(total, n.Mul(n, p.n))
	}
	return total, nil
}

func (t *tally) valueOf(p *part) (*big.Int, *defect) {
	switch {
	case p.join != nil:
		return t.combinations(p.join)
	case p.preferred != nil:
		n, wrong := t.value(p.preferred)
		if wrong != nil || n.Sign() > 0 {
			return n, wrong
		}
		return t.value(p.others)
	}
	if trail := t.courses.failing(p.courses); trail != nil {
		return nil, &defect{trail: trail}
	}
	return big.NewInt(1), nil
}

// joinParts are what the numbers of a join are made from: for some sets of its factors, what is left of its node when
// all of the set act there.
type joinParts struct {
	factors int
	sets    []uint // sets of factors, as bits
	sums    []*sum // by the index of sets
}

// maxFactors is how many factors a join may have to be counted so.
const maxFactors = 8

// singleFactor returns what acts at n instead of its joins, if they do not multiply.
func singleFactor(n *node) (acts []*pick, ok bool) {
	if len(n.joins) == 0 {
		return nil, true
	}
	var factors []*pick
	for _, j := range n.joins {
		factors = append(factors, j.factors...)
	}
	switch len(factors) {
	case 0:
		return []*pick{n.joins[0].nothing}, true
	case 1:
		return factors, true
	}
	return factors, false
}

// multiply makes the part of a node whose joins multiply.
func (t *tally) multiply(n *node) *sum {
	factors, _ := singleFactor(n)
	below := slices.ContainsFunc(t.childrenOf(n), func(c *node) bool { return multiplies(c) })
	if below || len(factors) > maxFactors || t.courses.renames || t.namesMayMeet(n, factors) {
		t.nested = true
		return nil
	}
	j := &joinParts{factors: len(factors), sets: joinSets(len(factors))}
	var sums []*sum
	for _, set := range j.sets {
		var acting []*pick
		for i, f := range factors {
			if set&(1<<i) != 0 {
				acting = append(acting, f)
			}
		}
		t.cache = map[remnantID]rest{}
		sums = append(sums, t.gather(n, acting))
	}
	all := newSum()
	all.add(j.part(sums, one))
	return all
}

// multiplies tells whether there are joins at or below n that multiply.
func multiplies(n *node) bool {
	if !n.joined {
		return false
	}
	if _, single := singleFactor(n); !single {
		return true
	}
	return slices.ContainsFunc(n.children, multiplies)
}

// part returns n times what the join comes to with other sums; nil if that is nothing.
func (j *joinParts) part(sums []*sum, n *big.Int) *part {
	key := "*"
	for i, s := range sums {
		if len(s.parts) == 0 && j.sets[i] == 1 {
			return nil // there is nothing for the first factor, and the others are not looked at
		}
		key += sumKey(s)
	}
	return &part{key: key, n: n, join: &joinParts{j.factors, j.sets, sums}}
}

// joinSets returns the sets of factors that combinations asks for.
func joinSets(factors int) []uint {
	var sets []uint
	ask := func(set uint) {
		if !slices.Contains(sets, set) {
			sets = append(sets, set)
		}
	}
	var walk func(with uint, from int)
	walk = func(with uint, from int) {
		ask(with | 1<<from)
		if from+1 < factors {
			ask(with | 1<<from | 1<<(from+1))
			walk(with, from+1)
			walk(with|1<<(from+1), from+1)
		}
	}
	walk(0, 0)
	return sets
}

// combinations returns how many variants a join makes. What joins do to the list of their node (see joinList) binds the
// later factors, for all but the first variant of a factor, by the next factor too.
func (t *tally) combinations(j *joinParts) (*big.Int, *defect) {
	count := func(set uint) (*big.Int, *defect) { return t.value(j.sums[slices.Index(j.sets, set)]) }
	var combine func(with uint, from int) (*big.Int, *defect)
	combine = func(with uint, from int) (*big.Int, *defect) {
		n, wrong := count(with | 1<<from)
		if wrong != nil || n.Sign() == 0 || from+1 == j.factors {
			return n, wrong
		}
		first, wrong := combine(with, from+1)
		if wrong != nil {
			return nil, wrong
		}
		if first.Sign() > 0 || n.Cmp(one) > 0 {
			if wrong := t.meeting(j, with|1<<from|1<<(from+1)); wrong != nil {
				return nil, wrong
			}
		}
		if n.Cmp(one) == 0 {
			return first, nil
		}
		others, wrong := combine(with|1<<(from+1), from+1)
		if wrong != nil {
			return nil, wrong
		}
		n.Sub(n, one)
		return n.Add(n.Mul(n, others), first), nil
	}
	return combine(0, 0)
}

// meeting returns the defect of a join when a variant is one of both factors in a set: it is joined with itself. With
// three factors and more, or with defaults, that may not come to pass, and is left to countEach.
func (t *tally) meeting(j *joinParts, set uint) *defect {
	for _, p := range j.sums[slices.Index(j.sets, set)].parts {
		n, wrong := t.valueOf(p)
		switch {
		case wrong != nil:
			return wrong
		case n.Sign() == 0:
			continue
		case j.factors > 2 || t.options.Defaults:
			t.nested = true
			return &defect{}
		}
		for p.preferred != nil {
			p = p.preferred.parts[0]
		}
		return &defect{trail: p.courses[0], join: true}
	}
	return nil
}
