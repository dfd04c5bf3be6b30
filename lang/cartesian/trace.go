// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A trace is how a dict came to be: all that happened to each of its keys. It is made by applying the statements of a
// path one by one.
type trace struct {
	name, shortName string
	dep             string
	maps            map[string]string // the reserved maps, as substitution writes them

	entries []entry           // of the finished dict, in its order
	steps   map[string][]Step // by the id of the entry; of keys that are gone too
	made    map[string][]Step // of reserved keys
}

// An entry is a key of a dict and its value.
type entry struct {
	id       string // the plain key and all suffixes
	text     string // as patterns and del see it
	plain    string
	suffixes []string
	value    string
}

func entryID(plain string, suffixes []string) string {
	return strings.Join(append([]string{plain}, suffixes...), "\x00")
}

// entries returns what d holds, in order.
func (d *dict) entries() []entry {
	var list []entry
	for _, k := range d.order() {
		key := &d.keys.keys[k]
		e := entry{text: key.text, plain: d.keys.keys[key.base].text, suffixes: key.suffixes, value: d.values[k].text}
		e.id = entryID(e.plain, e.suffixes)
		list = append(list, e)
	}
	return list
}

// trace tells how the variant of an origin comes to be.
func (c *Config) trace(ctx context.Context, v *origin) (*trace, error) {
	factor := 0
	if v.first != nil {
		factor = 1
	}
	return c.traceFactor(ctx, v, &factor)
}

// traceFactor counts the factors of joins in factor, which is 0 without any.
func (c *Config) traceFactor(ctx context.Context, v *origin, factor *int) (*trace, error) {
	if v.first == nil {
		t, err := c.tracePath(ctx, v, *factor)
		if *factor > 0 {
			*factor++
		}
		return t, err
	}
	first, err := c.traceFactor(ctx, v.first, factor)
	if err != nil {
		return nil, err
	}
	second, err := c.traceFactor(ctx, v.second, factor)
	if err != nil {
		return nil, err
	}
	return first.merge(second, v.join.location())
}

// A tracer applies the statements of one path.
type tracer struct {
	*trace
	d      *dict
	factor int

	// Of the statement being applied:
	variants []*node
	within   []*guard
}

func (c *Config) tracePath(ctx context.Context, v *origin, factor int) (*trace, error) {
	r := &tracer{
		trace: &trace{steps: map[string][]Step{}, made: map[string][]Step{}, maps: map[string]string{}},
		d:     newDict(ctx, c), factor: factor,
	}
	r.d.grow()
	r.d.name, r.d.shortName, r.d.path = []byte(v.name), []byte(v.shortName), []byte(v.name)
	r.traceNames(c, v)

	// A statement stands in the variants whose blocks the path has entered and not left.
	within := make([][]*node, len(v.nodes))
	var open []*node
	for i, n := range v.nodes {
		if n.isChoice {
			open = append(open, n)
		}
		within[i] = slices.Clone(open)
		if n.closes {
			open = open[:len(open)-1]
		}
	}
	path := newLabelPath(c.rows)
	path.extend(v.path)
	for i, n := range slices.Backward(v.nodes) {
		r.variants = within[i]
		if err := r.apply(n.statements, path); err != nil {
			return nil, fmt.Errorf("variant %q: %w", v.name, err)
		}
	}
	if err := r.limit(c.limiting); err != nil {
		return nil, fmt.Errorf("variant %q: %w", v.name, err)
	}
	r.trace.entries = r.d.entries()
	r.name, r.shortName = string(r.d.name), string(r.d.shortName)
	r.dep, _ = r.d.reserved(keyDep)
	for _, key := range []string{keyNames, keyShorts} {
		if text, ok := r.d.reserved(key); ok {
			r.maps[key] = text
		}
	}
	return r.trace, nil
}

