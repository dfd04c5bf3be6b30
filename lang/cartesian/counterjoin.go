// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"encoding/binary"
	"math/big"
	"slices"
	"strings"
)

// extendJoin is extend for combinations.
func (t *counter) extendJoin(n *node, from *part, more []*pick) *part {
	var sums []*sum
	for _, s := range from.join.sums {
		extended := newSum()
		t.extendAll(extended, n, s, more)
		sums = append(sums, extended)
	}
	return t.joinPart(from.join, sums, from.n)
}

// sumKey is the same for sums that are the same. The order of their parts counts where the first variant is in progress
// by other joins than others are.
func sumKey(s *sum) string {
	keys, joined := make([]string, len(s.parts)), false
	for i, p := range s.parts {
		n := p.n.Bytes()
		key := binary.AppendUvarint(nil, uint64(len(p.key)))
		key = append(key, p.key...)
		key = binary.AppendUvarint(key, uint64(len(n)))
		keys[i] = string(append(key, n...))
		joined = joined || p.join != nil
	}
	if !joined {
		slices.Sort(keys)
	}
	return string(binary.AppendUvarint(nil, uint64(len(keys)))) + strings.Join(keys, "")
}

// A defect is why not all variants can be made.
type defect struct {
	trail *trail // the way to a variant that cannot be built, or that a join cannot tell from itself
	join  bool
}

// A valueKey is a sum, and what is in progress.
type valueKey struct {
	sum *sum
	in  string
}

// value returns the number of a sum at the root, or a defect in it.
func (t *counter) value(s *sum, in progress) (tally, *defect) {
	key := valueKey{s, string(in.appendKey(nil))}
	if known, ok := t.values[key]; ok {
		return known, nil
	}
	var all tally
	for _, p := range s.parts {
		some, wrong := t.valueOf(p, in)
		if wrong != nil || t.ended() {
			return nil, wrong
		}
		if j := p.join; j != nil && j.factors > 2 && len(some) > 0 && !in.has(j.node) {
			t.note(j.node, new(big.Int).Mul(some.total(), p.n), new(big.Int).Mul(t.allOf(j, in), p.n))
		}
		if len(some) > 0 && t.way == nil && len(p.states) > 0 {
			t.way = p.states[0]
		}
		all = all.add(some, p.n)
	}
	t.values[key] = all
	return all, nil
}

// valueOf returns the number of variants that a part has for each of its ways.
func (t *counter) valueOf(p *part, in progress) (tally, *defect) {
	switch {
	case t.tick(), !t.counts(p, in):
		return nil, nil
	case p.join != nil:
		return t.combinationsOf(p.join, in)
	}
	if trail := t.states.failing(p.states); trail != nil {
		return nil, &defect{trail: trail}
	}
	return tally{{in, one}}, nil
}

// joinParts are what the numbers of a join are made from: for some sets of its factors, what is left of its node when
// all of the set act there.
type joinParts struct {
	node    *node
	factors int
	sets    []uint // sets of factors, as bits
	sums    []*sum // by the index of sets
}

// of returns what is left of the node for a set of factors.
func (j *joinParts) of(set uint) *sum { return j.sums[slices.Index(j.sets, set)] }

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

// canMultiply reports whether a counter counts what the joins of n multiply; if not, the number is unknown.
func (t *counter) canMultiply(n *node, factors []*pick) bool {
	merged := len(factors) > 2 || t.multipliesBelow(n) // names that are merged already
	if len(factors) > maxFactors || t.states.renames || t.namesMayCollide(n, factors) || merged && t.labelsRunTogether() {
		t.unknown = true
	}
	return !t.unknown
}

// acting returns the factors that are in a set.
func acting(factors []*pick, set uint) (acting []*pick) {
	for i, f := range factors {
		if set&(1<<i) != 0 {
			acting = append(acting, f)
		}
	}
	return acting
}

// multiply makes the part of a node whose joins multiply.
func (t *counter) multiply(n *node) *sum {
	factors, _ := singleFactor(n)
	if !t.canMultiply(n, factors) {
		return nil
	}
	j := &joinParts{node: n, factors: len(factors), sets: joinSets(len(factors))}
	var sums []*sum
	for _, set := range j.sets {
		t.newCaches()
		sums = append(sums, t.gather(n, acting(factors, set)))
	}
	all := newSum()
	all.add(t.joinPart(j, sums, one))
	return all
}

// multiplyLast counts what the joins of n multiply, above which nothing branches: each set of factors by itself, as if it
// stood at the end of the config.
func (t *counter) multiplyLast(n *node, most int) (*big.Int, *defect) {
	factors, _ := singleFactor(n)
	t.above = make([]bitSet, t.config.nodes) // nothing stands above n but what is the same for all
	if !t.canMultiply(n, factors) {
		return nil, nil
	}
	t.unjoined = n
	defer func() { t.unjoined, t.acting = nil, nil }()
	counts, ways := map[uint]*big.Int{}, map[uint]*trail{}
	count := func(set uint) (*big.Int, *defect) {
		if counts[set] == nil {
			t.acting, t.way = acting(factors, set), nil
			some, wrong := t.split(n, most)
			if wrong != nil || t.ended() {
				return nil, wrong
			}
			counts[set], ways[set] = some, t.way
		}
		return counts[set], nil
	}
	m := &multiplication{
		counter: t, node: n, factors: len(factors),
		count: func(set uint, in progress) (tally, *defect) {
			some, wrong := count(set)
			if some == nil || some.Sign() == 0 {
				return nil, wrong
			}
			return tally{{in, some}}, nil
		},
		meet: func(set uint, _ progress) (way *trail, may bool, wrong *defect) {
			some, wrong := count(set)
			return ways[set], some != nil && some.Sign() > 0, wrong
		},
	}
	all, wrong := m.combine(0, 0, nil)
	made := all.total()
	if wrong == nil && !t.ended() && len(factors) > 2 && made.Sign() > 0 {
		possible := big.NewInt(1)
		for i := range factors {
			possible.Mul(possible, counts[1<<i])
		}
		t.note(n, made, possible)
	}
	return made, wrong
}

