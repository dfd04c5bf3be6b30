// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
)

// A walk is one expansion. It goes from the root to the leaf by each way that filters leave open.
//
// What decides which variants there are (filters, conditions with filters in them) is looked at on the way down, and
// what came of it is remembered: where the same of it is still open and the labels above make no difference to it, the
// tree below has the same variants, and the walk follows the branches that led to some of them last time. All other
// statements only pile up on the way down; a variant's dict is built at the leaf, by letting them act in the order of
// the text.
type walk struct {
	ctx     context.Context //nolint:containedctx // a walk lives within one call
	config  *Config
	options Options
	tracks  bool             // dicts get an origin
	names   bool             // names are all that is wanted: dicts have nothing else
	count   bool             // the number of variants is all that is wanted
	emit    func(*dict) bool // gets each variant, valid during the call only; false ends the walk

	// Gets what other walks are to emit, if this one does not emit itself: the branches at the end of w.way, or all that
	// explore finds there if they are nil.
	handOver func(n *node, left *branch)

	way
	dict *dict // of the variant being built

	steps     int
	mostSteps int // where the walk ends, if not 0
	ended     bool
	err       error // why the walk ended early

	known  map[string]*branch // what is known of nodes with several children, by state
	size   int                // bytes that known takes, about
	bounds bounds
	forgot int // how often known was emptied
	state  []byte
	arena  []statement // what way.open is made from
	asked  bitSet      // for appendState

	foldings []*folding
	folds    int // how many of them are in use

	lists map[*node]*joinList // of nodes with joins that are being walked through
	scout *scout              // looks ahead of joins; nil until there is need
}

// A way is what a walk has passed from the root.
type way struct {
	path        *labelPath
	open        []statement // decisions that are still open
	full, short []byte      // names
	deps        []dependency
	passed      [][]statement // statements of the nodes, those that come first in the text last
	nodes       []*node       // of walks that track
}

// clone returns a way of its own, with room to go on.
func (w *way) clone() way {
	return way{
		w.path.clone(), slices.Clone(w.open), roomy(w.full, 256), roomy(w.short, 256), roomy(w.deps, 8), roomy(w.passed, 32),
		slices.Clone(w.nodes),
	}
}

// roomy returns a copy of s with room for more elements.
func roomy[T any](s []T, more int) []T { return append(make([]T, 0, len(s)+more), s...) }

// A branch is what is left of the tree at a node, without what leads to no variant.
type branch struct {
	node     *node
	branches []*branch
	size     int      // how many variants there are, up to manyLeaves
	variants *big.Int // how many there are; of walks that count, which keep no branches for that
}

func newWalk(ctx context.Context, c *Config, o Options) *walk {
	return &walk{
		ctx: ctx, config: c, options: o, way: way{path: newLabelPath(c.rows)},
		known: map[string]*branch{}, bounds: usualBounds, lists: map[*node]*joinList{}, asked: newBitSet(len(c.rows.rows)),
	}
}

// run walks through the whole tree, and returns what enter does.
func (w *walk) run() (*branch, error) {
	if w.ctx.Err() != nil {
		return nil, context.Cause(w.ctx)
	}
	if err := w.begin(); err != nil {
		return nil, err
	}
	left, _ := w.enter(w.config.root)
	return left, w.err
}

// begin lets the dict have what all variants begin with.
func (w *walk) begin() error {
	if w.names {
		return nil
	}
	w.dict.grow()
	if err := w.dict.apply(w.config.common, w.path); err != nil {
		return err
	}
	w.dict.keep()
	return nil
}

// end ends the walk.
func (w *walk) end(err error) {
	w.ended, w.err = true, err
}

// tick counts a step, and ends the walk if its context has ended.
func (w *walk) tick() {
	if w.steps++; w.steps%256 == 0 && w.ctx.Err() != nil {
		w.end(context.Cause(w.ctx))
	}
	if w.steps > w.mostSteps && w.mostSteps > 0 {
		w.ended = true
	}
}

// enter walks from n to the leaf by all ways that are open. It returns whether there was a variant, and if so what is
// left of the tree there; that is nil if it cannot be used again.
func (w *walk) enter(n *node) (left *branch, found bool) {
	if list := w.listOf(n); list != nil {
		return nil, w.join(n, list)
	}
	return w.pass(n, n.decisions)
}

// A mark is a way's length.
type mark struct {
	path                    pathMark
	open                    []statement
	arena                   int
	full, short, deps, rows int
	nodes                   int
}

