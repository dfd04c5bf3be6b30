// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/builtins"
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
