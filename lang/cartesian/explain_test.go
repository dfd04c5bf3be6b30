// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// TestExplainAgreesWithExpansion explains the variants of all snippets, and compares what comes out with the variants.
func TestExplainAgreesWithExpansion(t *testing.T) {
	t.Parallel()
	explainAll(t, "testdata")
}

func TestExplainAgreesWithExpansionOfLargeCorpus(t *testing.T) {
	t.Parallel()
	explainAll(t, largeCorpus(t))
}

func explainAll(t *testing.T, folder string) {
	t.Helper()
	explained, joined := 0, 0
	paths, err := filepath.Glob(filepath.Join(folder, "snippets", "*.cfg"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no snippets in %s (%v)", folder, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path[:len(path)-len(".cfg")] + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var s snippet
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		c, err := cartesian.ParseFile(path, s.Filters...)
		if err != nil || s.Error != nil {
			continue
		}
		options := cartesian.Options{Defaults: s.Defaults}
		seen := map[string]bool{}
		n := 0
		for v, err := range c.Variants(t.Context(), options) {
			if err != nil {
				break
			}
			if n++; n > 40 {
				break
			}
			if seen[v.Name] {
				continue
			}
			seen[v.Name] = true
			e, err := c.Explain(t.Context(), v.Name, options)
			if err != nil {
				t.Errorf("%s: Explain(%q): %v", path, v.Name, err)
				continue
			}
			got := cartesian.Params{}
			for _, p := range e.Params {
				switch p.Key {
				case "dep", "_name_map_file", "_short_name_map_file":
					continue
				}
				if !p.Removed {
					got[p.Key] = p.Value
				}
				if p.Key == "name" || p.Key == "shortname" {
					continue
				}
				if len(p.Steps) == 0 {
					t.Errorf("%s: Explain(%q): %s has no steps", path, v.Name, p.Key)
					continue
				}
				last := p.Steps[len(p.Steps)-1]
				if p.Removed != (last.After == nil) || !p.Removed && *last.After != p.Value {
					t.Errorf("%s: Explain(%q): %s: last step %+v, want one that leaves %q", path, v.Name, p.Key, last, p.Value)
				}
				if last.Op == "join" {
					joined++
				}
			}
			if diff := cmp.Diff(v.Params, got); diff != "" {
				t.Errorf("%s: Explain(%q): params (-want +got):\n%s", path, v.Name, diff)
			}
			explained++
		}
	}
	t.Logf("%d variants explained, %d params that joins changed", explained, joined)
	if explained < 20 {
		t.Errorf("only %d variants explained", explained)
	}
}

// told writes the steps of a param in short: line, operator, what it did, and what let it in.
func told(p *cartesian.ParamHistory) []string {
	value := func(v *string) string {
		if v == nil {
			return "nothing"
		}
		return fmt.Sprintf("%q", *v)
	}
	var all []string
	for _, s := range p.Steps {
		line := fmt.Sprintf("%d: %s %s -> %s", s.Line, s.Op, value(s.Before), value(s.After))
		if s.File != "main.cfg" {
			line = s.File + ":" + line
		}
		if s.Pattern != "" {
			line += " by " + s.Pattern
		}
		if s.Written != "" {
			line += " as " + s.Written
		}
		if s.Kept {
			line += " kept"
		}
		if s.Factor > 0 {
			line += fmt.Sprintf(" of factor %d", s.Factor)
		}
		for _, v := range s.Variants {
			line += fmt.Sprintf(" in %d", v.Line)
		}
		for _, c := range s.Conditions {
			line += fmt.Sprintf(" if %d %s", c.Line, c.Text)
		}
		all = append(all, line)
	}
	return all
}

func TestExplain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, config, variant, key string
		extra                      []string
		want                       []string
	}{
		{
			"operators", "k = a\nk += b\nk <= c\nk ~= d\nx = 1\n.* ?+= !\n", "", "k", nil,
			[]string{
				`1: = nothing -> "a"`,
				`2: += "a" -> "ab"`,
				`3: <= "ab" -> "cab"`,
				`4: ~= "cab" -> "cab" kept`,
				`6: ?+= "cab" -> "cab!" by .*`,
			},
		},
		{
			"lazy apart from a run", "k = a\ndel x\nk ~= b\nl ~= c\n", "", "k", nil,
			[]string{`1: = nothing -> "a"`, `3: ~= "a" -> "a" kept`},
		},
		{"lazy that sets", "l ~= c\n", "", "l", nil, []string{`1: ~= nothing -> "c"`}},
		{
			"pattern that is a key of the run", "k = 0\nkk = 0\ndel x\nk = 1\nk ?+= 2\n", "", "k", nil,
			[]string{`1: = nothing -> "0"`, `4: = "0" -> "1"`, `5: ?+= "1" -> "12" by k`},
		},
		{
			"key that such a pattern leaves", "kk = 0\nl = 0\ndel x\nk.* = 1\nk.* ?= 2\n", "", "kk", nil,
			[]string{`1: = nothing -> "0"`, `5: ?= "0" -> "0" by k.* kept`},
		},
		{
			"substitution", "a = 1\nk = x${a}${none}\n", "", "k", nil,
			[]string{`2: = nothing -> "x1${none}" as x${a}${none}`},
		},
		{
			"removed", "k = 1\nvariants:\n  - v:\n    del k\n", "v", "k", nil,
			[]string{`1: = nothing -> "1"`, `4: del "1" -> nothing in 3`},
		},
		{
			"set again", "k = 1\ndel k\nk = 2\n", "", "k", nil,
			[]string{`1: = nothing -> "1"`, `2: del "1" -> nothing`, `3: = nothing -> "2"`},
		},
		{
			"suffix", "variants:\n  - v:\n    k = 1\n    suffix _s\nk = 2\n", "v", "k_s", nil,
			[]string{`3: = nothing -> "1" in 2`, `4: suffix "1" -> "1" in 2`},
		},
		{
			"plain beside a suffix", "variants:\n  - v:\n    k = 1\n    suffix _s\nk = 2\n", "v", "k", nil,
			[]string{`5: = nothing -> "2"`},
		},
		{
			"suffix that does not show", "variants:\n  - v:\n    k = 1\n    suffix _s\n", "v", "k", nil,
			[]string{`3: = nothing -> "1" in 2`, `4: suffix "1" -> "1" in 2`},
		},
		{
			"named set", "variants v:\n  - a.b:\n    v += !\n", "(v=a).(v=b)", "v", nil,
			[]string{`2: variants nothing -> "a.b"`, `3: += "a.b" -> "a.b!" in 2`},
		},
		{
			"limits", "m = 512\nm_max = 256\nm_min = 16\n", "", "m", nil,
			[]string{`1: = nothing -> "512"`, `2: _max "512" -> "256"`},
		},
		{
			"nested conditions", "variants:\n  - a:\n  - b:\nvariants:\n  - c:\na:\n  c: !b: k = 1\nb: k = 2\n", "c.a", "k", nil,
			[]string{`7: = nothing -> "1" if 6 a: if 7 c: if 7 !b:`},
		},
		{
			"extra statements", "k = 1\n", "", "k",
			[]string{"k = 2", "k = 3"},
			[]string{`1: = nothing -> "1"`, `<string>:1: = "1" -> "2"`, `<string>:1: = "2" -> "3"`},
		},
		{
			"join", "variants:\n  - a:\n    k = 1\n  - b:\n    k = 2\njoin a b\nk += x", "a.b", "k", nil,
			[]string{
				`3: = nothing -> "1" of factor 1 in 2`,
				`7: += "1" -> "1x" of factor 1`,
				`5: = nothing -> "2" of factor 2 in 4`,
				`7: += "2" -> "2x" of factor 2`,
				`6: join "1x" -> "2x"`,
			},
		},
		{
			"name", "variants:\n  - a:\n  - @b.c:\nvariants v:\n  - d:\n", "(v=d).b.c", "name", nil,
			[]string{`5: variants "" -> "(v=d)"`, `3: variants "(v=d)" -> "(v=d).b.c"`},
		},
		{
			"short name", "variants:\n  - a:\n  - @b.c:\nvariants v:\n  - d:\n", "(v=d).b.c", "shortname", nil,
			[]string{`5: variants "" -> "d"`, `3: variants "d" -> "d" kept`},
		},
		{
			"dependencies", "variants:\n  - a:\n  - b: a\n", "b", "dep", nil,
			[]string{`3: dep nothing -> "['a']"`},
		},
		{
			"renamed", "variants:\n  - a:\nname_fixed = new\n", "new", "name", nil,
			[]string{`2: variants "" -> "a"`, `3: _fixed "a" -> "new"`},
		},
		{
			"nested variants", "variants:\n  - a:\n    variants:\n      - b:\n        k = 1\n    k += 2\nk += 3\n", "a.b", "k", nil,
			[]string{`5: = nothing -> "1" in 2 in 4`, `6: += "1" -> "12" in 2`, `7: += "12" -> "123"`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := parseText(t, tt.config, tt.extra...).Explain(t.Context(), tt.variant, cartesian.Options{})
			if err != nil {
				t.Fatal(err)
			}
			story, _ := e.Param(tt.key)
			if story == nil {
				t.Fatalf("Param(%q) = nil, want a story", tt.key)
			}
			if diff := cmp.Diff(tt.want, told(story)); diff != "" {
				t.Errorf("steps of %s (-want +got):\n%s", tt.key, diff)
			}
		})
	}
}

