// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"strings"
	"testing"
)

// TestLossyJoins tells of joins that make less than all combinations, when asked to be strict.
func TestLossyJoins(t *testing.T) {
	t.Parallel()
	const sides = "variants:\n    - one:\n    - two:\n    - three:\nvariants:\n    - left:\n        only one, two\n    - right:\n        only three, two\n    - mid:\n        only one\n"
	for _, tt := range []struct{ name, config, want string }{
		{"three words", sides + "join left right mid\n", "12:1: warning: this join of 3 words makes only 2 of 4 combinations"},
		{"the first word has one variant", sides + "join mid left right\n", ""},
		{"two words", sides + "join left right\n", ""},
		{"three joins", sides + "join left\njoin right\njoin mid\n", "12:1: warning: this join of 3 words makes only 2 of 4 combinations"},
		{"in a variant", sides + "variants:\n    - a:\n        join left right mid\n    - b:\n", "14:9: warning: this join of 3 words makes only 2 of 4 combinations"},
		{"in many variants", sides + "variants:\n    - a:\n        join left right mid\n    - b:\n" + many(30), "makes only 411782264189298 of 823564528378596 combinations"},
		{"words that overlap", sides + "join left one mid\n", "12:1: warning: this join of 3 words may not make all combinations"},
		{"no variants", sides + "join left right mid\nno one\nno two\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got strings.Builder
			for _, d := range parseText(t, tt.config).StrictWarnings() {
				got.WriteString(d.Error() + "\n")
			}
			if got.String() != "" && tt.want == "" || !strings.Contains(got.String(), tt.want) {
				t.Errorf("warnings %q, want %q", got.String(), tt.want)
			}
		})
	}
}
