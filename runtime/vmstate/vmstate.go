// SPDX-License-Identifier: Apache-2.0

package vmstate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Stream is the content of a saved stream, or of what -dump-vmstate wrote.
type Stream struct {
	// Kind says which of both it is.
	Kind Kind `json:"kind"`
	// Machine is the machine type, such as pc-i440fx-7.2.
	Machine string `json:"machine"`
	// Size is the stream's or the file's, in bytes.
	Size int64 `json:"size"`
	// PageSize is that of a guest page in bytes; 0 for -dump-vmstate.
	PageSize int64 `json:"page_size,omitempty"`
	// Capabilities are the migration capabilities that change the stream's format, such
	// as x-ignore-shared.
	Capabilities []string `json:"capabilities,omitempty"`
	// Blocks are the guest's RAM blocks.
	Blocks []*Block `json:"blocks,omitempty"`
	// Sections are all sections, in their order.
	Sections []*Section `json:"sections,omitempty"`
	// Devices are the devices, in the order of their sections.
	Devices []*Device `json:"devices"`
	// Undecoded says why sections from some offset on were not decoded, "" if all were: a
	// device of a kind that the stream does not describe.
	Undecoded string `json:"undecoded,omitempty"`
}

// Kind is what a file is.
type Kind string

// The kinds of files.
const (
	Saved  Kind = "stream"       // of a migration
	Dumped Kind = "dump-vmstate" // of qemu -dump-vmstate
)

// Block is a RAM block.
type Block struct {
	Name  string `json:"name"`
	Size  int64  `json:"size"`       // bytes that are used
	Pages int64  `json:"pages"`      // that were sent with their contents, a page that was sent twice counts twice
	Zeros int64  `json:"zero_pages"` // that were sent as filled with one byte
}

// Section is a section of the stream.
type Section struct {
	ID       uint32 `json:"id"`
	Name     string `json:"name"`
	Instance uint32 `json:"instance"`
	Version  uint32 `json:"version"`
	Offset   int64  `json:"offset"` // of the first part
	Bytes    int64  `json:"bytes"`  // of the payloads of all parts
	Parts    int    `json:"parts"`
}

// Device is the state of a device as it is described.
type Device struct {
	// Name is that of its section, with the device's place if it has one:
	// 0000:00:03.0/virtio-net. In -dump-vmstate it is the name of the kind of
	// device: virtio-net-device.
	Name     string `json:"name"`
	Instance uint32 `json:"instance"`
	State
	// Bytes is the size of all fields; 0 in -dump-vmstate.
	Bytes int64 `json:"bytes,omitempty"`
	// Values are the contents of the fields; nil where they were not decoded.
	Values []Value `json:"values,omitempty"`
}

// State is the format of a device's state, of a subsection, or of a struct in one.
type State struct {
	// Type is the name of QEMU's VMStateDescription.
	Type string `json:"vmsd"`
	// Version is that of the format.
	Version int64 `json:"version"`
	// MinVersion is the oldest version that this QEMU can load; only -dump-vmstate has it.
	MinVersion  int64    `json:"min_version,omitempty"`
	Fields      []Field  `json:"fields,omitempty"`
	Subsections []*State `json:"subsections,omitempty"`
}

// Field is a field of a state, or an array of fields.
type Field struct {
	Name string `json:"name"`
	// Type is QEMU's name of the type, such as uint32, timer or struct; -dump-vmstate has
	// none.
	Type string `json:"type,omitempty"`
	// Size is the size of an element in bytes, as it was sent.
	Size int64 `json:"size"`
	// Count is the number of elements; 1 if it is not an array.
	Count int64 `json:"count"`
	// Version is the version of the state that has introduced the field; only
	// -dump-vmstate has it.
	Version int64 `json:"version,omitempty"`
	// Struct is the format of an element, nil if it is not a struct.
	Struct *State `json:"struct,omitempty"`
}

// Value is the content of a field.
type Value struct {
	// Path is the field, with those that it is in: "timer[2].config", and after a
	// subsection's name and a colon, "cpu/msr_smi_count:msr_smi_count".
	Path   string `json:"path"`
	Type   string `json:"type"`
	Size   int64  `json:"size"`  // of an element, in bytes
	Count  int64  `json:"count"` // of elements
	Offset int64  `json:"offset"`
	// Value is an int64, uint64 or bool, a list of them, or the bytes in hexadecimal.
	Value any `json:"value"`
	// Truncated says that Value is only the beginning.
	Truncated bool `json:"truncated,omitempty"`
}

// Error is a fault in a file, at an offset in bytes from its beginning.
type Error struct {
	Offset int64
	Err    error
}

// Error begins with the offset.
func (e *Error) Error() string { return fmt.Sprintf("offset %d: %v", e.Offset, e.Err) }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// faultAt is an [*Error].
func faultAt(offset int64, format string, args ...any) error {
	return &Error{offset, fmt.Errorf(format, args...)}
}

// Open reads a file, until ctx ends. The stream begins at an offset in it, in bytes: 0, or
// what QEMU was told by the URI file:FILE,offset=N. Its errors name the file.
func Open(ctx context.Context, name string, offset int64) (*Stream, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is not a regular file", name)
	}
	s, err := Read(interruptible{ctx, f}, offset, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// interruptible is a file that cannot be read any more when ctx has ended.
type interruptible struct {
	ctx context.Context // io.ReaderAt has no place for it
	io.ReaderAt
}

func (i interruptible) ReadAt(p []byte, off int64) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.ReaderAt.ReadAt(p, off)
}

// Read reads a file of size bytes, whose stream begins at an offset. The error is an
// [*Error], or one of r.
func Read(r io.ReaderAt, offset, size int64) (*Stream, error) {
	start := make([]byte, max(min(size-offset, 4), 0))
	if _, err := r.ReadAt(start, offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case string(start) == magic:
		return readStream(r, offset, size)
	case size == 0:
		return nil, faultAt(0, "the file is empty")
	case len(start) == 0:
		return nil, faultAt(offset, "the file has only %d bytes", size)
	case offset > 0:
		return nil, faultAt(offset, "is no migration stream, which begins with %q: got %q", magic, start)
	case bytes.HasPrefix(bytes.TrimSpace(start), []byte("{")):
		return readDump(r, size)
	}
	return nil, faultAt(0, "is neither a migration stream, which begins with %q, nor what -dump-vmstate writes, which is JSON: got %q", magic, start)
}

// Device returns the device with a name and an instance; nil if there is none.
func (s *Stream) Device(name string, instance uint32) *Device {
	for _, d := range s.Devices {
		if d.Name == name && d.Instance == instance {
			return d
		}
	}
	return nil
}
