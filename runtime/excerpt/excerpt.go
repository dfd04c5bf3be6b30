// SPDX-License-Identifier: Apache-2.0

// Package excerpt shortens long texts for messages and reports: the output of
// commands, logs, consoles, transcripts. What is left of a text is whole characters and
// valid UTF-8; "…" stands for what was left out.
//
// All functions may be called from any goroutine.
package excerpt

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
)

// Head returns the beginning of text, at most limit bytes of it.
func Head(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// Tail returns the end of text, at most limit bytes of it.
func Tail(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return "…" + strings.ToValidUTF8(text[len(text)-limit:], "")
}

// Lines returns the lines of text that are not blank, without blanks at their ends.
func Lines(text string) []string {
	var lines []string
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' }) {
		if line = strings.TrimRight(line, " \t\r"); strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// LastLines returns the last n of [Lines].
func LastLines(text string, n int) []string {
	lines := Lines(text)
	return lines[max(0, len(lines)-n):]
}

// Recorder keeps the last lines of what is written to it.
type Recorder struct {
	keep int

	mu   sync.Mutex // guards what follows
	kept []string
	part []byte // of a line whose end has not been written
}

// NewRecorder returns a Recorder of that many lines.
func NewRecorder(lines int) *Recorder { return &Recorder{keep: lines} }

// Lines returns the lines that are kept; one whose end has not been written is not
// among them.
func (r *Recorder) Lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.kept)
}

// Write never fails.
func (r *Recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.part = append(r.part, p...)
	for {
		line, rest, whole := bytes.Cut(r.part, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		r.kept = append(r.kept, string(line))
		r.kept = r.kept[max(0, len(r.kept)-r.keep):]
		r.part = bytes.Clone(rest)
	}
}

// Tee returns w, except that r gets all that is written to it.
func (r *Recorder) Tee(w io.WriteCloser) io.WriteCloser {
	return struct {
		io.Writer
		io.Closer
	}{io.MultiWriter(w, r), w}
}
