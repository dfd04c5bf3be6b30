// SPDX-License-Identifier: Apache-2.0

package printable

import (
	"io"
	"sync"
)

// EscapeCommands returns a writer to w that escapes the workflow commands in text for
// CI systems that interpret a job's output: GitHub's ::error::… at the beginning of a
// line, with or without blanks before it, and ##[error]… anywhere in one, as well as
// similar ones (##vso[…], ##teamcity[…]). The one character that makes it a command is
// replaced by escape; everything else is passed on immediately.
func EscapeCommands(w io.Writer, escape func(c byte) string) io.Writer {
	return &commandEscaper{w: w, escape: escape}
}

// Backslash is the escape for plain text and Markdown.
func Backslash(c byte) string { return `\` + string(c) }

type commandEscaper struct {
	w      io.Writer
	escape func(byte) string

	mu      sync.Mutex // guards scanner
	scanner commandScanner
}

func (d *commandEscaper) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	begin := 0
	for i, c := range p {
		if !d.scanner.isCommand(c) {
			continue
		}
		if _, err := d.w.Write(p[begin:i]); err != nil {
			return begin, err
		}
		if _, err := io.WriteString(d.w, d.escape(c)); err != nil {
			return i, err
		}
		begin = i + 1
	}
	n, err := d.w.Write(p[begin:])
	return begin + n, err
}

// commandScanner finds the characters that make a command: the second colon at the start
// of a line, and the bracket after ## or ##word.
type commandScanner struct {
	begun  bool // there was a character other than a blank in the line
	colons int  // at the start of the line
	marks  int  // number of # before, with or without a word after them
	word   bool // there are letters after the marks
}

// isCommand takes the next byte and reports whether it would complete a command.
func (s *commandScanner) isCommand(c byte) bool {
	const most = 2
	switch {
	case c == '\n' || c == '\r':
		*s = commandScanner{}
		return false
	case c == '#':
		if s.word {
			s.marks, s.word = 0, false
		}
		s.marks, s.begun = min(s.marks+1, most), true
		return false
	case c == '[' && s.marks == most:
		*s = commandScanner{begun: true}
		return true
	case s.marks == most && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'):
		s.word = true
		return false
	}
	s.marks, s.word = 0, false
	switch {
	case s.begun:
		return false
	case c == ':':
		s.colons++
		s.begun = s.colons == most
		return s.begun
	case c > ' ' && c < 0x7f: // other characters may be Unicode blanks
		s.begun = true
	}
	return false
}
