// SPDX-License-Identifier: Apache-2.0

package library

import (
	"io/fs"
	"slices"
	"strings"
)

// Allow is the builtins that the files of a library may use. The zero Allow permits all.
type Allow struct {
	names   []string // sorted
	by      string
	limited bool
}

// AllowOnly permits only the builtins of these names. By is who says so, for errors, such as "mhmig.toml of @net".
func AllowOnly(names []string, by string) Allow {
	names = slices.Sorted(slices.Values(names))
	return Allow{names: slices.Compact(names), by: by, limited: true}
}

// And permits what both a and b permit.
func (a Allow) And(b Allow) Allow {
	switch {
	case !b.limited:
		return a
	case !a.limited:
		return b
	}
	var both []string
	for _, name := range a.names {
		if b.Has(name) {
			both = append(both, name)
		}
	}
	by := a.by
	if b.by != a.by {
		by += " and " + b.by
	}
	return Allow{names: both, by: by, limited: true}
}

// Has reports whether the builtin is permitted.
func (a Allow) Has(builtin string) bool { return !a.limited || slices.Contains(a.names, builtin) }

// Names are the names that are permitted; limited is false if all are.
func (a Allow) Names() (names []string, limited bool) { return a.names, a.limited }

// By is who permits only some builtins, "" if all are permitted.
func (a Allow) By() string { return a.by }

// String lists what is permitted. Equal texts permit the same.
func (a Allow) String() string {
	if !a.limited {
		return "all builtins"
	}
	if len(a.names) == 0 {
		return "no builtins"
	}
	return strings.Join(a.names, ", ")
}

// Bounded is what the files of a library implement that has a manifest.
type Bounded interface {
	fs.FS
	// Uses reports whether the library may use the files of another one, and which builtins that one may then use.
	Uses(library string) (Allow, bool)
	// Allow is the builtins that the library may use.
	Allow() Allow
}

// Allow returns the builtins that the file called name may use when the file from, which may use those of outer, loads
// it. Both are full names; from is "" at the top.
func (s Set) Allow(outer Allow, from, name string) Allow {
	loading, _, _ := Cut(from) // Project for a file of the operating system
	loaded, _, _ := Cut(name)
	if project, ok := s[Project].(Bounded); ok && from == "" {
		outer = outer.And(project.Allow())
	}
	if loading == loaded {
		return outer
	}
	if bounded, ok := s[loading].(Bounded); ok {
		given, _ := bounded.Uses(loaded)
		outer = outer.And(given)
	}
	if bounded, ok := s[loaded].(Bounded); ok {
		outer = outer.And(bounded.Allow())
	}
	return outer
}
