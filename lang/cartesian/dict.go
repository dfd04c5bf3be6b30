// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// A dict is a variant being built: values by key, in the order in which the keys came. One dict serves all variants of
// a walk, which have much in common: reset goes back to what the leaf makes of an empty dict.
type dict struct {
	keys    *keyTable
	values  []*value // by keyID; nil for keys that the dict does not have
	since   []uint64 // by keyID: when a key came that the dict has
	present bitSet   // keys that the dict has
	clock   uint64
	renamed int // keys with suffixes that the dict has

	name, shortName []byte
	path            []byte // the name, unless a limit or a join changes it
	deps            []dependency
	files           []*nameFile // in the order in which they came; none without variants
	origin          *origin     // if the walk tracks

	// What to go back to, and the keys that may differ from it.
	base    *dict // nil: an empty one
	changed []keyID
	epoch   uint64
	touched []uint64 // by keyID: the epoch in which it came into changed

	ctx      context.Context //nolint:containedctx // that of the walk
	steps    int
	patterns []patternMatches // by a pattern's index
	results  []result         // by a changeKey's index, of those on one key
	matched  map[matchedKey]result
}

func newDict(ctx context.Context, c *Config) *dict {
	return &dict{
		ctx:  ctx,
		keys: c.keys.clone(), epoch: 1,
		patterns: make([]patternMatches, c.patterns), results: make([]result, c.changes),
		matched: map[matchedKey]result{},
	}
}

// Limits on what a small config can make of itself: bytes in a value, and keys with suffixes in a variant, or in all
// variants that joins multiply.
const (
	maxValue    = 1 << 20
	maxSuffixed = 1 << 16
	maxSuffixes = 32      // of one key
	maxResults  = 1 << 15 // that are remembered of patterns
)

// reset makes d what it was when keep was called last.
func (d *dict) reset() {
	for _, k := range d.changed {
		var before *value
		if d.base != nil {
			before = d.base.get(k)
		}
		switch has := d.values[k] != nil; {
		case before == nil && has:
			d.remove(k)
		case before != nil:
			if !has {
				d.add(k, before)
			}
			d.values[k], d.since[k] = before, d.base.since[k]
		}
	}
	d.changed = d.changed[:0]
	d.epoch++
	d.name, d.shortName, d.path, d.deps, d.files = nil, nil, nil, nil, d.files[:0]
}

// forget gives up the numbers of keys with suffixes if there are many. The dict must be as reset leaves it.
func (d *dict) forget() {
	if len(d.keys.suffixed) < maxSuffixed/2 {
		return
	}
	plain := len(d.keys.keys) - len(d.keys.suffixed)
	d.keys.keys = d.keys.keys[:plain]
	d.keys = d.keys.clone()
	d.values, d.since, d.touched = slices.Clip(d.values[:plain]), slices.Clip(d.since[:plain]), slices.Clip(d.touched[:plain])
	d.present = slices.Clip(d.present[:len(newBitSet(plain))])
	clear(d.patterns)
	clear(d.matched)
}

// keep makes the keys that d has the ones that reset leaves.
func (d *dict) keep() {
	d.grow()
	d.base = &dict{values: slices.Clone(d.values), since: slices.Clone(d.since), present: slices.Clone(d.present)}
	d.changed = d.changed[:0]
	d.epoch++
}

// grow makes room for all keys.
func (d *dict) grow() {
	n := len(d.keys.keys)
	d.values = append(d.values, make([]*value, n-len(d.values))...)
	d.since = append(d.since, make([]uint64, n-len(d.since))...)
	d.touched = append(d.touched, make([]uint64, n-len(d.touched))...)
	d.present = append(d.present, make(bitSet, (n+63)/64-len(d.present))...)
}

func (d *dict) get(k keyID) *value {
	if int(k) < len(d.values) {
		return d.values[k]
	}
	return nil
}

func (d *dict) set(k keyID, v *value) {
	if int(k) >= len(d.values) {
		d.grow()
	}
	if d.touched[k] != d.epoch {
		d.touched[k] = d.epoch
		d.changed = append(d.changed, k)
	}
	if d.values[k] == nil {
		d.add(k, v)
	}
	d.values[k] = v
}

func (d *dict) add(k keyID, v *value) {
	d.values[k] = v
	d.present.add(int(k))
	d.clock++
	d.since[k] = d.clock
	if d.keys.keys[k].base != k {
		d.renamed++
	}
}

// drop removes a key that d has.
func (d *dict) drop(k keyID) {
	d.set(k, d.values[k]) // notes that the key changes
	d.remove(k)
}

func (d *dict) remove(k keyID) {
	d.values[k] = nil
	d.present.remove(int(k))
	if d.keys.keys[k].base != k {
		d.renamed--
	}
}

// size returns how many keys d has.
func (d *dict) size() int {
	n := 0
	for _, w := range d.present {
		n += bits.OnesCount64(w)
	}
	return n
}

