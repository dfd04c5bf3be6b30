// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Options say how to expand a config.
type Options struct {
	// Defaults takes of each set with a default (a variant marked by "@" or [default=]) only that one, or when no
	// variant comes of it, all others.
	Defaults bool
}

// Variants returns the config's variants in order, one at a time: the memory that it takes does not grow with their
// number. When ctx ends, or a variant cannot be built, the last pair has an error (of ctx, its cause). A config without
// any variants is no error; [Config.WhyEmpty] says what to tell the user then.
func (c *Config) Variants(ctx context.Context, o Options) iter.Seq2[*Variant, error] {
	return func(yield func(*Variant, error) bool) {
		keys := c.keys.clone()
		w := &walk{
			ctx: ctx, options: o, labels: c.labels,
			dict:     newDict(keys),
			patterns: make(patternMatches, c.patterns),
			lists:    map[*node]*statementList{},
			way:      way{on: make([]bool, c.nodes)},
			cuts:     make([][]*pick, c.nodes),
		}
		stopped := false
		w.enter(c.root, nil, func(d *dict) bool {
			stopped = !yield(d.variant(), nil)
			return !stopped
		})
		if w.err != nil && !stopped {
			yield(nil, w.err)
		}
	}
}

// variant returns what d has been built into.
func (d *dict) variant() *Variant {
	v := &Variant{Name: d.name, ShortName: d.shortName, Dep: d.dep, Params: make(Params, len(d.order)+2)}
	d.flatten(v.Params)
	v.Params[keyName], v.Params[keyShortName] = d.name, d.shortName
	if d.files != nil {
		v.NameMapFile = make(map[string]string, len(d.files))
		v.ShortNameMapFile = make(map[string]string, len(d.files))
		for _, f := range d.files {
			v.NameMapFile[f.file], v.ShortNameMapFile[f.file] = f.full, f.short
		}
	}
	return v
}

// A walk is one expansion. It goes from the root to the leaf by each way that filters leave open.
type walk struct {
	ctx      context.Context //nolint:containedctx // a walk lives within one call
	options  Options
	labels   *labelTable
	patterns patternMatches
	dict     *dict // of the variant being built
	err      error // why the walk ended early
	steps    int

	way

	// Filters that have cut the way at a node, by the node's index. A node is reached on many ways, and what has cut one
	// of them will mostly cut the next, as long as the filter's own node is on the way too.
	cuts [][]*pick
	cut  *pick // the filter that cut the way last

	lists map[*node]*statementList // of nodes with joins that are being walked through
}

// A way is what a walk has passed from the root: stacks, but for on.
type way struct {
	path  []nodeLabel
	short []labelID
	deps  []dependency
	on    []bool // by a node's index: whether the way goes through it
}

func (w *way) clone() way {
	return way{slices.Clone(w.path), slices.Clone(w.short), slices.Clone(w.deps), slices.Clone(w.on)}
}

// A dependency is what a variant depends on: labels behind those of the path up to a depth.
type dependency struct {
	depth int
	row   []labelID
}

// A segment is the statements of one node, followed by those of the nodes above it: what a variant below inherits. Only
// segments in which something is undecided are looked at on the way down.
type segment struct {
	statements []statement
	decides    bool // statements holds filters or conditions that are still open
	open       bool // this segment or one behind it decides
	next       *segment
}

// enter walks from n to the leaf by all ways that are open, and calls emit with each variant's dict, which is valid
// during the call only. It returns false when the walk is to end.
func (w *walk) enter(n *node, inherited *segment, emit func(*dict) bool) bool {
	list := w.lists[n]
	if list == nil && n.joins {
		list = &statementList{n.statements}
	}
	if list == nil {
		return w.pass(n, n.statements, n.decides, inherited, emit)
	}
	if decides, joins := decide(list.statements); !joins {
		return w.pass(n, list.statements, decides, inherited, emit)
	}
	return w.join(n, list, inherited, emit)
}

// pass walks through n with the given statements as its own.
func (w *walk) pass(n *node, own []statement, decides bool, inherited *segment, emit func(*dict) bool) bool {
	if w.steps++; w.steps%256 == 0 && w.ctx.Err() != nil {
		w.err = context.Cause(w.ctx)
		return false
	}
	path, short, deps := len(w.path), len(w.short), len(w.deps)
	defer func() { w.path, w.short, w.deps = w.path[:path], w.short[:short], w.deps[:deps] }()
	defer func(before bool) { w.on[n.index] = before }(w.on[n.index])
	w.on[n.index] = true

	for _, word := range n.deps {
		for _, row := range word {
			w.deps = append(w.deps, dependency{path, row})
		}
	}
	w.path = append(w.path, n.labels...)
	if w.isCut(n) {
		return true
	}
	segments := inherited
	if len(own) > 0 {
		segments = &segment{statements: own, decides: decides, open: true, next: inherited}
	}
	segments, ok := w.settle(segments, n.below)
	if !ok {
		w.rememberCut(n)
		return true
	}
	if n.isChoice && !n.hidden {
		for _, l := range n.labels {
			w.short = append(w.short, l.name)
		}
	}
	if len(n.children) == 0 {
		return w.leaf(segments, emit)
	}
	if !w.options.Defaults || n.preferred < 0 {
		for _, child := range n.children {
			if !w.enter(child, segments, emit) {
				return false
			}
		}
		return true
	}
	found := false
	ok = w.enter(n.children[n.preferred], segments, func(d *dict) bool { found = true; return emit(d) })
	if found {
		return ok
	}
	for i, child := range n.children {
		if ok && i != n.preferred {
			ok = w.enter(child, segments, emit)
		}
	}
	return ok
}

