// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"slices"
	"strings"
)

// A Pattern is what follows "only" in a config, to be asked of the names of variants alone.
type Pattern struct{ text filterText }

// ParsePattern reads a pattern. What is wrong with it is a diag.List, whose places count in text.
func ParsePattern(text string) (*Pattern, error) {
	f, _, err := parseFilter(text)
	if err != nil {
		return nil, err
	}
	return &Pattern{f}, nil
}

// Match reports whether "only" with the pattern would leave a variant of this name (Variant.Name).
func (p *Pattern) Match(name string) bool {
	labels := strings.Split(name, ".")
	return slices.ContainsFunc(p.text.Words, func(word [][]label) bool {
		return !slices.ContainsFunc(word, func(row []label) bool { return !hasRow(labels, row) })
	})
}

// hasRow reports whether the row's labels follow each other somewhere in a name.
func hasRow(name []string, row []label) bool {
	for start := 0; start+len(row) <= len(name); start++ {
		if matches(name[start:start+len(row)], row) {
			return true
		}
	}
	return false
}

func matches(name []string, row []label) bool {
	for i, l := range row {
		if name[i] != l.String() && (l.Set != "" || !strings.HasPrefix(name[i], "(") || !strings.HasSuffix(name[i], "="+l.Name+")")) {
			return false
		}
	}
	return true
}
