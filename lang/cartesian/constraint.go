// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
)

// A constraint is what may make building variants fail, found without building them: a key that limits another one, where
// one of them may not be a number, with all keys that their values are made from; or all statements that cannot act.
type constraint struct {
	limit keyID  // noKey: faults
	keys  bitSet // plain keys
	named bool   // the limited key is a reserved one

	effects [][]statement // by node: its statements that matter
	raises  bitSet        // nodes that have statements with which the constraint begins

	// Of one counter:
	asked  []bitSet // by node: rows that conditions around effects above ask for; nil for none
	coming bitSet   // nodes above which some of raises are
}

const noKey keyID = -1

// A constraintState is the state of a constraint on paths from a node to the leaf: the values that its keys have, and after
// them what conditions on labels above do to these.
type constraintState struct {
	knownRows
	constraint int
	values     valuesID
	pending    []residualID // effects, in order; the first is a condition
}

type stateID int32

// A trail is a state, and the path that led to it.
type trail struct {
	state stateID
	node  *node // nil: begins
	from  *trail
}

// A stateTable numbers states. A config that joins has one more constraint than others, which never fails: the path.
type stateTable struct {
	config      *Config
	residuals   *residualTable
	constraints []constraint
	renames     bool // a limit may change names
	traced      bool // there are trails of all ways

	states []constraintState
	ids    map[string]stateID
	values valuesTable
	suffix bool // there are suffixes
	key    []byte
}

// wayState is the state of ways that are traced.
const wayState stateID = 0

// stateTransitions remembers what states become at a node.
type stateTransitions map[stateID]stateID

func newStateTransitions() stateTransitions { return stateTransitions{} }

// noState stands for a state that does not matter any more.
const noState stateID = -1

func newStateTable(ctx context.Context, c *Config, nodes []*node, residuals *residualTable) *stateTable {
	t := &stateTable{
		config: c, residuals: residuals, traced: c.root.joined,
		states: []constraintState{{constraint: -1}}, ids: map[string]stateID{},
		values: newValuesTable(ctx, c),
	}
	for _, k := range c.limiting {
		if isReserved(c.keys.keys[c.keys.keys[k].target].text) {
			t.renames = true
		}
	}
	var all statements
	for _, n := range nodes {
		all.add(n.statements)
	}
	t.suffix = all.renames
	for _, k := range c.worrying {
		target := c.keys.keys[k].target
		con := constraint{limit: k, keys: newBitSet(len(c.keys.keys)), named: isReserved(c.keys.keys[target].text)}
		con.keys.add(int(k))
		con.keys.add(int(target))
		t.close(&con, all.changes)
		t.constraints = append(t.constraints, con)
	}
	if all.faults {
		t.constraints = append(t.constraints, constraint{limit: noKey})
	}
	for i := range t.constraints {
		con := &t.constraints[i]
		con.effects, con.raises = make([][]statement, c.nodes), newBitSet(c.nodes)
		for _, n := range nodes {
			effects := t.effects(con, n.statements)
			con.effects[n.index] = effects
			if t.begins(con, effects) {
				con.raises.add(n.index)
			}
		}
	}
	return t
}

// statements are some of those of a config, those in conditions too.
type statements struct {
	changes         []*changeKey
	renames, faults bool
}

func (all *statements) add(list []statement) {
	for _, s := range list {
		switch s := s.(type) {
		case *changeKey:
			all.changes = append(all.changes, s)
		case *renameKeys:
			all.renames = true
		case *fault:
			all.faults = true
		case *guard:
			all.add(s.body)
		}
	}
}

// close adds to the keys of a constraint those that their values are made from.
func (t *stateTable) close(c *constraint, changes []*changeKey) {
	for grown := true; grown; {
		grown = false
		for _, s := range changes {
			if len(s.value.refs) == 0 || !t.touches(c, s) {
				continue
			}
			for _, ref := range s.value.refs {
				grown = t.addReference(c, ref) || grown
			}
		}
	}
}

// addReference adds what a reference may stand for, and reports whether that is more than there was.
func (t *stateTable) addReference(c *constraint, ref reference) (grown bool) {
	add := func(k keyID) {
		grown = grown || !c.keys.has(int(k))
		c.keys.add(int(k))
	}
	add(ref.key)
	if t.suffix { // the name may be that of another key with a suffix
		for k, other := range t.config.keys.keys {
			if strings.HasPrefix(ref.name, other.text) {
				add(keyID(k)) //nolint:gosec // there are not so many keys
			}
		}
	}
	return grown
}

