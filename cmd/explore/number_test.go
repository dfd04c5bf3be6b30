// SPDX-License-Identifier: Apache-2.0

package explore

import "testing"

// A walk of one step is said to have "1 step".
func TestNumber(t *testing.T) {
	t.Parallel()
	for steps, want := range map[int]string{1: "1 step", 2: "2 steps"} {
		if got := number(steps); got != want {
			t.Errorf("%d: got %q, want %q", steps, got, want)
		}
	}
}
