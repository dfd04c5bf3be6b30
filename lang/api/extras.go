// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

// Warnings returns the warnings of a config, and of extra assignments to params that
// nothing reads and that resemble a known one.
func Warnings(config *cartesian.Config, extras []cartesian.Extra) diag.List {
	return withUnread(config, extras, config.Warnings())
}

// Faults are the errors of strict mode: warnings, joins that lose combinations, and words
// of filters in files that no variant can match.
func Faults(config *cartesian.Config, extras []cartesian.Extra) diag.List {
	faults := withUnread(config, extras, config.Strict())
	for i := range faults {
		faults[i].Severity = diag.Error
	}
	return faults
}

// DiffWarnings are the warnings of two configs that are compared, with the same extras.
func DiffWarnings(older, newer *cartesian.Config, extras []cartesian.Extra) diag.List {
	both := append(Warnings(older, extras), Warnings(newer, extras)...)
	both.Sort()
	return slices.Compact(both) // those of extras are of both
}

// DiffFaults are the errors of strict mode of two configs that are compared, with the same
// extras. A fault of an extra that only one config has is none: the difference is what is
// compared.
func DiffFaults(older, newer *cartesian.Config, extras []cartesian.Extra) diag.List {
	before, after := Faults(older, extras), Faults(newer, extras)
	both := slices.Clone(after)
	for _, d := range before {
		if !slices.ContainsFunc(after, d.Same) {
			both = append(both, d)
		}
	}
	both = slices.DeleteFunc(both, func(d diag.Diagnostic) bool {
		ofExtra := slices.ContainsFunc(extras, func(e cartesian.Extra) bool { return e.Name == d.Pos.File })
		ofBoth := slices.ContainsFunc(before, d.Same) && slices.ContainsFunc(after, d.Same)
		return ofExtra && !ofBoth
	})
	both.Sort()
	return slices.Compact(both)
}

func withUnread(config *cartesian.Config, extras []cartesian.Extra, l diag.List) diag.List {
	for _, p := range Mistyped(config, extras) {
		d := diag.Diagnostic{
			Severity: diag.Warning, Pos: diag.Pos{File: p.Extra.Name, Line: 1, Col: 1}, Source: p.Extra.Text,
			Message: fmt.Sprintf("neither mhmig nor the config has a param %q", p.Key), Hint: fmt.Sprintf("did you mean %q?", p.Nearest),
		}
		if _, value, ok := strings.Cut(p.Extra.Text, "="); ok && diag.IsSecret(p.Nearest) {
			d = d.Without(value)
		}
		l = append(l, d.WithoutSecret())
	}
	l.Sort()
	return l
}

// A MistypedParam is an extra assignment to a param that neither mhmig nor the config has, and
// that resembles another.
type MistypedParam struct {
	Extra        cartesian.Extra
	Key, Nearest string
}

// Mistyped returns the params among extras that are probably mistyped.
func Mistyped(config *cartesian.Config, extras []cartesian.Extra) []MistypedParam {
	var mistyped []MistypedParam
	var known []string
	for _, e := range extras {
		if !e.Param {
			continue
		}
		key := cartesian.ParamKey(e.Text)
		if known == nil {
			known = config.KeysInFiles()
		}
		if nearest := NearestParam(key, known); nearest != "" {
			mistyped = append(mistyped, MistypedParam{e, key, nearest})
		}
	}
	return mistyped
}
