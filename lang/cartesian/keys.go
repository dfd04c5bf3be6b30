// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"maps"
	"slices"
	"strings"
)

// A keyID stands for a key of a dict.
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

// printed returns the key as it reads when its value must not be confused with others: the last suffix first.
func (k key) printed(plain string) string {
	var b strings.Builder
	b.WriteString(plain)
	for _, s := range slices.Backward(k.suffixes) {
		b.WriteString(s)
	}
	return b.String()
}

// keyTable numbers keys. A config has one with all keys of its text; each expansion goes on with a copy of its own,
// because suffixes make new keys.
type keyTable struct {
	keys     []key
	ids      map[string]keyID // plain keys
	suffixed map[suffixedKey]keyID
}

type suffixedKey struct {
	key    keyID
	suffix string
}

func newKeyTable() *keyTable {
	return &keyTable{ids: map[string]keyID{}, suffixed: map[suffixedKey]keyID{}}
}

func (t *keyTable) clone() *keyTable {
	return &keyTable{slices.Clone(t.keys), maps.Clone(t.ids), maps.Clone(t.suffixed)}
}

// id returns the number of a plain key.
func (t *keyTable) id(text string) keyID {
	if id, ok := t.ids[text]; ok {
		return id
	}
	id := keyID(len(t.keys))
	t.ids[text] = id
	t.keys = append(t.keys, key{text: text, base: id})
	for _, ending := range []struct {
		text  string
		limit limit
	}{{"_max", limitMax}, {"_min", limitMin}, {"_fixed", limitFixed}} {
		if strings.HasSuffix(text, ending.text) {
			target, _, _ := strings.Cut(text, ending.text)
			t.keys[id].limit = ending.limit
			targetID := t.id(target)
			t.keys[id].target = targetID
			break
		}
	}
	return id
}

// withSuffix returns the number of a key with one more suffix.
func (t *keyTable) withSuffix(id keyID, suffix string) keyID {
	renamed, ok := t.suffixed[suffixedKey{id, suffix}]
	if !ok {
		renamed = keyID(len(t.keys))
		old := t.keys[id]
		t.suffixed[suffixedKey{id, suffix}] = renamed
		t.keys = append(t.keys, key{
			text: old.text + suffix, base: old.base, suffixes: append(slices.Clip(old.suffixes), suffix),
		})
	}
	return renamed
}
