// SPDX-License-Identifier: Apache-2.0

package memproof

import (
	"bytes"
	"fmt"
	"strings"
)

const (
	// shownRuns is how many runs of pages an error names.
	shownRuns = 4
	// shownBytes is how many bytes of a difference an error shows.
	shownBytes = 8
	// dumpedLines is how many lines of a page Detail shows.
	dumpedLines = 32
	lineBytes   = 16
)

// DifferenceError says that the guest's memory on the destination is not that on the
// source.
type DifferenceError struct {
	Result
	Source, Destination string // the ends: vm1@host1
}

func (e *DifferenceError) Error() string {
	var b strings.Builder
	b.WriteString("guest memory differs after the migration: ")
	if e.AtLeast {
		b.WriteString("at least ")
	}
	fmt.Fprintf(&b, "%d of %d pages", e.Differ, e.Pages)
	page := e.First
	at := firstDifference(page.Source, page.Destination)
	end := min(at+shownBytes, len(page.Source))
	fmt.Fprintf(&b, ": %s; the first is 0x%x of %s: at 0x%x the source has % x, the destination % x", joinSpans(e.Runs, shownRuns),
		page.Address, page.Region, page.Address+uint64(at), page.Source[at:end], page.Destination[at:end])
	return b.String()
}

// Detail is the first page that differs as a dump of both ends: the lines that differ.
func (e *DifferenceError) Detail() string {
	var b strings.Builder
	page := e.First
	fmt.Fprintf(&b, "page 0x%x of %s on the source %s (-) and the destination %s (+):\n", page.Address, page.Region, e.Source, e.Destination)
	left := 0
	for at := 0; at < len(page.Source); at += lineBytes {
		end := min(at+lineBytes, len(page.Source))
		source, destination := page.Source[at:end], page.Destination[at:end]
		if bytes.Equal(source, destination) {
			continue
		}
		if left++; left <= dumpedLines {
			fmt.Fprintf(&b, "  - %s\n  + %s\n", dump(page.Address+uint64(at), source), dump(page.Address+uint64(at), destination))
		}
	}
	if left > dumpedLines {
		fmt.Fprintf(&b, "  and %d more lines of %d bytes\n", left-dumpedLines, lineBytes)
	}
	return b.String()
}

func dump(address uint64, line []byte) string {
	text := bytes.Clone(line)
	for i, b := range text {
		if b < ' ' || b > '~' {
			text[i] = '.'
		}
	}
	return fmt.Sprintf("%x  % x  %s", address, line, text)
}

// firstDifference is the index of the first byte that differs.
func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return 0
}

// LayoutError says that the guest's RAM and ROM are at other addresses on the
// destination than on the source.
type LayoutError struct{ Source, Destination []Span }

func (e *LayoutError) Error() string {
	return fmt.Sprintf("the guest has memory at other addresses after the migration: on the source at %s, on the destination at %s",
		joinSpans(e.Source, len(e.Source)), joinSpans(e.Destination, len(e.Destination)))
}
