// SPDX-License-Identifier: Apache-2.0

package vmstate

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// Difference is something that one stream has in another way than the other, or that
// only one of them has.
type Difference struct {
	// What is different.
	What Aspect `json:"what"`
	// Device and Instance are those of the device, "" for the machine type. For RAM, Device
	// is "ram".
	Device   string `json:"device,omitempty"`
	Instance uint32 `json:"instance"`
	// Field is the field, subsection or RAM block, "" if it is the whole device.
	Field string `json:"field,omitempty"`
	// Old and New are what each has, nil if it has nothing.
	Old *Side `json:"old"`
	New *Side `json:"new"`
}

// Aspect is what is different.
type Aspect string

// The aspects.
const (
	MachineType  Aspect = "machine"
	RAMBlock     Aspect = "block"
	WholeDevice  Aspect = "device"     // only one has it, or of another type
	StateVersion Aspect = "version"    // of a device's, subsection's or struct's format
	Subsection   Aspect = "subsection" // only one has it
	OneField     Aspect = "field"      // only one has it, or of another type, size or number of elements
	FieldName    Aspect = "name"       // the same format in the same place under another name, which is not sent
	FieldOrder   Aspect = "order"      // the same fields in another order, from Field on
)

// Side is what one of two streams has.
type Side struct {
	// Name is the machine's type, or that of a device's format, or a field's name where
	// they differ.
	Name string `json:"name,omitempty"`
	// Version is that of the format that the field is in, or of the device.
	Version int64 `json:"version"`
	// Type, Size and Count are a field's; Size is also the size of a device or block.
	Type  string `json:"type,omitempty"`
	Size  int64  `json:"size"`
	Count int64  `json:"count,omitempty"`
}

// Compare returns how two streams differ in what they have, not in the values: such
// differences may keep the one QEMU from loading what the other sends. It is an error if
// they are of different kinds.
func Compare(older, newer *Stream) ([]Difference, error) {
	if older.Kind != newer.Kind {
		return nil, fmt.Errorf("a %s cannot be compared with a %s: their devices have other names", older.Kind, newer.Kind)
	}
	var c comparison
	if older.Machine != newer.Machine {
		c.add(MachineType, "", &Side{Name: older.Machine}, &Side{Name: newer.Machine})
	}
	c.blocks(older, newer)
	c.devices(older, newer)
	return c.all, nil
}

// comparison collects differences.
type comparison struct {
	device   string
	instance uint32
	all      []Difference
}

func (c *comparison) add(what Aspect, field string, older, newer *Side) {
	c.all = append(c.all, Difference{what, c.device, c.instance, field, older, newer})
}

func (c *comparison) blocks(older, newer *Stream) {
	c.device, c.instance = ramName, 0
	side := func(b *Block) *Side {
		if b == nil {
			return nil
		}
		return &Side{Version: ramVersion, Size: b.Size}
	}
	for _, p := range pairs(older.Blocks, newer.Blocks, func(b *Block) string { return b.Name }) {
		if p.older == nil || p.newer == nil || p.older.Size != p.newer.Size {
			c.add(RAMBlock, p.key, side(p.older), side(p.newer))
		}
	}
}

func (c *comparison) devices(older, newer *Stream) {
	side := func(d *Device) *Side {
		if d == nil {
			return nil
		}
		return &Side{Name: d.Type, Version: d.Version, Size: d.Bytes}
	}
	for _, p := range pairs(older.Devices, newer.Devices, func(d *Device) deviceKey { return deviceKey{d.Name, d.Instance} }) {
		c.device, c.instance = p.key.name, p.key.instance
		if p.older == nil || p.newer == nil || p.older.Type != p.newer.Type {
			c.add(WholeDevice, "", side(p.older), side(p.newer))
			continue
		}
		c.states(&p.older.State, &p.newer.State, "")
	}
}

