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

// Language is the builtins of scenarios: functions, modules, and the types of their values; and
// the transports that their migrations may use.
type Language struct {
	Functions  []Builtin `json:"functions"`
	Modules    []Module  `json:"modules"`
	Classes    []Class   `json:"classes"`
	Transports []string  `json:"transports"` // the values of the param mig_protocol
}

// Tests are the names that test files have besides those of scenarios.
type Tests struct {
	Functions []Builtin `json:"functions"`
	Modules   []Module  `json:"modules"`
	Classes   []Class   `json:"classes"`
}

// Module is a predeclared value whose attributes are functions.
type Module struct {
	Name      string    `json:"name"`
	Doc       string    `json:"doc"`
	Functions []Builtin `json:"functions"`
}

// Builtin is a function of scenarios, or a method of one of their values.
//
// The types of its parameters and its result are Starlark's own (string, int, float,
// bool, bytes, function) and the classes by their names; None, any, and never, for a
// call that ends the scenario; and list[T], dict[K, V], tuple[T, U], T | U, and
// function(T), a function that is called with such arguments.
type Builtin struct {
	Name    string      `json:"name"`
	Doc     string      `json:"doc"`
	Params  []Parameter `json:"params,omitempty"`
	Rest    string      `json:"rest,omitempty"`   // the name of what *args collects, "" for none
	Fields  string      `json:"fields,omitempty"` // the name of what **kwargs collects, "" for none
	Waits   bool        `json:"waits,omitempty"`  // other tasks of the scenario go on during the call
	Returns Return      `json:"returns"`
}

// Parameter is a parameter of a builtin, positional or by name. (A [Param] is one of a
// variant.) For an optional one, None is the same as omitting it.
type Parameter struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Wants string `json:"wants"` // the type as text, with its notations
	// Choices are all strings that it may be, if they are so few.
	Choices  []string `json:"choices,omitempty"`
	Optional bool     `json:"optional,omitempty"`
	// Default is the default of an optional parameter: a Starlark expression, or, if it
	// is computed by the call, a description.
	Default  string `json:"default,omitempty"`
	Computed bool   `json:"computed,omitempty"` // Default is a description
	Doc      string `json:"doc"`
}

// Return is the result of a call: its type and description. The type None is no
// result.
type Return struct {
	Type string `json:"type"`
	Doc  string `json:"doc,omitempty"`
}

// Class is a type of values in scenarios. Its name is the value's type.
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

// builtinsJSON is generated from the tables of the builtins and of the transports, by the
// test that compares them: go test ./builtins -run Reference -update.
//
//go:embed builtins.json
var builtinsJSON []byte

var language = sync.OnceValue(func() Language {
	var l Language
	if err := json.Unmarshal(builtinsJSON, &l); err != nil {
		panic("lang/api/builtins.json: " + err.Error()) // a build error, which the tests detect
	}
	return l
})

// testsJSON is generated from the tables of the test language, by the test that compares them:
// go test ./builtins/scenariotest -run Reference -update.
//
//go:embed tests.json
var testsJSON []byte

var tests = sync.OnceValue(func() Tests {
	var t Tests
	if err := json.Unmarshal(testsJSON, &t); err != nil {
		panic("lang/api/tests.json: " + err.Error()) // a build error, which the tests detect
	}
	return t
})

// TestLanguage returns the names that test files have besides those of scenarios.
func TestLanguage() Tests { return tests() }

// WriteJSON writes lang/api/tests.json.
func (t Tests) WriteJSON(w io.Writer) error { return writeJSON(w, t) }

// Functions returns all functions of scenarios, in the order of the
// reference.
func Functions() []Builtin { return slices.Clone(language().Functions) }

// Modules returns all modules of scenarios, in the order of the reference.
func Modules() []Module { return slices.Clone(language().Modules) }

// Classes returns all types of values of scenarios, in the order of the
// reference.
func Classes() []Class { return slices.Clone(language().Classes) }

// WriteJSON writes lang/api/builtins.json.
func (l Language) WriteJSON(w io.Writer) error { return writeJSON(w, l) }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Signature returns the signature of the builtin: "barrier(tag, timeout=240)".
// Descriptions instead of defaults are in angle brackets.
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
