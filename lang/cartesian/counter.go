// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"cmp"
	"context"
	"encoding/binary"
	"math/big"
	"slices"
)

// A counter counts the variants of a tree without going to each. It goes through the nodes once, from the leaf up to the
// root, which is the order of the text. At each node it knows the ways from there to the leaf as parts: ways that what
// stands above cannot tell apart are one part, with their number. What makes a difference above is what statements still
// ask of the labels there (see residual), and which rows that are asked for above the ways have.
//
// Whether a variant cannot be built is decided the same way, by states. Joins, which multiply ways, are parts with parts
// in them, that have a number at the root only; and what a default keeps from counting knows its blockers up to there.
type counter struct {
	ctx        context.Context //nolint:containedctx // a counter lives within one call
	config     *Config
	options    Options
	order      []*node // each node after its children
	parents    []int   // by node: nodes above it
	multiplied []bool  // by node: there are joins at or below it that multiply
	within     []bool  // by node: there are joins above it that multiply
	residuals  *residualTable
	states     *stateTable

	chosen   map[*node]*node // the only child that counts, of some nodes
	unjoined *node           // the joins of this node do not act
	acting   []*pick         // but these, as if they stood at the end of the config
	way      *trail          // to one of the variants counted last, if there are trails of all
	yields   map[*node]yield // of joins of three words and more
	values   map[valueKey]tally

	steps     int
	mostSteps int  // where it gives up, if not 0
	unknown   bool // the number is not to be had without making variants, or it has given up

	// By node:
	alive []bool
	early []bool   // the decisions are those of the leaf
	above []bitSet // labels that may stand above
	wants []bitSet // rows that may let a way through above
	bars  []bitSet // rows that may bar a way above
	users []int    // nodes above that have yet to use the node's parts
	parts []*sum

	// Of the node that is being passed:
	cache       map[residualID]rest
	transitions stateTransitions
	blocking    map[*blocker]*blocker // what becomes of blockers
	asked       bitSet                // rows that decisions above ask for
	blockers    map[string]*blocker
	numbered    uint32 // blockers, so far
}

// A rest is what residuals that decide come to.
type rest struct {
	residuals []residualID
	possible  bool
}

// A part is ways from a node to the leaf, or combinations of them.
type part struct {
	key string   // for all parts of a node that are the same
	n   *big.Int // how many ways
	knownRows
	open   []residualID
	states []*trail // sorted

	blockers []*blocker // sorted
	join     *joinParts // counts combinations
}

// A knownRows is what is known of rows on the ways from a node to the leaf.
type knownRows struct {
	has   bitSet
	begun []begun // sorted
}

// A begun row has all its labels but the first ones, and they are yet to come.
type begun struct {
	row  rowID
	left int32
}

// A sum is parts, in the order of their first ways.
type sum struct {
	parts []*part
	byKey map[string]*part
}

func newSum() *sum { return &sum{byKey: map[string]*part{}} }

func (s *sum) add(p *part) {
	if p == nil {
		return
	}
	if same := s.byKey[p.key]; same != nil {
		same.n = new(big.Int).Add(same.n, p.n)
		same.merge(p)
		return
	}
	s.byKey[p.key] = p
	s.parts = append(s.parts, p)
}

func newCounter(ctx context.Context, c *Config, o Options) *counter {
	t := &counter{
		ctx: ctx, config: c, options: o, residuals: newResidualTable(c.rows), chosen: map[*node]*node{},
		yields: map[*node]yield{}, values: map[valueKey]tally{},
	}
	t.parents = make([]int, c.nodes)
	seen := make([]bool, c.nodes)
	var visit func(n *node)
	visit = func(n *node) {
		if seen[n.index] {
			return
		}
		seen[n.index] = true
		for _, child := range n.children {
			t.parents[child.index]++
			visit(child)
		}
		t.order = append(t.order, n)
	}
	visit(c.root)
	t.findJoins()
	t.states = newStateTable(ctx, c, t.order, t.residuals)
	return t
}

// findJoins finds out where joins multiply, and where they multiply what other joins do.
func (t *counter) findJoins() {
	t.multiplied, t.within = make([]bool, t.config.nodes), make([]bool, t.config.nodes)
	for _, n := range t.order {
		_, single := singleFactor(n)
		t.multiplied[n.index] = !single || t.multipliesBelow(n)
	}
	for _, n := range slices.Backward(t.order) {
		_, single := singleFactor(n)
		for _, child := range n.children {
			t.within[child.index] = t.within[child.index] || t.within[n.index] || !single
		}
	}
}

