// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/star"
)

var identifier = regexp.MustCompile(`^[a-z][a-z_]*$`)

// Every name of the language is unique and documented; every call documents its
// result, and every optional argument its default.
func TestTable(t *testing.T) {
	t.Parallel()
	language := builtins.Language()
	classes := map[string]bool{}
	for _, c := range language.Classes {
		classes[c.Name] = true
	}
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
	typed := func(label, text string) {
		if _, err := parseType(text, classes); err != nil {
			t.Errorf("%s: type %q: %v", label, text, err)
		}
	}
	builtin := func(prefix string, b api.Builtin) {
		label := prefix + b.Name
		name(label, b.Name, b.Doc)
		if !strings.HasSuffix(b.Doc, ".") {
			t.Errorf("%s: doc %q, want sentences", label, b.Doc)
		}
		typed(label, b.Returns.Type)
		if nothing := b.Returns.Type == "None" || b.Returns.Type == "never"; nothing != (b.Returns.Doc == "") {
			t.Errorf("%s: returns %s: %q", label, b.Returns.Type, b.Returns.Doc)
		}
		optional := false
		for _, p := range b.Params {
			label := label + "(" + p.Name + ")"
			name(label, p.Name, p.Doc)
			typed(label, p.Type)
			if p.Wants == "" {
				t.Errorf("%s: no type in words", label)
			}
			if optional && !p.Optional {
				t.Errorf("%s must be given, but stands behind one that need not", label)
			}
			optional = p.Optional
			if p.Optional != (p.Default != "") {
				t.Errorf("%s: optional is %t, default %q", label, p.Optional, p.Default)
			}
			if strings.Contains(p.Doc, "default:") || p.Computed && strings.ContainsAny(p.Default, "<>=(),") {
				t.Errorf("%s: default %q, doc %q: a default stands in its own place, in words without signs", label, p.Default, p.Doc)
			}
		}
	}
	for _, f := range language.Functions {
		builtin("", f)
	}
	for _, m := range language.Modules {
		name("module "+m.Name, m.Name, m.Doc)
		for _, f := range m.Functions {
			builtin(m.Name+".", f)
		}
	}
	for _, c := range language.Classes {
		name("value "+c.Name, c.Name, c.Doc)
		for _, a := range c.Attributes {
			name(c.Name+"."+a.Name, a.Name, a.Doc)
			typed(c.Name+"."+a.Name, a.Type)
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
		"vm":      {"name", "host", "params", "state", "start", "wait_for_login", "wait_for_serial_login", "qmp", "pause", "resume", "reset", "reboot", "destroy", "set_speed", "set_downtime"},
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

// A default in the reference is what a call without the argument gets.
func TestDefaults(t *testing.T) {
	t.Parallel()
	rows := builtins.Functions()
	for _, c := range builtins.Classes() {
		rows = append(rows, c.Methods...)
	}
	documented := map[*builtins.Builtin]bool{}
	for _, m := range builtins.Modules() {
		for _, f := range m.Functions {
			rows, documented[f] = append(rows, f), true
		}
	}
	values := 0
	for _, b := range rows {
		if b.Fn == nil && !documented[b] {
			t.Errorf("%s: does nothing", b.Name)
		}
		for i, p := range builtins.Described(b).Params {
			if !p.Optional || p.Computed || p.Default == "None" {
				continue
			}
			v, err := starlark.EvalOptions(star.Dialect, &starlark.Thread{}, "default", p.Default, nil)
			if err != nil {
				t.Errorf("%s(%s=%s): %v", b.Name, p.Name, p.Default, err)
				continue
			}
			got, err := b.Params[i].Type.Unpack(nil, v)
			if want := b.Params[i].Default.GoValue(); err != nil || !cmp.Equal(got, want, cmpopts.EquateEmpty()) {
				t.Errorf("%s(%s=%s): it is %v (%v), but the builtin gets %v", b.Name, p.Name, p.Default, got, err, want)
			}
			values++
		}
	}
	if values < 20 {
		t.Errorf("found %d defaults with a value", values)
	}
}

func TestSignature(t *testing.T) {
	t.Parallel()
	b := &builtins.Builtin{
		Name: "f",
		Params: []builtins.Param{
			{Name: "a", Type: builtins.Int},
			{Name: "b", Type: builtins.Int, Default: builtins.Value(7)},
			{Name: "c", Type: builtins.Seconds, Default: builtins.Value(1500 * time.Millisecond)},
			{Name: "d", Type: builtins.Bool, Default: builtins.Value(true)},
			{Name: "e", Type: builtins.Host, Default: builtins.Computed("the first host")},
			{Name: "g", Type: builtins.Function, Default: builtins.None},
		},
		Rest: "args", Fields: "fields",
	}
	if got, want := b.Signature(), "f(a, b=7, c=1.5, d=True, e=<the first host>, g=None, *args, **fields)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
