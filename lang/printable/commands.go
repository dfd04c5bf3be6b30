// SPDX-License-Identifier: Apache-2.0

package printable

import (
	"io"
	"sync"
)

// EscapeCommands returns a writer to w of text in which nothing is a command to the
// system that reads a job's output: GitHub's ::error::… at the beginning of a
// line, blanks before it or not, and ##[error]… anywhere in one, as well as
// others of that kind (##vso[…], ##teamcity[…]). The one character that makes
// it a command is written as escape has it; all else goes through as it comes.
func EscapeCommands(w io.Writer, escape func(c byte) string) io.Writer {
	return &commandEscaper{w: w, escape: escape}
}

// Backslash is an escape for plain text and Markdown.
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

// commandScanner finds the characters that make a command: the second colon of those that
// a line begins with, and the bracket behind ## or ##word.
type commandScanner struct {
	begun  bool // the line has shown something but a blank
	colons int  // that the line began with
	marks  int  // # before this, with a word behind them or not
	word   bool // letters have come behind the marks
}

// isCommand takes the next byte and reports whether it would make a command.
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
	case c > ' ' && c < 0x7f: // what is no letter may be a blank of some script
		s.begun = true
	}
	return false
}
