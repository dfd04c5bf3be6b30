// SPDX-License-Identifier: Apache-2.0

package printable_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mhmig/mhmig/lang/printable"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, line, lines string }{
		{"ordinary", "vm1 é 名 \uFFFD", "vm1 é 名 \uFFFD", "vm1 é 名 \uFFFD"},
		{"title", "\x1b]0;x\a", `\x1b]0;x\a`, `\x1b]0;x\a`},
		{"screen", "\x1b[2J\u009b2J", `\x1b[2J\u009b2J`, `\x1b[2J\u009b2J`},
		{"NUL and DEL", "a\x00b\x7f", `a\x00b\x7f`, `a\x00b\x7f`},
		{"direction", "\u202Eabc\u2066\u200F", `\u202eabc\u2066\u200f`, `\u202eabc\u2066\u200f`},
		{"no width", "a\u200Bb\uFEFF\u3164\u034F", `a\u200bb\ufeff\u3164\u034f`, `a\u200bb\ufeff\u3164\u034f`},
		{"beyond the first plane", "\U000E0041", `\U000e0041`, `\U000e0041`},
		{"no UTF-8", "a\xff\xc3", `a\xff\xc3`, `a\xff\xc3`},
		{"lines", "a\r\nb\tc\n\rd\u2028e", `a\r\nb c\n\rd\u2028e`, "a\nb c\n\\rd\\u2028e"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := printable.Line(test.text); got != test.line {
				t.Errorf("Line(%q): got %s, want %s", test.text, got, test.line)
			}
			if got := printable.Lines(test.text); got != test.lines {
				t.Errorf("Lines(%q): got %s, want %s", test.text, got, test.lines)
			}
		})
	}
}

func FuzzLine(f *testing.F) {
	f.Add("\x1b]0;x\a\u202E\xff\r\n ::error::x ##[error]")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range printable.Line(text) + strings.ReplaceAll(printable.Lines(text), "\n", "") {
			if !printable.Is(r) {
				t.Fatalf("%q: got %q", text, r)
			}
		}
		whole, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		shown := printable.JSON(whole)
		var want, got string
		if err := json.Unmarshal(whole, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(shown, &got); err != nil || got != want {
			t.Fatalf("JSON(%s): got %s: %v", whole, shown, err)
		}
		for _, r := range string(shown) {
			if !printable.Is(r) {
				t.Fatalf("JSON(%q): got %q", whole, r)
			}
		}
		var b strings.Builder
		w := printable.EscapeCommands(&b, printable.Backslash)
		for i := range len(text) { // the hardest way
			if _, err := w.Write([]byte{text[i]}); err != nil {
				t.Fatal(err)
			}
		}
		for _, out := range []string{b.String(), string(shown)} {
			if command := obeyed.FindString(out); command != "" {
				t.Fatalf("%q: %q is obeyed", out, command)
			}
		}
		if utf8.ValidString(text) && !obeyed.MatchString(text) && !strings.Contains(text, "::") && b.String() != text {
			t.Fatalf("got %q, want %q", b.String(), text)
		}
	})
}

// obeyed is what GitHub's runner, its kin and their like take for a command.
var obeyed = regexp.MustCompile(`(?:^|[\r\n])[\s\v\x{85}\p{Z}]*::.*|##[A-Za-z]*\[.*`)

func TestEscapeCommands(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"nothing", "a::b ### title # [x] #[y]\n##\n", "a::b ### title # [x] #[y]\n##\n"},
		{"at once", "::error::x", `:\:error::x`},
		{"after blanks", "a\n \t ::stop-commands::x\n", "a\n \t :\\:stop-commands::x\n"},
		{"after a carriage return", "50%\r::error::x", "50%\r:\\:error::x"},
		{"after a blank of another script", "\u00a0\u2003::error::x", "\u00a0\u2003:\\:error::x"},
		{"three", ":::error::x", `:\::error::x`},
		{"within the line", "what ##[group]x and ###[error]y", `what ##\[group]x and ###\[error]y`},
		{"others", "##vso[task.setvariable variable=a]x ##teamcity[x]", `##vso\[task.setvariable variable=a]x ##teamcity\[x]`},
		{"marks in a word", "##a#[x] ##a##[y]", `##a#[x] ##a##\[y]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			n, err := printable.EscapeCommands(&b, printable.Backslash).Write([]byte(test.text))
			if err != nil || n != len(test.text) || b.String() != test.want {
				t.Errorf("got %q, %d, %v; want %q, %d", b.String(), n, err, test.want, len(test.text))
			}
		})
	}
	if got, want := string(printable.JSON([]byte(`["##[error]", "\\##x["]`))), `["##\u005berror]", "\\##x\u005b"]`; got != want {
		t.Errorf("JSON: got %s, want %s", got, want)
	}
}