// maxCuts is how many filters a node remembers.
const maxCuts = 4

// isCut tells whether one of the filters that n remembers cuts the way once more.
func (w *walk) isCut(n *node) bool {
	for _, p := range w.cuts[n.index] {
		if w.on[p.owner.index] && w.fails(p, n.below) {
			return true
		}
	}
	return false
}

// fails tells whether p leaves nothing at or below the path.
func (w *walk) fails(p *pick, below labelSet) bool {
	if p.only {
		return !p.filter.mightMatch(w.path, below)
	}
	return p.filter.matches(w.path)
}

// rememberCut notes at n the filter that cut the way last, in place of the one that was noted first.
func (w *walk) rememberCut(n *node) {
	if w.cut.owner == nil {
		return
	}
	cuts := w.cuts[n.index]
	if len(cuts) == maxCuts {
		copy(cuts, cuts[1:])
		cuts = cuts[:maxCuts-1]
	}
	w.cuts[n.index] = append(cuts, w.cut)
}

// settle decides what the path decides of s and the segments behind it. It returns what is left of them, s itself if
// that is all; or false when a filter leaves nothing at or below the path.
func (w *walk) settle(s *segment, below labelSet) (*segment, bool) {
	if s == nil || !s.open {
		return s, true
	}
	var ok bool
	settled, changed := *s, false
	if s.decides {
		if settled.statements, settled.decides, changed, ok = w.decide(s.statements, below); !ok {
			return nil, false
		}
	}
	if settled.next, ok = w.settle(s.next, below); !ok {
		return nil, false
	}
	settled.open = settled.decides || settled.next != nil && settled.next.open
	if !changed && settled.next == s.next && settled.open == s.open {
		return s, true
	}
	return &settled, true
}

// decide returns the statements that are left of a list, whether some of them are still open, and whether that is
// another list; ok is false when a filter leaves nothing.
func (w *walk) decide(list []statement, below labelSet) (left []statement, open, changed, ok bool) {
	for i, s := range list {
		keep := true
		var body []statement
		switch s := s.(type) {
		case *pick:
			if w.fails(s, below) {
				w.cut = s
				return nil, false, false, false
			}
			if s.only {
				keep = !s.filter.matches(w.path)
			} else {
				keep = s.filter.mightMatch(w.path, below)
			}
			open = open || keep
		case *guard:
			holds := s.filter.matches(w.path)
			keep = !holds && s.filter.mightMatch(w.path, below)
			open = open || keep
			if !keep && holds != s.negated {
				var bodyOpen bool
				if body, bodyOpen, _, ok = w.decide(s.body, below); !ok {
					return nil, false, false, false
				}
				open = open || bodyOpen
			}
		}
		if !keep && !changed {
			left, changed = append(make([]statement, 0, len(list)+len(body)), list[:i]...), true
		}
		if changed {
			left = append(left, body...)
			if keep {
				left = append(left, s)
			}
		}
	}
	if !changed {
		left = list
	}
	return left, open, changed, true
}

// leaf builds the dict of the path.
func (w *walk) leaf(segments *segment, emit func(*dict) bool) bool {
	d := w.dict
	d.reset()
	d.name = w.pathName(w.path)
	var b strings.Builder
	for i, id := range w.short {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(w.labels.texts[id])
	}
	d.shortName = b.String()
	for _, dep := range w.deps {
		d.dep = append(d.dep, w.dependencyName(dep))
	}
	for s := segments; s != nil; s = s.next {
		if err := d.apply(s.statements, w.patterns); err != nil {
			w.err = fmt.Errorf("variant %q: %w", d.name, err)
			return false
		}
	}
	if err := d.limits(); err != nil {
		w.err = fmt.Errorf("variant %q: %w", d.name, err)
		return false
	}
	return emit(d)
}

func (w *walk) pathName(path []nodeLabel) string {
	var b strings.Builder
	for i, l := range path {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(w.labels.texts[l.full])
	}
	return b.String()
}

func (w *walk) dependencyName(dep dependency) string {
	var b strings.Builder
	b.WriteString(w.pathName(w.path[:dep.depth]))
	for i, id := range dep.row {
		if i > 0 || dep.depth > 0 {
			b.WriteByte('.')
		}
		b.WriteString(w.labels.texts[id])
	}
	return b.String()
}
