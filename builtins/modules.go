// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"go.starlark.net/lib/json"
	"go.starlark.net/starlarkstruct"
)

// Module is one of Starlark's own modules. Its rows only document it: the functions are
// those of the library, and work while a file is loaded, too.
type Module struct {
	*starlarkstruct.Module
	Doc       string
	Functions []*Builtin
}

// Modules returns the modules of scenarios, in the order of the reference.
func Modules() []Module {
	layout := []Param{
		{"prefix", String, Value(""), "begins each line but the first; by name only"},
		{"indent", String, Value("\t"), "is repeated for each level; by name only"},
	}
	return []Module{{
		Module: json.Module,
		Doc:    "Starlark's module for JSON.",
		Functions: []*Builtin{
			{
				Name: "encode", Params: []Param{{"x", Any, Required, "None, a bool, number, string, list, tuple or dict, and what these contain"}},
				Doc:     "Encodes a value as JSON, without blanks.",
				Returns: Return{"string", "the JSON"},
			},
			{
				Name: "encode_indent", Params: append([]Param{{"x", Any, Required, "as for encode"}}, layout...),
				Doc:     "Encodes a value as JSON, in lines: indent(encode(x)).",
				Returns: Return{"string", "the JSON"},
			},
			{
				Name: "decode",
				Params: []Param{
					{"x", String, Required, "JSON"},
					{"default", Any, Computed("an error"), "what is returned for invalid JSON"},
				},
				Doc:     "Decodes JSON. A number with a point or an exponent becomes a float, any other an int.",
				Returns: Return{"any", "the value"},
			},
			{
				Name: "indent", Params: append([]Param{{"str", String, Required, "JSON"}}, layout...),
				Doc:     "Formats JSON in lines.",
				Returns: Return{"string", "the JSON"},
			},
		},
	}}
}
