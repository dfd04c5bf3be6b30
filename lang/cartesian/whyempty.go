// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"fmt"

	"github.com/mhmig/mhmig/lang/diag"
)

// WhyEmpty explains a config that has no variants by the fewest statements without which it would have some, and by
// words in them that no variant can match. It holds warnings, at least one unless there are variants, and stops looking
// when ctx ends.
func (c *Config) WhyEmpty(ctx context.Context, o Options) diag.List {
	drops, _, err := c.drops(ctx, nil, o)
	if err != nil || len(drops) == 0 {
		why := diag.Diagnostic{
			Severity: diag.Warning, Pos: diag.Pos{File: c.name}, Message: "the config's own filters leave no variant",
		}
		if err != nil {
			why.Hint = err.Error()
		}
		return append(c.Typos(), why)
	}
	const shown = 3
	var why diag.List
	for _, d := range drops[:min(len(drops), shown)] {
		for i := range d.Statements {
			statement := &d.Statements[i]
			if warnings := c.filterWarningsAt(statement.Location); warnings != nil {
				why = append(why, warnings...)
				continue
			}
			message := "this statement leaves no variant"
			if others := len(d.Statements) - 1; others == 1 {
				message = "this statement and another one leave no variant"
			} else if others > 1 {
				message = fmt.Sprintf("this statement and %d others leave no variant", others)
			}
			hint := fmt.Sprintf("without it, %q would be left", d.Variant)
			if len(d.Statements) > 1 {
				hint = fmt.Sprintf("without them, %q would be left", d.Variant)
			}
			why = append(why, statement.diagnostic(message, hint))
		}
		if len(d.Statements) > 1 {
			break // one set of several statements is enough to read
		}
	}
	return onceEach(why)
}

// filterWarningsAt returns the warnings about the filter of the statement at a place.
func (c *Config) filterWarningsAt(at Location) diag.List {
	for _, use := range c.filters {
		if use.src.name != at.File || len(use.text.Words) == 0 {
			continue
		}
		first := use.text.Words[0][0][0].Pos
		if first.Line == at.Line && first.Column >= at.Col && (place{use.src, first}).location().Text == tail(at.Text, first.Column-at.Col) {
			return c.filterWarnings(use.src, use.text)
		}
	}
	return nil
}

// tail returns what follows the first n characters of s.
func tail(s string, n int) string {
	if r := []rune(s); n <= len(r) {
		return string(r[n:])
	}
	return ""
}
