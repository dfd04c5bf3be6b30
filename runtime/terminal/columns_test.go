// SPDX-License-Identifier: Apache-2.0

package terminal_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/mhmig/mhmig/runtime/terminal"
)

func TestColumns(t *testing.T) {
	t.Parallel()
	const name = "üñïcödé_名前"
	for _, c := range []struct {
		text  string
		width int
		end   string
		mid   string
	}{
		{name, 12, name, name},
		{name, 11, "üñïcödé_名…", "üñïcö…_名前"},
		{name, 10, "üñïcödé_…", "üñïcö…名前"},
		{name, 5, "üñïc…", "üñ…前"},
		{name, 1, "…", "…"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…", "e\u0301…"},
		{"", 3, "", ""},
	} {
		if got := terminal.Shorten(c.text, c.width); got != c.end {
			t.Errorf("Shorten(%q, %d): got %q, want %q", c.text, c.width, got, c.end)
		}
		if got := terminal.ShortenMiddle(c.text, c.width); got != c.mid {
			t.Errorf("ShortenMiddle(%q, %d): got %q, want %q", c.text, c.width, got, c.mid)
		}
	}
	if n := terminal.Columns(name); n != 12 {
		t.Errorf("Columns(%q): got %d, want 12", name, n)
	}
	for _, line := range terminal.Wrap(strings.Repeat(name+" ", 3), 30) {
		if n := terminal.Columns(line); n > 30 || n < 12 {
			t.Errorf("Wrap: got line %q of %d columns, want at most 30", line, n)
		}
	}
}

// TestShortenedText: no text is wider than it may be, is cut inside a rune, or loses
// what Wrap should keep.
func TestShortenedText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.String().Draw(r, "text")
		width := rapid.IntRange(1, 40).Draw(r, "width")
		for _, got := range []string{terminal.Cut(text, width), terminal.Shorten(text, width), terminal.ShortenMiddle(text, width)} {
			if terminal.Columns(got) > width || !utf8.ValidString(got) {
				r.Errorf("%d columns: got %q of %d", width, got, terminal.Columns(got))
			}
		}
		for _, line := range terminal.Wrap(text, width) {
			if terminal.Columns(line) > max(width, 8) && strings.Contains(strings.Trim(line, " "), " ") {
				r.Errorf("Wrap(%q, %d): got %q", text, width, line)
			}
		}
		for word := range strings.FieldsSeq(text) {
			if !slices.ContainsFunc(terminal.Wrap(text, width), func(line string) bool { return strings.Contains(line, word) }) {
				r.Errorf("Wrap(%q, %d): %q is broken", text, width, word)
			}
		}
		if got := strings.Join(terminal.Wrap(text, width), ""); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(text, " ", "") {
			r.Errorf("Wrap(%q, %d): got %q", text, width, got)
		}
	})
}
