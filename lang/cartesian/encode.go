// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"cmp"
	"math/bits"
	"slices"
)

// An encoder makes the canonical JSON of the dicts of a walk, one after the other. A line is mostly the line before with
// a few keys changed: what lies between those is copied at once.
type encoder struct {
	line, previous []byte // without "{" and "}", but with a comma after each key

	// Of the keys in line:
	values   []*value // by keyID; nil for the reserved ones
	present  bitSet
	sizes    []int  // bytes of each 64 keys
	reserved [5]int // bytes of the reserved ones

	files        []*fileText // by a file's rank
	contributing []*fileText // to the line, sorted
	anyNames     bool        // names may be something else than labels
}

// A fileText is what the variants of one file contribute to the name maps.
type fileText struct {
	name        *namedFile
	from, last  []*nameFile // in this line, in the line before
	full, short []byte
}

// append appends the JSON of the variant that d has been built into. Config.encode comes first.
func (e *encoder) append(b []byte, d *dict) []byte {
	if d.renamed > 0 {
		return d.variant().AppendJSON(b)
	}
	if e.values == nil {
		words := len(d.keys.always)
		e.values, e.present, e.sizes = make([]*value, 64*words), make(bitSet, words), make([]int, words)
	}
	always := d.keys.always
	if len(d.files) > 0 {
		always = d.keys.mostly
		e.gatherFiles(d)
	}
	e.line, e.previous = e.previous[:0], e.line
	var span, end int // of e.previous: what is to be copied begins and, so far, ends
	for i := range e.present {
		now, before := d.present[i]|always[i], e.present[i]
		changed := now ^ before | always[i] | e.differing(d, i, d.present[i]&before)
		if changed == 0 {
			end += e.sizes[i]
			continue
		}
		e.present[i], e.sizes[i] = now, 0
		for all := now | before; all != 0; all &= all - 1 {
			bit, k := all&-all, i<<6+bits.TrailingZeros64(all)
			if changed&bit == 0 {
				size := len(e.values[k].json)
				end += size
				e.sizes[i] += size
				continue
			}
			e.line = append(e.line, e.previous[span:end]...)
			if before&bit != 0 {
				end += e.size(d, k)
			}
			span = end
			if now&bit != 0 {
				e.sizes[i] += e.appendKey(d, k)
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
func (e *encoder) size(d *dict, k int) int {
	if v := e.values[k]; v != nil {
		return len(v.json)
	}
	return e.reserved[slices.Index(d.keys.reserved[:], keyID(k))]
}

// appendKey appends a key to the line, and returns its bytes.
func (e *encoder) appendKey(d *dict, k int) int {
	before := len(e.line)
	v := d.values[k]
	e.values[k] = v
	if v == nil {
		e.appendReserved(d, d.keys.keys[k].text)
		e.reserved[slices.Index(d.keys.reserved[:], keyID(k))] = len(e.line) - before
		return len(e.line) - before
	}
	if v.json == "" {
		v.encode(d.keys.keys[k].text)
	}
	e.line = append(e.line, v.json...)
	return len(v.json)
}

// appendReserved appends a reserved key to the line. Labels hold nothing that JSON escapes.
func (e *encoder) appendReserved(d *dict, key string) {
	b := append(append(append(e.line, '"'), key...), `":`...)
	switch key {
	case keyName:
		b = e.appendName(b, d.name)
	case keyShortName:
		b = e.appendName(b, d.shortName)
	case keyDep:
		b = append(b, '[')
		for i, dep := range d.deps {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(d.appendDependency(append(b, '"'), dep), '"')
		}
		b = append(b, ']')
	default:
		b = e.appendFiles(b, key == keyShorts)
	}
	b = append(b, ',')
	e.line = b
}

func (e *encoder) appendName(b, name []byte) []byte {
	if e.anyNames {
		return appendString(b, name)
	}
	return append(append(append(b, '"'), name...), '"')
}

func (e *encoder) appendFiles(b []byte, short bool) []byte {
	b = append(b, '{')
	for i, text := range e.contributing {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, text.name.json...)
		if short {
			b = append(b, text.short...)
		} else {
			b = append(b, text.full...)
		}
	}
	return append(b, '}')
}

// gatherFiles finds out what each file contributes to d, made anew where it is not the same as last time.
func (e *encoder) gatherFiles(d *dict) {
	for _, text := range e.contributing {
		text.from, text.last = text.last[:0], text.from
	}
	e.contributing = e.contributing[:0]
	for _, f := range d.files {
		for len(e.files) <= f.file.rank {
			e.files = append(e.files, &fileText{})
		}
		text := e.files[f.file.rank]
		if len(text.from) == 0 {
			text.name = f.file
			e.contributing = append(e.contributing, text)
		}
		text.from = append(text.from, f)
	}
	slices.SortFunc(e.contributing, func(a, b *fileText) int { return cmp.Compare(a.name.rank, b.name.rank) })
	for _, text := range e.contributing {
		if !slices.Equal(text.from, text.last) {
			text.full = append(d.appendLabels(append(text.full[:0], '"'), text.name, false), '"')
			text.short = append(d.appendLabels(append(text.short[:0], '"'), text.name, true), '"')
		}
	}
}

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
