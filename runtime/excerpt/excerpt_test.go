// SPDX-License-Identifier: Apache-2.0

package excerpt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mhmig/mhmig/runtime/excerpt"
)

// No cut is inside a character, wherever it comes.
func TestCutsBetweenCharacters(t *testing.T) {
	t.Parallel()
	const text = "größer als 1 €: 漢字 🙂 und mehr"
	for limit := range len(text) + 2 {
		head, tail := excerpt.Head(text, limit), excerpt.Tail(text, limit)
		if limit >= len(text) {
			if head != text || tail != text {
				t.Errorf("%d: got %q, %q, want all", limit, head, tail)
			}
			continue
		}
		for name, got := range map[string]string{"head": head, "tail": tail} {
			if !utf8.ValidString(got) || len(got) > limit+len("…") {
				t.Errorf("%s %d: got %q", name, limit, got)
			}
		}
		if !strings.HasPrefix(text, strings.TrimSuffix(head, "…")) || !strings.HasSuffix(head, "…") {
			t.Errorf("head %d: got %q", limit, head)
		}
		if !strings.HasSuffix(text, strings.TrimPrefix(tail, "…")) || !strings.HasPrefix(tail, "…") {
			t.Errorf("tail %d: got %q", limit, tail)
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	const text = "\none\r\n  two  \n \t \n\nthree"
	if got, want := excerpt.Lines(text), []string{"one", "  two", "three"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for n, want := range []string{"[]", "[three]", "[  two three]", "[one   two three]", "[one   two three]"} {
		if got := fmt.Sprint(excerpt.LastLines(text, n)); got != want {
			t.Errorf("the last %d: got %s, want %s", n, got, want)
		}
	}
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	r := excerpt.NewRecorder(2)
	for _, part := range []string{"a", "b\nc\nd", "\n", "\ne"} {
		if n, err := r.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	}
	if got, want := r.Lines(), []string{"d", ""}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
