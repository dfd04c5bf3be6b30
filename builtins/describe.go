// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"strconv"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
)

// Language returns the tables as data, which lang/api has for tools that do not run
// scenarios.
func Language() api.Language {
	l := api.Language{Functions: describeAll(Functions()), Transports: migration.Transports()}
	for _, m := range Modules() {
		l.Modules = append(l.Modules, api.Module{Name: m.Name, Doc: m.Doc, Functions: describeAll(m.Functions)})
	}
	for _, c := range Classes() {
		class := api.Class{Name: c.Name, Doc: c.Doc, Methods: describeAll(c.Methods)}
		for _, a := range c.Attrs {
			class.Attributes = append(class.Attributes, api.Attribute{Name: a.Name, Type: a.Type, Doc: a.Doc})
		}
		l.Classes = append(l.Classes, class)
	}
	return l
}

func describeAll(builtins []*Builtin) []api.Builtin {
	var all []api.Builtin
	for _, b := range builtins {
		all = append(all, b.describe())
	}
	return all
}

func (b *Builtin) describe() api.Builtin {
	d := api.Builtin{Name: b.Name, Doc: b.Doc, Rest: b.Rest, Fields: b.Fields, Waits: b.Waits, Returns: api.Return(b.Returns)}
	for _, p := range b.Params {
		d.Params = append(d.Params, p.describe())
	}
	return d
}

func (p Param) describe() api.Parameter {
	d := api.Parameter{
		Name: p.Name, Type: p.Type.Name, Wants: p.Type.Want, Choices: p.Type.Choices, Optional: p.Default.optional, Doc: p.Doc,
	}
	switch {
	case p.Default.text != "":
		d.Default, d.Computed = p.Default.text, true
	case p.Default.optional:
		d.Default = expression(p.Default.value)
	}
	return d
}

// expression is the Starlark expression of a value that a Type has unpacked.
func expression(v any) string {
	switch v := v.(type) {
	case starlark.Value:
		return v.String()
	case bool:
		return starlark.Bool(v).String()
	case string:
		return starlark.String(v).String()
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case time.Duration:
		return strconv.FormatFloat(v.Seconds(), 'f', -1, 64)
	case cartesian.Params:
		if len(v) == 0 {
			return "{}"
		}
	case []string:
		if len(v) == 0 {
			return "[]"
		}
	}
	return "" // a test of the tables reports it
}