// order returns the keys that d has in the order in which they came.
func (d *dict) order() []keyID {
	var order []keyID
	d.present.all(func(k int) { order = append(order, keyID(k)) })
	slices.SortFunc(order, func(a, b keyID) int { return cmp.Compare(d.since[a], d.since[b]) })
	return order
}

// A finished is what a dict was when its variant was complete.
type finished struct {
	order           []keyID
	values          []*value
	name, shortName []byte
	path            []byte
	deps            []dependency
	files           []*nameFile
	origin          *origin
}

func (d *dict) finished() finished {
	f := finished{
		order: d.order(), name: slices.Clone(d.name), shortName: slices.Clone(d.shortName),
		path: slices.Clone(d.path), deps: slices.Clone(d.deps), files: slices.Clone(d.files),
		origin: d.origin,
	}
	for _, k := range f.order {
		f.values = append(f.values, d.values[k])
	}
	return f
}

// setAll sets all keys of f.
func (d *dict) setAll(f finished) {
	for i, k := range f.order {
		d.set(k, f.values[i])
	}
}

// apply lets statements act on d in order, as their variant has the labels of p. Which variants there are is decided.
func (d *dict) apply(statements []statement, p *labelPath) error {
	for _, s := range statements {
		switch s := s.(type) {
		case *setKeys:
			for i, k := range s.keys {
				d.set(k, s.values[i])
			}
		case *changeKey:
			if err := d.change(s); err != nil {
				return err
			}
		case *guard:
			if s.filter.matches(p) != s.negated {
				if err := d.apply(s.body, p); err != nil {
					return err
				}
			}
		case *dropKey:
			d.dropNamed(s)
		case *renameKeys:
			if err := d.rename(s); err != nil {
				return err
			}
		case *nameFile:
			d.files = append(d.files, s)
		case *fault:
			return s.err
		}
	}
	return nil
}

// rename gives all keys one more suffix.
func (d *dict) rename(s *renameKeys) error {
	if err := d.tick(); err != nil {
		return err
	}
	for _, k := range d.order() {
		if len(d.keys.keys[k].suffixes) == maxSuffixes {
			return s.place.diagnostic(fmt.Sprintf("a key gets more than %d suffixes", maxSuffixes), "")
		}
		v := d.values[k]
		d.drop(k)
		d.set(d.keys.withSuffix(k, s.suffix), v)
	}
	if len(d.keys.suffixed) > maxSuffixed {
		return s.place.diagnostic(fmt.Sprintf("suffixes make more than %d keys", maxSuffixed), "")
	}
	return nil
}

func (d *dict) dropNamed(s *dropKey) {
	if d.get(s.key) != nil {
		d.drop(s.key)
	}
	if d.renamed == 0 {
		return
	}
	d.present.all(func(k int) {
		if d.keys.keys[k].text == s.name {
			d.drop(keyID(k))
		}
	})
}

// tick is called where much may be done without any step of the walk. It returns why the context has ended.
func (d *dict) tick() error {
	if d.steps++; d.steps%64 == 0 && d.ctx.Err() != nil {
		return context.Cause(d.ctx)
	}
	return nil
}

// A result is what a statement last made of certain values. Neighbouring variants mostly give it the same again.
type result struct {
	inputs      []*value // of the references in the statement's text
	substituted string   // what became of the text

	operand string
	old     *value
	value   *value // nil: there is none yet
}

type matchedKey struct {
	change int
	key    keyID
}

func (d *dict) change(c *changeKey) error {
	if err := d.tick(); err != nil {
		return err
	}
	last := &d.results[c.index]
	operand, err := d.substitute(c, last)
	if err != nil {
		return err
	}
	if c.pattern == nil {
		old := d.get(c.key)
		if c.op == opLazy && old != nil {
			return nil
		}
		if last.value == nil || last.old != old || last.operand != operand {
			if last.value, err = c.op.apply(old, operand); err != nil {
				return c.place.diagnostic(err.Error(), "")
			}
			last.old, last.operand = old, operand
		}
		d.set(c.key, last.value)
		return nil
	}
	d.matching(c.pattern, func(k keyID) {
		old, at := d.values[k], matchedKey{c.index, k}
		made := d.matched[at]
		if made.value == nil || made.old != old || made.operand != operand {
			v, tooLong := c.op.apply(old, operand)
			if tooLong != nil {
				err = c.place.diagnostic(tooLong.Error(), "")
				return
			}
			made = result{operand: operand, old: old, value: v}
			if len(d.matched) >= maxResults {
				clear(d.matched)
			}
			d.matched[at] = made
		}
		d.set(k, made.value)
	})
	return err
}

// apply returns what op makes of the old value, nil when there is none, and the operand.
func (op operator) apply(old *value, operand string) (*value, error) {
	v := &value{text: operand}
	if old != nil {
		v.text = op.combine(old.text, operand)
	}
	if len(v.text) > maxValue {
		return nil, fmt.Errorf("the value has more than %d bytes", maxValue)
	}
	return v, nil
}

