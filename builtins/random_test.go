// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"

	"github.com/mhmig/mhmig/runtime/result"
)

// Random numbers are within their bounds, and reach the ends of whole ones.
func TestRandom(t *testing.T) {
	t.Parallel()
	runScripted(t, []scriptedCase{
		{name: "bounds", text: `
	drawn = [random(-1, 1) for _ in range(200)]
	if sorted(set(drawn)) != [-1, 0, 1]:
		fail(str(drawn))
	drawn = [random(2, 2.5) for _ in range(200)]
	if min(drawn) < 2 or max(drawn) >= 2.5 or len(set(drawn)) < 190:
		fail(str(drawn))
	if random(5, 5) != 5 or type(random(-1 << 63, (1 << 63) - 1)) != "int":
		fail("the ends")`},
		{name: "nothing in between", status: result.Error, want: []string{"random: b: got 1, want a = 2 or more"}, text: `
	random(2, 1)`},
		{name: "no float in between", status: result.Error, want: []string{"random: b: got 2.0, want more than a = 2"}, text: `
	random(2, 2.0)`},
		{name: "too large", status: result.Error, want: []string{"random: b: 9223372036854775808 is too large"}, text: `
	random(0, 1 << 63)`},
		{name: "infinite", status: result.Error, want: []string{"random: b: +inf is not finite"}, text: `
	random(0, float("inf"))`},
	})
}
