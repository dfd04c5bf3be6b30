// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"fmt"

	"go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/mhmig/mhmig/lang/star"
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
		Module: jsonModule(),
		Doc:    fmt.Sprintf("Starlark's module for JSON, which may be nested %d levels deep.", star.MaxDepth),
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

// jsonModule is Starlark's module, whose functions recurse, without what would overflow the stack: JSON may come from a
// guest or a host.
func jsonModule() *starlarkstruct.Module {
	members := starlark.StringDict{}
	for name, member := range json.Module.Members {
		members[name] = star.Guarded(member.(*starlark.Builtin))
	}
	decode := json.Module.Members["decode"].(*starlark.Builtin)
	members["decode"] = starlark.NewBuiltin(decode.Name(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if len(args) > 0 {
			if text, ok := starlark.AsString(args[0]); ok && depthOfJSON(text) > star.MaxDepth {
				return nil, fmt.Errorf("%s: x: the JSON is nested more than %d levels deep", decode.Name(), star.MaxDepth)
			}
		}
		return decode.CallInternal(thread, args, kwargs)
	})
	return &starlarkstruct.Module{Name: json.Module.Name, Members: members}
}

// depthOfJSON returns how deep arrays and objects are nested, of invalid JSON before its first error at least.
func depthOfJSON(text string) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[', c == '{':
			depth++
			deepest = max(deepest, depth)
		case c == ']', c == '}':
			depth--
		}
	}
	return deepest
}
