// SPDX-License-Identifier: Apache-2.0

package star_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/star"
)

// chain returns a value in so many others, each made by around.
func chain(levels int, around func(starlark.Value) starlark.Value) (v starlark.Value) {
	v = starlark.None
	for range levels {
		v = around(v)
	}
	return v
}

func inList(v starlark.Value) starlark.Value  { return starlark.NewList([]starlark.Value{v}) }
func inTuple(v starlark.Value) starlark.Value { return starlark.Tuple{v} }
func inDict(v starlark.Value) starlark.Value {
	d := starlark.NewDict(1)
	_ = d.SetKey(starlark.String("a"), v)
	return d
}

// ring returns a list of so many lists, each of which has the next one, and the last one the first.
func ring(lists int) starlark.Value {
	first := starlark.NewList(nil)
	last := first
	for range lists - 1 {
		next := starlark.NewList(nil)
		_ = last.Append(next)
		last = next
	}
	_ = last.Append(first)
	return first
}

func TestCheckWritable(t *testing.T) {
	t.Parallel()
	twice := func(v starlark.Value) starlark.Value { return starlark.NewList([]starlark.Value{v, v}) }
	withText := func(v starlark.Value) starlark.Value {
		return starlark.NewList([]starlark.Value{starlark.String(strings.Repeat("a", 1<<20)), v})
	}
	shared := chain(star.MaxDepth-1, inTuple)
	tests := []struct {
		name  string
		v     starlark.Value
		wrong bool
	}{
		{"no list", starlark.String("a"), false},
		{"lists", chain(star.MaxDepth, inList), false},
		{"too many lists", chain(star.MaxDepth+1, inList), true},
		{"tuples", chain(star.MaxDepth, inTuple), false},
		{"too many tuples", chain(star.MaxDepth+1, inTuple), true},
		{"dicts", chain(star.MaxDepth, inDict), false},
		{"too many dicts", chain(star.MaxDepth+1, inDict), true},
		{"far too many", chain(1_000_000, inTuple), true},
		{"in what is known already", starlark.Tuple{shared, starlark.Tuple{shared}}, true},
		{"in many", chain(20, twice), false}, // 2^20 paths
		{"in too many", chain(60, twice), true},
		{"in too many, once more", starlark.Tuple{chain(22, twice), chain(22, twice)}, true},
		{"long strings", chain(100, withText), false},
		{"too many long strings", chain(200, withText), true},
		{"in itself", ring(1), false},
		{"in itself, over many", ring(star.MaxDepth), false},
		{"in itself, over too many", ring(star.MaxDepth + 1), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := star.CheckWritable(tt.v); (err != nil) != tt.wrong {
				t.Errorf("got %v, want an error: %t", err, tt.wrong)
			}
		})
	}
}

// What would overflow the stack is an error in the place where it is used, also where a file is loaded.
func TestDeepValues(t *testing.T) {
	t.Parallel()
	const message = "nested more than 10000 levels deep; does it contain itself?"
	deep := fmt.Sprintf("x = ()\nfor _ in range(%d): x = (x,)\n", star.MaxDepth+1)
	for _, tt := range []struct{ program, want string }{
		{deep + "str(x)\n", "str: argument 1: " + message},
		{deep + "repr(x)\n", "repr: argument 1: " + message},
		{deep + "print(1, x)\n", "print: argument 2: " + message},
		{deep + "fail(x)\n", "fail: argument 1: " + message},
		{deep + "x = str(1)\n", ""},
		{"x = []\nfor _ in range(60): x = [x, x]\nstr(x)\n", "str: argument 1: more than 10000000 parts when it is written out"},
		{"x = []\nfor _ in range(60): x = [x, x]\n", ""},
		{"x = len(range(1 << 40)), max(range(100))\n", ""},
		{"for i in range(1 << 40):\n  if i > 5: break\n", ""},
		{"x = max(range(0, 1 << 40, 2))\n", "max: argument 1 has 549755813888 elements, at most 10000000 are allowed"},
		{"x = list(range(1 << 36))\n", "list: argument 1 has 68719476736 elements"},
		{"x = zip([1], range(1 << 36))\n", "zip: argument 2 has"},
		{deep, "the global x is " + message},
		{"def f(x): return lambda: x\n" + strings.ReplaceAll(deep, "(x,)", "f(x)"), "the global x is " + message},
		{"x = []\nx.append(x)\nif str(x) != '[[...]]': fail(x)\n", ""},
	} {
		dir := files{"main.star": tt.program + "def migration_scenario(env): pass\n"}.write(t)
		_, err := (&star.Loader{}).Scenario(t.Context(), filepath.Join(dir, "main.star"))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: got %v, want %q", tt.program, err, tt.want)
		}
	}
}
