// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
)

// A dict is a variant being built: values by key, in the order in which the keys came.
type dict struct {
	keys   *keyTable
	values []string // by keyID
	place  []int    // by keyID: index in order plus one; 0 for keys that the dict does not have
	order  []keyID  // gone for keys that were removed

	renamed int // keys with suffixes that the dict has

	name, shortName string
	dep             []string
	files           []nameFile // in the order in which they came; nil without variants
}

const gone keyID = -1

func newDict(keys *keyTable) *dict { return &dict{keys: keys} }

// reset empties d.
func (d *dict) reset() {
	for _, k := range d.order {
		if k != gone {
			d.place[k] = 0
		}
	}
	d.order = d.order[:0]
	d.renamed = 0
	d.name, d.shortName, d.dep, d.files = "", "", nil, nil
}

// clone returns a copy that shares nothing that changes but the key table.
func (d *dict) clone() *dict {
	c := *d
	c.values, c.place, c.order = slices.Clone(d.values), slices.Clone(d.place), slices.Clone(d.order)
	c.dep, c.files = slices.Clone(d.dep), slices.Clone(d.files)
	return &c
}

func (d *dict) get(k keyID) (string, bool) {
	if int(k) < len(d.place) && d.place[k] > 0 {
		return d.values[k], true
	}
	return "", false
}

func (d *dict) set(k keyID, value string) {
	if int(k) >= len(d.place) {
		grow := len(d.keys.keys) - len(d.place)
		d.values = append(d.values, make([]string, grow)...)
		d.place = append(d.place, make([]int, grow)...)
	}
	if d.place[k] == 0 {
		d.order = append(d.order, k)
		d.place[k] = len(d.order)
		if d.keys.keys[k].base != k {
			d.renamed++
		}
	}
	d.values[k] = value
}

func (d *dict) remove(k keyID) {
	d.order[d.place[k]-1] = gone
	d.place[k] = 0
	if d.keys.keys[k].base != k {
		d.renamed--
	}
}

// all calls f for each key in order; f may remove keys. Keys that f adds are not visited.
func (d *dict) all(f func(k keyID)) {
	for _, k := range d.order[:len(d.order):len(d.order)] {
		if k != gone {
			f(k)
		}
	}
}

// patternMatches remembers which keys a pattern matches: 0 not known, 1 yes, 2 no.
type patternMatches [][]uint8

func (m patternMatches) matches(p *pattern, k keyID, keys *keyTable) bool {
	known := m[p.index]
	if int(k) >= len(known) {
		known = append(known, make([]uint8, len(keys.keys)-len(known))...)
		m[p.index] = known
	}
	if known[k] == 0 {
		known[k] = 2
		if p.re.MatchString(keys.keys[k].text) {
			known[k] = 1
		}
	}
	return known[k] == 1
}

// apply lets statements act on d in order.
func (d *dict) apply(statements []statement, patterns patternMatches) error {
	for _, s := range statements {
		switch s := s.(type) {
		case *setKeys:
			for i, k := range s.keys {
				d.set(k, s.values[i])
			}
		case *changeKey:
			if err := d.change(s, patterns); err != nil {
				return err
			}
		case *dropKey:
			d.all(func(k keyID) {
				if d.keys.keys[k].text == s.name {
					d.remove(k)
				}
			})
		case *renameKeys:
			d.all(func(k keyID) {
				value := d.values[k]
				d.remove(k)
				d.set(d.keys.withSuffix(k, s.suffix), value)
			})
		case *nameFile:
			d.noteFile(s)
		case *joinWords:
			return s.place.diagnostic("a join cannot stand in a condition", "put it into a variant")
		}
	}
	return nil
}

func (d *dict) change(c *changeKey, patterns patternMatches) error {
	if c.err != nil {
		return c.err
	}
	if c.pattern == nil {
		value := d.substitute(c.value)
		old, ok := d.get(c.key)
		if c.op != opLazy || !ok {
			d.set(c.key, c.op.combine(old, value))
		}
		return nil
	}
	value := d.substitute(c.value)
	d.all(func(k keyID) {
		if patterns.matches(c.pattern, k, d.keys) {
			d.values[k] = c.op.combine(d.values[k], value)
		}
	})
	return nil
}

// noteFile puts the labels of a variant before those that its file has.
func (d *dict) noteFile(n *nameFile) {
	for i := range d.files {
		if f := &d.files[i]; f.file == n.file {
			f.full, f.short = n.full+"."+f.full, n.short+"."+f.short
			return
		}
	}
	d.files = append(d.files, *n)
}

// substitute replaces the references in a value up to the first one to a key that d does not have.
func (d *dict) substitute(t template) string {
	if len(t.refs) == 0 {
		return t.text
	}
	var flat map[string]string
	if d.renamed > 0 {
		flat = map[string]string{}
		d.flatten(flat)
	}
	var b strings.Builder
	done := 0
	for _, ref := range t.refs {
		value, ok := d.reserved(ref.name)
		switch {
		case ok:
		case flat != nil:
			value, ok = flat[ref.name]
		default:
			value, ok = d.get(ref.key)
		}
		if !ok {
			break
		}
		b.WriteString(t.text[done:ref.start])
		b.WriteString(value)
		done = ref.end
	}
	b.WriteString(t.text[done:])
	return b.String()
}

