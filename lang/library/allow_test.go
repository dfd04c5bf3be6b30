// SPDX-License-Identifier: Apache-2.0

package library_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/mhmig/mhmig/lang/library"
)

// bounded is a library with a manifest that restricts itself and what it uses.
type bounded struct {
	fs.FS
	own  library.Allow
	uses map[string]library.Allow
}

func (b bounded) Allow() library.Allow { return b.own }

func (b bounded) Uses(other string) (library.Allow, bool) {
	allow, ok := b.uses[other]
	return allow, ok
}

var bounds = library.Set{
	library.Project: bounded{own: library.AllowOnly([]string{"log", "on", "sleep", "warn"}, "project"), uses: map[string]library.Allow{
		"net": library.AllowOnly([]string{"log", "on", "sleep"}, "needs.net"),
	}},
	"std":  fstest.MapFS{},
	"net":  bounded{uses: map[string]library.Allow{"base": {}}},
	"base": bounded{own: library.AllowOnly([]string{"sleep", "migrate", "log"}, "base")},
}

func TestAllow(t *testing.T) {
	t.Parallel()
	net := bounds.Allow(bounds.Allow(library.Allow{}, "", "my.star"), "my.star", "@net//a.star")
	tests := []struct {
		outer            library.Allow
		from, name, want string
	}{
		{library.Allow{}, "", "my.star", "log, on, sleep, warn"},
		{library.Allow{}, "", "@net//a.star", "log, on, sleep"},
		{library.Allow{}, "", "@base//a.star", "log, sleep"},
		{net, "my.star", "other.star", "log, on, sleep"}, // as it was
		{net, "@net//a.star", "@net//b.star", "log, on, sleep"},
		{net, "@net//a.star", "@base//b.star", "log, sleep"},
		{net, "@net//a.star", "@std//b.star", "log, on, sleep"},
		{library.AllowOnly([]string{"warn"}, "x"), "@net//a.star", "@base//b.star", "no builtins"},
	}
	for _, tt := range tests {
		if got := bounds.Allow(tt.outer, tt.from, tt.name).String(); got != tt.want {
			t.Errorf("Allow(%s, %q, %q) = %s, want %s", tt.outer, tt.from, tt.name, got, tt.want)
		}
	}
}

// A library uses what its manifest names, and what comes with mhmig.
func TestUses(t *testing.T) {
	t.Parallel()
	tests := []struct{ from, name, fault string }{
		{"my.star", "@base//a.star", ""},
		{"@net//a.star", "@base//a.star", ""},
		{"@net//a.star", "@std//a.star", ""},
		{"@net//a.star", "@none//a.star", ""}, // opening it says so
		{"@base//a.star", "@net//a.star", "library @base cannot use @net, which is not in the needs of its mhmig.toml"},
	}
	for _, tt := range tests {
		if _, err := bounds.Resolve(tt.from, tt.name); text(err) != tt.fault {
			t.Errorf("Resolve(%q, %q): got %v, want %q", tt.from, tt.name, err, tt.fault)
		}
	}
}
