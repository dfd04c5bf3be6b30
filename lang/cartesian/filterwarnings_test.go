// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

func rendered(t *testing.T, l diag.List) string {
	t.Helper()
	var b strings.Builder
	if err := diag.Render(&b, l, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// guestTree has labels that are neighbours, and some that never are.
const guestTree = `variants:
    - tcp:
    - unix:
variants os:
    - Linux:
        variants:
            - RHEL:
                variants:
                    - 6.3:
                    - 6.4:
                variants:
                    - x86_64:
                    - i386:
            - Fedora:
                variants:
                    - 11:
                    - 17:
                    - 18:
    - Windows:
        only tcp
`

// TestDoubts are words of filters that no variant can match.
func TestDoubts(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, extra, want string }{
		{"all is well", "only Fedora.17..tcp, (os=Linux).RHEL x86_64.6", ""},
		{"label", "no Fedroa", "1:4: warning: no variant has the label \"Fedroa\"; did you mean \"Fedora\"?"},
		{"label of a row", "only Fedora.71", "1:13: warning: no variant has the label \"71\"; did you mean \"Fedora.17\"?"},
		{"first label of a row", "only Fedroa.17", "1:6: warning: no variant has the label \"Fedroa\"; did you mean \"Fedora.17\"?"},
		{"no neighbours", "only RHEL.6", "1:11: warning: \"6\" never directly follows \"RHEL\"; write \"RHEL..6\": \"..\" joins labels that do not follow each other"},
		{"other order", "only Linux.17.Fedora", "1:12: warning: \"17\" never directly follows \"Linux\"; did you mean \"Linux.Fedora.17\"?"},
		{"never together", "only Fedora.x86_64", "1:13: warning: \"x86_64\" never directly follows \"Fedora\"; after \"Fedora\" there are 11, 17, 18"},
		{"blocks never together", "only Fedora..x86_64", "1:14: warning: no variant has both \"Fedora\" and \"x86_64\"; "},
		{"name of a set", "only (os=Linus)", "1:6: warning: no variant has the label \"(os=Linus)\"; did you mean \"(os=Linux)\"?"},
		{"second word", "only Linux, Fedora.19", "1:20: warning: no variant has the label \"19\"; did you mean \"Fedora.11\"?"},
		{"join", "join tcp unx", "1:10: warning: no variant has the label \"unx\"; did you mean \"unix\"?"},
		{"condition", "Fedora.71: k = 1", "1:8: warning: no variant has the label \"71\"; did you mean \"Fedora.17\"?"},
		{"in a condition", "tcp: no x86_65", "1:9: warning: no variant has the label \"x86_65\"; did you mean \"x86_64\"?"},
		// That other statements drop it is no doubt about the word.
		{"dropped", "only Windows..unix", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, d := range parseText(t, guestTree, tt.extra).Warnings() {
				got = append(got, strings.TrimPrefix(d.Error(), "<string>:")+"; "+d.Hint)
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("Warnings of %q (-want +got):\n%s", tt.extra, diff)
			}
		})
	}
}

func TestTypos(t *testing.T) {
	t.Parallel()
	c := parseText(t, guestTree+"only Fedora.20, Linux\nno nothing\n", "no Fedroa", "only RHLE, tcp", "Linxu: only tcp", "only RHLE, tcp")
	if got, want := rendered(t, c.Typos()), `<string>:1:6: no variant has the label "RHLE"
    only RHLE, tcp
         ^
    hint: did you mean "RHEL"?
`; got != want {
		t.Errorf("Typos = %s, want %s", got, want)
	}
	if c.Typos().Err() == nil {
		t.Error("Typos are no errors")
	}
	// Files are strictly looked at only when asked, and only what leaves nothing.
	for _, d := range c.Warnings() {
		if d.Pos.File != "<string>" {
			t.Errorf("Warnings has %v, want only those of extra statements", d)
		}
	}
	var inFiles []string
	for _, d := range c.StrictWarnings() {
		if d.Pos.File != "<string>" {
			inFiles = append(inFiles, d.Error())
		}
	}
	if diff := cmp.Diff([]string{`main.cfg:21:13: warning: no variant has the label "20"`}, inFiles); diff != "" {
		t.Errorf("StrictWarnings of files (-want +got):\n%s", diff)
	}
}

