// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/mhmig/mhmig/lang/diag"
)

// A source is the text of one config file, or of one extra statement, cut into lines.
type source struct {
	name  string   // as shown to the user: a path, or extraName
	base  string   // last element of the path, used in the name maps
	lines []string // tabs expanded, blanks at the end removed
}

// extraName is the file name of statements that come from outside of any file.
const extraName = "<string>"

// newSource cuts text into lines. Text that is not UTF-8 is an error at the line of the first bad byte.
func newSource(name, base, text string) (*source, error) {
	s := &source{name: name, base: base}
	valid := utf8.ValidString(text)
	for len(text) > 0 {
		var line string
		line, text = cutLine(text)
		if !valid && !utf8.ValidString(line) {
			col := 1
			for ; ; col++ {
				r, size := utf8.DecodeRuneInString(line)
				if r == utf8.RuneError && size == 1 {
					break
				}
				line = line[size:]
			}
			return nil, diag.List{{
				Pos:     diag.Pos{File: name, Line: len(s.lines) + 1, Col: col},
				Message: "a byte that is not UTF-8 text",
			}}
		}
		s.lines = append(s.lines, expandTabs(strings.TrimRightFunc(line, isBlank)))
	}
	return s, nil
}

// diagnostic is an error at pos in s.
func (s *source) diagnostic(pos lexer.Position, message, hint string) diag.Diagnostic {
	d := diag.Diagnostic{
		Pos:     diag.Pos{File: s.name, Line: pos.Line, Col: pos.Column},
		Message: message,
		Hint:    hint,
	}
	if 0 < pos.Line && pos.Line <= len(s.lines) {
		d.Source = s.lines[pos.Line-1]
	}
	return d
}

// cutLine returns the first line of text and what follows it. The language ends lines where Python does.
func cutLine(text string) (line, rest string) {
	for i, r := range text {
		switch r {
		case '\r':
			if strings.HasPrefix(text[i+1:], "\n") {
				return text[:i], text[i+2:]
			}
			return text[:i], text[i+1:]
		case '\n', '\v', '\f', '\x1c', '\x1d', '\x1e', '\u0085', '\u2028', '\u2029':
			return text[:i], text[i+utf8.RuneLen(r):]
		}
	}
	return text, ""
}

// expandTabs fills with blanks up to the next multiple of eight characters for each tab.
func expandTabs(line string) string {
	if strings.IndexByte(line, '\t') < 0 {
		return line
	}
	var b strings.Builder
	col := 0
	for _, r := range line {
		if r != '\t' {
			b.WriteRune(r)
			col++
			continue
		}
		width := 8 - col%8
		b.WriteString("        "[:width])
		col += width
	}
	return b.String()
}

// isBlank tells whether r is white space; the language counts the separators U+001C to U+001F among it.
func isBlank(r rune) bool {
	return r == ' ' || '\x1c' <= r && r <= '\x1f' || unicode.IsSpace(r)
}

// isLabelRune tells whether r may stand in an identifier.
func isLabelRune(r rune) bool {
	return r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsNumber(r)
}
