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
	return from.join.part(sums, from.n)
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
func (t *counter) value(s *sum) (*big.Int, *defect) {
	total := new(big.Int)
	for _, p := range s.parts {
		n, wrong := t.valueOf(p)
		if wrong != nil {
			return nil, wrong
		}
		if j := p.join; j != nil && j.factors > 2 && n.Sign() > 0 {
			t.note(j.node, new(big.Int).Mul(n, p.n), new(big.Int).Mul(t.allOf(j), p.n))
		}
		if n.Sign() > 0 && t.way == nil && len(p.states) > 0 {
			t.way = p.states[0]
		}
		total.Add(total, n.Mul(n, p.n))
	}
	return total, nil
}

func (t *counter) valueOf(p *part) (*big.Int, *defect) {
	switch {
	case !t.counts(p):
		return new(big.Int), nil
	case p.join != nil:
		return t.combinationsOf(p.join)
	}
	if trail := t.states.failing(p.states); trail != nil {
		return nil, &defect{trail: trail}
	}
	return big.NewInt(1), nil
}

// joinParts are what the numbers of a join are made from: for some sets of its factors, what is left of its node when
// all of the set act there.
type joinParts struct {
	node    *node
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

// canMultiply reports whether a counter counts what the joins of n multiply; if not, the config is nested.
func (t *counter) canMultiply(n *node, factors []*pick) bool {
	below := slices.ContainsFunc(t.childrenOf(n), func(c *node) bool { return t.multiplied[c.index] })
	if below || len(factors) > maxFactors || t.states.renames || t.namesMayCollide(n, factors) {
		t.nested = true
	}
	return !t.nested
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
	all.add(j.part(sums, one))
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
		return new(big.Int).Set(counts[set]), nil
	}
	made, wrong := t.combinations(len(factors), count, func(set uint) *trail { return ways[set] })
	if wrong == nil && !t.ended() && len(factors) > 2 && made.Sign() > 0 {
		all := big.NewInt(1)
		for i := range factors {
			all.Mul(all, counts[1<<i])
		}
		t.note(n, made, all)
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
func (t *counter) allOf(j *joinParts) *big.Int {
	all := big.NewInt(1)
	for i := range j.factors {
		if n, wrong := t.value(j.sums[slices.Index(j.sets, 1<<i)]); wrong == nil {
			all.Mul(all, n)
		}
	}
	return all
}

// part returns n times what the join comes to with other sums; nil if that is nothing.
func (j *joinParts) part(sums []*sum, n *big.Int) *part {
	var key strings.Builder
	key.WriteString("*")
	for i, s := range sums {
		if len(s.parts) == 0 && j.sets[i] == 1 {
			return nil // there is nothing for the first factor, and the others are not looked at
		}
		key.WriteString(sumKey(s))
	}
	return &part{key: key.String(), n: n, join: &joinParts{j.node, j.factors, j.sets, sums}}
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

// combinations returns how many variants a join of so many factors makes, given the number for a set of factors and a
// way for one that has any. What joins do to the list of their node (see joinList) binds the later factors, for all but
// the first variant of a factor, by the next factor too.
func (t *counter) combinations(
	factors int, count func(set uint) (*big.Int, *defect), way func(set uint) *trail,
) (*big.Int, *defect) {
	// A variant that is one of two factors is joined with itself. With three factors and more, or with defaults, that may
	// not come to pass: making the variants tells.
	meet := func(set uint) *defect {
		n, wrong := count(set)
		switch {
		case wrong != nil || t.ended() || n.Sign() == 0:
			return wrong
		case factors > 2 || t.options.Defaults:
			t.nested = true
			return nil
		}
		return &defect{trail: way(set), join: true}
	}
	var combine func(with uint, from int) (*big.Int, *defect)
	combine = func(with uint, from int) (*big.Int, *defect) {
		n, wrong := count(with | 1<<from)
		if wrong != nil || t.ended() || n.Sign() == 0 || from+1 == factors {
			return n, wrong
		}
		first, wrong := combine(with, from+1)
		if wrong != nil || t.ended() {
			return nil, wrong
		}
		if first.Sign() > 0 || n.Cmp(one) > 0 {
			if wrong := meet(with | 1<<from | 1<<(from+1)); wrong != nil || t.ended() {
				return nil, wrong
			}
		}
		if n.Cmp(one) == 0 {
			return first, nil
		}
		others, wrong := combine(with|1<<(from+1), from+1)
		if wrong != nil || t.ended() {
			return nil, wrong
		}
		n.Sub(n, one)
		return n.Add(n.Mul(n, others), first), nil
	}
	n, wrong := combine(0, 0)
	if n == nil {
		n = new(big.Int) // of no use: the counter has ended, or there is a defect
	}
	return n, wrong
}

// combinationsOf returns the number of a part that is a join's, at the root.
func (t *counter) combinationsOf(j *joinParts) (*big.Int, *defect) {
	of := func(set uint) *sum { return j.sums[slices.Index(j.sets, set)] }
	way := func(set uint) *trail {
		for _, p := range of(set).parts {
			if n, wrong := t.valueOf(p); wrong == nil && n.Sign() > 0 {
				return p.states[0]
			}
		}
		return nil
	}
	return t.combinations(j.factors, func(set uint) (*big.Int, *defect) { return t.value(of(set)) }, way)
}
