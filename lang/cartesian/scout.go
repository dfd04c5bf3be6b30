// SPDX-License-Identifier: Apache-2.0

package cartesian

import "slices"

// A scout tells whether a join makes any variants, before a walk looks for the second of a pair at each of very many first
// ones. It goes through what is below the join's node as a walk does, but once for each factor and what may be in progress
// then, and to the first variant only where no joins are left.
type scout struct {
	*walk // of its own
	known map[string][]progress
	lost  map[*node]bool // joins below which there is too much

	checked bool // sound is known
	sound   bool // no variant of the config fails
}

// scoutSteps is how many steps a scout goes for one join at most.
const scoutSteps = 200_000

// soundSteps is how many steps a counter goes to find out that a config is sound: some seconds.
const soundSteps = 5_000_000

// barren reports whether the joins of n, where the walk is, make no variants, and none of those that they would multiply
// fails. It may say no where they make none.
func (w *walk) barren(n *node, factors []*pick) bool {
	if n.leaves <= w.bounds.unscouted || len(factors) > maxFactors {
		return false
	}
	if w.scout == nil {
		w.scout = w.newScout()
	}
	s := w.scout
	if s.lost[n] {
		return false
	}
	s.way, s.steps, s.ended = w.way.clone(), 0, false
	makes := len(s.multiply(n, factors, 0, 0, w.progress())) > 0
	s.lost[n] = s.ended
	return !makes && !s.ended && s.isSound()
}

func (w *walk) newScout() *scout {
	s := &scout{walk: newWalk(w.ctx, w.config, w.options), known: map[string][]progress{}, lost: map[*node]bool{}}
	s.names, s.mostSteps = true, scoutSteps
	return s
}

// isSound reports whether no variant of the config fails, surely.
func (s *scout) isSound() bool {
	if !s.checked {
		t := newCounter(s.ctx, s.config, s.options)
		t.mostSteps = soundSteps
		_, wrong := t.count()
		s.checked, s.sound = true, wrong == nil && !t.ended()
	}
	return s.sound
}

// progress returns which joins are in progress.
func (w *walk) progress() (p progress) {
	for n, list := range w.lists {
		factors, single := singleFactor(n)
		if list == nil || single || len(factors) > maxFactors {
			continue
		}
		var set uint
		for i, f := range factors {
			if slices.Contains(list.decisions, statement(f)) {
				set |= 1 << i
			}
		}
		p = p.with(n, set)
	}
	return p
}

// enter returns what may be in progress at the variants of n, in the order of their first ones; nothing if there are none.
func (s *scout) enter(n *node, in progress) []progress {
	factors, single := singleFactor(n)
	if set, bound := in.of(n); bound {
		factors, single = acting(factors, set), true
	}
	if single {
		return s.pass(n, factors, in)
	}
	return s.multiply(n, factors, 0, 0, in)
}

// multiply is enter for the factors from one on, see multiplication.combine.
func (s *scout) multiply(n *node, factors []*pick, with uint, from int, in progress) []progress {
	set := with | 1<<from
	some := s.pass(n, acting(factors, set), in)
	if len(some) == 0 {
		return nil
	}
	var ends []progress
	if from+1 == len(factors) {
		for _, p := range some {
			ends = append(ends, p.with(n, set))
		}
		return ends
	}
	ends = s.multiply(n, factors, with, from+1, some[0])
	for _, p := range some { // the first one may have others that are in progress by the same
		ends = appendNew(ends, s.multiply(n, factors, with|1<<(from+1), from+1, p))
	}
	return ends
}

func appendNew(ends, more []progress) []progress {
	for _, p := range more {
		if !slices.ContainsFunc(ends, func(known progress) bool { return slices.Equal(known, p) }) {
			ends = append(ends, p)
		}
	}
	return ends
}

// pass is enter where some picks act instead of the joins of n.
func (s *scout) pass(n *node, picks []*pick, in progress) []progress {
	if s.tick(); s.ended {
		return nil
	}
	m := s.push(n)
	defer s.pop(m)
	own := slices.Clip(n.decisions)
	for _, p := range picks {
		own = append(own, p)
	}
	inherited := s.open
	s.open = nil
	if !s.settle(own, n.below) || !s.settle(inherited, n.below) {
		return nil
	}
	s.open = s.arena[m.arena:]
	switch len(n.children) {
	case 0:
		return []progress{in}
	case 1:
		return s.enter(n.children[0], in)
	}
	s.setState(n)
	state := string(in.appendKey(s.state))
	ends, known := s.known[state]
	if known {
		return ends
	}
	ends = s.explore(n, in)
	if len(s.known) == scoutSteps {
		clear(s.known)
	}
	if !s.ended {
		s.known[state] = ends
	}
	return ends
}

// explore enters the children of a node that was just passed.
func (s *scout) explore(n *node, in progress) (ends []progress) {
	children, preferred := n.children, s.preferred(n)
	if preferred >= 0 {
		children = preferredFirst(n)
	}
	for i, child := range children {
		ends = appendNew(ends, s.enter(child, in))
		if len(ends) > 0 && (!n.joined || i == 0 && preferred >= 0) || s.ended {
			break
		}
	}
	return ends
}
