// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"iter"
	"slices"
	"strings"
)

// An origin is where a variant comes from: one way through the tree, or two origins that a join has merged. Expansion
// forgets the ways it went; here speed matters less, and the ways are kept.
type origin struct {
	name, shortName string

	// Of one way: its nodes from the root to the leaf, and the labels of the variants on it.
	nodes []*node
	path  []nodeLabel

	// Of a join:
	first, second *origin
	join          *joinWords
}

// A search is which variants to find. The zero search finds all.
type search struct {
	asked filter // they match it; nil: all do
	by    naming
	name  string // if they are looked for by a name: it

	// In defaults mode, what is asked for does not decide whether a default has a variant.
	afterDefaults bool
}

type naming int

const (
	byFilter naming = iota
	byName
	byShortName
)

// find returns the origins of variants in the order of [Config.Variants].
func (c *Config) find(ctx context.Context, wanted search, o Options) iter.Seq2[*origin, error] {
	return func(yield func(*origin, error) bool) {
		f := newFinder(ctx, c, wanted, o)
		stopped := false
		f.enter(c.root, point{}, func(v *origin) bool {
			if f.wants(v) {
				stopped = !yield(v, nil)
			}
			return !stopped
		})
		if f.err != nil && !stopped {
			yield(nil, f.err)
		}
	}
}

// A finder walks through the tree by the ways that filters leave open.
type finder struct {
	*survey
	ctx    context.Context //nolint:containedctx // a finder lives within one call
	wanted search
	o      Options
	err    error
	steps  int

	any *finder // for afterDefaults

	nodes []*node
	short []labelID

	// Keys of points with nothing behind them. Joins let walks depend on more than keys hold: then it is nil, and
	// variants are compared with what is wanted only when they are whole.
	dead  map[string]bool
	lists map[*node]*statementList // see join.go
}

func newFinder(ctx context.Context, c *Config, wanted search, o Options) *finder {
	f := &finder{survey: newSurvey(c, wanted.asked), ctx: ctx, wanted: wanted, o: o, lists: map[*node]*statementList{}}
	if !slices.ContainsFunc(c.allNodes(), func(n *node) bool { return n.joins }) {
		f.dead = map[string]bool{}
	}
	return f
}

// allNodes returns each node of the config once.
func (c *Config) allNodes() []*node {
	nodes := make([]*node, 0, c.nodes)
	seen := make([]bool, c.nodes)
	var visit func(n *node)
	visit = func(n *node) {
		if !seen[n.index] {
			seen[n.index] = true
			nodes = append(nodes, n)
			for _, child := range n.children {
				visit(child)
			}
		}
	}
	visit(c.root)
	return nodes
}

// wants compares a whole variant with what is wanted.
func (f *finder) wants(v *origin) bool {
	switch f.wanted.by {
	case byName:
		return v.name == f.wanted.name
	case byShortName:
		return v.shortName == f.wanted.name
	}
	return true
}

// mayBecomeWanted compares a way with what is wanted as far as it has come.
func (f *finder) mayBecomeWanted(path []nodeLabel) bool {
	if f.dead == nil {
		return true
	}
	begins := f.config.labels.pathName(path)
	switch f.wanted.by {
	case byFilter:
		return true
	case byShortName:
		begins = f.shortName()
	}
	rest, ok := strings.CutPrefix(f.wanted.name, begins)
	return ok && (begins == "" || rest == "" || rest[0] == '.')
}

func (f *finder) shortName() string {
	names := make([]string, len(f.short))
	for i, l := range f.short {
		names[i] = f.config.labels.texts[l]
	}
	return strings.Join(names, ".")
}

// enter walks from n to the leaf, and calls emit with each variant. It returns false when the walk is to end.
func (f *finder) enter(n *node, from point, emit func(*origin) bool) bool {
	if !n.joins {
		return f.pass(n, f.own[n.index], from, emit)
	}
	list := f.lists[n]
	if list == nil {
		list = &statementList{n.statements}
	}
	if _, joins := decide(list.statements); joins {
		return f.join(n, list, from, emit)
	}
	return f.passList(n, from, emit)
}

