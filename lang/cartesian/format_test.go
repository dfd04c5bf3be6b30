// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
)

func TestReformat(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"empty", "", ""},
		{"only empty lines", "\n \n\t\n", ""},
		{"operators", "a=1\nb  +=  2 \nc<= 3\nd~=4\ne|f?=5\ng?+= 6\nh ?<=7\ni =\nj=", "a = 1\nb += 2\nc <= 3\nd ~= 4\ne|f ?= 5\ng ?+= 6\nh ?<= 7\ni =\nj =\n"},
		{"values stay", `a="  x  " # no comment  y` + "\nb = ' '\nc  = :d\n", `a = "  x  " # no comment  y` + "\nb = ' '\nc = :d\n"},
		{"a tab in a value is what the language takes it for", "a=\t1\tb\n", "a = 1       b\n"},
		{"keys that look like keywords", "only=5\nvariants=1\nonlyx=5\n", "only=5\nvariants=1\nonlyx = 5\n"},
		{
			"filters", "only   a.b..c,d   (x = y)   e#why\nno (a),b \njoin a  b\ndel  foo  # gone\nsuffix _x\ninclude   a b.cfg # c\n",
			"only a.b..c, d (x=y) e  #why\nno (a), b\njoin a b\ndel foo  # gone\nsuffix _x\ninclude a b.cfg # c\n",
		},
		{
			"conditions", "a ,b :k=1\n!  a..b:\n  k = 2\na: b:only  c\n",
			"a, b: k = 1\n!a..b:\n    k = 2\na: b: only c\n",
		},
		{"what the language ignores stays", "a?:  k=1\ndel foo+\n", "a?:  k=1\ndel foo+\n"},
		{
			"variants", "variants  guest [ default = b.c ][x]  : # all\n  -  a:\n     k=1\n  -@b.c:x,y#dep\n\n\n\n     k=2\n",
			"variants guest [default=b.c] [x]:  # all\n    - a:\n        k = 1\n    - @b.c: x, y  #dep\n\n        k = 2\n",
		},
		{
			"sets in sets", "variants:\n - a:\n  variants:\n   - b:\n    k=1\n   - c:\n  l = 2\n - d:\nm=1\n",
			"variants:\n    - a:\n        variants:\n            - b:\n                k = 1\n            - c:\n        l = 2\n    - d:\nm = 1\n",
		},
		{
			"loose columns", "variants:\n- a:\n     k = 1\n  l = 2\nvariants:\n    - b:\n      k = 3\n",
			"variants:\n    - a:\n        k = 1\n        l = 2\nvariants:\n    - b:\n        k = 3\n",
		},
		{
			"lines of an outer condition that begins in the same line", "a: b: k=1\n  j=1\n l=2\n  m=3\nn=4\n",
			"a: b: k = 1\n    j = 1\n l = 2\n m = 3\nn = 4\n",
		},
		{
			"comments", "# top\n\n\n\nvariants:\n  # of a\n  - a:\n     # in a\n     k=1\n     # at its end\n\n  // of b\n  - b:\n      # alone in b\n# of what follows\nx=1\n  # too far right\n",
			"# top\n\nvariants:\n    # of a\n    - a:\n        # in a\n        k = 1\n        # at its end\n\n    // of b\n    - b:\n        # alone in b\n# of what follows\nx = 1\n# too far right\n",
		},
		{"other line ends", "a=1\r\nb=2\rc=3\u2028d=4", "a = 1\nb = 2\nc = 3\nd = 4\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := cartesian.Reformat("x.cfg", tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("text (-want +got):\n%s\n%s", diff, got)
			}
			checkAgain(t, got)
		})
	}
}

// checkAgain fails if a formatted text is not left alone.
func checkAgain(t *testing.T, formatted string) {
	t.Helper()
	again, err := cartesian.Reformat("x.cfg", formatted)
	if err != nil {
		t.Fatalf("%v\n%q", err, formatted)
	}
	if diff := cmp.Diff(formatted, again); diff != "" {
		t.Errorf("formatted again (-once +twice):\n%s", diff)
	}
}

func TestReformatErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a = 1\nfoo\n":  "x.cfg:2:1: neither an assignment, nor a condition, nor a keyword",
		"only a..\xff":  "x.cfg:1:9: a byte that is not UTF-8 text",
		"variants x\n":  `x.cfg:1:11: a "variants" line without ":"`,
		"include none.": "",
	} {
		if got, err := cartesian.Reformat("x.cfg", text); fmt.Sprint(err) != want && (err != nil || want != "") {
			t.Errorf("%q: got %q, %v; want %q", text, got, err, want)
		}
	}
}

// Every snippet means the same when all of its files are formatted.
func TestReformatSnippets(t *testing.T) {
	t.Parallel()
	checkReformatted(t, "testdata")
}

// And so does the large corpus: each snippet gives what the reference gave, and each large file has the same statements.
func TestReformatLargeCorpus(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	checkReformatted(t, largeCorpus(t))
}

// checkReformatted formats all configs of a folder, into another one, and compares.
func checkReformatted(t *testing.T, from string) {
	t.Helper()
	to := t.TempDir()
	refused, formatted := 0, 0
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		inner, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if filepath.Ext(path) == ".cfg" {
			once, err := cartesian.Reformat(path, string(text))
			switch {
			case err == nil:
				formatted++
				checkAgain(t, once)
				if statements(string(text)) != statements(once) {
					t.Errorf("%s: its statements have changed", path)
				}
				text = []byte(once)
			case strings.Contains(err.Error(), "bug"):
				t.Error(err)
			default:
				refused++
			}
		}
		target := filepath.Join(to, inner)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d configs formatted, %d refused", formatted, refused)
	if formatted < 10 {
		t.Errorf("formatted %d configs, refused %d", formatted, refused)
	}
	checkSnippets(t, to)
}

// statements describes what the parser makes of a text: everything but places.
func statements(text string) string {
	return fmt.Sprintf("%x", sha256.Sum256(cartesian.DumpStatements(text)))
}

func TestOutlined(t *testing.T) {
	t.Parallel()
	got := cartesian.Outlined("dir/x.cfg", "a = 1\na: b += 2\nc|d ?= 3\ninclude y.cfg\nvariants e:\n    - f:\n        include @std//z.cfg\n        g = 4\n")
	var keys []string
	for _, a := range got.Assigned {
		keys = append(keys, a.Pos.String()+" "+a.Key+" in "+a.Source)
	}
	want := []string{"dir/x.cfg:1:1 a in a = 1", "dir/x.cfg:2:4 b in a: b += 2", "dir/x.cfg:5:1 e in variants e:", "dir/x.cfg:8:9 g in         g = 4"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("assigned (-want +got):\n%s", diff)
	}
	if set := got.Assigned[2]; !set.Set || !slices.Equal(set.Values, []string{"f"}) {
		t.Errorf("the set: got %+v", set)
	}
	if used := cartesian.Outlined("x.cfg", "a = ${b}/${c}\n").Used; !slices.Equal(used, []string{"b", "c"}) {
		t.Errorf("used: got %q", used)
	}
	if diff := cmp.Diff([]string{"dir/y.cfg", "@std//z.cfg"}, got.Includes); diff != "" {
		t.Errorf("includes (-want +got):\n%s", diff)
	}
}

// The shipped configs are formatted.
func TestShippedConfigsAreFormatted(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../../stdlib/cfg/*.cfg")
	if err != nil || len(paths) < 5 {
		t.Fatalf("found %q, %v", paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		formatted, err := cartesian.Reformat(path, string(text))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(text, []byte(formatted)) {
			t.Errorf("%s is not formatted: run mhmig fmt (-have +want):\n%s", path, cmp.Diff(string(text), formatted))
		}
	}
}

// FuzzReformat gives any text to the formatter: what can be read comes out with the same statements, and stays so.
func FuzzReformat(f *testing.F) {
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
		once, err := cartesian.Reformat("x.cfg", text)
		if err != nil {
			if strings.Contains(err.Error(), "bug") {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(cartesian.DumpStatements(text), cartesian.DumpStatements(once)) {
			t.Fatalf("the statements of %q and %q differ", text, once)
		}
		checkAgain(t, once)
	})
}
