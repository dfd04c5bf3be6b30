// SPDX-License-Identifier: Apache-2.0

package result

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// cells measures text as terminals draw it. What some East Asian fonts draw wide,
// such as "…", is taken as narrow, in every locale.
var cells = &runewidth.Condition{}

// Columns is how many columns of a terminal text takes: two for 名, one for é, also
// where that is two runes.
func Columns(text string) int {
	if isPlain(text) {
		return len(text)
	}
	return cells.StringWidth(text)
}

// Cut is the beginning of text that has at most width columns.
func Cut(text string, width int) string {
	width = max(width, 0)
	if isPlain(text) {
		return text[:min(width, len(text))]
	}
	return cells.Truncate(text, width, "")
}

// isPlain says whether each byte of text takes one column, as in most texts.
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

// ShortenMiddle cuts text to at most width columns. "…" stands for what it takes out
// of the middle, as names differ at their ends.
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
