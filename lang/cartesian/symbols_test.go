// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

func TestSymbols(t *testing.T) {
	t.Parallel()
	const text = "variants os:\n    - @linux:\n        variants:\n\t    -  RHEL.6:\n            - é-é: linux\n    -windows:\nlinux: variants:\n    - a:\n  broken\nvariants:\n    - b.b.bb:\n"
	var got []string
	for _, s := range cartesian.Outlined("my.cfg", text).Symbols {
		at := cartesian.Offset(text, s.Pos)
		if !strings.HasPrefix(text[at:], s.Label) {
			t.Errorf("%s is not at %v, which is before %q", s.Label, s.Pos, text[at:])
		}
		got = append(got, fmt.Sprintf("%s %q %q %d:%d", s.Label, s.Set, s.Below, s.Pos.Line, s.Pos.Col))
	}
	want := []string{
		`linux "os" "" 2:8`, `RHEL "" "linux" 4:16`, `6 "" "RHEL" 4:21`, `é-é "" "linux" 5:15`, `windows "os" "" 6:6`,
		`a "" "" 8:7`, `b "" "" 11:7`, `b "" "b" 11:7`, `bb "" "b" 11:11`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A position of a diagnostic is found in the text, whose tabs it counts expanded.
func TestOffset(t *testing.T) {
	t.Parallel()
	const text = "a\tb\r\n\té x\vlast"
	for _, tt := range []struct{ line, col, want int }{
		{1, 1, 0}, {1, 2, 1}, {1, 9, 2}, {1, 99, 3}, {2, 9, 6}, {2, 10, 8}, {2, 11, 9}, {3, 1, 11}, {3, 99, 15}, {4, 1, 15}, {0, 0, 0},
	} {
		if got := cartesian.Offset(text, diag.Pos{Line: tt.line, Col: tt.col}); got != tt.want {
			t.Errorf("Offset(%d:%d) = %d, want %d", tt.line, tt.col, got, tt.want)
		}
	}
}

// Texts are read instead of files, which need not exist.
func TestReaderTexts(t *testing.T) {
	t.Parallel()
	reader := cartesian.Reader{Texts: map[string]string{"/none/a.cfg": "include b.cfg\n", "/none/b.cfg": "variants:\n    - x:\n    - y:\n"}}
	config, err := reader.Read("/none/a.cfg")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := config.Count(t.Context(), cartesian.Options{}); err != nil || n.Int64() != 2 {
		t.Errorf("got %v variants, %v, want 2", n, err)
	}
}

func TestSyntax(t *testing.T) {
	t.Parallel()
	if err := cartesian.Syntax("my.cfg", "include none.cfg\nonly x\n"); err != nil {
		t.Errorf("got %v", err)
	}
	if err := cartesian.Syntax("my.cfg", "foo\n"); len(diag.Of(err)) != 1 {
		t.Errorf("got %v, want one error", err)
	}
}