// traceNames notes which variants make the reserved keys.
func (r *tracer) traceNames(c *Config, v *origin) {
	names := map[string][]string{}
	add := func(n *node, op, key string, part []string, note string) {
		before := strings.Join(names[key], ".")
		names[key] = append(names[key], part...)
		after := strings.Join(names[key], ".")
		r.made[key] = append(r.made[key], Step{
			Location: n.place.location(), Op: op, Operand: strings.Join(part, "."),
			Before: &before, After: &after, Note: note, Kept: note != "", Factor: r.factor,
		})
	}
	depth := 0
	for _, n := range v.nodes {
		before := v.path[:depth]
		depth += len(n.labels)
		for _, labels := range n.deps {
			dep := dependency{len(c.labels.pathName(before)), labels}
			r.d.deps = append(r.d.deps, dep)
			text, _ := r.d.reserved(keyDep)
			step := Step{
				Location: n.place.location(), Op: "dep", Operand: string(r.d.appendDependency(nil, dep)), After: &text,
				Factor: r.factor,
			}
			if steps := r.made[keyDep]; len(steps) > 0 {
				step.Before = steps[len(steps)-1].After
			}
			r.made[keyDep] = append(r.made[keyDep], step)
		}
		if !n.isChoice {
			continue
		}
		var full, short []string
		for _, l := range n.labels {
			full, short = append(full, c.labels.texts[l.full]), append(short, c.labels.texts[l.name])
		}
		add(n, "variants", keyName, full, "")
		for key, labels := range map[string][]string{keyNames: full, keyShorts: short} {
			r.made[key] = append(r.made[key], Step{
				Location: n.place.location(), Op: "variants", Operand: strings.Join(labels, "."), Factor: r.factor,
			})
		}
		if n.hidden {
			add(n, "variants", keyShortName, nil, `marked by "@" or [default=]: not in the short name`)
		} else {
			add(n, "variants", keyShortName, short, "")
		}
	}
}

