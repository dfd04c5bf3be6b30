// SPDX-License-Identifier: Apache-2.0

package vmstate

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// input reads a stream forwards, up to its description. After the first error it only
// returns zeros: err has it.
type input struct {
	section *io.SectionReader
	buffer  *bufio.Reader
	at, end int64  // offsets in the file
	in      string // what is being read, for errors
	err     error
}

// inputBuffer is the maximum of what is buffered, in bytes.
const inputBuffer = 1 << 18

// newInput reads from an offset on, to end.
func newInput(r io.ReaderAt, offset, end int64) *input {
	section := io.NewSectionReader(r, 0, end)
	_, err := section.Seek(offset, io.SeekStart)
	return &input{section: section, buffer: bufio.NewReaderSize(section, int(min(end-offset, inputBuffer))), at: offset, end: end, err: err}
}

// has says whether n more bytes are there, and sets err if not.
func (in *input) has(n int64) bool {
	if in.err == nil && n > in.end-in.at {
		in.err = faultAt(in.at, "%s is truncated: %d more bytes are needed, %d are there", in.in, n, in.end-in.at)
	}
	return in.err == nil
}

// read fills p.
func (in *input) read(p []byte) {
	if !in.has(int64(len(p))) {
		return
	}
	n, err := io.ReadFull(in.buffer, p)
	in.at += int64(n)
	in.failed(err)
}

// failed sets err to an error of the file itself.
func (in *input) failed(err error) {
	if err == nil {
		return
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = errors.New("the file became shorter while it was read")
	}
	in.err = &Error{in.at, err}
}

// skip skips n bytes.
func (in *input) skip(n int64) {
	if !in.has(n) {
		return
	}
	if n <= int64(in.buffer.Buffered()) {
		skipped, err := in.buffer.Discard(int(n))
		in.at += int64(skipped)
		in.failed(err)
		return
	}
	in.at += n
	_, err := in.section.Seek(in.at, io.SeekStart)
	in.buffer.Reset(in.section)
	in.failed(err)
}

func (in *input) uint8() uint8 {
	var b [1]byte
	in.read(b[:])
	return b[0]
}

func (in *input) uint16() uint16 {
	var b [2]byte
	in.read(b[:])
	return binary.BigEndian.Uint16(b[:])
}

func (in *input) uint32() uint32 {
	var b [4]byte
	in.read(b[:])
	return binary.BigEndian.Uint32(b[:])
}

func (in *input) uint64() uint64 {
	var b [8]byte
	in.read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// peek is the next byte; false at the end.
func (in *input) peek() (byte, bool) {
	if in.err != nil || in.at >= in.end {
		return 0, false
	}
	b, err := in.buffer.Peek(1)
	if err != nil {
		in.failed(err)
		return 0, false
	}
	return b[0], true
}

// name reads a text with a length of one byte.
func (in *input) name() string {
	text := make([]byte, in.uint8())
	in.read(text)
	return string(text)
}

// fault sets err, if there is none yet.
func (in *input) fault(offset int64, format string, args ...any) {
	if in.err == nil {
		in.err = faultAt(offset, format, args...)
	}
}
