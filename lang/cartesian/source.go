// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"io"
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
	ascii bool     // a character is a byte
	tabs  bool     // there were tabs in indents
	extra bool     // it is an extra statement, and in no file
	param bool     // one that is to set a key
}

// extraName is the language's file name for statements that come from outside of any file.
const extraName = "<string>"

// maxSource limits the bytes of one file. Its statements may take a hundred times as much memory.
const maxSource = 16 << 20

var errTooLarge = fmt.Errorf("the file is larger than %d MiB", maxSource>>20)

// readText reads all of r, a file of probably size bytes.
func readText(r io.Reader, size int64) (string, error) {
	var text strings.Builder
	if size <= maxSource {
		text.Grow(int(size))
		part := make([]byte, min(size+1, 16<<10))
		if _, err := io.CopyBuffer(&text, io.LimitReader(r, maxSource+1), part); err != nil {
			return "", err
		}
	}
	if size > maxSource || text.Len() > maxSource {
		return "", errTooLarge
	}
	return text.String(), nil
}

// newSource cuts text into lines. Text that is not UTF-8 is an error at the line of the first bad byte.
func newSource(name, base, text string) (*source, error) {
	s := &source{name: name, base: base, ascii: isASCII(text)}
	if !s.ascii && !utf8.ValidString(text) {
		return nil, diag.List{{Pos: firstBadByte(name, text), Message: "a byte that is not UTF-8 text"}}
	}
	s.lines = make([]string, 0, strings.Count(text, "\n")+1)
	simple := s.ascii && !hasOddBreaks(text)
	for len(text) > 0 {
		var line string
		if simple {
			line, text, _ = strings.Cut(text, "\n")
		} else {
			line, text = cutLine(text)
		}
		line = trimRight(line)
		if tab := strings.IndexByte(line, '\t'); tab >= 0 {
			s.tabs = s.tabs || tab < skipBlanks(line, 0)
			line = expandTabs(line)
		}
		s.lines = append(s.lines, line)
	}
	return s, nil
}

func firstBadByte(name, text string) diag.Pos {
	pos := diag.Pos{File: name, Line: 1, Col: 1}
	line, text := cutLine(text)
	for utf8.ValidString(line) {
		line, text = cutLine(text)
		pos.Line++
	}
	for {
		r, size := utf8.DecodeRuneInString(line)
		if r == utf8.RuneError && size == 1 {
			return pos
		}
		line = line[size:]
		pos.Col++
	}
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
	if mayAssign(d.Source) {
		return d.WithoutSecret()
	}
	return d
}

// mayAssign reports whether a line may be meant as an assignment: with "=", or as no statement of another kind.
func mayAssign(line string) bool {
	word := strings.TrimLeftFunc(line, isBlank)
	word = word[:skipLabel(word, 0)]
	return strings.Contains(line, "=") || !isKeyword(word) && !strings.HasPrefix(word, "-")
}

// isASCII reports whether a character of text is a byte.
func isASCII(text string) bool {
	for ; len(text) >= 4; text = text[4:] {
		// The compiler makes one load of it.
		four := uint32(text[0]) | uint32(text[1])<<8 | uint32(text[2])<<16 | uint32(text[3])<<24
		if four&0x80808080 != 0 {
			return false
		}
	}
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// hasOddBreaks reports whether ASCII text has line ends besides newlines.
func hasOddBreaks(text string) bool {
	for _, c := range []byte("\r\v\f\x1c\x1d\x1e") {
		if strings.IndexByte(text, c) >= 0 {
			return true
		}
	}
	return false
}

// cutLine returns the first line of text and what follows it. The language ends lines where Python does.
func cutLine(text string) (line, rest string) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if ' ' <= c && c < utf8.RuneSelf {
			continue
		}
		size := 0
		switch c {
		case '\n', '\v', '\f', '\x1c', '\x1d', '\x1e':
			size = 1
		case '\r':
			size = 1
			if strings.HasPrefix(text[i+1:], "\n") {
				size = 2
			}
		default:
			if c < utf8.RuneSelf {
				continue
			}
			for _, end := range []string{"\u0085", "\u2028", "\u2029"} {
				if strings.HasPrefix(text[i:], end) {
					size = len(end)
				}
			}
		}
		if size > 0 {
			return text[:i], text[i+size:]
		}
	}
	return text, ""
}

// expandTabs fills with blanks up to the next multiple of eight characters for each tab.
func expandTabs(line string) string {
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

// trimRight removes blanks at the end.
func trimRight(s string) string {
	for end := len(s); end > 0; end-- {
		switch c := s[end-1]; {
		case c >= utf8.RuneSelf:
			return strings.TrimRightFunc(s[:end], isBlank)
		case !isBlank(rune(c)):
			return s[:end]
		}
	}
	return ""
}

// skipBlanks returns the offset of the first character from the offset at on that is not blank, or the length of s.
func skipBlanks(s string, at int) int {
	for at < len(s) && s[at] == ' ' {
		at++
	}
	for ; at < len(s); at++ {
		switch c := s[at]; {
		case c >= utf8.RuneSelf:
			return len(s) - len(strings.TrimLeftFunc(s[at:], isBlank))
		case !isBlank(rune(c)):
			return at
		}
	}
	return at
}

// skipLabel returns the offset of the first character from the offset at on that cannot be part of an identifier, or the
// length of s.
func skipLabel(s string, at int) int {
	for at < len(s) {
		if c := s[at]; c < utf8.RuneSelf {
			if !asciiLabel[c] {
				break
			}
			at++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[at:])
		if !isLabelRune(r) {
			break
		}
		at += size
	}
	return at
}

// asciiLabel is isLabelRune for ASCII.
var asciiLabel = func() (table [utf8.RuneSelf]bool) {
	for c := range table {
		table[c] = isLabelRune(rune(c))
	}
	return table
}()

// isBlank reports whether r is white space; the language counts the separators U+001C to U+001F among it.
func isBlank(r rune) bool {
	return r == ' ' || '\x1c' <= r && r <= '\x1f' || unicode.IsSpace(r)
}

// isLabelRune reports whether r may stand in an identifier.
func isLabelRune(r rune) bool {
	return r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsNumber(r)
}
