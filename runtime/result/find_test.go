// SPDX-License-Identifier: Apache-2.0

package result_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/result"
)

// A run is found by its folder, its ID, or a prefix that no other run has.
func TestFindRun(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	var dirs []string
	for range 2 {
		f, err := result.Create(base, result.Run{Command: []string{"test"}}, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		f.BecomeLatest()
		if err := f.Finish(result.Pass); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, f.Dir())
	}
	id := filepath.Base(dirs[0])
	for _, name := range []string{dirs[0], id, id[:len(id)-1]} {
		if dir, err := result.FindRun(base, name); dir != dirs[0] || err != nil {
			t.Errorf("%s: got %s, %v, want %s", name, dir, err, dirs[0])
		}
	}
	if dir, err := result.FindRun(base, result.LatestLink); err != nil || filepath.Base(dir) != result.LatestLink {
		t.Errorf("latest: got %s, %v", dir, err)
	}
	for name, want := range map[string]string{
		"":     "no such results folder",
		"none": "none in " + base + " has this prefix",
		"2":    "2 in " + base + " have this prefix:\n  ",
	} {
		if _, err := result.FindRun(base, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q in it", name, err, want)
		}
	}
}
