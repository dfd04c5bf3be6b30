// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"fmt"
	"slices"

	"github.com/mhmig/mhmig/lang/diag"
)

// WhyEmpty explains a config that has no variants: which labels of its filters no variant has, and what they were
// probably meant to be; or if all labels exist, which extra statement leaves nothing. It may expand the config several
// times, up to the first variant; ctx ends that.
func (c *Config) WhyEmpty(ctx context.Context, o Options) diag.List {
	if unknown := c.unknownLabels(func(f filterUse) bool { return f.demands }); unknown != nil {
		return unknown
	}
	for i, text := range c.extra {
		part, err := parseConfig(c.files, c.name, c.extra[:i+1])
		if err != nil || part.hasVariants(ctx, o) {
			continue
		}
		line, _ := cutLine(text)
		return diag.List{{
			Pos:     diag.Pos{File: extraName, Line: 1, Col: 1},
			Message: "no variant is left behind this statement",
			Hint:    "all its labels exist, but not together: \".\" wants neighbours in this order, \"..\" any place",
			Source:  expandTabs(line),
		}}
	}
	return diag.List{{Pos: diag.Pos{File: c.name}, Message: "the config's own filters leave no variant"}}
}

func (c *Config) hasVariants(ctx context.Context, o Options) bool {
	for range c.Variants(ctx, o) {
		return true // or an error, which is not emptiness
	}
	return false
}

// Warnings tells what in the config has a meaning, but probably not the one that the user had in mind: labels in extra
// statements that no variant has, and assignments that look like conditions.
func (c *Config) Warnings() diag.List {
	warnings := slices.Clone(c.warnings)
	for _, d := range c.unknownLabels(func(f filterUse) bool { return f.src.name == extraName }) {
		d.Severity = diag.Warning
		warnings = append(warnings, d)
	}
	return warnings
}

// unknownLabels returns the labels in some filters that no variant has.
func (c *Config) unknownLabels(where func(filterUse) bool) diag.List {
	has := c.root.below // the root is no variant
	var known []string
	for id, text := range c.labels.texts {
		if has.has(id) {
			known = append(known, text)
		}
	}
	var unknown diag.List
	for _, use := range c.filters {
		if !where(use) {
			continue
		}
		for _, word := range use.text.Words {
			for _, row := range word {
				for _, l := range row {
					if id := c.labels.filterID(l); !has.has(int(id)) {
						text := c.labels.texts[id]
						unknown = append(unknown, use.src.diagnostic(l.Pos,
							fmt.Sprintf("no variant has the label %q", text), suggest(text, known)))
					}
				}
			}
		}
	}
	return unknown
}
