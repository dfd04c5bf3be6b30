// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"cmp"
	"slices"
)

// flatten calls f with d's keys as they print, plain ones first; of several calls with one key, the last counts. A key
// with suffixes keeps them only while its value differs from that of another key with its base.
func (d *dict) flatten(f func(key, text string)) {
	d.present.all(func(k int) {
		if key := &d.keys.keys[k]; key.base == keyID(k) {
			f(key.text, d.values[k].text)
		}
	})
	if d.renamed == 0 {
		return
	}
	suffixed := d.suffixed(func(*key) bool { return true })
	differ := map[keyID]bool{} // bases whose keys have not all the same text
	for _, k := range suffixed {
		base := d.keys.keys[k].base
		plain := d.get(base)
		differ[base] = differ[base] || plain != nil && plain.text != d.values[k].text
	}
	first := map[keyID]string{}
	for _, k := range suffixed {
		base, text := d.keys.keys[k].base, d.values[k].text
		if other, ok := first[base]; ok && other != text {
			differ[base] = true
		}
		first[base] = text
	}
	for _, k := range suffixed {
		key, text := &d.keys.keys[k], d.values[k].text
		switch plain := d.get(key.base); {
		case plain != nil && plain.text == text: // is printed already
		case differ[key.base]:
			f(key.printed, text)
		default:
			f(d.keys.keys[key.base].text, text)
		}
	}
}

// suffixed returns those of the keys with suffixes that f picks, in the order in which they came.
func (d *dict) suffixed(f func(*key) bool) []keyID {
	var picked []keyID
	for k := len(d.keys.keys) - len(d.keys.suffixed); k < len(d.values); k++ {
		if d.values[k] != nil && f(&d.keys.keys[k]) {
			picked = append(picked, keyID(k))
		}
	}
	slices.SortFunc(picked, func(a, b keyID) int { return cmp.Compare(d.since[a], d.since[b]) })
	return picked
}

// flattened returns what prints as name, the plain key k.
func (d *dict) flattened(name string, k keyID) (text string, ok bool) {
	if v := d.get(k); v != nil {
		text, ok = v.text, true
	}
	for _, s := range d.suffixed(func(other *key) bool { return other.base == k || other.printed == name }) {
		base, own := d.keys.keys[s].base, d.values[s].text
		if plain := d.get(base); plain != nil && plain.text == own {
			continue
		}
		switch agree := d.agree(base, own); {
		case agree && base == k, !agree && d.keys.keys[s].printed == name:
			text, ok = own, true
		}
	}
	return text, ok
}

// agree reports whether all keys with a certain base have this text.
func (d *dict) agree(base keyID, text string) bool {
	if plain := d.get(base); plain != nil && plain.text != text {
		return false
	}
	for _, k := range d.suffixed(func(other *key) bool { return other.base == base }) {
		if d.values[k].text != text {
			return false
		}
	}
	return true
}