func (t *counter) multipliesBelow(n *node) bool {
	return slices.ContainsFunc(n.children, func(c *node) bool { return t.multiplied[c.index] })
}

// maxSplit is into how many tallies one is split.
const maxSplit = 200

// count returns how many variants there are, and what is wrong with one of them.
func (t *counter) count() (*big.Int, *defect) { return t.split(t.config.root, maxSplit) }

// split counts apart what comes of each variant of the last sets of the config, if those choose among the other sets:
// then little is left of each, and it is known from the start what that is.
func (t *counter) split(n *node, most int) (*big.Int, *defect) {
	for {
		if _, single := singleFactor(n); !single && n != t.unjoined {
			if t.multipliesBelow(n) {
				return t.single()
			}
			return t.multiplyLast(n, most)
		}
		if len(n.children) != 1 {
			break
		}
		n = n.children[0]
	}
	if len(n.children) > most || !slices.ContainsFunc(n.children, choosesAmongOthers) {
		return t.single()
	}
	defer delete(t.chosen, n)
	children, preferred := n.children, -1
	if t.options.Defaults && n.preferred >= 0 {
		children, preferred = preferredFirst(n), 0
	}
	total := new(big.Int)
	for i, child := range children {
		t.chosen[n] = child
		some, wrong := t.split(child, most/len(n.children))
		if wrong != nil || t.ended() {
			return nil, wrong
		}
		total.Add(total, some)
		if i == preferred && some.Sign() > 0 {
			break
		}
	}
	return total, nil
}

func preferredFirst(n *node) []*node {
	first := n.children[n.preferred]
	return append([]*node{first}, slices.DeleteFunc(slices.Clone(n.children), func(c *node) bool { return c == first })...)
}

// choosesAmongOthers reports whether the topmost nodes of a variant have filters as the variants of a config's last set
// have them, which are runs of tests.
func choosesAmongOthers(n *node) bool {
	picks := 0
	for {
		for _, d := range n.decisions {
			if p, ok := d.(*pick); ok && p.only {
				picks++
			}
		}
		if n.closes || len(n.children) != 1 {
			return picks > 1
		}
		n = n.children[0]
	}
}

func (t *counter) ended() bool { return t.unknown || t.ctx.Err() != nil }

func (t *counter) tick() bool {
	t.steps++
	if t.steps > t.mostSteps && t.mostSteps > 0 {
		t.unknown = true
	}
	return t.unknown || t.steps%1024 == 0 && t.ctx.Err() != nil
}

// single counts by one counter, which goes to the chosen children only.
func (t *counter) single() (*big.Int, *defect) {
	t.prepare()
	for _, n := range t.order {
		if t.alive[n.index] {
			t.pass(n)
		}
		if t.ended() {
			return nil, nil
		}
	}
	root := t.parts[t.config.root.index]
	if root == nil {
		return new(big.Int), nil
	}
	clear(t.values)
	made, wrong := t.value(root, nil)
	return made.total(), wrong
}

// maxSure is how many nodes are known of which surely decide above a node.
const maxSure = 64

func (t *counter) childrenOf(n *node) []*node {
	if child := t.chosen[n]; child != nil {
		return []*node{child}
	}
	return n.children
}

