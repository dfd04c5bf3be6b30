// SPDX-License-Identifier: Apache-2.0

package diag

import (
	"encoding/json"
	"io"
	"path/filepath"
	"slices"
)

// WriteSARIF writes the diagnostics as a log of SARIF 2.1.0, which code hosts show beside the lines. tool and version are
// of the program that has found them.
func WriteSARIF(w io.Writer, l List, tool, version string) error {
	type object = map[string]any
	results := []object{} // never null
	var rules []string
	for _, d := range l {
		rule := d.Rule
		if rule == "" {
			rule = "error"
		}
		rules = append(rules, rule)
		message := d.Message
		if d.Hint != "" {
			message += "; " + d.Hint
		}
		place := object{"artifactLocation": object{"uri": filepath.ToSlash(d.Pos.File)}}
		if d.Pos.Line > 0 {
			place["region"] = object{"startLine": d.Pos.Line, "startColumn": max(1, d.Pos.Col)}
		}
		results = append(results, object{
			"ruleId": rule, "level": d.Severity.String(), "message": object{"text": message},
			"locations": []object{{"physicalLocation": place}},
		})
	}
	slices.Sort(rules)
	described := []object{}
	for _, rule := range slices.Compact(rules) {
		described = append(described, object{"id": rule})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{
			"tool":       object{"driver": object{"name": tool, "version": version, "rules": described}},
			"columnKind": "unicodeCodePoints", "results": results,
		}},
	})
}
