// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"strings"
	"unicode/utf8"

	"github.com/mhmig/mhmig/lang/assist"
)

// A document is an open file at one moment. It does not change.
type document struct {
	uri     string
	name    string // its full name
	version int
	text
}

// A text is a text with its lines, as the protocol counts them.
type text struct {
	content string
	starts  []int // the offsets of lines
}

func newText(content string) text {
	t := text{content, []int{0}}
	for i := 0; i < len(content); i++ {
		if content[i] == '\n' || content[i] == '\r' && (i+1 == len(content) || content[i+1] != '\n') {
			t.starts = append(t.starts, i+1)
		}
	}
	return t
}

// offset returns the byte offset of a position. One beyond its line is the line's end; one beyond the text is its end.
func (t text) offset(p position) int {
	if p.Line < 0 {
		return 0
	}
	if p.Line >= len(t.starts) {
		return len(t.content)
	}
	at := t.starts[p.Line]
	for units := 0; at < len(t.content) && strings.IndexByte("\r\n", t.content[at]) < 0; {
		r, size := utf8.DecodeRuneInString(t.content[at:])
		if units += units16(r); units > p.Character {
			break
		}
		at += size
	}
	return at
}

// units16 returns how many code units of UTF-16 a character has.
func units16(r rune) int {
	if r > 0xffff {
		return 2
	}
	return 1
}

// position returns the position of a byte offset.
func (t text) position(offset int) position {
	offset = min(max(offset, 0), len(t.content))
	low, high := 0, len(t.starts) // the line is in [low, high)
	for high-low > 1 {
		if middle := (low + high) / 2; t.starts[middle] <= offset {
			low = middle
		} else {
			high = middle
		}
	}
	p := position{Line: low}
	for _, r := range t.content[t.starts[low]:offset] {
		p.Character += units16(r)
	}
	return p
}

func (t text) textRange(s assist.Span) textRange {
	return textRange{t.position(s.From), t.position(s.To)}
}

// after returns the text after a change.
func (t text) after(c change) text {
	if c.Range == nil {
		return newText(c.Text)
	}
	from, to := t.offset(c.Range.Start), t.offset(c.Range.End)
	return newText(t.content[:from] + c.Text + t.content[max(from, to):])
}
