// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/builtins"
)

var identifier = regexp.MustCompile(`^[a-z][a-z_]*$`)

// Every name of the language stands once, and says what it is for.
func TestTable(t *testing.T) {
	t.Parallel()
	classes := builtins.Classes()
	seen := map[string]bool{}
	name := func(label, name, doc string) {
		if seen[label] {
			t.Errorf("%s stands twice", label)
		}
		seen[label] = true
		if !identifier.MatchString(name) {
			t.Errorf("%s: %q is no name", label, name)
		}
		if doc == "" {
			t.Errorf("%s: no documentation", label)
		}
	}
	builtin := func(prefix string, b *builtins.Builtin) {
		label := prefix + b.Name
		name(label, b.Name, b.Doc)
		if b.Fn == nil {
			t.Errorf("%s: does nothing", label)
		}
		optional := false
		for _, p := range b.Params {
			bare := strings.TrimSuffix(p.Name, "?")
			name(label+"("+bare+")", bare, p.Doc)
			if p.Type.Unpack == nil || p.Type.Want == "" {
				t.Errorf("%s: %s: no type", label, bare)
			}
			if optional && bare == p.Name {
				t.Errorf("%s: %s must be given, but stands behind one that need not", label, bare)
			}
			optional = bare != p.Name
		}
	}
	for _, f := range builtins.Functions() {
		builtin("", f)
	}
	for _, c := range classes {
		name("value "+c.Name, c.Name, c.Doc)
		for _, a := range c.Attrs {
			name(c.Name+"."+a.Name, a.Name, a.Doc)
		}
		for _, m := range c.Methods {
			builtin(c.Name+".", m)
		}
	}
	predeclared, err := builtins.Predeclared()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"migrate", "migrate_wait", "barrier", "sync", "on", "spawn", "parallel", "sleep", "wait_for",
		"fail", "error", "skip", "warn", "log", "cleanup",
	} {
		if !predeclared.Has(want) {
			t.Errorf("scenarios have no %s", want)
		}
	}
	for class, members := range map[string][]string{
		"env":     {"params", "hosts", "master", "vms", "vm", "artifact"},
		"host":    {"name", "facts", "run", "start", "read_file", "write_file", "upload", "download", "free_port", "block_port", "unblock"},
		"vm":      {"name", "host", "params", "state", "start", "wait_for_login", "wait_for_serial_login", "qmp", "pause", "resume", "reboot", "destroy", "set_speed", "set_downtime"},
		"session": {"cmd", "cmd_status", "cmd_output", "cmd_status_output", "sendline", "close"},
		"mig":     {"vm", "join", "cancel", "status", "stats", "set_speed", "set_downtime", "wait_status", "wait"},
		"params":  {"get", "object", "objects", "int", "bool"},
		"task":    {"join"},
	} {
		for _, member := range members {
			if !seen[class+"."+member] {
				t.Errorf("%s has no %s", class, member)
			}
		}
	}
}

func TestSignature(t *testing.T) {
	t.Parallel()
	b := &builtins.Builtin{
		Name: "f", Params: []builtins.Param{{Name: "a", Type: builtins.Int}, {Name: "b?", Type: builtins.Int}},
		Rest: "args", Fields: "fields",
	}
	if got, want := b.Signature(), "f(a, b=None, *args, **fields)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