// TestWarnings: they are sorted.
func TestWarnings(t *testing.T) {
	t.Parallel()
	c := parseText(t, "variants v:\n  - aa:\n  - bb:\nno ghost\n(v=aa): k = 1\n!(v=bb):\n  k = 2\n(p) = q\n", "no ab, (v=aa)", "x..aa: k = 3")
	want := `<string>:1:1: warning: no variant has the label "x"
    x..aa: k = 3
    ^
<string>:1:4: warning: no variant has the label "ab"
    no ab, (v=aa)
       ^
    hint: did you mean "aa"?
main.cfg:5:1: warning: this sets the key "(v" to "aa): k = 1"; it is not a condition
    (v=aa): k = 1
    ^
    hint: write "aa: k = 1"
main.cfg:6:1: warning: this sets the key "!(v" to "bb):"; it is not a condition, and the statements below it always apply
    !(v=bb):
    ^
    hint: write "!bb:"
`
	if diff := cmp.Diff(want, rendered(t, c.Warnings())); diff != "" {
		t.Errorf("Warnings (-want +got):\n%s", diff)
	}
	if c := parseText(t, "variants:\n  - a:\n", "only a"); c.Warnings() != nil {
		t.Errorf("Warnings = %v, want none", c.Warnings())
	}
}

// TestConditionLookalikes are assignments that look like conditions, and some that do not.
func TestConditionLookalikes(t *testing.T) {
	t.Parallel()
	tests := []struct{ line, hint string }{
		{"(v=x): k = 1", `write "x: k = 1"`},
		{"(v=x):", `write "x:"`},
		{"!(v=x): k = 1", `write "!x: k = 1"`},
		{"! (v=x): k = 1", `write "!x: k = 1"`},
		{"(v=x), a: k = 1", `write "x, a: k = 1"`},
		{"a, (v=x): k = 1", `write "a, x: k = 1"`},
		{"a..(v=x).b: del k", `write "a..x.b: del k"`},
		{"( v = x ) : k = 1", `write "x: k = 1"`},
		{"(v=x)..(w=y): k=(1): 2", `write "x..y: k=(1): 2"`},
		{"(v=z): k = 1", `write "z: k = 1", but "z" is also a label outside of that set; or put the content into the variant itself`},
		{"a: (v=x): k = 1", `write "x: k = 1"`},
		{"(v) = x: y", ""},
		{"k = (v=x): y", ""},
		{"k(v=x): y", ""},
		{"(v = x y): 1", ""},
		{"(v=x = 1): 1", ""},
		{"(v += x): 1", ""},
		{"(v=x) = 1", ""},
		{"(url=http://x)", ""},
		{`cmd (a = "b": c`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			c := parseText(t, "variants v:\n  - x:\n  - z:\nvariants w:\n  - y:\n  - z:\nvariants:\n  - a:\n"+tt.line+"\n")
			var got []string
			for _, d := range c.Warnings() {
				got = append(got, d.Hint)
			}
			if strings.Join(got, "; ") != tt.hint {
				t.Errorf("hints = %q, want %q", got, tt.hint)
			}
			for _, d := range c.Warnings() {
				if d.Pos.Line != 9 || d.Severity != diag.Warning || !strings.Contains(d.Message, "it is not a condition") {
					t.Errorf("got %+v", d)
				}
			}
			// It still means what the language says.
			if v := first(t, c); tt.line == "(v=x): k = 1" && v.Params["(v"] != "x): k = 1" {
				t.Errorf("params = %v", v.Params)
			}
		})
	}
}

func first(t *testing.T, c *cartesian.Config) *cartesian.Variant {
	t.Helper()
	for v, err := range c.Variants(t.Context(), cartesian.Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	t.Fatal("no variant")
	return nil
}
