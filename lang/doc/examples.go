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

//go:embed testexamples.txt
var testExamplesText string

// TestExamples returns the bodies of tests that show what these can use, by the names of their topics.
func TestExamples() map[string]string { return maps.Clone(parsedTests()) }

var (
	parsed      = sync.OnceValue(func() map[string]string { return parse(examplesText) })
	parsedTests = sync.OnceValue(func() map[string]string { return parse(testExamplesText) })
)

func parse(text string) map[string]string {
	all := map[string]string{}
	name := "" // the introduction has none
	for line := range strings.Lines(text) {
		inner, begins := strings.CutPrefix(line, "-- ")
		if next, ends := strings.CutSuffix(inner, " --\n"); begins && ends {
			name = next
		} else if name != "" {
			all[name] += line
		}
	}
	return all
}
