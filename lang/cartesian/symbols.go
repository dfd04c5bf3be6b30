// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"iter"
	"path"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/mhmig/mhmig/lang/diag"
)

// A Symbol is a label of a variant, where a config's text defines it.
type Symbol struct {
	Label string
	Set   string // the name of its set, "" for none
	Below string // the label of the variant that it is nested in, "" for none
	Pos   diag.Pos
}

// find returns where a label first stands on its own after the dash at pos; pos itself if it does not.
func (s *source) find(label string, pos lexer.Position) lexer.Position {
	if pos.Line < 1 || pos.Line > len(s.lines) {
		return pos
	}
	col := 0 // characters up to the word
	for word := range words(s.lines[pos.Line-1]) {
		if col >= pos.Column && word == label {
			pos.Column = col + 1
			return pos
		}
		col += utf8.RuneCountInString(word)
	}
	return pos
}

// words returns the labels in a line and, one by one, the characters between them, of which a dash that begins a variant
// is one.
func words(line string) iter.Seq[string] {
	return func(yield func(string) bool) {
		begun := false // what is not blank
		for line != "" {
			end := skipLabel(line, 0)
			if end == 0 || !begun && line[0] == '-' {
				_, end = utf8.DecodeRuneInString(line)
			}
			begun = begun || !isBlank(rune(line[0]))
			if !yield(line[:end]) {
				return
			}
			line = line[end:]
		}
	}
}

// Offset returns the byte of a config's text at which a position of a diagnostic of it is: its columns count what tabs are
// expanded to, and its lines end where those of the language do. A position beyond the line is its end, one beyond the
// text that of the text.
func Offset(text string, pos diag.Pos) int {
	rest := text
	for n := 1; n < pos.Line && rest != ""; n++ {
		_, rest = cutLine(rest)
	}
	begin := len(text) - len(rest)
	line, _ := cutLine(rest)
	col := 1
	for at, r := range line {
		if col >= pos.Col {
			return begin + at
		}
		if r == '\t' {
			col += 8 - (col-1)%8
		} else {
			col++
		}
	}
	return begin + len(line)
}

// Syntax returns the errors in the syntax of a text, as a [diag.List], without reading what it includes; name is the
// file's name.
func Syntax(name, text string) error {
	src, err := newSource(name, path.Base(name), text)
	if err != nil {
		return err
	}
	b := new(builder)
	b.parse(src, name)
	return onePerLine(b.errs).Err()
}
