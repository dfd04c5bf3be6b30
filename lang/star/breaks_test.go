// SPDX-License-Identifier: Apache-2.0

package star_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/star"
)

func TestBreaks(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		before, after files
		want          []string
	}{
		{"equal", files{"a.star": "def f(x): pass\n"}, files{"a.star": "def f(x):\n    return 1\ndef g(): pass\n", "b.star": ""}, nil},
		{"a file", files{"a.star": "x = 1\n", "b.cfg": "", "c.txt": ""}, files{}, []string{"removed: a.star", "removed: b.cfg"}},
		{"names", files{"a.star": "x = 1\ndef f(a, *args, b = 1, **kw): pass\n"}, files{"a.star": ""}, []string{"removed: a.star: f(a, *args, b = …, **kw)", "removed: a.star: x"}},
		{"several at once", files{"a.star": "x, [y, _z] = 1, [2, 3]\nif x:\n    def f(): pass\nfor i in [1]: pass\n"}, files{"a.star": "x = 1\n"}, []string{"removed: a.star: f", "removed: a.star: i", "removed: a.star: y"}},
		{"private names", files{"a.star": "_x = 1\ndef _f(): pass\nload('b.star', 'y')\n", "a_test.star": "x = 1\n"}, files{"a.star": ""}, nil},
		{"optional ones", files{"a.star": "def f(x): pass\n"}, files{"a.star": "def f(x = 1, y = 2, *rest, z = 3, **more): pass\n"}, nil},
		{"a required one", files{"a.star": "def f(x): pass\n"}, files{"a.star": "def f(x, y): pass\n"}, []string{"changed: a.star: f(x) -> f(x, y)"}},
		{"a required one by name", files{"a.star": "def f(x): pass\n"}, files{"a.star": "def f(x, *, y): pass\n"}, []string{"changed: a.star: f(x) -> f(x, *, y)"}},
		{"a new name", files{"a.star": "def f(x): pass\n"}, files{"a.star": "def f(y): pass\n"}, []string{"changed: a.star: f(x) -> f(y)"}},
		{"another order", files{"a.star": "def f(x, y): pass\n"}, files{"a.star": "def f(y, x): pass\n"}, []string{"changed: a.star: f(x, y) -> f(y, x)"}},
		{"no default", files{"a.star": "def f(x = 1): pass\n"}, files{"a.star": "def f(x): pass\n"}, []string{"changed: a.star: f(x = …) -> f(x)"}},
		{"only by name", files{"a.star": "def f(x, y): pass\n"}, files{"a.star": "def f(x, *, y): pass\n"}, []string{"changed: a.star: f(x, y) -> f(x, *, y)"}},
		{"no more arguments", files{"a.star": "def f(*a): pass\n"}, files{"a.star": "def f(): pass\n"}, []string{"changed: a.star: f(*a) -> f()"}},
		{"no function", files{"a.star": "def f(x): pass\n"}, files{"a.star": "f = lambda x: x\n"}, []string{"changed: a.star: f(x) -> f"}},
	}
	for _, tt := range tests {
		got, err := star.Breaks(shelf(tt.before), shelf(tt.after))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
