// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// drops returns the smallest sets of statements that drop what is asked for (nil: anything), none when it is
// impossible. The only set is an empty one when something is not dropped. Partial tells that there may be others.
//
// Every "only" at the end of the config is part of the query too, as it leaves most of the tree aside; so one is
// asked after the other which of these are among the dropping ones: none, each one, two of them.
func (c *Config) drops(ctx context.Context, asked query, o Options) (drops []Drop, partial bool, err error) {
	ends := c.endingPicks()
	best := math.MaxInt
	bySet := map[string]Drop{}
	for size := 0; size <= min(len(ends), best); size++ {
		for _, failing := range subsets(ends, size) {
			query, possible := c.withPicks(asked, ends, failing)
			if !possible {
				continue
			}
			s := newDropSearch(ctx, c, query, failing, o)
			if err := s.run(best); err != nil {
				return nil, false, err
			}
			partial = partial || s.partial
			for _, f := range s.found {
				if len(f.set) < best {
					best = len(f.set)
					clear(bySet)
				}
				d := Drop{Variant: f.name, Statements: []Culprit{}}
				for _, number := range f.set {
					d.Statements = append(d.Statements, *s.all[number])
				}
				slices.SortFunc(d.Statements, func(a, b Culprit) int { return a.compare(b.Location) })
				var set strings.Builder
				for i := range d.Statements {
					set.WriteString(d.Statements[i].id() + "\n")
				}
				if bySet[set.String()].Statements == nil {
					bySet[set.String()] = d
				}
			}
		}
	}
	for _, d := range bySet {
		drops = append(drops, d)
	}
	slices.SortFunc(drops, func(a, b Drop) int {
		return slices.CompareFunc(a.Statements, b.Statements, func(a, b Culprit) int { return a.compare(b.Location) })
	})
	return drops, partial, nil
}

// maxEndingPicks is how many "only" are made a part of the query, and maxAskedWords how many words it may have then.
const (
	maxEndingPicks = 6
	maxAskedWords  = 64
)

// endingPicks returns "only" statements at the end of the config, the last ones first.
func (c *Config) endingPicks() []*pick {
	var ends []*pick
	for _, stmt := range slices.Backward(c.root.statements) {
		if p, ok := stmt.(*pick); ok && p.only && len(ends) < maxEndingPicks {
			ends = append(ends, p)
		}
	}
	return ends
}

// subsets returns the subsets of picks with size elements.
func subsets(picks []*pick, size int) [][]*pick {
	if size == 0 {
		return [][]*pick{nil}
	}
	var all [][]*pick
	for i := range picks {
		for _, rest := range subsets(picks[i+1:], size-1) {
			all = append(all, append([]*pick{picks[i]}, rest...))
		}
	}
	return all
}

// withPicks returns what paths match that match both what is asked for and the picks, but those of failing. Possible
// is false when no path does.
func (c *Config) withPicks(asked query, picks, failing []*pick) (all query, possible bool) {
	all = asked
	for _, p := range picks {
		if slices.Contains(failing, p) || len(all)*len(p.filter) > maxAskedWords {
			continue
		}
		picked := c.rows.query(p.filter)
		if all == nil {
			all = picked
		} else {
			var both query
			for _, a := range all {
				for _, b := range picked {
					both = append(both, slices.Concat(a, b))
				}
			}
			all = both
		}
		if len(all) == 0 {
			return nil, false
		}
	}
	if all == nil {
		return nil, true
	}
	all = slices.DeleteFunc(slices.Clone(all), func(w queryWord) bool { return !c.possible(w) })
	return all, len(all) > 0
}

// A dropSearch looks for paths that match what is asked for, those that the fewest statements drop first. It goes on
// from points in order of the number of statements that have dropped them so far, up to a bound that it raises when
// nothing is found. Behind a point it finds nothing new when it has gone on from a point of the same key that a part of
// the same statements has dropped.
type dropSearch struct {
	*searchIndex
	ctx      context.Context //nolint:containedctx // a search lives within one call
	failing  []*pick         // must be among the dropping ones
	defaults bool
	any      *walk // in defaults mode: reports whether a default has a variant

	all     []*Culprit     // by number
	numbers map[string]int // of culprits, by place
	steps   int
	partial bool

	bound, next int         // the largest size of sets now, and the smallest one above
	queue       [][]dropped // by the size of the set; the last ones are next
	seen        map[string][]numberSet
	found       []foundDrop
}

// How long a search goes on: in all, and after it has found something.
const (
	maxSteps      = 2_000_000
	maxStepsAfter = 200_000
)

func newDropSearch(ctx context.Context, c *Config, asked query, failing []*pick, o Options) *dropSearch {
	return &dropSearch{
		searchIndex: newSearchIndex(c, asked), ctx: ctx, failing: failing, defaults: o.Defaults, numbers: map[string]int{},
	}
}

// A numberSet is a sorted set of culprits.
type numberSet []int

func (s numberSet) with(number int) numberSet {
	i, ok := slices.BinarySearch(s, number)
	if ok {
		return s
	}
	return slices.Insert(slices.Clone(s), i, number)
}