// pass walks through n with the given own deciding statements.
func (f *finder) pass(n *node, own []statement, from point, emit func(*origin) bool) bool {
	if f.steps++; f.steps%64 == 0 && f.ctx.Err() != nil {
		f.err = context.Cause(f.ctx)
		return false
	}
	p, failed, ok := f.arrive(n, own, from)
	if !ok || failed != nil {
		return true
	}
	short := len(f.short)
	f.nodes = append(f.nodes, n)
	defer func() { f.nodes, f.short = f.nodes[:len(f.nodes)-1], f.short[:short] }()
	if n.isChoice && !n.hidden {
		for _, l := range n.labels {
			f.short = append(f.short, l.name)
		}
	}
	if !f.mayBecomeWanted(p.path) {
		return true
	}
	if len(n.children) == 0 {
		return emit(&origin{
			name: f.config.labels.pathName(p.path), shortName: f.shortName(), nodes: slices.Clone(f.nodes), path: p.path,
		})
	}
	var key string
	if f.dead != nil && f.wanted.by == byFilter {
		if key = f.key(p); f.dead[key] {
			return true
		}
	}
	found := false
	ok = f.choose(n, p, func(v *origin) bool { found = true; return emit(v) })
	if !found && ok && key != "" {
		f.dead[key] = true
	}
	return ok
}

// choose goes on to the children of n.
func (f *finder) choose(n *node, p point, emit func(*origin) bool) bool {
	preferred := -1
	if f.o.Defaults && n.preferred >= 0 && f.wanted.afterDefaults {
		if f.any == nil {
			f.any = newFinder(f.ctx, f.config, search{}, Options{})
		}
		child := n.children[n.preferred]
		yields, err := f.any.yields(child, p.path, p.open)
		if err != nil {
			f.err = err
			return false
		}
		if yields {
			return f.enter(child, p, emit)
		}
	} else if f.o.Defaults && n.preferred >= 0 {
		preferred = n.preferred
		found := false
		if ok := f.enter(n.children[preferred], p, func(v *origin) bool { found = true; return emit(v) }); !ok || found {
			return ok
		}
	}
	for i, child := range n.children {
		if i != preferred && !f.enter(child, p, emit) {
			return false
		}
	}
	return true
}

// yields tells whether a variant comes of n, behind a path that leaves some statements open.
func (f *finder) yields(n *node, path []nodeLabel, open []statement) (bool, error) {
	found := false
	f.enter(n, point{path: path, open: open}, func(*origin) bool { found = true; return false })
	err := f.err
	f.err = nil
	return found, err
}

// join multiplies the variants at and below n, as join.go does.
func (f *finder) join(n *node, list *statementList, from point, emit func(*origin) bool) bool {
	var words []word
	var joins []*joinWords // of each word
	rest := new(statementList)
	for _, s := range list.statements {
		if j, ok := s.(*joinWords); ok {
			for _, w := range j.filter {
				words, joins = append(words, w), append(joins, j)
			}
		} else {
			rest.statements = append(rest.statements, s)
		}
	}
	before := f.lists[n]
	f.lists[n] = rest
	defer func() { f.lists[n] = before }()
	if len(words) == 0 {
		return true
	}
	return f.multiply(n, words, joins, from, emit)
}

func (f *finder) multiply(n *node, words []word, joins []*joinWords, from point, emit func(*origin) bool) bool {
	list := f.lists[n]
	nodes, short := slices.Clone(f.nodes), slices.Clone(f.short)
	keep := &statementList{slices.Clone(list.statements)}
	list.statements = append(slices.Clip(list.statements), &pick{filter: filter{words[0]}, only: true})
	if len(words) == 1 {
		return f.passList(n, from, emit)
	}
	return f.passList(n, from, func(first *origin) bool {
		interruptedNodes, interruptedShort := f.nodes, f.short
		defer func() { f.nodes, f.short = interruptedNodes, interruptedShort }()
		f.nodes, f.short = slices.Clone(nodes), slices.Clone(short)

		f.lists[n] = keep
		return f.multiply(n, words[1:], joins[1:], from, func(second *origin) bool {
			merged := &origin{first: first, second: second, join: joins[1]}
			if merged.name, f.err = mergeNames(first.name, second.name); f.err == nil {
				merged.shortName, f.err = mergeNames(first.shortName, second.shortName)
			}
			return f.err == nil && emit(merged)
		})
	})
}

func (f *finder) passList(n *node, from point, emit func(*origin) bool) bool {
	var own []statement
	for _, stmt := range f.lists[n].statements {
		switch stmt := stmt.(type) {
		case *pick:
			own = append(own, stmt)
		case *guard:
			if f.bodies[stmt] != nil {
				own = append(own, stmt)
			}
		}
	}
	return f.pass(n, own, from, emit)
}
