// SPDX-License-Identifier: Apache-2.0

package clockwork

import (
	"bytes"
	"strconv"
	"time"
)

// Stamp is one reading of the guest's clock.
type Stamp struct {
	Life uint64        // of the program that stamps: another one after a reboot
	Seq  uint64        // counts its readings, those that could not be sent too
	Time time.Duration // CLOCK_MONOTONIC
}

// MaxLine is more bytes than any stamp's line has.
const MaxLine = 64

// lead begins a line. No number has it, so the rest of a cut line is no stamp.
const lead = 'T'

// Append appends the stamp as a line: T, then in hexadecimal its life, its
// number and the nanoseconds of its time.
//
//	T5f3a90c1 1c8 2d4b0f1a7
func (s Stamp) Append(line []byte) []byte {
	line = append(line, lead)
	line = strconv.AppendUint(line, s.Life, 16)
	line = append(line, ' ')
	line = strconv.AppendUint(line, s.Seq, 16)
	line = append(line, ' ')
	line = strconv.AppendUint(line, uint64(s.Time), 16)
	return append(line, '\n')
}

// Parse reads a line without its end. It takes only what Append writes: what a
// full port has cut, and what others write to it, is not ok.
func Parse(line []byte) (s Stamp, ok bool) {
	if len(line) == 0 || len(line) >= MaxLine || line[0] != lead {
		return Stamp{}, false
	}
	life, rest, _ := bytes.Cut(line[1:], []byte(" "))
	seq, now, _ := bytes.Cut(rest, []byte(" "))
	var numbers [3]uint64
	for i, digits := range [][]byte{life, seq, now} {
		bits := 64
		if i == 2 {
			bits = 63
		}
		n, err := strconv.ParseUint(string(digits), 16, bits)
		if err != nil {
			return Stamp{}, false
		}
		numbers[i] = n
	}
	s = Stamp{Life: numbers[0], Seq: numbers[1], Time: time.Duration(numbers[2])}
	written := s.Append(make([]byte, 0, MaxLine))
	return s, bytes.Equal(line, written[:len(written)-1])
}