// prepare finds out what may stand above each node, and which nodes no way to a variant goes through.
func (t *counter) prepare() {
	nodes, c := t.config.nodes, t.config
	t.alive, t.early = make([]bool, nodes), make([]bool, nodes)
	t.above, t.users, t.parts = make([]bitSet, nodes), make([]int, nodes), make([]*sum, nodes)
	// What surely decides above a node: statements that stand on all ways to it.
	sure := make([][]*node, nodes)
	reached := make([]bool, nodes)
	reach := func(n *node, decided []*node) {
		if reached[n.index] {
			sure[n.index] = commonNodes(sure[n.index], decided)
			return
		}
		reached[n.index], sure[n.index] = true, decided
	}
	reach(c.root, nil)
	for _, n := range slices.Backward(t.order) {
		if !reached[n.index] {
			continue
		}
		i := n.index
		if t.above[i] == nil {
			t.above[i] = newBitSet(len(c.labels.texts))
		}
		decided := sure[i]
		if len(n.decisions) > 0 && len(decided) < maxSure {
			decided = append(slices.Clip(decided), n)
		}
		if t.isDead(n, decided) {
			continue
		}
		t.alive[i] = true
		sure[i] = decided
		for _, child := range t.childrenOf(n) {
			reach(child, decided)
			if t.parents[child.index] == 1 && len(n.labels) == 0 {
				t.above[child.index] = t.above[i]
				continue
			}
			if t.above[child.index] == nil {
				t.above[child.index] = newBitSet(len(c.labels.texts))
			}
			t.above[child.index].addAll(t.above[i])
			for _, l := range n.labels {
				t.above[child.index].add(int(l.name))
				t.above[child.index].add(int(l.full))
			}
		}
	}
	if leaf := t.order[0]; reached[leaf.index] {
		for _, n := range sure[leaf.index] {
			t.early[n.index] = true
		}
	}
	t.prepareAsked()
	t.states.prepare(t)
}

// prepareAsked finds out which rows are asked for above each node.
func (t *counter) prepareAsked() {
	nodes, rows := t.config.nodes, len(t.config.rows.rows)
	t.wants, t.bars = make([]bitSet, nodes), make([]bitSet, nodes)
	for _, n := range slices.Backward(t.order) {
		if !t.alive[n.index] {
			continue
		}
		own := append([]statement(nil), n.decisions...)
		if t.early[n.index] {
			own = nil
		}
		for _, factor := range t.factorsOf(n) {
			own = append(own, factor)
		}
		if t.wants[n.index] == nil {
			t.wants[n.index], t.bars[n.index] = newBitSet(rows), newBitSet(rows)
		}
		for _, child := range t.childrenOf(n) {
			i := child.index
			t.users[i]++
			if len(own) == 0 && t.parents[i] == 1 {
				t.wants[i], t.bars[i] = t.wants[n.index], t.bars[n.index]
				continue
			}
			if t.wants[i] == nil {
				t.wants[i], t.bars[i] = newBitSet(rows), newBitSet(rows)
			}
			t.wants[i].addAll(t.wants[n.index])
			t.bars[i].addAll(t.bars[n.index])
			addWanted(t.wants[i], t.bars[i], own)
		}
	}
}

// factorsOf returns all factors of the joins that act at n.
func (t *counter) factorsOf(n *node) []*pick {
	if n == t.unjoined {
		return nil
	}
	factors, _ := singleFactor(n)
	return factors
}

// addWanted adds the rows of decisions: to wants those whose presence can only help a way, to bars those whose presence
// can only hinder it. A row may be in both.
func addWanted(wants, bars bitSet, decisions []statement) {
	add := func(rows bitSet, f filter) {
		for _, w := range f {
			for _, r := range w {
				rows.add(int(r))
			}
		}
	}
	for _, s := range decisions {
		switch s := s.(type) {
		case *pick:
			if s.only {
				add(wants, s.filter)
			} else {
				add(bars, s.filter)
			}
		case *guard:
			if s.negated {
				add(wants, s.filter)
			} else {
				add(bars, s.filter)
			}
			addWanted(wants, bars, s.decisions)
		}
	}
}

// commonNodes returns what two lists have in common; both are in the order from the root.
func commonNodes(a, b []*node) []*node {
	if len(a) == len(b) && (len(a) == 0 || a[len(a)-1] == b[len(b)-1]) {
		return a
	}
	var common []*node
	for _, n := range a {
		if slices.Contains(b, n) {
			common = append(common, n)
		}
	}
	return common
}

// isDead reports whether an "only" that surely acts on ways through n finds its labels on none of them.
func (t *counter) isDead(n *node, deciding []*node) bool {
	above := t.above[n.index]
	possible := func(l labelID) bool {
		return above.has(int(l)) || n.below.has(int(l)) || slices.ContainsFunc(n.labels, func(own nodeLabel) bool { return own.is(l) })
	}
	impossible := func(d statement) bool {
		p, ok := d.(*pick)
		return ok && p.only && !slices.ContainsFunc(p.filter, func(w word) bool {
			return !slices.ContainsFunc(w, func(r rowID) bool {
				return slices.ContainsFunc(t.config.rows.rows[r], func(l labelID) bool { return !possible(l) })
			})
		})
	}
	return slices.ContainsFunc(t.acting, func(p *pick) bool { return impossible(p) }) ||
		slices.ContainsFunc(deciding, func(other *node) bool { return slices.ContainsFunc(other.decisions, impossible) })
}

