// SPDX-License-Identifier: Apache-2.0

package vmstate

import (
	"fmt"
	"io"
	"slices"
)

const (
	magic         = "QEVM"
	streamVersion = 3
)

// The types of sections.
const (
	sectionEOF           = 0x00
	sectionStart         = 0x01
	sectionPart          = 0x02
	sectionEnd           = 0x03
	sectionFull          = 0x04
	sectionSubsection    = 0x05
	sectionDescription   = 0x06
	sectionConfiguration = 0x07
	sectionCommand       = 0x08
	sectionFooter        = 0x7e
)

// walker walks through the sections of a stream.
type walker struct {
	*input
	stream    *Stream
	described map[deviceKey]*Device // by the description; nil: there is none
	sections  map[uint32]*Section
	blocks    map[string]*Block
	block     *Block // of the last page
	footers   footers
	budget    budget
}

type deviceKey struct {
	name     string
	instance uint32
}

// footers says whether payloads have footers: those of machine types before 2.4 have
// none.
type footers int

const (
	footersUnknown footers = iota
	footersAbsent
	footersPresent
)

// readStream reads a stream that begins at an offset and ends with the file. All offsets in
// it, also those of mapped-ram, count from the file's beginning.
func readStream(r io.ReaderAt, offset, size int64) (*Stream, error) {
	described, err := findDescription(r, size)
	if err != nil {
		return nil, err
	}
	s := &Stream{Kind: Saved, Size: size - offset}
	w := &walker{stream: s, sections: map[uint32]*Section{}, blocks: map[string]*Block{}}
	end := size
	if described != nil {
		end, s.PageSize, s.Devices = described.offset, described.pageSize, described.devices
		w.described = map[deviceKey]*Device{}
		for _, d := range described.devices {
			key := deviceKey{d.Name, d.Instance}
			if w.described[key] != nil {
				return nil, faultAt(described.offset, "the description has %s, instance %d, twice", d.Name, d.Instance)
			}
			w.described[key] = d
		}
	}
	w.input = newInput(r, offset, end)
	if s.PageSize == 0 {
		s.PageSize = 4096 // to get to what is missing
	}
	w.walk()
	if w.err != nil {
		return nil, w.err
	}
	return s, nil
}

// walk reads all sections before the description.
func (w *walker) walk() {
	w.in = "the header"
	w.skip(int64(len(magic)))
	if version := w.uint32(); version != streamVersion {
		w.fault(w.at-4, "the stream's version: got %d, want %d", version, streamVersion)
	}
	for w.err == nil && w.stream.Undecoded == "" {
		at := w.at
		w.in = "the stream"
		switch kind := w.uint8(); kind {
		case sectionConfiguration:
			w.configuration()
		case sectionStart, sectionFull:
			w.begin(at, kind)
		case sectionPart, sectionEnd:
			id := w.uint32()
			section := w.sections[id]
			if section == nil {
				w.fault(at, "a part of section %d, which has not begun", id)
				return
			}
			w.payload(section, at)
		case sectionCommand:
			w.in = "a command"
			w.uint16()
			w.skip(int64(w.uint16()))
		case sectionEOF:
			w.finish()
			return
		default:
			w.fault(at, "the type of a section: got 0x%02x", kind)
		}
	}
}

// finish checks what is behind the last section.
func (w *walker) finish() {
	switch {
	case w.err != nil:
	case w.described == nil:
		w.noDescription()
	case w.at != w.end:
		w.fault(w.at, "the sections end here, but the description begins at offset %d", w.end)
	default:
		for _, d := range w.stream.Devices {
			if !slices.ContainsFunc(w.stream.Sections, func(s *Section) bool { return s.Name == d.Name && s.Instance == d.Instance }) {
				w.fault(w.at, "%s, instance %d, is described but was not sent", d.Name, d.Instance)
			}
		}
	}
}