// push lengthens the way by n.
func (w *walk) push(n *node) mark {
	m := mark{
		open: w.open, arena: len(w.arena),
		full: len(w.full), short: len(w.short), deps: len(w.deps), rows: len(w.passed),
		nodes: len(w.nodes),
	}
	if w.tracks {
		w.nodes = append(w.nodes, n)
	}
	if !w.names {
		for _, labels := range n.deps {
			w.deps = append(w.deps, dependency{len(w.full), labels})
		}
		w.passed = append(w.passed, n.statements)
	}
	m.path = w.path.extend(n.labels)
	w.pushNames(n)
	return m
}

func (w *walk) pushNames(n *node) {
	if len(n.labels) == 0 {
		return
	}
	w.full = appendLabels(w.full, n.full)
	if !n.hidden {
		w.short = appendLabels(w.short, n.short)
	}
}

func appendLabels(name []byte, labels string) []byte {
	if len(name) > 0 {
		name = append(name, '.')
	}
	return append(name, labels...)
}

func (w *walk) pop(m mark) {
	w.path.cut(m.path)
	w.open, w.arena = m.open, w.arena[:m.arena]
	w.full, w.short, w.deps, w.passed = w.full[:m.full], w.short[:m.short], w.deps[:m.deps], w.passed[:m.rows]
	w.nodes = w.nodes[:m.nodes]
}

// pass walks through n with the given decisions as its own.
func (w *walk) pass(n *node, own []statement) (*branch, bool) {
	w.tick()
	m := w.push(n)
	defer w.pop(m)
	inherited := w.open
	w.open = nil
	if !w.settle(own, n.below) || !w.settle(inherited, n.below) {
		return nil, false
	}
	w.open = w.arena[m.arena:]
	if w.handOver != nil && n.leaves <= w.bounds.delegated {
		return w.delegate(n)
	}
	if len(n.children) == 0 {
		w.leaf()
		return w.leafBranch(n), true
	}
	if len(n.children) == 1 || n.joined {
		return w.explore(n)
	}
	return w.recall(n)
}

// recall does as explore does, but not again what is known.
func (w *walk) recall(n *node) (*branch, bool) {
	w.setState(n)
	if left, known := w.known[string(w.state)]; known {
		if left != nil {
			w.follow(left)
		}
		return left, left != nil
	}
	state, forgot := string(w.state), w.forgot
	left, found := w.explore(n)
	if w.ended || forgot != w.forgot || found && left == nil {
		return nil, found
	}
	w.remember(state, left)
	return left, found
}

// delegate finds out what is left at n, which was just passed, and hands it over.
func (w *walk) delegate(n *node) (left *branch, found bool) {
	handOver := w.handOver
	w.handOver = nil
	if len(n.children) == 0 {
		left, found = w.leafBranch(n), true
	} else {
		left, found = w.recall(n)
	}
	w.handOver = handOver
	switch {
	case w.ended || found && left == nil: // what is there, or comes before the error, is for the other walk to find
		handOver(n, nil)
	case found:
		w.follow(left)
	}
	return left, found
}

// explore enters the children of a node that was just passed.
func (w *walk) explore(n *node) (left *branch, found bool) {
	passed, folds := w.passed, w.folds
	w.fold(n)
	defer func() { w.unfold(passed, folds) }()
	forgot := w.forgot
	left = &branch{node: n}
	if w.count {
		left.variants = new(big.Int)
	}
	try := func(child *node) bool {
		branch, ok := w.enter(child)
		found = found || ok
		switch {
		case ok && branch == nil || forgot != w.forgot:
			left = nil
		case ok && w.count:
			left.variants.Add(left.variants, branch.variants)
		case ok && left != nil:
			left.branches = append(left.branches, branch)
			left.size = min(manyLeaves, left.size+branch.size)
		}
		return ok
	}
	preferred := w.preferred(n)
	if preferred >= 0 && try(n.children[preferred]) {
		return left, true
	}
	for i, child := range n.children {
		if i != preferred && !w.ended {
			try(child)
		}
	}
	if !found {
		return nil, false
	}
	return left, true
}

// preferred is the index of the child to try first and, if variants come of it, alone; or -1.
func (w *walk) preferred(n *node) int {
	if w.options.Defaults {
		return n.preferred
	}
	return -1
}

// branchSize is how many bytes a branch takes, about.
const branchSize = 64

// bounds are how much of something there may be at once.
type bounds struct {
	known     int // bytes that a walk remembers, about
	unit      int // variants that a walk hands over, about
	delegated int // leaves at a node when a walk that hands over first finds out what is left of them
	unscouted int // leaves below a join that is not worth a scout
}

var usualBounds = bounds{known: 8 << 20, unit: 1 << 12, delegated: 1 << 17, unscouted: 1 << 10}

