// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// differences writes in short what a Diff finds.
func differences(t *testing.T, d *cartesian.Diff) []string {
	t.Helper()
	value := func(v *string) string {
		if v == nil {
			return "none"
		}
		return fmt.Sprintf("%q", *v)
	}
	var all []string
	for x, err := range d.All(t.Context()) {
		if err != nil {
			return append(all, "error: "+err.Error())
		}
		var line strings.Builder
		line.WriteString(x.Kind + " " + x.Name)
		for _, p := range x.Params {
			fmt.Fprintf(&line, " %s %s %s", p.Key, value(p.Old), value(p.New))
		}
		all = append(all, line.String())
	}
	return append(all, fmt.Sprintf("%d alike", d.Unchanged()))
}

func TestDiff(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, older, newer string
		want               []string
	}{
		{"nothing", "variants:\n - a:\n - b:\n", "# comment\nvariants:\n - a:\n - b:\n", []string{"2 alike"}},
		{
			"all kinds", "k = 1\nl = 1\nvariants:\n - a:\n - b:\n   l = 3\n - c:\n", "k = 1\nvariants:\n - d:\n - b:\n   k = 2\n   m = ''\n - c:\n",
			[]string{
				"removed a", "added d", `changed b k "1" "2" l "3" none m none ""`,
				`changed c l "1" none`, "0 alike",
			},
		},
		{
			"other order", "variants:\n - a:\n   k = 1\n - b:\n   k = 1\n - c:\n", "variants:\n - c:\n - b:\n   k = 2\n - a:\n   k = 2\n",
			[]string{`changed b k "1" "2"`, `changed a k "1" "2"`, "1 alike"},
		},
		{
			"one name more often", "variants:\n - a:\n   k = 1\n - a:\n   k = 2\n", "variants:\n - a:\n   k = 1\n - a:\n   k = 3\n - a:\n   k = 4\n",
			[]string{`changed a k "2" "3"`, "added a", "1 alike"},
		},
		{
			"dependencies and short names", "variants:\n - a:\n - b: a\n", "variants:\n - @a:\n - b:\n",
			[]string{`changed a shortname "a" ""`, `changed b dep "[\"a\"]" "[]"`, "0 alike"},
		},
		{"no variants", "no x\nonly x\n", "variants:\n - a:\nonly x\n", []string{"0 alike"}},
		{
			"error", "k = 1", "k = x\nk_max = 1\n",
			[]string{`error: main.cfg: variant "": k_max of k: "x" is not a whole number`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := &cartesian.Diff{Old: parseText(t, tt.older), New: parseText(t, tt.newer)}
			if diff := cmp.Diff(tt.want, differences(t, d)); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDiffOfDefaults(t *testing.T) {
	t.Parallel()
	d := &cartesian.Diff{
		Old: parseText(t, "variants:\n - @a:\n - b:\n"), New: parseText(t, "variants:\n - a:\n - @b:\n"),
		Options: cartesian.Options{Defaults: true},
	}
	if diff := cmp.Diff([]string{"removed a", "added b", "0 alike"}, differences(t, d)); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

func TestDiffLimit(t *testing.T) {
	t.Parallel()
	d := &cartesian.Diff{Old: parseText(t, product(1, 10)), New: parseText(t, product(2, 10)), Limit: 99}
	for _, err := range d.All(t.Context()) {
		limit, ok := errors.AsType[*cartesian.LimitError](err)
		if !ok || limit.Limit != 99 || err.Error() != "main.cfg: more than 99 variants" {
			t.Errorf("got %v, want that there are more than 99", err)
		}
	}
	cause := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	d = &cartesian.Diff{Old: parseText(t, product(5, 10)), New: parseText(t, product(5, 10))}
	for _, err := range d.All(ctx) {
		if !errors.Is(err, cause) {
			t.Errorf("got %v, want %v", err, cause)
		}
	}
}

// TestDiffForgetsParams compares many variants that all differ in long values.
func TestDiffForgetsParams(t *testing.T) {
	const long = 10_000
	config := func(letter string) *cartesian.Config {
		return parseText(t, "k = "+strings.Repeat(letter, long)+"\nk += ${name}\n"+product(3, 10))
	}
	d := &cartesian.Diff{Old: config("a"), New: config("b")}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	for x, err := range d.All(t.Context()) {
		if err != nil || x.Kind != cartesian.Changed || len(x.Params) != 1 {
			t.Fatalf("got %+v, %v", x, err)
		}
		if n++; n == 900 {
			runtime.GC()
			runtime.ReadMemStats(&after)
		}
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); n != 1000 || grown > 4<<20 {
		t.Errorf("%d variants differ, and the heap grew by %d bytes; want 1000 and little growth", n, grown)
	}
}
