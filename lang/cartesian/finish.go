// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"maps"
	"slices"
	"strings"
)

// finish makes c, whose tree is complete, ready for expansion.
func (b *builder) finish(c *Config) *Config {
	b.renumberKeys()
	b.rows.finish(len(b.labels.texts))
	c.labels, c.rows, c.keys = b.labels, b.rows, b.keys
	c.sets = b.sets
	for i, base := range slices.Sorted(maps.Keys(b.names)) {
		b.names[base].rank = i
	}
	c.patterns, c.changes = len(b.patterns), len(b.changes)
	c.filters, c.lookalikes, c.extraKeys, c.oddities = b.filters, b.lookalikes, b.extraKeys, b.oddities
	size := &treeSize{labels: len(b.labels.texts), rows: len(b.rows.rows)}
	c.root.finish(size)
	c.inFiles = b.keysInFiles()
	c.nodes, c.picks = size.nodes, b.decisions
	for id, key := range c.keys.keys {
		if key.limit != noLimit {
			c.limiting = append(c.limiting, keyID(id))
		}
	}
	c.worrying = b.worrying(c.limiting)
	c.nameless = len(c.worrying) > 0 || slices.ContainsFunc(c.limiting, func(k keyID) bool {
		return isReserved(c.keys.keys[c.keys.keys[k].target].text)
	})
	return c
}

// keysInFiles are the keys that assignments in files name, after renumberKeys.
func (b *builder) keysInFiles() bitSet {
	keys := newBitSet(len(b.keys.keys))
	for _, s := range b.sets {
		if !s.src.extra {
			for _, key := range s.keys {
				keys.add(int(key))
			}
		}
	}
	for _, s := range b.changes {
		if !s.place.src.extra && s.pattern == nil {
			keys.add(int(s.key))
		}
	}
	return keys
}

// renumberKeys gives keys the numbers by which they sort.
func (b *builder) renumberKeys() {
	ids := b.keys.sort()
	renumber := func(k *keyID) { *k = ids[*k] }
	for _, s := range b.sets {
		for i := range s.keys {
			renumber(&s.keys[i])
		}
	}
	for _, s := range b.changes {
		renumber(&s.key)
		for i := range s.value.refs {
			renumber(&s.value.refs[i].key)
		}
	}
	for _, s := range b.drops {
		renumber(&s.key)
	}
}

// commonStatements returns those at the beginning of the leaf's that do the same in all variants.
func commonStatements(statements []statement) []statement {
	for i, s := range statements {
		switch s := s.(type) {
		case *setKeys, *dropKey:
			continue
		case *changeKey:
			if !s.value.usesReserved() {
				continue
			}
		}
		return statements[:i]
	}
	return statements
}

// worrying returns the limiting keys that may meet something that is no number, or a reserved key. It may return too
// many; all others never keep a variant from being built.
func (b *builder) worrying(limiting []keyID) (worrying []keyID) {
	if len(limiting) == 0 {
		return nil
	}
	// What is known of a key's values: whether it has any, and whether all are numbers of either kind.
	type values struct{ any, odd bool }
	known := make([]values, len(b.keys.keys))
	for _, s := range b.sets {
		for i, k := range s.keys {
			known[k].any = true
			known[k].odd = known[k].odd || !isNumber(s.values[i].text)
		}
	}
	for _, s := range b.changes {
		if s.pattern == nil {
			plain := (s.op == opSet || s.op == opLazy) && len(s.value.refs) == 0
			known[s.key] = values{true, known[s.key].odd || !plain || !isNumber(s.value.text)}
			continue
		}
		for _, k := range limiting {
			for _, k := range []keyID{k, b.keys.keys[k].target} {
				known[k].odd = known[k].odd || s.pattern.matches(b.keys.keys[k].text)
			}
		}
	}
	for _, k := range limiting {
		target, limit := b.keys.keys[k].target, b.keys.keys[k].limit
		switch text := b.keys.keys[target].text; {
		case !known[k].any:
		case isReserved(text):
			if limit != limitFixed || text != keyName && text != keyShortName {
				worrying = append(worrying, k)
			}
		case limit != limitFixed && known[target].any && (known[k].odd || known[target].odd):
			worrying = append(worrying, k)
		}
	}
	return worrying
}

// isNumber reports whether text compares with all other numbers.
func isNumber(text string) bool {
	parse := parseInteger
	if strings.ContainsAny(text, sizeUnits) {
		parse = parseSize
	}
	_, err := parse(text)
	return err == nil
}