// apply applies statements, and those of conditions that hold.
func (r *tracer) apply(statements []statement, path *labelPath) error {
	for _, stmt := range statements {
		var err error
		switch stmt := stmt.(type) {
		case *guard:
			if stmt.filter.matches(path) != stmt.negated {
				within := r.within
				r.within = append(slices.Clip(within), stmt)
				err = r.apply(stmt.body, path)
				r.within = within
			}
		default:
			if change, ok := stmt.(*changeKey); ok {
				err = r.change(change)
			}
			r.note(stmt)
			if err == nil {
				err = r.d.apply([]statement{stmt}, path)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// note notes what a statement is about to do.
func (r *tracer) note(stmt statement) {
	switch stmt := stmt.(type) {
	case *setKeys:
		r.run(stmt)
	case *dropKey:
		for _, e := range r.d.entries() {
			if e.text == stmt.name {
				r.add(e.id, r.step(stmt.place, "del"), &e.value, nil)
			}
		}
	case *renameKeys:
		moved := map[string][]Step{}
		for _, e := range r.d.entries() {
			step := r.step(stmt.place, "suffix")
			step.Operand, step.Before, step.After = stmt.suffix, &e.value, &e.value
			moved[entryID(e.plain, append(slices.Clip(e.suffixes), stmt.suffix))] = slices.Concat(r.steps[e.id], []Step{step})
			delete(r.steps, e.id)
		}
		maps.Copy(r.steps, moved)
	}
}

// step begins a step of the statement being applied.
func (r *tracer) step(at place, op string) Step {
	s := Step{Location: at.location(), Op: op, Conditions: heads(r.within), Factor: r.factor}
	for _, n := range r.variants {
		s.Variants = append(s.Variants, n.place.location())
	}
	return s
}

func (r *tracer) add(id string, s Step, before, after *string) {
	s.Before, s.After = before, after
	r.steps[id] = append(r.steps[id], s)
}

// change notes what an assignment is about to do that stands in no run.
func (r *tracer) change(c *changeKey) error {
	operand, err := r.d.substitute(c, new(result))
	if err != nil {
		return err
	}
	step := r.step(c.place, c.op.text())
	step.Operand = operand
	if operand != c.value.text {
		step.Written = c.value.text
	}
	if c.pattern == nil {
		text := r.d.keys.keys[c.key].text
		r.assign(text, step, c.op, r.lookUp(text))
		return nil
	}
	step.Pattern, _ = splitAssignment(step.Text)
	for _, e := range r.d.entries() {
		if c.pattern.matches(e.text) {
			after := c.op.combine(e.value, operand)
			r.add(e.id, step, &e.value, &after)
		}
	}
	return nil
}

// assign notes an assignment to a plain key, and returns its new value.
func (r *tracer) assign(key string, step Step, op operator, before *string) string {
	if op == opLazy && before != nil {
		step.Kept, step.Note = true, `"~=" only sets what is not set yet`
		r.add(key, step, before, before)
		return *before
	}
	old := ""
	if before != nil {
		old = *before
	}
	after := op.combine(old, step.Operand)
	r.add(key, step, before, &after)
	return after
}

// lookUp returns the value of a plain key, nil when there is none.
func (r *tracer) lookUp(key string) *string {
	for _, e := range r.d.entries() {
		if e.id == key {
			return &e.value
		}
	}
	return nil
}

// run notes what assignments are about to do that take effect together.
func (r *tracer) run(s *setKeys) {
	var keys []string // of the run
	values := map[string]string{}
	for _, a := range s.run {
		op, head := operatorOf[a.Op], a.Op == ""
		step := r.step(place{s.src, a.Pos}, a.Op)
		step.Operand = a.Value
		if head {
			op, step.Op = opSet, "variants"
			step.Variants = step.Variants[:max(0, len(step.Variants)-1)] // it is the head of the last one
		}
		if op.onPattern() {
			r.matchRun(a, step, op, keys, values)
			continue
		}
		if isReserved(a.Key) {
			if _, ok := values[a.Key]; !ok {
				keys = append(keys, a.Key)
			}
			values[a.Key] = a.Value
			continue
		}
		before := r.lookUp(a.Key)
		if value, ok := values[a.Key]; ok {
			before = &value
		} else {
			keys = append(keys, a.Key)
		}
		values[a.Key] = r.assign(a.Key, step, op, before)
	}
}

// matchRun notes an operator on a pattern that is the name of a key of the run. It only acts on the keys of the run.
func (r *tracer) matchRun(a *assignment, step Step, op operator, keys []string, values map[string]string) {
	step.Pattern = a.Key
	re, err := regexp.Compile("^(?:" + a.Key + "$)")
	if err != nil {
		return // not so in a run
	}
	for _, key := range keys {
		if !isReserved(key) && re.MatchString(key) {
			before, after := values[key], op.combine(values[key], a.Value)
			r.add(key, step, &before, &after)
			values[key] = after
		}
	}
	step.Kept = true
	step.Note = "it names a key set right above, and is tried on those only"
	for _, e := range r.d.entries() {
		if _, inRun := values[e.id]; !inRun && re.MatchString(e.text) {
			r.add(e.id, step, &e.value, &e.value)
		}
	}
}

// text is the operator as it is written.
func (op operator) text() string {
	for text, other := range operatorOf {
		if other == op {
			return text
		}
	}
	return ""
}

// limit notes what keys that end in _min, _max and _fixed do.
func (r *tracer) limit(limiting []keyID) error {
	before := r.d.entries()
	name, shortName := string(r.d.name), string(r.d.shortName)
	if err := r.d.limits(limiting); err != nil {
		return err
	}
	old := map[string]string{}
	for _, e := range before {
		old[e.id] = e.value
	}
	for _, e := range r.d.entries() {
		was, ok := old[e.id]
		if ok && was == e.value {
			continue
		}
		var had *string
		if ok {
			had = &was
		}
		if step, ok := r.correction(before, e.plain, e.value, had); ok {
			r.steps[e.id] = append(r.steps[e.id], step)
		}
	}
	for _, own := range []struct{ key, was, is string }{{keyName, name, string(r.d.name)}, {keyShortName, shortName, string(r.d.shortName)}} {
		if own.was != own.is {
			if step, ok := r.correction(before, own.key, own.is, &own.was); ok {
				r.made[own.key] = append(r.made[own.key], step)
			}
		}
	}
	return nil
}

// correction is the step of the last key that sets target to value.
func (r *tracer) correction(entries []entry, target, value string, before *string) (Step, bool) {
	for _, e := range slices.Backward(entries) {
		key := &r.d.keys.keys[r.d.keys.find(e.plain)]
		if len(e.suffixes) > 0 || key.limit == noLimit || r.d.keys.keys[key.target].text != target || e.value != value {
			continue
		}
		step := Step{
			Op:      map[limit]string{limitMin: "_min", limitMax: "_max", limitFixed: "_fixed"}[key.limit],
			Operand: value, Before: before, After: &value, Factor: r.factor,
		}
		if steps := r.steps[e.id]; len(steps) > 0 {
			last := steps[len(steps)-1]
			step.Location, step.Variants, step.Conditions = last.Location, last.Variants, last.Conditions
		}
		return step, true
	}
	return Step{}, false
}

// merge puts second on top of t, as a join does.
func (t *trace) merge(second *trace, join Location) (*trace, error) {
	m := &trace{
		dep: second.dep, maps: second.maps, entries: slices.Clone(t.entries),
		steps: maps.Clone(t.steps), made: map[string][]Step{},
	}
	if len(m.maps) == 0 {
		m.maps = t.maps
	}
	name, err := mergeNames([]byte(t.name), []byte(second.name))
	if err != nil {
		return nil, err
	}
	shortName, err := mergeNames([]byte(t.shortName), []byte(second.shortName))
	if err != nil {
		return nil, err
	}
	m.name, m.shortName = string(name), string(shortName)
	at := map[string]int{}
	for i, e := range m.entries {
		at[e.id] = i
	}
	for id, steps := range second.steps {
		if _, ok := m.steps[id]; !ok {
			m.steps[id] = steps
		}
	}
	for _, e := range second.entries {
		i, ok := at[e.id]
		if !ok {
			m.entries = append(m.entries, e)
			m.steps[e.id] = slices.Concat(t.steps[e.id], second.steps[e.id])
			continue
		}
		before := m.entries[i].value
		m.entries[i].value = e.value
		m.steps[e.id] = append(slices.Concat(t.steps[e.id], second.steps[e.id]),
			Step{Location: join, Op: "join", Operand: e.value, Before: &before, After: &e.value})
	}
	for _, key := range []string{keyNames, keyShorts} {
		m.made[key] = second.made[key]
		if len(second.maps) == 0 {
			m.made[key] = t.made[key]
		}
	}
	for _, own := range []struct{ key, first, second, is string }{
		{keyName, t.name, second.name, m.name},
		{keyShortName, t.shortName, second.shortName, m.shortName},
		{keyDep, t.dep, second.dep, m.dep},
	} {
		m.made[own.key] = append(slices.Concat(t.made[own.key], second.made[own.key]),
			Step{Location: join, Op: "join", Operand: own.second, Before: &own.first, After: &own.is})
	}
	return m, nil
}

// histories tells of each param what it became at last, which keys with suffixes do not show before.
func (t *trace) histories() []ParamHistory {
	byKey := map[string]ParamHistory{}
	there := map[string]bool{}
	for _, e := range t.entries {
		there[e.id] = true
	}
	for _, id := range slices.Sorted(maps.Keys(t.steps)) {
		if plain, _, _ := strings.Cut(id, "\x00"); !there[id] {
			byKey[plain] = ParamHistory{Key: plain, Removed: true, Steps: t.steps[id]}
		}
	}
	printed := flattened(t.entries)
	for _, suffixed := range []bool{false, true} { // one with suffixes hides a plain one that reads so
		for i, e := range t.entries {
			if key := printed[i]; key != needless && suffixed == (len(e.suffixes) > 0) {
				byKey[key] = ParamHistory{Key: key, Value: e.value, Steps: t.steps[e.id]}
			}
		}
	}
	for _, own := range []struct{ key, value string }{
		{keyName, t.name},
		{keyShortName, t.shortName},
		{keyDep, t.dep},
		{keyNames, t.maps[keyNames]},
		{keyShorts, t.maps[keyShorts]},
	} {
		if own.value != "" || own.key == keyName || own.key == keyShortName {
			byKey[own.key] = ParamHistory{Key: own.key, Value: own.value, Reserved: true, Steps: t.made[own.key]}
		}
	}
	var all []ParamHistory
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		history := byKey[key]
		if history.Steps == nil {
			history.Steps = []Step{}
		}
		all = append(all, history)
	}
	return all
}

// needless is what an entry prints as that a plain one prints too.
const needless = "\x00"

// flattened returns for each entry the key that it prints as, or needless.
func flattened(entries []entry) []string {
	printed := make([]string, len(entries))
	for i, e := range entries {
		if len(e.suffixes) == 0 {
			printed[i] = e.plain
			continue
		}
		same, hasPlain := true, false
		for _, other := range entries {
			if other.plain == e.plain {
				same = same && other.value == e.value
				if len(other.suffixes) == 0 && other.value == e.value {
					hasPlain = true
				}
			}
		}
		switch {
		case hasPlain:
			printed[i] = needless
		case same:
			printed[i] = e.plain
		default:
			printed[i] = e.plain
			for _, s := range slices.Backward(e.suffixes) {
				printed[i] += s
			}
		}
	}
	return printed
}
