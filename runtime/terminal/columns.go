// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// cells measures text as terminals draw it. East Asian ambiguous characters, such as
// "…", are narrow, in every locale.
var cells = &runewidth.Condition{}

// Columns is how many columns of a terminal text takes: two for 名, one for é, also
// where that is two runes.
func Columns(text string) int {
	if isPlain(text) {
		return len(text)
	}
	return cells.StringWidth(text)
}

// Cut returns the start of text, at most width columns.
func Cut(text string, width int) string {
	width = max(width, 0)
	if isPlain(text) {
		return text[:min(width, len(text))]
	}
	return cells.Truncate(text, width, "")
}

// isPlain reports whether each byte of text takes one column.
func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// Shorten cuts text to width columns, the last of which then is "…".
func Shorten(text string, width int) string {
	if Columns(text) <= width {
		return text
	}
	return Cut(text, width-1) + "…"
}

// ShortenMiddle shortens text to at most width columns. "…" replaces its middle, as
// names differ at their ends.
func ShortenMiddle(text string, width int) string {
	all := Columns(text)
	switch {
	case all <= width:
		return text
	case width <= 0:
		return ""
	}
	first := Cut(text, width/2)
	last := cells.TruncateLeft(text, all-(width-1-Columns(first)), "") // with a blank for half of a wide character
	return first + "…" + strings.TrimLeft(last, " ")
}

// Wrap breaks text at blanks into lines of at most width columns, at least 8. A longer
// word, such as a path or a name, is not broken, so that it can be copied: terminals
// wrap it by themselves. It returns at least one line.
func Wrap(text string, width int) []string {
	width = max(width, 8)
	text = strings.TrimRight(text, " ")
	var lines []string
	for Columns(text) > width {
		begin := len(text) - len(strings.TrimLeft(text, " ")) // not in the indentation
		cut := max(len(Cut(text, width)), begin)
		blank := strings.LastIndexByte(text[begin:min(cut+1, len(text))], ' ')
		if blank < 0 {
			if blank = strings.IndexByte(text[begin:], ' '); blank < 0 {
				break
			}
		}
		blank += begin
		lines = append(lines, strings.TrimRight(text[:blank], " "))
		text = strings.TrimLeft(text[blank:], " ")
	}
	return append(lines, text)
}