// patternMatches remembers of some keys whether a pattern matches them.
type patternMatches struct{ known, match bitSet }

// matching calls f for each key that d has and that p matches. f may set it.
func (d *dict) matching(p *pattern, f func(keyID)) {
	m := &d.patterns[p.index]
	if len(m.known) < len(d.present) {
		m.known = append(m.known, make(bitSet, len(d.present)-len(m.known))...)
		m.match = append(m.match, make(bitSet, len(d.present)-len(m.match))...)
	}
	for i, w := range d.present {
		for unknown := w &^ m.known[i]; unknown != 0; unknown &= unknown - 1 {
			k := i<<6 + bits.TrailingZeros64(unknown)
			m.known.add(k)
			if p.matches(d.keys.keys[k].text) {
				m.match.add(k)
			}
		}
		for hits := w & m.match[i]; hits != 0; hits &= hits - 1 {
			f(keyID(i<<6 + bits.TrailingZeros64(hits)))
		}
	}
}

// substitute returns the text of c with its references replaced, up to the first one to a key that d does not have.
func (d *dict) substitute(c *changeKey, last *result) (string, error) {
	t := &c.value
	if len(t.refs) == 0 {
		return t.text, nil
	}
	same := d.renamed == 0 && len(last.inputs) == len(t.refs)
	for i := 0; same && i < len(t.refs); i++ {
		same = !t.refs[i].reserved && d.get(t.refs[i].key) == last.inputs[i]
	}
	if same {
		return last.substituted, nil
	}
	last.inputs = last.inputs[:0]
	var b strings.Builder
	done := 0
	for _, ref := range t.refs {
		text, ok := d.lookUp(ref)
		if !ok {
			break
		}
		b.WriteString(t.text[done:ref.start])
		b.WriteString(text)
		if done = ref.end; b.Len() > maxValue {
			return "", c.place.diagnostic(fmt.Sprintf("the value has more than %d bytes", maxValue), "")
		}
	}
	b.WriteString(t.text[done:])
	last.substituted = b.String()
	if d.renamed == 0 {
		for _, ref := range t.refs {
			last.inputs = append(last.inputs, d.get(ref.key))
		}
	}
	return last.substituted, nil
}

// lookUp returns what stands for a reference.
func (d *dict) lookUp(ref reference) (string, bool) {
	if ref.reserved {
		return d.reserved(ref.name)
	}
	if d.renamed > 0 {
		return d.flattened(ref.name, ref.key)
	}
	if v := d.get(ref.key); v != nil {
		return v.text, true
	}
	return "", false
}

// A dependency is labels that a variant depends on, after the labels of its path that are the first so many bytes.
type dependency struct {
	above  int
	labels string
}

// appendDependency appends the name of what d's variant depends on.
func (d *dict) appendDependency(b []byte, dep dependency) []byte {
	if dep.above > 0 {
		b = append(append(b, d.path[:dep.above]...), '.')
	}
	return append(b, dep.labels...)
}

// reserved returns a reserved key as Python would print it.
func (d *dict) reserved(key string) (string, bool) {
	var b strings.Builder
	switch key {
	case keyName:
		return string(d.name), true
	case keyShortName:
		return string(d.shortName), true
	case keyDep:
		b.WriteByte('[')
		for i, dep := range d.deps {
			if i > 0 {
				b.WriteString(", ")
			}
			quote(&b, string(d.appendDependency(nil, dep)))
		}
		b.WriteByte(']')
		return b.String(), true
	case keyNames, keyShorts:
		if len(d.files) == 0 {
			return "", false
		}
		b.WriteByte('{')
		for i, file := range d.fileNames(nil) {
			if i > 0 {
				b.WriteString(", ")
			}
			quote(&b, file.base)
			b.WriteString(": ")
			quote(&b, string(d.appendLabels(nil, file, key == keyShorts)))
		}
		b.WriteByte('}')
		return b.String(), true
	}
	return "", false
}

// fileNames appends the names of the variants' files to names, in the order in which they came.
func (d *dict) fileNames(names []*namedFile) []*namedFile {
	for _, f := range d.files {
		if !slices.Contains(names, f.file) {
			names = append(names, f.file)
		}
	}
	return names
}

// appendLabels appends to b the labels that stand in a file, outer ones in front.
func (d *dict) appendLabels(b []byte, file *namedFile, short bool) []byte {
	first := true
	for i := len(d.files) - 1; i >= 0; i-- {
		f := d.files[i]
		if f.file != file {
			continue
		}
		if !first {
			b = append(b, '.')
		}
		first = false
		if short {
			b = append(b, f.short...)
		} else {
			b = append(b, f.full...)
		}
	}
	return b
}

// quote writes s as Python's repr does.
func quote(b *strings.Builder, s string) {
	mark := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		mark = `"`
	}
	b.WriteString(mark)
	for _, r := range s {
		if r == '\\' || string(r) == mark {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	b.WriteString(mark)
}
