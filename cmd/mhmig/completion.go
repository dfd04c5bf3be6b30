// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"

	"github.com/mhmig/mhmig/cmd/complete"
	"github.com/mhmig/mhmig/cmd/inspect"
	"github.com/mhmig/mhmig/lang/explain"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/runtime/report"
)

// completions are what shells complete command lines from.
func completions() complete.Source {
	reports := append(slices.Sorted(maps.Keys(report.Formats)), textFormat)
	return complete.Source{
		Libraries: func(folders []string) library.Set {
			flags := configFlags{folders: folders}
			set, err := flags.libraries()
			if err != nil {
				return shipped
			}
			return set
		},
		Config: shippedConfig, ConfigExtension: configExtension, Results: resultsDir,
		Formats: map[string][]string{
			"list": explain.Lists, "report": reports, "exec": reports, "check": {textFormat, "json"},
			"compare": {textFormat, "md", "json"}, "history": {textFormat, "json"}, "lint": {textFormat, "sarif"},
			"show": inspect.Formats, "diff": inspect.Formats, "capabilities": inspect.Formats,
		},
	}
}
