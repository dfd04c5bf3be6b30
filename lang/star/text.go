// SPDX-License-Identifier: Apache-2.0

package star

import (
	"bytes"
	"unicode/utf8"

	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/diag"
)

// checkText rejects invalid bytes. Starlark's scanner treats a NUL as the end of the
// file, so that the rest would never run; and accepts invalid UTF-8 in strings, which
// then cannot be written to results.
func checkText(name string, source []byte) error {
	line, col := int32(1), int32(1)
	fault := func(message, hint string) error {
		d := at(syntax.MakePosition(&name, line, col), source, message)
		d.Hint = hint
		return diag.List{d}
	}
	for i := 0; i < len(source); {
		r, size := utf8.DecodeRune(source[i:])
		switch {
		case r == 0:
			return fault("a NUL byte", "nothing after it would run; remove it, or save the file as UTF-8 if it is UTF-16")
		case r == utf8.RuneError && size == 1:
			return fault("a byte that is not UTF-8 text", "save the file as UTF-8")
		case r == byteOrderMark && i == 0:
			return fault("a byte order mark before the program", "save the file as UTF-8 without one")
		}
		i += size
		if r == '\n' || r == '\r' && !bytes.HasPrefix(source[i:], []byte("\n")) {
			line, col = line+1, 1
		} else {
			col++
		}
	}
	return nil
}

const byteOrderMark = '\ufeff'

// line returns the line of source with a number, from 1; "" if there is none.
// As in Starlark, lines end with LF, CR LF or CR.
func line(source []byte, number int) string {
	for ; len(source) > 0; number-- {
		end := bytes.IndexAny(source, "\r\n")
		if end < 0 {
			end = len(source)
		}
		if number == 1 {
			return string(source[:end])
		}
		rest := source[end:]
		if bytes.HasPrefix(rest, []byte("\r\n")) {
			rest = rest[1:]
		}
		source = rest[min(1, len(rest)):]
	}
	return ""
}