func TestExplainFindsTheVariant(t *testing.T) {
	t.Parallel()
	c := parseText(t, guestTree+"variants:\n  - @quick:\n  - slow:\nmem = 1\n")
	tests := []struct {
		variant  string
		defaults bool
		want     string // the name, or the error
	}{
		{"quick.(os=Linux).Fedora.17.tcp", false, "quick.(os=Linux).Fedora.17.tcp"},
		{"quick.(os=Windows).tcp", false, "quick.(os=Windows).tcp"},
		{"Linux.Fedora.17.tcp", false, "quick.(os=Linux).Fedora.17.tcp"},
		{"Windows..slow", false, "slow.(os=Windows).tcp"},
		{"Windows", false, "Windows matches 2 variants, want one"},
		{"Windows", true, "quick.(os=Windows).tcp"},
		{"Linux", false, "Linux matches more than 5 variants, want one"},
		{"Fedora.71", false, "no variant matches Fedora.71"},
		{"Windows..unix", false, "no variant matches Windows..unix"},
		{"Fedora...17", false, "<filter>:1:10: 3 dots between two labels"},
		{"", false, "<filter>:1:1: no variant has an empty name"},
		{"a\nb", false, "<filter>:2:1: a filter has only one line"},
	}
	for _, tt := range tests {
		e, err := c.Explain(t.Context(), tt.variant, cartesian.Options{Defaults: tt.defaults})
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = e.Name
		}
		if got != tt.want {
			t.Errorf("Explain(%q): got %s, want %s", tt.variant, got, tt.want)
		}
	}
	_, err := c.Explain(t.Context(), "Windows", cartesian.Options{})
	several, ok := errors.AsType[*cartesian.SeveralError](err)
	if !ok || several.More || several.Hint != "Windows..quick" || len(several.Names) != 2 {
		t.Errorf("error = %+v, want two names and a hint", several)
	}
	_, err = c.Explain(t.Context(), "Fedora.71", cartesian.Options{})
	if none, ok := errors.AsType[*cartesian.NoneError](err); !ok || none.Absence.Impossible == nil {
		t.Errorf("error = %+v, want one that says what is impossible", err)
	}
	if e, err := c.Explain(t.Context(), "Windows..slow", cartesian.Options{}); err != nil {
		t.Error(err)
	} else if story, near := e.Param("nem"); story != nil || near != "mem" {
		t.Errorf("Param(nem) = %v, %q, want a hint at mem", story, near)
	}
	twins := parseText(t, "variants:\n  - a:\n    k = 1\n  - a:\n    k = 2\n")
	if e, err := twins.Explain(t.Context(), "a", cartesian.Options{}); err != nil || !e.Duplicate {
		t.Errorf("got %+v, %v, want the first of two", e, err)
	}
}

func TestExplainErrorsOfVariants(t *testing.T) {
	t.Parallel()
	c := parseText(t, "variants:\n  - a:\n    m = five\n    m_max = 5\n  - b:\n    (?!x) ?= 1\n")
	for variant, want := range map[string]string{
		"a": `variant "a": m_max of m: "five" is not a whole number`,
		"b": `variant "b": main.cfg:6:5: "(?!x)" is not a valid pattern: invalid or unsupported Perl syntax`,
	} {
		if _, err := c.Explain(t.Context(), variant, cartesian.Options{}); err == nil || err.Error() != want {
			t.Errorf("Explain(%q): error %v, want %s", variant, err, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("interrupted")
	cancel(cause)
	big := parseText(t, product(12, 10), "no s0v0..s1v0")
	if _, err := big.Explain(ctx, "s0v1..s2v1", cartesian.Options{}); !errors.Is(err, cause) {
		t.Errorf("error %v, want %v", err, cause)
	}
	if _, err := big.WhyNot(ctx, "s0v0..s1v0", cartesian.Options{}); !errors.Is(err, cause) {
		t.Errorf("error %v, want %v", err, cause)
	}
}
