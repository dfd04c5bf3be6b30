// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// TestExplainAgreesWithExpansion explains the variants of all snippets, and compares what comes out with the variants.
func TestExplainAgreesWithExpansion(t *testing.T) {
	t.Parallel()
	explained, withJoin := 0, 0
	for _, folder := range corpora(t) {
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
						withJoin++
					}
				}
				if diff := cmp.Diff(v.Params, got); diff != "" {
					t.Errorf("%s: Explain(%q): params (-want +got):\n%s", path, v.Name, diff)
				}
				explained++
			}
		}
	}
	t.Logf("%d variants explained", explained)
	if explained < 30 {
		t.Errorf("only %d variants explained", explained)
	}
	_ = errors.New
}
