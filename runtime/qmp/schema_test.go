// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/mhmig/mhmig/runtime/qmp"
)

const smallSchema = `[
 {"name": "migrate-incoming", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
 {"name": "migrate-set-capabilities", "meta-type": "command", "arg-type": "2", "ret-type": "0"},
 {"name": "stop", "meta-type": "command", "arg-type": "0", "ret-type": "0"},
 {"name": "MIGRATION", "meta-type": "event", "arg-type": "6"},
 {"name": "0", "meta-type": "object", "members": []},
 {"name": "1", "meta-type": "object", "members": [{"name": "uri", "type": "str"}, {"name": "address", "type": "7"}]},
 {"name": "2", "meta-type": "object", "members": [{"name": "capabilities", "type": "[3]"}]},
 {"name": "[3]", "meta-type": "array", "element-type": "3"},
 {"name": "3", "meta-type": "object", "members": [{"name": "capability", "type": "4"}, {"name": "state", "type": "bool"}]},
 {"name": "4", "meta-type": "enum", "values": ["xbzrle", "multifd"]},
 {"name": "5", "meta-type": "enum", "members": [{"name": "active"}]},
 {"name": "6", "meta-type": "object", "members": [{"name": "status", "type": "5"}]},
 {"name": "7", "meta-type": "object", "tag": "type", "members": [{"name": "type", "type": "4"}], "variants": [{"case": "inet", "type": "8"}]},
 {"name": "8", "meta-type": "object", "members": [{"name": "port", "type": "9"}]},
 {"name": "9", "meta-type": "alternate", "members": [{"type": "str"}, {"type": "8"}]},
 {"name": "str", "meta-type": "builtin", "json-type": "string"},
 {"name": "bool", "meta-type": "builtin", "json-type": "boolean"}
]`

func TestSupports(t *testing.T) {
	asked := 0
	c := connect(t, qmp.Options{}, func(f *fake) {
		f.send(`{"id": ` + idOf(f.next()) + `, "error": {"class": "GenericError", "desc": "busy"}}`)
		f.serve(func(r request) {
			asked++
			f.reply(r, smallSchema)
		})
	})
	if _, err := c.Supports(t.Context(), "stop"); err == nil {
		t.Error("Supports: a question that failed is no answer")
	} else if _, ok := errors.AsType[*qmp.Error](err); !ok {
		t.Errorf("Supports: got %v, want QEMU's error", err)
	}
	for path, want := range map[string]bool{
		"stop":                               true,
		"stop/now":                           false,
		"MIGRATION":                          true,
		"MIGRATION/status/active":            true,
		"MIGRATION/status/failing":           false,
		"migrate-incoming/uri":               true,
		"migrate-incoming/exit-on-error":     false,
		"migrate-incoming/address/port":      true,
		"migrate-incoming/address/port/port": true,
		"migrate-incoming/address/path":      false,
		"migrate-recover":                    false,
		"1":                                  false, // a type is no command
		"":                                   false,
		qmp.Capability("multifd"):            true,
		qmp.Capability("mapped-ram"):         false,
		qmp.Capability("multifd") + "/x":     false,
		qmp.Parameter("max-bandwidth"):       false,
	} {
		if got, err := c.Supports(t.Context(), path); err != nil || got != want {
			t.Errorf("Supports(%q) = %v, %v; want %v", path, got, err, want)
		}
	}
	for path, want := range map[string][]string{
		"migrate-incoming":                         {"uri", "address"},
		"migrate-incoming/address":                 {"type"},
		"migrate-set-capabilities/capabilities":    {"capability", "state"},
		"migrate-incoming/uri":                     nil,
		"migrate-set-capabilities/capabilities/no": nil,
		"MIGRATION/status":                         nil,
		"migrate-recover":                          nil,
		"stop":                                     nil,
		"1":                                        nil, // a type is no command
	} {
		if got, err := c.Members(t.Context(), path); err != nil || !slices.Equal(got, want) {
			t.Errorf("Members(%q) = %q, %v; want %q", path, got, err, want)
		}
	}
	for path, want := range map[string][]string{
		"migrate-set-capabilities/capabilities/capability": {"xbzrle", "multifd"},
		"MIGRATION/status":         {"active"},
		"migrate-incoming/address": nil,
		"migrate-incoming/uri":     nil,
		"migrate-recover":          nil,
	} {
		if got, err := c.Values(t.Context(), path); err != nil || !slices.Equal(got, want) {
			t.Errorf("Values(%q) = %q, %v; want %q", path, got, err, want)
		}
	}
	c.Close()
	if asked != 1 {
		t.Errorf("the schema was asked for %d times, want once", asked)
	}
}