// touches reports whether an assignment may change one of the keys of a constraint.
func (t *stateTable) touches(c *constraint, s *changeKey) bool {
	if s.pattern == nil {
		return c.keys.has(int(s.key))
	}
	touches := t.suffix
	c.keys.all(func(k int) { touches = touches || s.pattern.matches(t.config.keys.keys[k].text) })
	return touches
}

// effects returns the parts of statements that affect a constraint.
func (t *stateTable) effects(c *constraint, list []statement) (effects []statement) {
	for _, s := range list {
		switch s := s.(type) {
		case *guard:
			if body := t.effects(c, s.body); len(body) > 0 {
				effects = append(effects, &guard{filter: s.filter, negated: s.negated, body: body})
			}
			continue
		case *fault:
			if c.limit == noKey {
				effects = append(effects, s)
			}
			continue
		}
		if c.limit == noKey {
			continue
		}
		switch s := s.(type) {
		case *setKeys:
			some := &setKeys{}
			for i, k := range s.keys {
				if c.keys.has(int(k)) {
					some.keys, some.values = append(some.keys, k), append(some.values, s.values[i])
				}
			}
			if len(some.keys) > 0 {
				effects = append(effects, some)
			}
		case *changeKey:
			if t.touches(c, s) {
				effects = append(effects, s)
			}
		case *dropKey:
			if t.suffix || c.keys.has(int(s.key)) {
				effects = append(effects, s)
			}
		case *renameKeys:
			effects = append(effects, s)
		}
	}
	return effects
}

// begins reports whether a constraint may begin with one of effects: the limiting key is set.
func (t *stateTable) begins(c *constraint, effects []statement) bool {
	return slices.ContainsFunc(effects, func(s statement) bool {
		switch s := s.(type) {
		case *guard:
			return t.begins(c, s.body)
		case *fault:
			return true
		case *setKeys:
			return slices.Contains(s.keys, c.limit)
		case *changeKey:
			return s.pattern == nil && s.key == c.limit
		}
		return false
	})
}

// pendingBegins is begins for residuals.
func (t *stateTable) pendingBegins(c *constraint, pending []residualID) bool {
	return slices.ContainsFunc(pending, func(id residualID) bool {
		residual := &t.residuals.residuals[id]
		if residual.kind == residualEffect {
			return t.begins(c, []statement{residual.effect})
		}
		return t.pendingBegins(c, residual.body)
	})
}

// prepare finds out what may come above each node.
func (t *stateTable) prepare(counter *counter) {
	for i := range t.constraints {
		c := &t.constraints[i]
		c.asked, c.coming = make([]bitSet, t.config.nodes), newBitSet(t.config.nodes)
		for _, n := range slices.Backward(counter.order) {
			if !counter.alive[n.index] {
				continue
			}
			var own bitSet
			for _, s := range c.effects[n.index] {
				if g, ok := s.(*guard); ok {
					if own == nil {
						own = newBitSet(len(t.config.rows.rows))
					}
					addEffectsAsked(own, g)
				}
			}
			coming := c.raises.has(n.index) || c.coming.has(n.index)
			for _, child := range counter.childrenOf(n) {
				if coming {
					c.coming.add(child.index)
				}
				for _, rows := range []bitSet{own, c.asked[n.index]} {
					if rows == nil {
						continue
					}
					if c.asked[child.index] == nil {
						c.asked[child.index] = newBitSet(len(t.config.rows.rows))
					}
					c.asked[child.index].addAll(rows)
				}
			}
		}
	}
}

// addEffectsAsked adds the rows that a condition around effects asks for, with those in it.
func addEffectsAsked(rows bitSet, g *guard) {
	for _, w := range g.filter {
		for _, r := range w {
			rows.add(int(r))
		}
	}
	for _, s := range g.body {
		if inner, ok := s.(*guard); ok {
			addEffectsAsked(rows, inner)
		}
	}
}