func (w *walker) noDescription() {
	w.fault(w.end, "the stream has no description of its devices at its end: it is truncated, or QEMU has not sent it (suppress-vmdesc=on, postcopy)")
}

// maxMachine is the maximum length of a machine type's name.
const maxMachine = 1 << 10

func (w *walker) configuration() {
	w.in = "the configuration"
	at := w.at
	length := w.uint32()
	if length > maxMachine {
		w.fault(at, "the machine type has %d bytes, want at most %d", length, maxMachine)
		return
	}
	name := make([]byte, length)
	w.read(name)
	w.stream.Machine = string(name)
	for {
		if next, there := w.peek(); !there || next != sectionSubsection {
			return
		}
		at := w.at
		w.uint8()
		name := w.name()
		w.uint32() // its version
		switch name {
		case "configuration/target-page-bits":
			w.uint32()
		case "configuration/capabilities":
			for range w.uint32() {
				if w.err != nil || len(w.stream.Capabilities) == maxSections {
					break
				}
				w.stream.Capabilities = append(w.stream.Capabilities, w.name())
			}
		case "configuration/uuid":
			w.skip(16)
		default:
			w.fault(at, "the configuration has an unknown subsection, %q", name)
		}
		if w.err != nil {
			return
		}
	}
}

// begin reads the header of a section, and its first payload.
func (w *walker) begin(at int64, kind uint8) {
	w.in = "the header of a section"
	s := &Section{ID: w.uint32(), Name: w.name(), Instance: w.uint32(), Version: w.uint32(), Offset: at}
	switch {
	case w.err != nil:
		return
	case len(w.sections) == maxSections:
		w.fault(at, "more than %d sections", maxSections)
		return
	case w.sections[s.ID] != nil:
		w.fault(at, "section %d begins twice, as %s and as %s", s.ID, w.sections[s.ID].Name, s.Name)
		return
	}
	w.sections[s.ID] = s
	w.stream.Sections = append(w.stream.Sections, s)
	if kind == sectionFull && s.Name != ramName {
		w.device(s, at)
		return
	}
	w.payload(s, at)
}

// payload reads a payload of an iterative section, which is sent in parts.
func (w *walker) payload(s *Section, at int64) {
	w.in = s.describe()
	if s.Name != ramName {
		w.stream.Undecoded = fmt.Sprintf("offset %d: %s is of a kind that streams do not describe", at, w.in)
		return
	}
	start := w.at
	w.ram(s)
	w.close(s, start)
}

// device reads the payload of a device.
func (w *walker) device(s *Section, at int64) {
	w.in = s.describe()
	if w.described == nil {
		w.noDescription()
		return
	}
	d := w.described[deviceKey{s.Name, s.Instance}]
	if d == nil {
		w.stream.Undecoded = fmt.Sprintf("offset %d: the description has no %s", at, w.in)
		return
	}
	if d.Version != int64(s.Version) {
		w.fault(at, "%s has version %d, but is described with version %d", w.in, s.Version, d.Version)
		return
	}
	start := w.at
	w.fields(d, &d.State, "")
	w.close(s, start)
}

// close reads the footer after a payload.
func (w *walker) close(s *Section, start int64) {
	s.Parts++
	s.Bytes += w.at - start
	at := w.at
	w.in = "the footer of " + s.describe()
	next, there := w.peek()
	switch {
	case !there:
		w.has(1)
	case next == sectionFooter && w.footers != footersAbsent:
		w.footers = footersPresent
		w.uint8()
		if id := w.uint32(); id != s.ID {
			w.fault(at, "%s: got the id %d, want %d", w.in, id, s.ID)
		}
	case w.footers == footersPresent:
		w.fault(at, "%s: got 0x%02x, want 0x%02x: its payload, from offset %d, has another size", w.in, next, sectionFooter, start)
	default:
		w.footers = footersAbsent
	}
}

// describe is the section for errors.
func (s *Section) describe() string {
	return fmt.Sprintf("section %s, instance %d", s.Name, s.Instance)
}
