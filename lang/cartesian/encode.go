// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"cmp"
	"math/bits"
	"slices"
)

// encode makes the JSON of all values of the config's text, which walks share.
func (c *Config) encode() {
	c.encoded.Do(func() {
		for _, s := range c.sets {
			for i, k := range s.keys {
				s.values[i].encode(c.keys.keys[k].text)
			}
		}
	})
}

func (v *value) encode(key string) {
	b := make([]byte, 0, len(key)+len(v.text)+len(`"":"",`))
	b = append(appendString(b, key), ':')
	v.json = string(append(appendString(b, v.text), ','))
}

// An encoder makes the canonical JSON of the dicts of a walk, one after the other. A line is mostly the line before with
// a few keys changed: what lies between those is copied at once.
type encoder struct {
	line, previous []byte // without "{" and "}", but with a comma behind each key

	// Of the keys in line:
	values   []*value // by keyID; nil for the reserved ones
	present  bitSet
	sizes    []int // bytes of each 64 keys
	reserved map[int]int
}

// append appends the JSON of the variant that d has been built into. Config.encode comes first.
func (e *encoder) append(b []byte, d *dict) []byte {
	if d.renamed > 0 {
		return d.variant().AppendJSON(b)
	}
	if e.values == nil {
		n := len(d.keys.keys)
		e.values, e.present, e.sizes = make([]*value, n), newBitSet(n), make([]int, len(newBitSet(n)))
		e.reserved = map[int]int{}
	}
	own := d.keys.reserved[:3]
	if len(d.files) > 0 {
		own = d.keys.reserved[:]
	}
	e.line, e.previous = e.previous[:0], e.line
	var span, end int // of e.previous: what is to be copied begins and, so far, ends
	for i := range e.present {
		now, before := d.present[i], e.present[i]
		changed := now ^ before
		for _, k := range own {
			if int(k>>6) == i {
				now, changed = now|1<<(k&63), changed|1<<(k&63)
			}
		}
		changed |= e.differing(d, i, now&before)
		if changed == 0 {
			end += e.sizes[i]
			continue
		}
		e.present[i], e.sizes[i] = now, 0
		for all := now | before; all != 0; all &= all - 1 {
			bit, k := all&-all, i<<6+bits.TrailingZeros64(all)
			if changed&bit == 0 {
				end += len(e.values[k].json)
				e.sizes[i] += len(e.values[k].json)
				continue
			}
			e.line = append(e.line, e.previous[span:end]...)
			if before&bit != 0 {
				end += e.size(k)
			}
			span = end
			if now&bit != 0 {
				e.appendKey(d, k)
				e.sizes[i] += e.size(k)
			}
		}
	}
	e.line = append(e.line, e.previous[span:end]...)
	b = append(append(b, '{'), e.line...)
	b[len(b)-1] = '}'
	return b
}

// differing returns those of the keys of word i whose values have changed.
func (e *encoder) differing(d *dict, i int, keys uint64) (changed uint64) {
	for ; keys != 0; keys &= keys - 1 {
		if k := i<<6 + bits.TrailingZeros64(keys); d.values[k] != e.values[k] {
			changed |= keys & -keys
		}
	}
	return changed
}

// size returns the bytes of a key in the line that it was last in.
func (e *encoder) size(k int) int {
	if v := e.values[k]; v != nil {
		return len(v.json)
	}
	return e.reserved[k]
}

func (e *encoder) appendKey(d *dict, k int) {
	v := d.values[k]
	e.values[k] = v
	if v == nil {
		before := len(e.line)
		e.line = d.appendReserved(e.line, d.keys.keys[k].text)
		e.reserved[k] = len(e.line) - before
		return
	}
	if v.json == "" {
		v.encode(d.keys.keys[k].text)
	}
	e.line = append(e.line, v.json...)
}

// appendReserved appends a reserved key. Names of variants hold nothing that JSON escapes, unless a limit changes them.
func (d *dict) appendReserved(b []byte, key string) []byte {
	b = append(append(append(b, '"'), key...), `":`...)
	switch key {
	case keyName:
		b = appendString(b, string(d.name))
	case keyShortName:
		b = appendString(b, string(d.shortName))
	case keyDep:
		b = appendList(b, d.dep)
	default:
		b = d.appendFiles(b, key == keyShorts)
	}
	return append(b, ',')
}

func (d *dict) appendFiles(b []byte, short bool) []byte {
	var array [8]*namedFile
	names := d.fileNames(array[:0])
	slices.SortFunc(names, func(a, b *namedFile) int { return cmp.Compare(a.base, b.base) })
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, name.json...), '"')
		b = append(d.appendLabels(b, name, short), '"')
	}
	return append(b, '}')
}