// begin returns the part that is below the leaf.
func (t *stateTable) begin(c *Config) *part {
	p := &part{n: one, knownRows: knownRows{has: newBitSet(len(c.rows.rows))}}
	if t.traced {
		p.states = append(p.states, &trail{state: wayState})
	}
	for i := range t.constraints {
		id := t.id(constraintState{constraint: i, knownRows: p.knownRows}, p.has)
		p.states = append(p.states, &trail{state: id})
	}
	return p
}

func (t *stateTable) id(c constraintState, asked bitSet) stateID {
	key := binary.AppendUvarint(t.key[:0], uint64(c.constraint+1)) //nolint:gosec // never negative
	key = binary.AppendVarint(key, int64(c.values))                //nolint:gosec // never negative
	for _, id := range c.pending {
		key = binary.AppendUvarint(key, uint64(id)+1) //nolint:gosec // never negative
	}
	key = append(key, 0)
	for i, w := range c.has {
		if i < len(asked) && w != 0 {
			key = binary.AppendUvarint(key, uint64(i)+1) //nolint:gosec // never negative
			key = binary.LittleEndian.AppendUint64(key, w)
		}
	}
	key = knownRows{begun: c.begun}.appendKey(append(key, 0), nil)
	t.key = key
	id, ok := t.ids[string(key)]
	if !ok {
		id = stateID(len(t.states)) //nolint:gosec // memory ends before
		t.ids[string(key)] = id
		t.states = append(t.states, c)
	}
	return id
}

// extend returns what becomes of states when their ways go through n too.
func (t *stateTable) extend(counter *counter, n *node, from []*trail) []*trail {
	if len(from) == 0 {
		return nil
	}
	states := make([]*trail, 0, len(from))
	for _, f := range from {
		id := f.state
		if id != wayState {
			var known bool
			if id, known = counter.transitions[f.state]; !known {
				id = t.next(counter, n, t.states[f.state])
				counter.transitions[f.state] = id
			}
		}
		if id != noState {
			states = append(states, &trail{id, n, f})
		}
	}
	slices.SortStableFunc(states, byState)
	return slices.CompactFunc(states, func(a, b *trail) bool { return a.state == b.state })
}

func byState(a, b *trail) int { return int(a.state) - int(b.state) }

// mergeTrails returns each state of both once, with its way in a if it is there.
func mergeTrails(a, b []*trail) []*trail {
	if slices.EqualFunc(a, b, func(a, b *trail) bool { return a.state == b.state }) {
		return a
	}
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, byState)
	return slices.CompactFunc(all, func(a, b *trail) bool { return a.state == b.state })
}

// next returns what becomes of a state at n.
func (t *stateTable) next(counter *counter, n *node, from constraintState) stateID {
	if from.values == badValues {
		return t.id(from, nil)
	}
	c := &t.constraints[from.constraint]
	next := constraintState{constraint: from.constraint, values: from.values}
	next.knownRows = counter.look(n, from.knownRows)
	known := counter.known(n, next.knownRows)
	for _, id := range from.pending {
		next.pending = t.residuals.appendRestOfEffect(next.pending, id, known)
	}
	for _, s := range c.effects[n.index] {
		next.pending = t.residuals.appendEffects(next.pending, s, known)
	}
	for len(next.pending) > 0 && next.values != badValues {
		residual := &t.residuals.residuals[next.pending[0]]
		if residual.kind != residualEffect {
			break
		}
		next.values = t.values.apply(next.values, next.pending[0], residual.effect)
		next.pending = next.pending[1:]
	}
	if next.values == badValues {
		next.pending, next.knownRows = nil, knownRows{}
		return t.id(next, nil)
	}
	matters := c.coming.has(n.index) || t.pendingBegins(c, next.pending) || c.limit != noKey && t.values.has(next.values, c.limit)
	if !matters {
		return noState
	}
	counter.trim(n, &next.knownRows, c.asked[n.index], next.pending)
	return t.id(next, c.asked[n.index])
}

// failing returns the first of states at the root with which a variant cannot be built.
func (t *stateTable) failing(states []*trail) *trail {
	for _, f := range states {
		if f.state == wayState {
			continue
		}
		c := &t.states[f.state]
		if con := &t.constraints[c.constraint]; t.values.fail(c.values, con) {
			return f
		}
	}
	return nil
}
