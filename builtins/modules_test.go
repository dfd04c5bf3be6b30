// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/runtime/result"
)

// The reference has all functions of each module, and no others.
func TestModules(t *testing.T) {
	t.Parallel()
	for _, m := range builtins.Modules() {
		var documented []string
		for _, f := range m.Functions {
			documented = append(documented, f.Name)
		}
		slices.Sort(documented)
		if diff := cmp.Diff(m.Members.Keys(), documented); diff != "" {
			t.Errorf("%s: - module, + table\n%s", m.Name, diff)
		}
	}
}

// JSON works in a scenario, and while its file is loaded.
func TestJSON(t *testing.T) {
	t.Parallel()
	runScripted(t, []scriptedCase{{
		name: "there and back", helpers: `
loaded = json.decode('{"a": [1, 2.5, null]}')`, text: `
	if loaded != {"a": [1, 2.5, None]} or json.encode(loaded) != '{"a":[1,2.5,null]}':
		fail(json.encode(loaded))
	if json.decode("{", None) != None or json.decode(json.encode_indent(loaded)) != loaded:
		fail("invalid, or in lines")
	if json.indent("[1]", indent = "  ") != "[\n  1\n]":
		fail(json.indent("[1]", indent = "  "))`,
	}})
}

// Values and texts whose nesting would overflow the stack, and with it end mhmig, are an error.
func TestDeepValues(t *testing.T) {
	t.Parallel()
	const message = "nested more than 10000 levels deep"
	tests := []struct{ name, text, want string }{
		{"a dict in itself", `
	d = {}
	d["a"] = d
	vm.expect("STOP", match = d)`, "vm.expect: match: " + message + "; does it contain itself?"},
		{"a list in itself", `
	vm.start(a)
	x = []
	x.append(x)
	vm.qmp("query-status", a = x)`, message},
		{"logged", `
	log("x", x = deep())`, "log: x: " + message},
		{"where another type is wanted", `
	sleep(deep())`, "sleep: argument 1: " + message},
		{"a param", `
	env.params[deep()]`, "params: got key tuple, want string"},
		{"encoded", `
	json.encode(deep())`, "json.encode: argument 1: " + message},
		{"decoded", `
	json.decode("[" * 8000000 + "]" * 8000000)`, "json.decode: x: the JSON is " + message},
		{"objects", `
	json.decode('{"a\\"":' * 8000000)`, "json.decode: x: the JSON is " + message},
		{"no arrays", `
	json.decode('["' + "[" * 8000000 + '"]')
	log("x", x = [deep])
	x = []
	x.append(x)
	log("x", x = x)`, ""},
	}
	var cases []scriptedCase
	for _, tt := range tests {
		c := scriptedCase{name: tt.name, text: tt.text, helpers: `
def deep():
	x = ()
	for _ in range(20000):
		x = (x,)
	return x`}
		if tt.want != "" {
			c.status, c.want = result.Error, []string{tt.want}
		}
		cases = append(cases, c)
	}
	runScripted(t, cases)
}
