// SPDX-License-Identifier: Apache-2.0

package vmstate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// jsonDescription is the description at the end of a stream.
type jsonDescription struct {
	PageSize int64        `json:"page_size"`
	Devices  []jsonDevice `json:"devices"`
}

type jsonDevice struct {
	Name     string `json:"name"`
	Instance uint32 `json:"instance_id"`
	jsonState
}

type jsonState struct {
	Type        string      `json:"vmsd_name"`
	Version     int64       `json:"version"`
	Fields      []jsonField `json:"fields"`
	Subsections []jsonState `json:"subsections"`
}

// jsonField is a field. An array whose elements have one format is one field with
// array_len, and the size of an element; else each element is a field, mostly with an
// index. A field of type tmp has its fields itself.
type jsonField struct {
	Name     string     `json:"name"`
	Type     string     `json:"type"`
	Size     int64      `json:"size"`
	ArrayLen *int64     `json:"array_len"`
	Index    *int64     `json:"index"`
	Struct   *jsonState `json:"struct"`
	jsonState
}

// description is the description, and where its section begins.
type description struct {
	offset   int64
	pageSize int64
	devices  []*Device
}

// findDescription reads the description at the end of a file; nil if there is none.
func findDescription(r io.ReaderAt, size int64) (*description, error) {
	zero, err := lastZero(r, size)
	if err != nil || zero < 0 {
		return nil, err
	}
	// JSON has no zero byte, so the last one is in the length before it, or if that has
	// none, it is the end of file before that. A length that does not fit may be one by
	// chance: it is only reported if no other fits.
	const header = 5
	var short error
	for at := zero + 1; at >= max(zero-header+1, 0); at-- {
		var head [header + 1]byte
		if n, err := r.ReadAt(head[:], at); n < len(head) {
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
			continue
		}
		length := int64(binary.BigEndian.Uint32(head[1:]))
		if head[0] != sectionDescription || head[header] != '{' {
			continue
		}
		switch there := size - at - header; {
		case length > there:
			short = faultAt(at, "the description of the devices is truncated: it has %d bytes, want %d", there, length)
		case length < there:
			short = faultAt(at+header+length, "%d bytes follow the end of the stream", there-length)
		case length > maxDescription:
			return nil, faultAt(at, "the description of the devices has %d bytes, want at most %d", length, maxDescription)
		default:
			return readDescription(r, at, header, length)
		}
	}
	return nil, short
}

// lastZero is the offset of the last zero byte within the limit of a description; -1 if
// there is none.
func lastZero(r io.ReaderAt, size int64) (int64, error) {
	chunk := make([]byte, min(size, 1<<16))
	for end := size; end > max(size-maxDescription-int64(len(chunk)), 0); {
		start := max(end-int64(len(chunk)), 0)
		part := chunk[:end-start]
		if _, err := r.ReadAt(part, start); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, 0); i >= 0 {
			return start + int64(i), nil
		}
		end = start
	}
	return -1, nil
}

func readDescription(r io.ReaderAt, at, header, length int64) (*description, error) {
	text := make([]byte, length)
	if _, err := r.ReadAt(text, at+header); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var all jsonDescription
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, jsonFault(at+header, "the description of the devices", err)
	}
	if p := all.PageSize; p < 1<<10 || p > 1<<24 || p&(p-1) != 0 {
		return nil, faultAt(at, "the description of the devices: page_size: got %d, want a power of two from 1024 to 16777216", p)
	}
	d := &description{offset: at, pageSize: all.PageSize}
	for _, device := range all.Devices {
		state, err := device.state(0)
		if err != nil {
			return nil, faultAt(at, "the description of %s: %w", device.Name, err)
		}
		d.devices = append(d.devices, &Device{Name: device.Name, Instance: device.Instance, State: *state, Bytes: state.bytes()})
	}
	return d, nil
}

// jsonFault is the error of JSON that begins at an offset.
func jsonFault(start int64, what string, err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		start += syntax.Offset
	} else if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		start += wrong.Offset
	}
	return faultAt(start, "%s: %w", what, err)
}

// state is the state that is described, depth structs deep.
func (s *jsonState) state(depth int) (*State, error) {
	switch {
	case depth > maxDepth:
		return nil, fmt.Errorf("more than %d structs are in each other", maxDepth)
	case len(s.Type) > maxName:
		return nil, fmt.Errorf("a name of %d bytes, want at most %d", len(s.Type), maxName)
	}
	state := &State{Type: s.Type, Version: s.Version}
	array, next := "", int64(0) // the name of the field before, and the number of those that are called so
	for _, described := range s.Fields {
		f, err := described.field(depth)
		if err != nil {
			return nil, err
		}
		index := int64(0)
		switch {
		case described.Index != nil:
			index = *described.Index
		case f.Name == array && described.ArrayLen == nil: // QEMU 10.0 leaves out the last index, 11.1 all
			index = next
		}
		state.add(f, index)
		array, next = f.Name, plus(index, f.Count)
	}
	for _, below := range s.Subsections {
		sub, err := below.state(depth + 1)
		if err != nil {
			return nil, fmt.Errorf("subsection %s: %w", below.Type, err)
		}
		state.Subsections = append(state.Subsections, sub)
	}
	return state, nil
}

// add adds a field. An element of an array that has the format of those before it is
// counted with them, as QEMU does itself for most arrays.
func (s *State) add(f Field, index int64) {
	if last := len(s.Fields) - 1; last >= 0 && index > 0 {
		before := &s.Fields[last]
		if before.Name == f.Name && before.Count == index && before.Type == f.Type && before.Size == f.Size && reflect.DeepEqual(before.Struct, f.Struct) {
			before.Count = plus(before.Count, f.Count)
			return
		}
	}
	if index > 0 {
		f.Name = fmt.Sprintf("%s[%d]", f.Name, index)
	}
	s.Fields = append(s.Fields, f)
}

// field is the field that is described, depth structs deep.
func (f *jsonField) field(depth int) (Field, error) {
	field := Field{Name: f.Name, Type: f.Type, Size: f.Size, Count: 1}
	if f.ArrayLen != nil {
		field.Count = *f.ArrayLen
	}
	index := int64(0)
	if f.Index != nil {
		index = *f.Index
	}
	if len(f.Name) > maxName {
		return Field{}, fmt.Errorf("a field's name of %d bytes, want at most %d", len(f.Name), maxName)
	}
	if f.Size < 0 || field.Count < 0 || index < 0 {
		return Field{}, fmt.Errorf("field %s: size %d, array_len %d, index %d: want no negative numbers", f.Name, f.Size, field.Count, index)
	}
	inner := f.Struct
	if inner == nil && len(f.Fields) > 0 {
		inner = &f.jsonState
	}
	if inner != nil {
		var err error
		if field.Struct, err = inner.state(depth + 1); err != nil {
			return Field{}, fmt.Errorf("field %s: %w", f.Name, err)
		}
	}
	return field, nil
}

// bytes is the size of the fields and subsections, at most the largest number.
func (s *State) bytes() int64 {
	sum := int64(0)
	for _, f := range s.Fields {
		sum = plus(sum, times(f.Size, f.Count))
	}
	for _, sub := range s.Subsections {
		sum = plus(sum, plus(subsectionHeader(sub.Type), sub.bytes()))
	}
	return sum
}

// subsectionHeader is the size of what precedes the fields of a subsection.
func subsectionHeader(name string) int64 { return int64(1 + 1 + len(name) + 4) }
