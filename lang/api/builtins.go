// SPDX-License-Identifier: Apache-2.0

package api

import (
	_ "embed"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync"
)

// Language is what scenarios find beside Starlark's own: functions, and the kinds
// of values that these give.
type Language struct {
	Functions []Builtin `json:"functions"`
	Classes   []Class   `json:"classes"`
}

// Builtin is a function that scenarios call, or a method of one of their values.
//
// The types of its parameters and its result are Starlark's own (string, int,
// float, bool, bytes, function) and the classes by their names; None, any, and
// never, of a call that ends the scenario; and list[T], dict[K, V], tuple[T, U],
// T | U, and function(T), which is one that is called with such arguments.
type Builtin struct {
	Name    string      `json:"name"`
	Doc     string      `json:"doc"`
	Params  []Parameter `json:"params,omitempty"`
	Rest    string      `json:"rest,omitempty"`   // the name of what *args collects, "" for none
	Fields  string      `json:"fields,omitempty"` // the name of what **kwargs collects, "" for none
	Waits   bool        `json:"waits,omitempty"`  // other tasks of the scenario go on during the call
	Returns Return      `json:"returns"`
}

// Parameter is one of a builtin's, given by place or by name. (A [Param] is one of
// a variant's.) For an optional one, None is the same as nothing.
type Parameter struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Wants    string `json:"wants"` // the type in words, with the ways to write it
	Optional bool   `json:"optional,omitempty"`
	// Default is what an optional parameter is that is not given: an expression of
	// Starlark, or, where the call finds it out, words.
	Default  string `json:"default,omitempty"`
	Computed bool   `json:"computed,omitempty"` // Default is words
	Doc      string `json:"doc"`
}

// Return is what a call gives back: its type, and what it is. The type None is
// nothing.
type Return struct {
	Type string `json:"type"`
	Doc  string `json:"doc,omitempty"`
}

// Class is a kind of value that scenarios handle. Its name is the value's type.
type Class struct {
	Name       string      `json:"name"`
	Doc        string      `json:"doc"`
	Attributes []Attribute `json:"attributes,omitempty"`
	Methods    []Builtin   `json:"methods,omitempty"`
}

// Attribute is a plain attribute of a value.
type Attribute struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Doc  string `json:"doc"`
}

// builtinsJSON is written from the table that the builtins are run from, by the
// test that compares the two: go test ./builtins -run Reference -update.
//
//go:embed builtins.json
var builtinsJSON []byte

var language = sync.OnceValue(func() Language {
	var l Language
	if err := json.Unmarshal(builtinsJSON, &l); err != nil {
		panic("lang/api/builtins.json: " + err.Error()) // a fault of the build, which the tests find
	}
	return l
})

// Functions returns all functions that scenarios can call, in the order of the
// reference.
func Functions() []Builtin { return slices.Clone(language().Functions) }

// Classes returns all kinds of values that scenarios handle, in the order of the
// reference.
func Classes() []Class { return slices.Clone(language().Classes) }

// WriteJSON writes the language as what lang/api/builtins.json is.
func (l Language) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(l)
}

// Signature returns the builtin as one writes its call: "barrier(tag, timeout=240)".
// Words in the place of a default stand in angle brackets.
func (b Builtin) Signature() string {
	var parts []string
	for _, p := range b.Params {
		switch {
		case !p.Optional:
			parts = append(parts, p.Name)
		case p.Computed:
			parts = append(parts, p.Name+"=<"+p.Default+">")
		default:
			parts = append(parts, p.Name+"="+p.Default)
		}
	}
	if b.Rest != "" {
		parts = append(parts, "*"+b.Rest)
	}
	if b.Fields != "" {
		parts = append(parts, "**"+b.Fields)
	}
	return b.Name + "(" + strings.Join(parts, ", ") + ")"
}