// reserved returns a reserved key as Python would print it.
func (d *dict) reserved(key string) (string, bool) {
	var b strings.Builder
	switch key {
	case keyName:
		return d.name, true
	case keyShortName:
		return d.shortName, true
	case keyDep:
		b.WriteByte('[')
		for i, dep := range d.dep {
			if i > 0 {
				b.WriteString(", ")
			}
			quote(&b, dep)
		}
		b.WriteByte(']')
		return b.String(), true
	case keyNames, keyShorts:
		if d.files == nil {
			return "", false
		}
		b.WriteByte('{')
		for i, f := range d.files {
			if i > 0 {
				b.WriteString(", ")
			}
			quote(&b, f.file)
			b.WriteString(": ")
			if key == keyNames {
				quote(&b, f.full)
			} else {
				quote(&b, f.short)
			}
		}
		b.WriteByte('}')
		return b.String(), true
	}
	return "", false
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

// flatten puts d's keys into m as they print. A key with suffixes keeps them only while its value differs from that of
// another key with its base.
func (d *dict) flatten(m map[string]string) {
	d.all(func(k keyID) {
		if key := &d.keys.keys[k]; key.base == k {
			m[key.text] = d.values[k]
		}
	})
	if d.renamed == 0 {
		return
	}
	d.all(func(k keyID) {
		key := &d.keys.keys[k]
		if key.base == k {
			return
		}
		plain := d.keys.keys[key.base].text
		value := d.values[k]
		if old, ok := d.get(key.base); ok && old == value {
			return
		}
		agree := true
		d.all(func(other keyID) {
			agree = agree && (d.keys.keys[other].base != key.base || d.values[other] == value)
		})
		if agree {
			m[plain] = value
		} else {
			m[key.printed(plain)] = value
		}
	})
}

// limits applies the keys that end in _min, _max and _fixed: they correct the key before the ending.
func (d *dict) limits() error {
	type correction struct {
		target keyID
		value  string
	}
	var corrections []correction
	var err error
	d.all(func(k keyID) {
		key := &d.keys.keys[k]
		if key.limit == noLimit || err != nil {
			return
		}
		value := d.values[k]
		old, ok := d.limited(key.target)
		if ok && key.limit != limitFixed {
			var order int
			if order, err = compareSizes(old, value); err != nil {
				err = fmt.Errorf("%s of %s: %w", key.text, d.keys.keys[key.target].text, err)
				return
			}
			ok = key.limit == limitMax && order <= 0 || key.limit == limitMin && order >= 0
		} else {
			ok = false
		}
		if !ok {
			corrections = append(corrections, correction{key.target, value})
		}
	})
	if err != nil {
		return err
	}
	for _, c := range corrections {
		switch text := d.keys.keys[c.target].text; text {
		case keyName:
			d.name = c.value
		case keyShortName:
			d.shortName = c.value
		case keyDep, keyNames, keyShorts:
			return fmt.Errorf("%s is no text: _min, _max and _fixed cannot change it", text)
		default:
			d.set(c.target, c.value)
		}
	}
	return nil
}

// limited returns the value of a plain key, which may be a reserved one.
func (d *dict) limited(k keyID) (string, bool) {
	if value, ok := d.reserved(d.keys.keys[k].text); ok {
		return value, true
	}
	return d.get(k)
}

const sizeUnits = "BbKkMmGgTt"

// Numbers as Python reads them.
var (
	integerRE = regexp.MustCompile(`^[+-]?\d+(_\d+)*$`)
	floatRE   = regexp.MustCompile(`^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)([eE][+-]?\d+(_\d+)*)?$`)
)

// compareSizes compares two numbers: whole ones, or sizes if one of them has a unit; then M is the unit of the other.
func compareSizes(a, b string) (int, error) {
	parse := parseInteger
	if strings.ContainsAny(a, sizeUnits) || strings.ContainsAny(b, sizeUnits) {
		parse = parseSize
	}
	x, err := parse(a)
	if err != nil {
		return 0, err
	}
	y, err := parse(b)
	if err != nil {
		return 0, err
	}
	return x.Cmp(y), nil
}

func parseInteger(s string) (*big.Int, error) {
	digits := strings.TrimFunc(s, isBlank)
	n, ok := new(big.Int), false
	if integerRE.MatchString(digits) {
		_, ok = n.SetString(strings.ReplaceAll(digits, "_", ""), 10)
	}
	if !ok {
		return nil, fmt.Errorf("%q is no whole number", s)
	}
	return n, nil
}

// parseSize returns bytes.
func parseSize(s string) (*big.Int, error) {
	number, unit := s, strings.IndexByte(sizeUnits, 'M')/2
	if s != "" {
		if i := strings.IndexByte(sizeUnits, s[len(s)-1]); i >= 0 {
			number, unit = s[:len(s)-1], i/2
		}
	}
	number = strings.TrimFunc(number, isBlank)
	if !floatRE.MatchString(number) {
		return nil, fmt.Errorf("%q is no size", s)
	}
	f, _, err := big.ParseFloat(strings.ReplaceAll(number, "_", ""), 10, 53, big.ToNearestEven)
	if err != nil || f.IsInf() || f.MantExp(nil) > 1024 { // Python's numbers end there
		return nil, fmt.Errorf("%q is no size", s)
	}
	bytes, _ := f.SetMantExp(f, 10*unit).Int(nil)
	return bytes, nil
}