// pass makes the parts of n from those of the nodes below it.
func (t *counter) pass(n *node) {
	t.newCaches()
	t.blockers = map[string]*blocker{}
	t.asked = slices.Clone(t.wants[n.index])
	t.asked.addAll(t.bars[n.index])
	if picks, ok := singleFactor(n); ok || n == t.unjoined {
		if !ok {
			picks = nil
		}
		t.parts[n.index] = t.gather(n, picks)
	} else {
		t.parts[n.index] = t.multiply(n)
	}
	for _, child := range t.childrenOf(n) {
		if t.users[child.index]--; t.users[child.index] == 0 {
			t.parts[child.index] = nil
		}
	}
}

func (t *counter) newCaches() {
	t.cache, t.transitions, t.blocking = map[residualID]rest{}, newStateTransitions(), map[*blocker]*blocker{}
}

// gather adds up what comes of the children of n, where more picks act than those of n.
func (t *counter) gather(n *node, more []*pick) *sum {
	all := newSum()
	children := t.childrenOf(n)
	if len(n.children) == 0 {
		all.add(t.extend(n, t.states.begin(t.config), more))
		return all
	}
	if t.options.Defaults && n.preferred >= 0 && len(children) > 1 {
		preferred, others := newSum(), newSum()
		for i, child := range children {
			into := others
			if i == n.preferred {
				into = preferred
			}
			t.extendAll(into, n, t.parts[child.index], more)
		}
		t.block(all, n, others, preferred)
		return all
	}
	for _, child := range children {
		t.extendAll(all, n, t.parts[child.index], more)
	}
	return all
}

// extendAll adds to a sum what comes of parts when their ways go through n too.
func (t *counter) extendAll(into *sum, n *node, from *sum, more []*pick) {
	if from == nil {
		return
	}
	for _, p := range from.parts {
		if t.tick() {
			return
		}
		into.add(t.extend(n, p, more))
	}
}

// extend returns the part whose ways go through n, too; nil if none do. The picks in more act as if they stood there.
func (t *counter) extend(n *node, from *part, more []*pick) *part {
	if from.join != nil {
		return t.blockAbove(n, t.extendJoin(n, from, more), from.blockers, more)
	}
	p := &part{n: from.n}
	p.knownRows = t.look(n, from.knownRows)
	known := t.known(n, p.knownRows)
	var possible bool
	for _, id := range from.open {
		c := &t.residuals.residuals[id]
		if from.includesAny(c.long) || p.includesAny(c.long) {
			if p.open, possible = t.residuals.appendRest(p.open, id, known); !possible {
				return nil
			}
			continue
		}
		left, ok := t.cache[id]
		if !ok { // n alone decides on it
			left.residuals, left.possible = t.residuals.appendRest(nil, id, known)
			t.cache[id] = left
		}
		if !left.possible {
			return nil
		}
		p.open = append(p.open, left.residuals...)
	}
	if p.open, possible = t.appendOwn(p.open, n, more, known); !possible {
		return nil
	}
	slices.Sort(p.open)
	p.open = slices.Compact(p.open)
	t.trim(n, &p.knownRows, t.asked, p.open)
	p.key = p.encode(t.asked)
	p.states = t.states.extend(t, n, from.states)
	return t.blockAbove(n, p, from.blockers, more)
}

// appendOwn appends what the decisions at a node come to.
func (t *counter) appendOwn(out []residualID, n *node, more []*pick, known look) (_ []residualID, possible bool) {
	own := func(decisions []statement) bool {
		for _, d := range decisions {
			if out, possible = t.residuals.appendDecision(out, d, known); !possible {
				return false
			}
		}
		return true
	}
	if len(n.children) == 0 {
		for _, d := range t.acting {
			if !own([]statement{d}) {
				return nil, false
			}
		}
		for _, other := range t.order {
			if t.early[other.index] && !own(other.decisions) {
				return nil, false
			}
		}
	}
	if !t.early[n.index] && !own(n.decisions) {
		return nil, false
	}
	for _, d := range more {
		if !own([]statement{d}) {
			return nil, false
		}
	}
	return out, true
}

