// SPDX-License-Identifier: Apache-2.0

package memproof

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Span is a span of the guest's physical addresses. End is the first address after it.
type Span struct{ Start, End uint64 }

// String is the first and the last address: 0x100000-0x1fffff.
func (s Span) String() string { return fmt.Sprintf("0x%x-0x%x", s.Start, s.End-1) }

func (s Span) size() uint64 { return s.End - s.Start }

// blocks is how many blocks a piece has.
func (s Span) blocks() int { return int((s.size() + blockBytes - 1) / blockBytes) }

// block is block number i of a piece.
func (s Span) block(i int) Span {
	start := s.Start + uint64(i)*blockBytes
	return Span{start, min(start+blockBytes, s.End)}
}

// extend appends a span to spans in ascending order.
func extend(spans []Span, s Span) []Span {
	if n := len(spans); n > 0 && spans[n-1].End == s.Start {
		spans[n-1].End = s.End
		return spans
	}
	return append(spans, s)
}

// cut divides spans into pieces.
func cut(spans []Span) []Span {
	var pieces []Span
	for _, s := range spans {
		for at := s.Start; at < s.End; at += pieceBytes {
			pieces = append(pieces, Span{at, min(at+pieceBytes, s.End)})
		}
	}
	return pieces
}

func joinSpans(spans []Span, most int) string {
	var all []string
	for _, s := range spans[:min(most, len(spans))] {
		all = append(all, s.String())
	}
	if more := len(spans) - most; more > 0 {
		all = append(all, fmt.Sprintf("%d more", more))
	}
	return strings.Join(all, ", ")
}

// region is a part of the guest's address space that is RAM or ROM.
type region struct {
	Span
	name string // QEMU's, such as pc.ram
}

// flatRange is a line of info mtree -f:
//
//	0000000000100000-0000000007ffdfff (prio 0, ram): pc.ram @0000000000100000
var flatRange = regexp.MustCompile(`^\s*([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, ([^)]+)\): (.*?)\s*(?:@[0-9a-f]{16}.*)?$`)

// memoryKinds are the kinds of memory that migrate and can be read without an effect:
// RAM, ROM, and a flash chip that reads as ROM, on non-volatile memory too. Not ramd,
// which is memory of a device of the host.
var memoryKinds = []string{"ram", "rom", "romd", "nv-ram", "nv-rom"}

// parseFlatView returns the regions of the address space of the guest's processors, in
// ascending order, from the output of info mtree -f.
func parseFlatView(text string) ([]region, error) {
	for view := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "FlatView #") {
		if !strings.Contains(view, ` AS "memory"`) {
			continue
		}
		var all []region
		for line := range strings.Lines(view) {
			m := flatRange.FindStringSubmatch(strings.TrimRight(line, "\n"))
			if m == nil || !slices.Contains(memoryKinds, m[3]) {
				continue
			}
			first, err1 := strconv.ParseUint(m[1], 16, 64)
			last, err2 := strconv.ParseUint(m[2], 16, 64)
			if err := errors.Join(err1, err2); err != nil || last < first || last+1 == 0 {
				return nil, fmt.Errorf("info mtree -f: invalid range %q", strings.TrimSpace(line))
			}
			all = append(all, region{Span{first, last + 1}, m[4]})
		}
		if len(all) > 0 {
			slices.SortFunc(all, func(a, b region) int {
				if a.Start < b.Start {
					return -1
				}
				return 1
			})
			return all, nil
		}
	}
	return nil, errors.New(`info mtree -f: QEMU names no RAM in the address space "memory"`)
}

// merge returns the spans of regions; adjacent ones are one span. How RAM is divided
// into regions depends on QEMU's version.
func merge(regions []region) []Span {
	var spans []Span
	for _, r := range regions {
		spans = extend(spans, r.Span)
	}
	return spans
}

// nameAt is the name of the region at an address.
func nameAt(regions []region, address uint64) string {
	for _, r := range regions {
		if address >= r.Start && address < r.End {
			return r.name
		}
	}
	return ""
}
