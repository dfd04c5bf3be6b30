// SPDX-License-Identifier: Apache-2.0

// Package printable makes text from others, such as a guest, a host or a config, safe to
// show: on a terminal, whose cursor, title and colours it must not change; in Markdown
// and in reports; and in the output of a CI job, whose lines may be interpreted as
// workflow commands (EscapeCommands).
//
// The rule is the same everywhere: characters that are invisible, or that change how
// other text is displayed, are escaped as in Go strings: \x1b, \u202e. A tab becomes a
// blank.
//
// Concurrency: everything may be used by any goroutine.
package printable

import (
	"fmt"
	"html"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Is reports whether r is shown unescaped: not control characters, characters that change
// the text direction, those without width, and blanks other than the ordinary one.
func Is(r rune) bool {
	return unicode.IsPrint(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// Line is text on one line.
func Line(text string) string { return escaped(text, false) }

// Lines is text with its line breaks kept. "\r\n" is one too.
func Lines(text string) string {
	return escaped(strings.ReplaceAll(text, "\r\n", "\n"), true)
}

func escaped(text string, lines bool) string {
	clean := func(r rune) bool { return r != utf8.RuneError && (Is(r) || lines && r == '\n') }
	if strings.IndexFunc(text, func(r rune) bool { return !clean(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for rest := text; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, rest[0])
		case r == '\t':
			b.WriteByte(' ')
		case clean(r) || r == utf8.RuneError:
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		rest = rest[size:]
	}
	return b.String()
}

// Markdown is text on one line of Markdown, or in a table cell: no part of it is
// interpreted as Markdown or HTML, and an @ notifies nobody.
func Markdown(text string) string {
	text = Line(strings.Join(strings.Fields(text), " "))
	return markdownSpecial.Replace(html.EscapeString(strings.ReplaceAll(text, `\`, `\\`)))
}

var markdownSpecial = strings.NewReplacer(
	"|", `\|`, "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`, "~", `\~`, "{", `\{`, "}", `\}`, "@", "@\u200b")

// JSON is JSON data in which unsafe characters are escaped as in JSON strings, so a
// reader gets the same values.
func JSON(data []byte) []byte {
	var out []byte // nil while equal to data
	written := 0
	replace := func(i, size int, by string) {
		out = append(append(out, data[written:i]...), by...)
		written = i + size
	}
	var s commandScanner
	for i := 0; i < len(data); {
		c := data[i]
		if c < utf8.RuneSelf {
			if s.isCommand(c) || c == 0x7f {
				replace(i, 1, fmt.Sprintf(`\u%04x`, c))
			}
			i++
			continue
		}
		s.isCommand(c)
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			replace(i, size, `\ufffd`)
		case Is(r):
		case r > 0xffff:
			const half = 0x400 // surrogates
			replace(i, size, fmt.Sprintf(`\u%04x\u%04x`, 0xd800+(r-0x10000)/half, 0xdc00+(r-0x10000)%half))
		default:
			replace(i, size, fmt.Sprintf(`\u%04x`, r))
		}
		i += size
	}
	if out == nil {
		return data
	}
	return append(out, data[written:]...)
}