// A yield is how many variants the joins of a node make, and how many combinations of their words there are.
type yield struct{ made, all *big.Int }

func (t *counter) note(n *node, made, all *big.Int) {
	y, ok := t.yields[n]
	if !ok {
		y = yield{new(big.Int), new(big.Int)}
	}
	t.yields[n] = yield{y.made.Add(y.made, made), y.all.Add(y.all, all)}
}

// allOf returns how many combinations of a join's words there are.
func (t *counter) allOf(j *joinParts, in progress) *big.Int {
	all := big.NewInt(1)
	for i := range j.factors {
		if n, wrong := t.value(j.of(1<<i), in); wrong == nil {
			all.Mul(all, n.total())
		}
	}
	return all
}

// joinPart returns n times what a join comes to with other sums; nil if that is nothing.
func (t *counter) joinPart(j *joinParts, sums []*sum, n *big.Int) *part {
	key := []byte("*")
	within := t.within[j.node.index]
	if within {
		key = binary.AppendUvarint(key, uint64(j.node.index)) //nolint:gosec // never negative
	}
	nothing := true
	for i, s := range sums {
		switch {
		case len(s.parts) > 0:
			nothing = false
		case j.sets[i] == 1 && !within:
			return nil // there is nothing for the first factor, and the others are not looked at
		}
		key = append(key, sumKey(s)...)
	}
	if nothing {
		return nil
	}
	return &part{key: string(key), n: n, join: &joinParts{j.node, j.factors, j.sets, sums}}
}

// joinSets returns the sets of factors that combinations asks for.
func joinSets(factors int) []uint {
	var sets []uint // in the end, all single factors are among them
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

// A multiplication counts what the joins of a node make.
type multiplication struct {
	counter *counter
	node    *node
	factors int
	count   func(set uint, in progress) (tally, *defect) // of a set of factors

	// Reports whether a variant of all factors of a set may be joined with itself; if that is sure, the way to it.
	meet func(set uint, in progress) (way *trail, may bool, wrong *defect)
}

// combine returns how many variants the factors from one on make, where they are bound by others too. What joins do to
// the list of their node (see joinList) binds the later factors, for all but the first variant of a factor, by the next
// factor too.
func (m *multiplication) combine(with uint, from int, in progress) (tally, *defect) {
	some, wrong := m.count(with|1<<from, in)
	if wrong != nil || m.counter.ended() || len(some) == 0 {
		return nil, wrong
	}
	if from+1 == m.factors {
		var last tally
		for _, s := range some {
			last = append(last, tallied{s.in.with(m.node, with|1<<from), s.n})
		}
		return last, nil
	}
	all, wrong := m.combine(with, from+1, some[0].in)
	if wrong != nil || m.counter.ended() {
		return nil, wrong
	}
	several := len(some) > 1 || some[0].n.Cmp(one) > 0
	if len(all) > 0 || several {
		if wrong := m.joinWithItself(with|1<<from|1<<(from+1), in); wrong != nil || m.counter.ended() {
			return nil, wrong
		}
	}
	for i, s := range some {
		others := s.n
		if i == 0 {
			others = new(big.Int).Sub(s.n, one)
		}
		if others.Sign() == 0 {
			continue
		}
		more, wrong := m.combine(with|1<<(from+1), from+1, s.in)
		if wrong != nil || m.counter.ended() {
			return nil, wrong
		}
		all = all.add(more, others)
	}
	return all, nil
}

// joinWithItself looks for a variant that is of both factors: joins fail on it. With three factors and more, or with
// defaults, that may not come to pass: making the variants tells.
func (m *multiplication) joinWithItself(set uint, in progress) *defect {
	way, may, wrong := m.meet(set, in)
	switch {
	case wrong != nil || m.counter.ended() || !may:
		return wrong
	case way == nil || m.factors > 2 || m.counter.options.Defaults:
		m.counter.unknown = true
		return nil
	}
	return &defect{trail: way, join: true}
}

// combinationsOf returns the number of a part that is a join's, at the root.
func (t *counter) combinationsOf(j *joinParts, in progress) (tally, *defect) {
	if set, ok := in.of(j.node); ok {
		return t.value(j.of(set), in)
	}
	m := &multiplication{
		counter: t, node: j.node, factors: j.factors,
		count: func(set uint, in progress) (tally, *defect) { return t.value(j.of(set), in) },
		meet: func(set uint, in progress) (way *trail, may bool, wrong *defect) {
			way, may = t.anyOf(j.of(set), in)
			return way, may, nil
		},
	}
	return m.combine(0, 0, in)
}

// anyOf reports whether a sum may have a way to the first of merged variants, or to one that is not merged; to such a
// one, it returns it.
func (t *counter) anyOf(s *sum, in progress) (way *trail, may bool) {
	for _, p := range s.parts {
		switch {
		case !t.counts(p, in):
		case p.join == nil:
			return p.states[0], true
		default:
			set, ok := in.of(p.join.node)
			if !ok {
				set = 1 // by which a join begins
			}
			own, any := t.anyOf(p.join.of(set), in)
			if ok && own != nil {
				return own, true
			}
			may = may || any
		}
	}
	return nil, may
}
