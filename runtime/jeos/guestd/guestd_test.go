// SPDX-License-Identifier: Apache-2.0

package guestd

import "testing"

func TestPassword(t *testing.T) {
	t.Parallel()
	for cmdline, want := range map[string]string{
		"":                                  "mhmig",
		"console=ttyS0 quiet\n":             "mhmig",
		"mhmig.password=a":                  "a",
		"x mhmig.password=a=b y\n":          "a=b",
		"mhmig.password=a mhmig.password=b": "b",
		"mhmig.password=":                   "mhmig",
		"other.mhmig.password=a":            "mhmig",
	} {
		if got := password(cmdline); got != want {
			t.Errorf("password(%q): got %q, want %q", cmdline, got, want)
		}
	}
}
