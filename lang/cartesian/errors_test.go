// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

var update = flag.Bool("update", false, "rewrite the expected texts of errors")

// TestErrors compares what users read with testdata/errors/*.txt.
func TestErrors(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/errors/*.cfg")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no configs with errors (%v)", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			_, err := cartesian.ParseFile(path)
			var got strings.Builder
			if err := diag.Render(&got, diag.Of(err), false); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(path, ".cfg") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLateErrors are those that only some variants have.
func TestLateErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, config, want string
		variants           int // before the error
	}{
		{
			"no pattern", "variants:\n  - a:\n  - b:\n    (?!x) ?= 1\n",
			"variant \"b\": main.cfg:4:5: \"(?!x)\" is not a valid pattern: invalid or unsupported Perl syntax", 1,
		},
		{"group that ours would close", "a)|(b ?= 1", `variant "": main.cfg:1:1: "a)|(b" is not a valid pattern: unexpected )`, 0},
		{"join in a condition", "variants:\n  - a:\na: join a\n", `variant "a": main.cfg:3:4: a join is not allowed in a condition`, 0},
		{"no number", "m = five\nm_max = 5", `variant "": m_max of m: "five" is not a whole number`, 0},
		{"no size", "m = 5M\nm_max = M", `variant "": m_max of m: "M" is not a size`, 0},
		{"huge size", "m = 1e999999999G\nm_max = 1", `variant "": m_max of m: "1e999999999G" is not a size`, 0},
		{"limit of a list", "dep_fixed = x", `variant "": dep is not a text: _min, _max and _fixed cannot change it`, 0},
		{"join of equal names", "variants:\n  - a:\njoin a a", `join: "a" and "a" are ambiguous, one begins with the other`, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := cartesian.ParseFS(fstest.MapFS{"main.cfg": {Data: []byte(tt.config)}}, "main.cfg")
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for v, e := range c.Variants(t.Context(), cartesian.Options{}) {
				if v != nil {
					n++
				}
				err = e
			}
			if err == nil || err.Error() != tt.want || n != tt.variants {
				t.Errorf("got %d variants and error %v, want %d and %s", n, err, tt.variants, tt.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, config, want string }{
		{"nested conditions", strings.Repeat("a:", 2000) + " k = 1", "main.cfg:1:2001: more than 1000 nested blocks"},
		{"includes in a ring", "include one.cfg", "one.cfg:1:1: include main.cfg: the file includes itself"},
		{"includes in a row", "include deep0.cfg", "deep49.cfg:1:1: include deep50.cfg: more than 50 files include each other"},
		{"includes without end", "include wide.cfg\ninclude wide.cfg\n", "wide.cfg:3999:1: more than 10000 includes"},
		{"no UTF-8", "a = 1\nb = \xff\n", "main.cfg:2:5: a byte that is not UTF-8 text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := fstest.MapFS{
				"main.cfg": {Data: []byte(tt.config)},
				"one.cfg":  {Data: []byte("include main.cfg")},
				"wide.cfg": {Data: []byte(strings.Repeat("include leaf.cfg\n", 6000))},
				"leaf.cfg": {Data: []byte("a = 1")},
			}
			for i := range 60 {
				files[fmt.Sprintf("deep%d.cfg", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "include deep%d.cfg", i+1)}
			}
			_, err := cartesian.ParseFS(files, "main.cfg")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %.300v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestMissingConfig(t *testing.T) {
	t.Parallel()
	_, err := cartesian.ParseFile(filepath.Join(t.TempDir(), "none.cfg"))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "none.cfg") {
		t.Errorf("error = %v, want one that the file does not exist", err)
	}
	if _, err := cartesian.ParseFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error = %v, want that a folder is no config", err)
	}
}

func TestWhyEmpty(t *testing.T) {
	t.Parallel()
	const config = `
variants:
    - Linux:
        variants:
            - RHEL.6.4:
            - Debian.12:
    - Windows:
variants disk:
    - virtio:
    - ide:
`
	tests := []struct {
		name  string
		extra []string
		want  string
	}{
		{"misspelt", []string{"only REHL.6.4"}, "<string>:1:6: warning: no variant has the label \"REHL\"\n    only REHL.6.4\n         ^\n    hint: did you mean \"RHEL.6.4\"?\n"},
		{"misspelt set", []string{"mem = 1", "only (dsk=ide)"}, "<string>:1:6: warning: no set is named dsk\n    only (dsk=ide)\n         ^\n    hint: did you mean \"(disk=ide)\"?\n"},
		{"not together", []string{"only RHEL", "only Windows"}, `<string>:1:1: warning: this statement leaves no variant
    only RHEL
    ^
    hint: without it, "(disk=virtio).Windows" would be left
<string>:1:1: warning: this statement leaves no variant
    only Windows
    ^
    hint: without it, "(disk=virtio).Linux.RHEL.6.4" would be left
`},
		{"in both ways", []string{"no RHEL, Debian", "no Debian, Windows, Linux"}, `<string>:1:1: warning: this statement leaves no variant
    no Debian, Windows, Linux
    ^
    hint: without it, "(disk=virtio).Windows" would be left
`},
		{"two together", []string{"only RHEL", "no Linux", "no (disk=ide), (disk=virtio)"}, `<string>:1:1: warning: this statement and another one leave no variant
    no (disk=ide), (disk=virtio)
    ^
    hint: without them, "(disk=virtio).Linux.RHEL.6.4" would be left
<string>:1:1: warning: this statement and another one leave no variant
    no Linux
    ^
    hint: without them, "(disk=virtio).Linux.RHEL.6.4" would be left
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := cartesian.ParseFS(fstest.MapFS{"main.cfg": {Data: []byte(config)}}, "main.cfg", tt.extra...)
			if err != nil {
				t.Fatal(err)
			}
			for v := range c.Variants(t.Context(), cartesian.Options{}) {
				t.Fatalf("got variant %v, want none", v)
			}
			var got strings.Builder
			if err := diag.Render(&got, c.WhyEmpty(t.Context(), cartesian.Options{}), false); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("WhyEmpty (-want +got):\n%s", diff)
			}
		})
	}
}
