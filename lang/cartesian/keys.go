// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"slices"
	"strings"
)

// A keyID stands for a key of a dict. In a finished config, keys are numbered in the order in which they are printed.
type keyID int32

// Reserved keys are set by the language itself, and no statement changes them.
const (
	keyName      = "name"
	keyShortName = "shortname"
	keyDep       = "dep"
	keyNames     = "_name_map_file"
	keyShorts    = "_short_name_map_file"
)

func isReserved(key string) bool {
	switch key {
	case keyName, keyShortName, keyDep, keyNames, keyShorts:
		return true
	}
	return false
}

// A key is a plain key, or a plain key with the suffixes that "suffix" statements gave it.
type key struct {
	text     string   // plain name and suffixes in the order in which they were applied
	base     keyID    // the plain key; itself if it has no suffixes
	suffixes []string // in the order in which they were applied
	printed  string   // with suffixes: how it reads when its value must not be confused with others, the last suffix first

	limit  limit // of a plain key: what its ending says
	target keyID // of a plain key with a limit: the key that is limited
}

// limit is what the ending of a key does to another key.
type limit uint8

const (
	noLimit limit = iota
	limitMax
	limitMin
	limitFixed
)

var limitEndings = []struct {
	text  string
	limit limit
}{{"_max", limitMax}, {"_min", limitMin}, {"_fixed", limitFixed}}

// limitOf returns the key that a key limits.
func limitOf(key string) (target string, l limit) {
	for _, ending := range limitEndings {
		if strings.HasSuffix(key, ending.text) {
			target, _, _ = strings.Cut(key, ending.text)
			return target, ending.limit
		}
	}
	return "", noLimit
}

// keyTable numbers keys. A config has one with all keys of its text; each expansion goes on with a copy of its own,
// because suffixes make new keys.
type keyTable struct {
	keys     []key
	ids      map[string]keyID // plain keys; only while a config is made
	suffixed map[suffixedKey]keyID

	reserved [5]keyID // keyName, keyShortName, keyDep, keyNames, keyShorts
	always   bitSet   // those of reserved that all variants have
	mostly   bitSet   // those that variants have which come of a set
}

type suffixedKey struct {
	key    keyID
	suffix string
}

func newKeyTable() *keyTable { return &keyTable{ids: map[string]keyID{}} }

// id returns the number of a plain key.
func (t *keyTable) id(text string) keyID {
	if id, ok := t.ids[text]; ok {
		return id
	}
	id := keyID(len(t.keys))
	t.ids[text] = id
	t.keys = append(t.keys, key{text: text, base: id})
	if target, l := limitOf(text); l != noLimit {
		t.keys[id].limit = l
		targetID := t.id(target)
		t.keys[id].target = targetID
	}
	return id
}

// sort numbers the keys in the order of their text, and returns the new numbers by the old ones.
func (t *keyTable) sort() []keyID {
	for i, text := range []string{keyName, keyShortName, keyDep, keyNames, keyShorts} {
		t.reserved[i] = t.id(text)
	}
	order := make([]keyID, len(t.keys))
	for i := range order {
		order[i] = keyID(i)
	}
	slices.SortFunc(order, func(a, b keyID) int { return strings.Compare(t.keys[a].text, t.keys[b].text) })
	renumbered, keys := make([]keyID, len(order)), make([]key, len(order))
	for id, old := range order {
		renumbered[old], keys[id] = keyID(id), t.keys[old]
	}
	for i := range keys {
		keys[i].base, keys[i].target = renumbered[keys[i].base], renumbered[keys[i].target]
	}
	for i, id := range t.reserved {
		t.reserved[i] = renumbered[id]
	}
	t.always, t.mostly = newBitSet(len(keys)), newBitSet(len(keys))
	for i, id := range t.reserved {
		if i < 3 {
			t.always.add(int(id))
		}
		t.mostly.add(int(id))
	}
	t.keys, t.ids = keys, nil
	return renumbered
}

// find returns the number of a plain key of a sorted table, which it must have.
func (t *keyTable) find(text string) keyID {
	plain := t.keys[:len(t.keys)-len(t.suffixed)]
	i, _ := slices.BinarySearchFunc(plain, text, func(k key, text string) int { return strings.Compare(k.text, text) })
	return keyID(i)
}

// clone returns a table that can be given keys of its own.
func (t *keyTable) clone() *keyTable {
	c := *t
	c.keys, c.suffixed = slices.Clip(t.keys), map[suffixedKey]keyID{}
	return &c
}

// withSuffix returns the number of a key with one more suffix.
func (t *keyTable) withSuffix(id keyID, suffix string) keyID {
	renamed, ok := t.suffixed[suffixedKey{id, suffix}]
	if !ok {
		renamed = keyID(len(t.keys))
		old := t.keys[id]
		t.suffixed[suffixedKey{id, suffix}] = renamed
		added := key{text: old.text + suffix, base: old.base, suffixes: append(slices.Clip(old.suffixes), suffix)}
		added.printed = t.keys[old.base].text
		for _, s := range slices.Backward(added.suffixes) {
			added.printed += s
		}
		t.keys = append(t.keys, added)
	}
	return renamed
}