func (s numberSet) within(t numberSet) bool {
	for _, number := range s {
		if _, ok := slices.BinarySearch(t, number); !ok {
			return false
		}
	}
	return true
}

// dropped is a point and what has dropped it.
type dropped struct {
	point
	set numberSet
	key string
}

type foundDrop struct {
	set  numberSet
	name string
}

// errTooManySteps ends a search that finds nothing for too long.
var errTooManySteps = errors.New("too many paths through the config to find out which statements drop it; use more labels")

// run looks for sets of at most so many statements.
func (s *dropSearch) run(most int) error {
	for s.bound = len(s.failing); s.bound <= most; s.bound = s.next {
		s.next = math.MaxInt
		s.queue, s.seen = make([][]dropped, s.bound+1), map[string][]numberSet{}
		s.arriveAt(s.config.root, dropped{})
		if err := s.exhaust(); err != nil || s.found != nil || s.next == math.MaxInt {
			return err
		}
	}
	return nil
}

// exhaust goes on from all points within the bound.
func (s *dropSearch) exhaust() error {
	enough := maxSteps
	for size := range s.queue {
		for len(s.queue[size]) > 0 {
			last := len(s.queue[size]) - 1
			from := s.queue[size][last]
			s.queue[size] = s.queue[size][:last]
			if s.ctx.Err() != nil {
				return context.Cause(s.ctx)
			}
			if s.steps > enough {
				if s.partial = true; s.found == nil {
					return errTooManySteps
				}
				return nil
			}
			before := len(s.found)
			if err := s.expand(from); err != nil {
				return err
			}
			if len(s.found) == before {
				continue
			}
			if len(from.set) == len(s.failing) {
				return nil // all sets have these, and this one has no more
			}
			if before == 0 {
				enough = min(enough, s.steps+maxStepsAfter)
			}
		}
	}
	return nil
}

// expand goes on from a point to the next nodes.
func (s *dropSearch) expand(from dropped) error {
	if s.isFound(from.set) || s.isSeen(from, true) {
		return nil
	}
	children := from.node.children
	if len(children) == 0 {
		s.found = append(s.found, foundDrop{from.set, s.config.labels.pathName(from.path)})
		return nil
	}
	preferred := -1
	if s.defaults && from.node.preferred >= 0 {
		yields, err := s.yields(children[from.node.preferred], from)
		if err != nil {
			return err
		}
		if yields {
			preferred = from.node.preferred
		}
	}
	// The last one is the first to be looked at.
	for i, child := range slices.Backward(children) {
		next := from
		if preferred >= 0 && i != preferred {
			next.set = next.set.with(s.number(defaultCulprit(children[preferred])))
		}
		s.arriveAt(child, next)
	}
	return nil
}

func (s *dropSearch) arriveAt(n *node, from dropped) {
	s.steps++
	p, failed, ok := s.arrive(n, s.own[n.index], from.point)
	if !ok {
		return
	}
	next := dropped{point: p, set: from.set}
	for _, f := range failed {
		next.set = next.set.with(s.number(s.culprits[f]))
	}
	if s.isFound(next.set) {
		return
	}
	if len(next.set) > s.bound {
		s.next = min(s.next, len(next.set))
		return
	}
	for _, f := range s.failing {
		if s.queries[f].matches(p.path) {
			return
		}
	}
	next.key = s.key(p)
	if s.isSeen(next, false) {
		return
	}
	s.seen[next.key] = append(s.seen[next.key], next.set)
	s.queue[len(next.set)] = append(s.queue[len(next.set)], next)
}

// isFound reports whether a found set is part of this one.
func (s *dropSearch) isFound(set numberSet) bool {
	return slices.ContainsFunc(s.found, func(f foundDrop) bool { return f.set.within(set) })
}

// isSeen reports whether a part of the set of a point has been seen at its key: a smaller one, or any.
func (s *dropSearch) isSeen(d dropped, smaller bool) bool {
	return slices.ContainsFunc(s.seen[d.key], func(seen numberSet) bool {
		return seen.within(d.set) && (!smaller || len(seen) < len(d.set))
	})
}

// yields reports whether a variant comes of the child n of a point, as far as what has not dropped the point decides.
func (s *dropSearch) yields(n *node, from dropped) (bool, error) {
	if s.any == nil {
		s.any = s.config.newNamesWalk(s.ctx, Options{})
		s.any.names = true
	}
	s.any.way = way{path: newLabelPath(s.config.rows), open: from.open}
	s.any.path.extend(from.path)
	_, found := s.any.enter(n)
	return found, s.any.err
}

func (s *dropSearch) number(c *Culprit) int {
	at := c.id()
	number, ok := s.numbers[at]
	if !ok {
		number = len(s.all)
		s.numbers[at] = number
		s.all = append(s.all, c)
	}
	return number
}

// id tells statements apart: all extra ones have one file name, and mostly one line.
func (l Location) id() string { return fmt.Sprintf("%s:%d:%d: %s", l.File, l.Line, l.Col, l.Text) }

func defaultCulprit(n *node) *Culprit {
	return &Culprit{Location: n.place.location(), Keyword: "default"}
}
