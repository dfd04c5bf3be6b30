// SPDX-License-Identifier: Apache-2.0

package doc

import (
	_ "embed"
	"maps"
	"strings"
	"sync"
)

//go:embed examples.txt
var examplesText string

// Examples returns the bodies of scenarios that show functions and methods, by the names of their topics.
func Examples() map[string]string { return maps.Clone(parsed()) }

var parsed = sync.OnceValue(func() map[string]string {
	all := map[string]string{}
	name := "" // the introduction has none
	for line := range strings.Lines(examplesText) {
		inner, begins := strings.CutPrefix(line, "-- ")
		if next, ends := strings.CutSuffix(inner, " --\n"); begins && ends {
			name = next
		} else if name != "" {
			all[name] += line
		}
	}
	return all
})
