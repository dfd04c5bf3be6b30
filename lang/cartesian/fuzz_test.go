// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

// FuzzParse gives any text to the parser: variants come of it, or errors with a place in the text.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"snippets/*.cfg", "errors/*.cfg"} {
		paths, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil || len(paths) == 0 {
			f.Fatalf("no seeds in %s (%v)", pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		fsys := fstest.MapFS{"main.cfg": {Data: []byte(text)}, "inc.cfg": {Data: []byte("variants:\n  - i:\nk ?+= 1\n")}}
		c, err := cartesian.ParseFS(fsys, "main.cfg")
		if err != nil {
			list := diag.Of(err)
			if len(list) == 0 {
				t.Fatalf("error without a place: %v", err)
			}
			for _, d := range list {
				checkPlace(t, d)
			}
			return
		}
		// Few lines may describe more variants than anyone can search through.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n := 0
		for v, err := range c.Variants(ctx, cartesian.Options{}) {
			if err != nil {
				break
			}
			if json := v.AppendJSON(nil); !utf8.Valid(json) {
				t.Fatalf("JSON is not UTF-8: %q", json)
			}
			if n++; n == 20 {
				break
			}
		}
	})
}

func checkPlace(t *testing.T, d diag.Diagnostic) {
	t.Helper()
	if d.Pos.File == "" || d.Pos.Line < 1 || d.Pos.Col < 1 || d.Message == "" || strings.Contains(d.Message, "\n") {
		t.Errorf("bad diagnostic %+v", d)
	}
	if d.Source != "" && d.Pos.Col > utf8.RuneCountInString(d.Source)+1 {
		t.Errorf("column outside of the line: %+v", d)
	}
}

// filterConfig has nested, named, repeated and dotted labels.
const filterConfig = `
variants:
    - a:
        variants:
            - b:
            - a.c:
    - b:
variants v:
    - a:
    - b.b:
variants:
    - a:
    - c:
        variants w:
            - a:
            - b:
`

// FuzzFilter compares "only" and "no", which cut the tree early, with what a simple reading of the filter says of each
// variant.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		"a", "a.b", "a..b", "(v=a)", "c.(w=a).(v=a).b", "b.b.a, c", "a,", "a b.b..c", "( v = b ) . a", "a.a.a.c, b..(w=b)",
		"...", "a .b", "#", "", "(v=a", "ghost..a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		fsys := fstest.MapFS{"main.cfg": {Data: []byte(filterConfig)}}
		words, ok := readFilter(filter)
		for _, keyword := range []string{"only", "no"} {
			c, err := cartesian.ParseFS(fsys, "main.cfg", keyword+" "+filter)
			if err != nil {
				if ok {
					t.Errorf("%s %q: %v", keyword, filter, err)
				}
				return
			}
			if !ok {
				continue // what the simple reading does not know
			}
			var want, got []string
			for v := range parseText(t, filterConfig).Variants(t.Context(), cartesian.Options{}) {
				if holds(words, v.Name) == (keyword == "only") {
					want = append(want, v.Name)
				}
			}
			for v := range c.Variants(t.Context(), cartesian.Options{}) {
				got = append(got, v.Name)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %q (-want +got):\n%s", keyword, filter, diff)
			}
		}
	})
}

// readFilter reads filters without blanks or trailing dots in them; it refuses all others.
func readFilter(text string) (words [][][]string, ok bool) {
	if strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune("abcvw().,=", r) }) {
		return nil, false
	}
	for word := range strings.SplitSeq(text, ",") {
		var rows [][]string
		for row := range strings.SplitSeq(word, "..") {
			labels := strings.Split(row, ".")
			for i, l := range labels {
				inner, bracketed := strings.CutPrefix(l, "(")
				inner, closed := strings.CutSuffix(inner, ")")
				set, name, named := strings.Cut(inner, "=")
				if bracketed != closed || named && !bracketed || set == "" || named && name == "" ||
					strings.ContainsAny(set+name, "()=") {
					return nil, false
				}
				if bracketed && !named {
					labels[i] = set
				}
			}
			rows = append(rows, labels)
		}
		words = append(words, rows)
	}
	return words, true
}

// holds reports whether a filter fits a variant's whole name.
func holds(words [][][]string, name string) bool {
	path := strings.Split(name, ".")
	return slices.ContainsFunc(words, func(rows [][]string) bool {
		return !slices.ContainsFunc(rows, func(row []string) bool {
			for at := 0; at+len(row) <= len(path); at++ {
				fits := true
				for i, l := range row {
					_, value, _ := strings.Cut(strings.Trim(path[at+i], "()"), "=")
					fits = fits && (path[at+i] == l || value == l)
				}
				if fits {
					return false
				}
			}
			return true
		})
	})
}
