// SPDX-License-Identifier: Apache-2.0

package star_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/star"
)

func TestOutlined(t *testing.T) {
	t.Parallel()
	got, err := star.Outlined("x.star", []byte(`"""About
  the file.

    code
"""
load("a.star", "b")

def f(a, b = {"ä": 1,
      2: 3}, *c, d = lambda x: x, **e):
    """What f does.

    More:
        code
    """

def g(*, a): pass
def _h(): pass
x = lambda: 1
for k, v in {}.items():
    (y, _w), [z] = k
`))
	want := star.Outline{Names: []string{"f", "g", "k", "v", "x", "y", "z"}, Doc: "About\nthe file.\n\n  code", Functions: []star.Function{
		{Name: "f", Signature: `f(a, b = {"ä": 1, 2: 3}, *c, d = lambda x: x, **e)`, Doc: "What f does.\n\nMore:\n    code", Line: 8},
		{Name: "g", Signature: "g(*, a)", Line: 16},
	}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("outline (-want +got), error %v:\n%s", err, diff)
	}
	if got, err := star.Outlined("x.star", []byte("def migration_scenario(env): pass")); err != nil || !got.Scenario || got.Doc != "" {
		t.Errorf("got %+v, %v; want a scenario", got, err)
	}
	if _, err := star.Outlined("x.star", []byte("def")); err == nil {
		t.Error("got no error")
	}
}