// look returns what is known of rows when the labels of n stand in front.
func (t *counter) look(n *node, from knownRows) knownRows {
	s := knownRows{has: slices.Clone(from.has), begun: from.begun}
	rows := t.config.rows
	for _, l := range slices.Backward(n.labels) {
		var next []begun
		for _, b := range s.begun {
			switch {
			case !l.is(rows.rows[b.row][b.left-1]):
			case b.left == 1:
				s.has.add(int(b.row))
			default:
				next = append(next, begun{b.row, b.left - 1})
			}
		}
		for i, id := range []labelID{l.name, l.full} {
			if i > 0 && l.full == l.name {
				break
			}
			for _, r := range rows.ends[id] {
				if length := len(rows.rows[r]); length == 1 {
					s.has.add(int(r))
				} else {
					next = append(next, begun{r, int32(length - 1)}) //nolint:gosec // a row is as long as a line at most
				}
			}
		}
		s.begun = next
	}
	return s
}

// known tells what is known of rows at n: they may yet come above it.
func (t *counter) known(n *node, s knownRows) look {
	above := t.above[n.index]
	return func(r rowID) truth {
		if s.has.has(int(r)) {
			return always
		}
		row := t.config.rows.rows[r]
		first := 0 // so many of its labels may stand above
		for first < len(row) && above.has(int(row[first])) {
			first++
		}
		if first == len(row) {
			return undecided
		}
		for _, b := range s.begun {
			if b.row == r && int(b.left) <= first {
				return undecided
			}
		}
		return never
	}
}

// includesAny reports whether some of rows, which are sorted, are begun.
func (s knownRows) includesAny(rows []rowID) bool {
	if len(rows) == 0 {
		return false
	}
	return slices.ContainsFunc(s.begun, func(b begun) bool {
		_, found := slices.BinarySearch(rows, b.row)
		return found
	})
}

// trim removes what makes no difference above n: there, decisions ask for some rows, and residuals for others.
func (t *counter) trim(n *node, s *knownRows, asked bitSet, open []residualID) {
	for i := range s.has {
		if i < len(asked) {
			s.has[i] &= asked[i]
		} else {
			s.has[i] = 0
		}
	}
	if len(s.begun) == 0 {
		return
	}
	above := t.above[n.index]
	s.begun = slices.DeleteFunc(slices.Clone(s.begun), func(b begun) bool {
		wanted := asked.has(int(b.row)) || slices.ContainsFunc(open, func(id residualID) bool {
			return slices.Contains(t.residuals.residuals[id].long, b.row)
		})
		first := t.config.rows.rows[b.row][:b.left]
		return !wanted || s.has.has(int(b.row)) ||
			slices.ContainsFunc(first, func(l labelID) bool { return !above.has(int(l)) })
	})
	slices.SortFunc(s.begun, func(a, b begun) int { return cmp.Or(cmp.Compare(a.row, b.row), cmp.Compare(a.left, b.left)) })
	s.begun = slices.Compact(s.begun)
}

// appendKey appends what tells the knownRows from others, of which all have only asked rows.
func (s knownRows) appendKey(key []byte, asked bitSet) []byte {
	for i, w := range asked {
		if w != 0 {
			key = binary.LittleEndian.AppendUint64(key, s.has[i])
		}
	}
	for _, b := range s.begun {
		key = binary.AppendUvarint(key, uint64(b.row))  //nolint:gosec // never negative
		key = binary.AppendUvarint(key, uint64(b.left)) //nolint:gosec // never negative
	}
	return key
}

func (p *part) encode(asked bitSet) string {
	key := make([]byte, 0, 128)
	for _, id := range p.open {
		key = binary.AppendUvarint(key, uint64(id)+1) //nolint:gosec // never negative
	}
	return string(p.appendKey(append(key, 0), asked))
}

// merge adds the states of a part that is the same to p.
func (p *part) merge(same *part) {
	p.states = mergeTrails(p.states, same.states)
	if p.join == nil {
		return
	}
	for i, s := range p.join.sums { // the same, but for the order of their parts
		for _, inner := range same.join.sums[i].parts {
			s.byKey[inner.key].merge(inner)
		}
	}
}
