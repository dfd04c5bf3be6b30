// SPDX-License-Identifier: Apache-2.0

package result

import (
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// cells measures text as terminals draw it. What some East Asian fonts draw wide,
// such as "…", is taken as narrow, in every locale.
var cells = &runewidth.Condition{}

// Columns is how many columns of a terminal text takes: two for 名, one for é, also
// where that is two runes.
func Columns(text string) int { return cells.StringWidth(text) }

// Cut is the beginning of text that has at most width columns.
func Cut(text string, width int) string { return cells.Truncate(text, max(width, 0), "") }

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
	rest := text[len(first):]
	for Columns(rest) > width-1-Columns(first) {
		rest = rest[len(firstCharacter(rest)):]
	}
	return first + "…" + rest
}

// firstCharacter is what text begins with: all runes of one cell, at least one.
func firstCharacter(text string) string {
	for n := range 3 {
		if first := Cut(text, n); first != "" {
			return first
		}
	}
	_, size := utf8.DecodeRuneInString(text)
	return text[:size]
}
