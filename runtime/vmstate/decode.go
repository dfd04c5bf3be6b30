// SPDX-License-Identifier: Apache-2.0

package vmstate

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// budget is what was spent of the limits.
type budget struct{ steps, values, kept int64 }

// fields decodes the fields of a state, and then its subsections. path is what they are
// in.
func (w *walker) fields(d *Device, s *State, path string) {
	for i := range s.Fields {
		w.field(d, &s.Fields[i], path)
		if w.err != nil {
			return
		}
	}
	for _, sub := range s.Subsections {
		at := w.at
		if kind := w.uint8(); kind != sectionSubsection {
			w.fault(at, "%s: got 0x%02x, want its subsection %s", w.in, kind, sub.Type)
		}
		if name := w.name(); name != sub.Type {
			w.fault(at, "%s: got the subsection %q, want %q", w.in, name, sub.Type)
		}
		if version := w.uint32(); int64(version) != sub.Version {
			w.fault(at, "%s: subsection %s has version %d, but is described with version %d", w.in, sub.Type, version, sub.Version)
		}
		if w.err != nil {
			return
		}
		w.fields(d, sub, path+sub.Type+":")
	}
}

func (w *walker) field(d *Device, f *Field, path string) {
	size := times(f.Size, f.Count)
	if w.budget.steps++; w.budget.steps > maxSteps {
		w.fault(w.at, "%s: the devices have more than %d fields", w.in, maxSteps)
	}
	if size == 0 || !w.has(size) {
		return
	}
	// Where a struct's fields do not add up, as in a list, whose length is in the
	// stream, only the whole has a meaning.
	if f.Struct == nil || f.Struct.bytes() != f.Size {
		w.value(d, f, path+f.Name)
		return
	}
	for i := range f.Count {
		element := path + f.Name
		if f.Count > 1 {
			element = fmt.Sprintf("%s[%d]", element, i)
		}
		w.fields(d, f.Struct, element+".")
		if w.err != nil {
			return
		}
	}
}

// value decodes a field that is no struct.
func (w *walker) value(d *Device, f *Field, path string) {
	v := Value{Path: path, Type: f.Type, Size: f.Size, Count: f.Count, Offset: w.at}
	size := f.Size * f.Count // it fits: the stream has so many bytes
	if f.Type == "unused_buffer" {
		w.skip(size)
		return
	}
	number := integerOf(f.Type)
	kept := min(size, maxBuffer)
	if number.size == f.Size {
		kept = min(f.Count, maxElements) * f.Size
	}
	w.budget.values++
	w.budget.kept += kept + int64(len(path))
	if w.budget.values > maxValues || w.budget.kept > maxKept {
		w.fault(w.at, "%s: the devices have more than %d values, or %d bytes of them", w.in, maxValues, maxKept)
		return
	}
	raw := make([]byte, kept)
	w.read(raw)
	w.skip(size - kept)
	v.Truncated = kept < size
	switch {
	case number.size != f.Size:
		v.Value = hex.EncodeToString(raw)
	case f.Count == 1:
		v.Value = number.value(raw)
	default:
		list := make([]any, 0, len(raw)/int(f.Size))
		for ; len(raw) > 0; raw = raw[f.Size:] {
			list = append(list, number.value(raw[:f.Size]))
		}
		v.Value = list
	}
	d.Values = append(d.Values, v)
}

// integer is a type with a number; one of size 0 is no number.
type integer struct {
	size   int64
	signed bool
	bool   bool
}

var integers = map[string]integer{
	"bool": {1, false, true}, "timer": {8, true, false},
	"int8": {1, true, false}, "int16": {2, true, false}, "int32": {4, true, false}, "int64": {8, true, false},
	"uint8": {1, false, false}, "uint16": {2, false, false}, "uint32": {4, false, false}, "uint64": {8, false, false},
}

// integerOf is the number of a type; "uint32 equal" is a number that must be equal on
// the destination.
func integerOf(name string) integer {
	name, _, _ = strings.Cut(name, " ")
	return integers[name]
}

func (n integer) value(raw []byte) any {
	var u uint64
	for _, b := range raw {
		u = u<<8 | uint64(b)
	}
	shift := 64 - 8*n.size
	switch {
	case n.bool:
		return u != 0
	case n.signed:
		return int64(u<<shift) >> shift
	}
	return u
}