func (w *walk) remember(state string, left *branch) {
	w.known[state] = left
	w.size += 2*len(state) + branchSize
	if left != nil {
		w.size += len(left.branches) * 2 * branchSize
	}
	if w.size > w.bounds.known {
		clear(w.known)
		w.size = 0
		if !w.count {
			w.forgot++ // what is being explored must not keep all that was forgotten
		}
	}
}

// setState sets w.state to what decides on the variants below n: what is still open, and what the path means to that and
// to what comes.
func (w *walk) setState(n *node) {
	clear(w.asked[copy(w.asked, n.asked):])
	addAsked(w.asked, w.open)
	w.state = binary.LittleEndian.AppendUint32(w.state[:0], uint32(n.index))
	w.state = binary.LittleEndian.AppendUint32(w.state, uint32(len(w.open)))
	for _, s := range w.open {
		w.state = binary.LittleEndian.AppendUint32(w.state, uint32(decisionID(s)))
	}
	w.state = w.path.appendState(w.state, w.asked)
}

// follow walks on from a node that was just passed, by the branches that are left of it.
func (w *walk) follow(left *branch) {
	switch {
	case w.handOver != nil && left.size <= w.bounds.unit:
		w.handOver(left.node, left)
		return
	case w.handOver == nil && w.emit == nil:
		return
	case len(left.node.children) == 0:
		w.leaf()
		return
	}
	passed, folds := w.passed, w.folds
	w.fold(left.node)
	for _, b := range left.branches {
		if w.tick(); w.ended {
			break
		}
		m := w.push(b.node)
		w.follow(b)
		w.pop(m)
	}
	w.unfold(passed, folds)
}

// followNames is follow for names alone, which need no more of the way.
func (w *walk) followNames(left *branch) {
	if len(left.node.children) == 0 {
		w.dict.name, w.dict.shortName = w.full, w.short
		if !w.emit(w.dict) {
			w.ended = true
		}
		return
	}
	full, short := w.full, w.short
	for _, b := range left.branches {
		if w.tick(); w.ended {
			return
		}
		w.pushNames(b.node)
		w.followNames(b)
		w.full, w.short = full, short
	}
}

// settle puts those of decisions into the arena that the path leaves open. It returns false when one of them leaves
// nothing at or below the path.
func (w *walk) settle(decisions []statement, below bitSet) bool {
	for _, s := range decisions {
		switch s := s.(type) {
		case *pick:
			holds := s.filter.matches(w.path)
			if !s.only && holds {
				return false
			}
			if s.only && holds {
				continue
			}
			might := s.filter.mightMatch(w.path, below)
			if s.only && !might {
				return false
			}
			if !might {
				continue
			}
		case *guard:
			holds := s.filter.matches(w.path)
			if holds || !s.filter.mightMatch(w.path, below) {
				if holds != s.negated && !w.settle(s.decisions, below) {
					return false
				}
				continue
			}
		}
		w.arena = append(w.arena, s)
	}
	return true
}

func (w *walk) leafBranch(n *node) *branch {
	if w.count {
		return &branch{node: n, variants: one}
	}
	return &branch{node: n, size: 1}
}

var one = big.NewInt(1)

// leaf emits the variant of the way.
func (w *walk) leaf() {
	for _, s := range w.open { // only these can be open at the leaf
		if f, ok := s.(*fault); ok {
			w.end(w.variantError(f.err))
			return
		}
	}
	if w.emit == nil {
		return
	}
	d := w.dict
	d.name, d.shortName = w.full, w.short
	if w.tracks {
		d.origin = &origin{
			name: string(w.full), shortName: string(w.short), nodes: slices.Clone(w.nodes), path: slices.Clone(w.path.labels),
		}
	}
	if !w.names {
		if err := w.build(d); err != nil {
			w.end(w.variantError(err))
			return
		}
	}
	if !w.emit(d) {
		w.ended = true
	}
}

func (w *walk) variantError(err error) error { return fmt.Errorf("variant %q: %w", w.full, err) }

// build makes d the dict of the way.
func (w *walk) build(d *dict) error {
	d.reset()
	if !w.config.root.joined {
		d.forget()
	}
	d.name, d.shortName, d.path, d.deps = w.full, w.short, w.full, w.deps
	last := len(w.passed) - 1
	if err := d.apply(w.passed[last][len(w.config.common):], w.path); err != nil {
		return err
	}
	for _, statements := range slices.Backward(w.passed[:last]) {
		if err := d.apply(statements, w.path); err != nil {
			return err
		}
	}
	return d.limits(w.config.limiting)
}
