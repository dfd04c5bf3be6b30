// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

// FuzzExplain explains the first variants of any config, and asks why a filter matches nothing: the params are those of
// the variants, the same filters match, and all that is said has a place.
func FuzzExplain(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join("testdata", "snippets", "*.cfg"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds (%v)", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "a..b, (v=x).c")
	}
	f.Add("variants v:\n  - x:\n  - y:\n    no z\nvariants:\n  - z:\n(v=x): k = 1\n", "y..z")
	f.Fuzz(func(t *testing.T, text, filter string) {
		files := fstest.MapFS{"main.cfg": {Data: []byte(text)}, "inc.cfg": {Data: []byte("variants:\n  - i:\nk ?+= 1\n")}}
		c, err := cartesian.ParseFS(files, "main.cfg")
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		defer func() {
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		}()
		for _, d := range c.StrictWarnings() {
			checkPlace(t, d)
		}
		seen := map[string]bool{}
		for v, err := range c.Variants(ctx, cartesian.Options{}) {
			if err != nil || len(seen) == 3 {
				break
			}
			if seen[v.Name] {
				continue
			}
			seen[v.Name] = true
			e, err := c.Explain(ctx, v.Name, cartesian.Options{})
			if err != nil {
				if ctx.Err() == nil {
					t.Fatalf("Explain(%q): %v", v.Name, err)
				}
				return
			}
			got := cartesian.Params{}
			for _, p := range e.Params {
				if !p.Removed && p.Key != "dep" && p.Key != "_name_map_file" && p.Key != "_short_name_map_file" {
					got[p.Key] = p.Value
				}
			}
			if diff := cmp.Diff(v.Params, got); diff != "" {
				t.Fatalf("Explain(%q): params (-want +got):\n%s", v.Name, diff)
			}
		}
		a, err := c.WhyNot(ctx, filter, cartesian.Options{})
		switch {
		case err != nil:
			for _, d := range diag.Of(err) {
				checkPlace(t, d)
			}
		case a.Count == 0 && len(a.Drops) == 0 && len(a.Impossible) == 0:
			t.Errorf("WhyNot(%q) says nothing", filter)
		}
		if _, err := c.Explain(ctx, filter, cartesian.Options{}); err != nil {
			if none, ok := errors.AsType[*cartesian.NoneError](err); ok && none.Absence.Count > 0 {
				t.Errorf("Explain(%q): %v, and yet there are %v", filter, err, none.Absence.Present)
			}
		}
	})
}
