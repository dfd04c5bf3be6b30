// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// parseText parses a config that is not in a file.
func parseText(tb testing.TB, text string, extra ...string) *cartesian.Config {
	tb.Helper()
	c, err := cartesian.ParseFS(fstest.MapFS{"main.cfg": {Data: []byte(text)}}, "main.cfg", extra...)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// product is a config with size to the power of sets variants.
func product(sets, size int) string {
	var b strings.Builder
	for s := range sets {
		b.WriteString("variants:\n")
		for v := range size {
			fmt.Fprintf(&b, "  - s%dv%d:\n    k%d = %d\n", s, v, s, v)
		}
	}
	return b.String()
}

func TestVariantsStream(t *testing.T) {
	c := parseText(t, product(30, 10)) // 10^30 variants
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	for v, err := range c.Variants(t.Context(), cartesian.Options{}) {
		if err != nil || !strings.HasPrefix(v.Name, "s29v0.s28v0.") {
			t.Fatalf("got %v, %v", v, err)
		}
		if n++; n == 50_000 {
			runtime.GC()
			runtime.ReadMemStats(&after)
			break
		}
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes over %d variants", grown, n)
	}
}

func TestVariantsEndWithContext(t *testing.T) {
	t.Parallel()
	cause := errors.New("interrupted")
	for _, filter := range []string{"mem = 1", "only s0v9..s1v9..s2v0, s0v9.s1v9"} { // with and without variants on the way
		c := parseText(t, product(30, 10), filter)
		ctx, cancel := context.WithCancelCause(t.Context())
		n := 0
		var last error
		for v, err := range c.Variants(ctx, cartesian.Options{}) {
			if n++; n == 10 {
				cancel(cause)
			}
			if last = err; err != nil && v != nil {
				t.Errorf("got variant %q together with an error", v.Name)
			}
		}
		if !errors.Is(last, cause) || n > 2000 {
			t.Errorf("%s: ended after %d variants with %v, want soon with %v", filter, n, last, cause)
		}
		cancel(nil)
	}
}

func TestConfigIsShared(t *testing.T) {
	t.Parallel()
	c := parseText(t, "variants:\n  - a:\n    k = 1\n    suffix _a\n  - b:\n    k.* ?= 2\n    suffix _b\njoin a b\nk.* ?+= x\n")
	want := collect(t, c)
	if len(want) != 1 || !strings.Contains(want[0], `"k":"1x"`) {
		t.Errorf("variants = %v", want)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if diff := cmp.Diff(want, collect(t, c)); diff != "" {
				t.Errorf("another expansion (-want +got):\n%s", diff)
			}
		})
	}
	wg.Wait()
}

func collect(tb testing.TB, c *cartesian.Config) []string {
	tb.Helper()
	var all []string
	for v, err := range c.Variants(tb.Context(), cartesian.Options{}) {
		if err != nil {
			tb.Error(err)
			break
		}
		all = append(all, string(v.AppendJSON(nil)))
	}
	return all
}

// TestVariantIsTheCallers changes what it got, and goes on.
func TestVariantIsTheCallers(t *testing.T) {
	t.Parallel()
	c := parseText(t, "k = 1\nvariants:\n  - a:\n  - b: a\n")
	var first *cartesian.Variant
	for v := range c.Variants(t.Context(), cartesian.Options{}) {
		if first == nil {
			first = v
			v.Params["k"] = "changed"
			continue
		}
		if v.Params["k"] != "1" || first.Params["k"] != "changed" || first.Name != "a" || v.Dep[0] != "a" {
			t.Errorf("got %v after %v", v, first)
		}
	}
}

// TestIncludesOfFiles are those that a file system of fs.FS cannot have.
func TestIncludesOfFiles(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", filepath.Join(dir, "home"))
	for name, text := range map[string]string{
		"home/mine.cfg":    "home = yes\n",
		"other/up.cfg":     "up = yes\n",
		"configs/main.cfg": "include ~/mine.cfg\ninclude ../other/up.cfg\ninclude " + filepath.Join(dir, "other", "up.cfg") + "\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := cartesian.ParseFile(filepath.Join(dir, "configs", "main.cfg"), "include "+filepath.Join(dir, "home", "mine.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`{"dep":[],"home":"yes","name":"","shortname":"","up":"yes"}`}
	if diff := cmp.Diff(want, collect(t, c)); diff != "" {
		t.Errorf("variants (-want +got):\n%s", diff)
	}
}

// parseFiles parses the file main.cfg of some.
func parseFiles(tb testing.TB, files map[string]string, extra ...string) *cartesian.Config {
	tb.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	c, err := cartesian.ParseFS(fsys, "main.cfg", extra...)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}