// states compares two formats; path is what they are in.
func (c *comparison) states(older, newer *State, path string) {
	if older.Version != newer.Version || older.MinVersion != newer.MinVersion {
		c.add(StateVersion, path, &Side{Version: older.Version}, &Side{Version: newer.Version})
	}
	oldSide := func(f *Field) *Side { return f.side(older.Version) }
	newSide := func(f *Field) *Side { return f.side(newer.Version) }
	before, after := numbered(older.Fields), numbered(newer.Fields)
	for was, is := range renamed(before, after) {
		olds, news := oldSide(was.Field), newSide(is.Field)
		olds.Name, news.Name = was.Name, is.Name
		c.add(FieldName, path+was.key.String(), olds, news)
		is.key = was.key
	}
	last, ordered := -1, true
	for _, p := range pairs(before, after, func(f *numberedField) fieldKey { return f.key }) {
		name := path + p.key.String()
		switch {
		case p.older == nil:
			c.add(OneField, name, nil, newSide(p.newer.Field))
			continue
		case p.newer == nil:
			c.add(OneField, name, oldSide(p.older.Field), nil)
			continue
		}
		if ordered && p.newer.place < last {
			ordered = false
			c.add(FieldOrder, name, oldSide(p.older.Field), newSide(p.newer.Field))
		}
		last = p.newer.place
		c.field(p.older.Field, p.newer.Field, name, older, newer)
	}
	for _, p := range pairs(older.Subsections, newer.Subsections, func(s *State) string { return s.Type }) {
		name := path + p.key
		switch {
		case p.older == nil:
			c.add(Subsection, name, nil, &Side{Version: p.newer.Version, Size: p.newer.bytes()})
		case p.newer == nil:
			c.add(Subsection, name, &Side{Version: p.older.Version, Size: p.older.bytes()}, nil)
		default:
			c.states(p.older, p.newer, name+":")
		}
	}
}

// field compares a field of two formats. Where structs have other fields, these are
// named, and the size that follows from them is not.
func (c *comparison) field(older, newer *Field, name string, before, after *State) {
	found := len(c.all)
	if older.Struct != nil && newer.Struct != nil && older.Count == newer.Count {
		c.states(older.Struct, newer.Struct, name+".")
	}
	same := older.Type == newer.Type && older.Size == newer.Size && older.Count == newer.Count && older.Version == newer.Version &&
		(older.Struct == nil) == (newer.Struct == nil)
	if !same && len(c.all) == found {
		c.add(OneField, name, older.side(before.Version), newer.side(after.Version))
	}
}

func (f *Field) side(version int64) *Side {
	return &Side{Version: version, Type: f.Type, Size: f.Size, Count: f.Count}
}

// fieldKey tells the fields of a format apart: some, such as unused, have one name.
type fieldKey struct {
	name   string
	number int // among those of this name, from 1
}

func (k fieldKey) String() string {
	if k.number == 1 {
		return k.name
	}
	return fmt.Sprintf("%s#%d", k.name, k.number)
}

type numberedField struct {
	*Field
	key   fieldKey
	place int
}

func numbered(fields []Field) []*numberedField {
	count := map[string]int{}
	all := make([]*numberedField, len(fields))
	for i := range fields {
		f := &fields[i]
		count[f.Name]++
		all[i] = &numberedField{f, fieldKey{f.Name, count[f.Name]}, i}
	}
	return all
}

// renamed yields the fields that have another name in the newer format, but the same
// format and place: after the same field, as many fields behind it.
func renamed(older, newer []*numberedField) iter.Seq2[*numberedField, *numberedField] {
	type place struct {
		after  fieldKey
		behind int
	}
	alone := func(fields, others []*numberedField) map[place]*numberedField {
		known := map[fieldKey]bool{}
		for _, f := range others {
			known[f.key] = true
		}
		all := map[place]*numberedField{}
		at := place{}
		for _, f := range fields {
			if known[f.key] {
				at = place{after: f.key}
				continue
			}
			all[at] = f
			at.behind++
		}
		return all
	}
	return func(yield func(*numberedField, *numberedField) bool) {
		added := alone(newer, older)
		removed := alone(older, newer)
		for _, at := range slices.SortedFunc(maps.Keys(removed), func(a, b place) int { return cmp.Compare(removed[a].place, removed[b].place) }) {
			if is := added[at]; is != nil && removed[at].sameFormat(is.Field) && !yield(removed[at], is) {
				return
			}
		}
	}
}

// sameFormat says whether two fields have the same format, whatever their names are.
func (f *Field) sameFormat(o *Field) bool {
	if f.Type != o.Type || f.Size != o.Size || f.Count != o.Count || f.Version != o.Version || (f.Struct == nil) != (o.Struct == nil) {
		return false
	}
	var c comparison
	if f.Struct != nil {
		c.states(f.Struct, o.Struct, "")
	}
	return len(c.all) == 0
}

// pair is what two lists have under one key; nil where one has nothing.
type pair[K comparable, T any] struct {
	key          K
	older, newer *T
}

// pairs pairs the elements of two lists by their keys, of which each list has one at most:
// in the order of the first, then those that only the second has.
func pairs[K comparable, T any](older, newer []*T, key func(*T) K) []pair[K, T] {
	places := map[K]int{}
	var all []pair[K, T]
	for _, e := range older {
		places[key(e)] = len(all)
		all = append(all, pair[K, T]{key: key(e), older: e})
	}
	for _, e := range newer {
		if place, there := places[key(e)]; there {
			all[place].newer = e
			continue
		}
		all = append(all, pair[K, T]{key: key(e), newer: e})
	}
	return all
}
