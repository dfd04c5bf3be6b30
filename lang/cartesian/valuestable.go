// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"encoding/binary"
)

// A valuesTable numbers the values that some keys have together, and remembers what statements make of them.
type valuesTable struct {
	dict   *dict
	values [][]keyText
	ids    map[string]valuesID
	made   map[madeValues]valuesID
	fails  map[failure]bool
}

type valuesID int32

// badValues are those with which no variant can be built.
const badValues valuesID = -1

// unknownName stands for the names of a variant in values. It is no number, as names mostly are not.
var unknownName = []byte("\x00")

// A keyText is a key, maybe one with suffixes, and its value. They are in the order in which the keys came.
type keyText struct {
	key  keyID
	text string
}

type madeValues struct {
	from   valuesID
	effect residualID
}

type failure struct {
	values valuesID
	limit  keyID
}

func newValuesTable(ctx context.Context, c *Config) valuesTable {
	return valuesTable{
		dict: newDict(ctx, c), values: [][]keyText{nil}, ids: map[string]valuesID{"": 0},
		made: map[madeValues]valuesID{}, fails: map[failure]bool{},
	}
}

// load gives the dict values, and nothing else.
func (t *valuesTable) load(id valuesID) {
	t.dict.reset()
	for _, v := range t.values[id] {
		t.dict.set(v.key, &value{text: v.text})
	}
}

// apply returns what a statement, which is the effect of that number, makes of values.
func (t *valuesTable) apply(from valuesID, effect residualID, s statement) valuesID {
	made := madeValues{from, effect}
	id, ok := t.made[made]
	if !ok {
		id = t.make(from, s)
		t.made[made] = id
	}
	return id
}

func (t *valuesTable) make(from valuesID, s statement) valuesID {
	t.load(from)
	t.dict.name, t.dict.shortName = unknownName, unknownName
	if err := t.dict.apply([]statement{s}, nil); err != nil {
		return badValues
	}
	var values []keyText
	var key []byte
	for _, k := range t.dict.order() {
		text := t.dict.values[k].text
		values = append(values, keyText{k, text})
		key = binary.AppendUvarint(key, uint64(k)) //nolint:gosec // never negative
		key = binary.AppendUvarint(key, uint64(len(text)))
		key = append(key, text...)
	}
	id, ok := t.ids[string(key)]
	if !ok {
		id = valuesID(len(t.values)) //nolint:gosec // memory ends before
		t.ids[string(key)] = id
		t.values = append(t.values, values)
	}
	return id
}

// has reports whether a plain key is among values.
func (t *valuesTable) has(id valuesID, k keyID) bool {
	for _, v := range t.values[id] {
		if v.key == k {
			return true
		}
	}
	return false
}

// fail reports whether a variant with values cannot be built, or may be such a one.
func (t *valuesTable) fail(id valuesID, c *constraint) bool {
	if id == badValues {
		return true
	}
	if c.limit == noKey || !t.has(id, c.limit) {
		return false
	}
	if c.named {
		return true // but for keys that end in _fixed, which are not constrained
	}
	at := failure{id, c.limit}
	fails, ok := t.fails[at]
	if !ok {
		t.load(id)
		fails = t.dict.limits([]keyID{c.limit}) != nil
		t.fails[at] = fails
	}
	return fails
}
