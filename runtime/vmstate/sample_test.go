// SPDX-License-Identifier: Apache-2.0

package vmstate_test

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// sample builds a stream.
type sample struct{ bytes []byte }

func (s *sample) add(parts ...any) *sample {
	for _, part := range parts {
		switch p := part.(type) {
		case string:
			s.bytes = append(s.bytes, p...)
		case []byte:
			s.bytes = append(s.bytes, p...)
		case byte:
			s.bytes = append(s.bytes, p)
		case uint16:
			s.bytes = binary.BigEndian.AppendUint16(s.bytes, p)
		case uint32:
			s.bytes = binary.BigEndian.AppendUint32(s.bytes, p)
		case uint64:
			s.bytes = binary.BigEndian.AppendUint64(s.bytes, p)
		default:
			panic(fmt.Sprintf("%T in a stream", part))
		}
	}
	return s
}

// name adds a text with a length of one byte.
func (s *sample) name(text string) *sample { return s.add(byte(len(text)), text) }

// newSample begins a stream; subsections are those of the configuration.
func newSample(subsections ...byte) *sample {
	return new(sample).add("QEVM", uint32(3), byte(0x07), uint32(len("pc-7.2")), "pc-7.2", subsections)
}

// capabilities is a subsection of the configuration.
func capabilities(names ...string) []byte {
	s := new(sample).add(byte(0x05)).name("configuration/capabilities").add(uint32(1), uint32(len(names)))
	for _, name := range names {
		s.name(name)
	}
	return s.bytes
}

// begin adds the header of a section of type kind.
func (s *sample) begin(kind byte, id uint32, name string, instance, version uint32) *sample {
	return s.add(kind, id).name(name).add(instance, version)
}

func (s *sample) footer(id uint32) *sample { return s.add(byte(0x7e), id) }

// device adds a device with the id 9, and ends the sections.
func (s *sample) device(name string, version uint32, payload ...byte) *sample {
	return s.begin(0x04, 9, name, 0, version).add(payload).footer(9).add(byte(0))
}

// describe ends the stream with a description.
func (s *sample) describe(json string) []byte {
	return s.add(byte(0x06), uint32(len(json)), json).bytes
}

// described is a stream with one device, clock, version 2.
func described(fields string, payload ...byte) []byte {
	return newSample().device("clock", 2, payload...).describe(clock(fields))
}

// clock is the description of one device with these fields.
func clock(fields string) string {
	return `{"page_size": 4096, "devices": [{"name": "clock", "instance_id": 0, "vmsd_name": "clock", "version": 2, ` + fields + `}]}`
}

// withRAM is a stream with all that a RAM section can have.
func withRAM() []byte {
	page := []byte(strings.Repeat("x", 4096))
	s := newSample().begin(0x01, 2, "ram", 0, 4)
	s.add(uint64(3<<12 | 0x04)).name("pc.ram").add(uint64(2 << 12)).name("pc.bios").add(uint64(1 << 12))
	s.add(uint64(0x10)).footer(2)
	s.add(byte(0x02), uint32(2))
	s.add(uint64(0x0000 | 0x02)).name("pc.ram").add(byte(0))
	s.add(uint64(0x1000|0x08|0x20), page)
	s.add(uint64(0x0000 | 0x08)).name("pc.bios").add(page)
	s.add(uint64(0x200), uint64(0x10)).footer(2)
	s.add(byte(0x08), uint16(3), uint16(2), "ab") // a command
	s.add(byte(0x03), uint32(2))
	s.add(uint64(0x1000|0x40)).name("pc.ram").add(byte(1), uint16(3), "abc")
	s.add(uint64(0x1000|0x100|0x20), uint32(4), "abcd")
	s.add(uint64(0x10)).footer(2)
	return s.device("clock", 2, 7).describe(clock(`"fields": [{"name": "hour", "type": "uint8", "size": 1}]`))
}
