// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"fmt"
	"slices"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/task"
)

// Builtin is one row of the table: a function that scenarios can call, or a
// method of one of their values. Its arguments, its documentation and its
// error messages are generated from it; as data it is an [api.Builtin].
type Builtin struct {
	Name    string
	Doc     string
	Params  []Param
	Rest    string // name of the *args parameter, "" for none
	Fields  string // name of the **kwargs parameter, "" for none
	Waits   bool   // releases the scenario's lock while it waits
	Returns Return
	Fn      func(t *task.Task, a *Args) (starlark.Value, error)
}

// Param is one parameter of a builtin.
type Param struct {
	Name    string
	Type    Type
	Default Default
	Doc     string
}

// Default is the default of an optional argument, which is not given or given as None.
// The zero value, [Required], means that it must be given.
type Default struct {
	optional bool
	value    any    // of the Go type that the parameter's Type unpacks to, or starlark.None
	text     string // for the reference, if the builtin computes the value
}

// The defaults that need no value.
var (
	Required = Default{}
	None     = Value(starlark.None) // no value
)

// Value is a default value: the builtin gets v if the argument is not given.
func Value(v any) Default { return Default{optional: true, value: v} }

// Computed is a default that the builtin computes, which must check [Args.Has]; text
// describes it.
func Computed(text string) Default { return Default{optional: true, text: text} }

// Return is the result of a builtin: its type in the notation of [api.Builtin], and its
// description.
type Return struct{ Type, Doc string }

// The results of builtins without a value.
var (
	Nothing = Return{Type: "None"}
	Never   = Return{Type: "never"} // they end the scenario
)

// Signature returns the builtin's signature, see [api.Builtin.Signature].
func (b *Builtin) Signature() string { return b.describe().Signature() }

// value makes the builtin callable. Self is nil for a function, else the
// value whose method it is; label is its name in errors: "vm.pause".
func (b *Builtin) value(self any, label string) *starlark.Builtin {
	return star.Guarded(starlark.NewBuiltin(label, func(thread *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		t := task.From(thread)
		if t == nil {
			return nil, fmt.Errorf("%s: only inside migration_scenario, not while the file is loaded", fn.Name())
		}
		a := &Args{Self: self, values: map[string]any{}, given: map[string]bool{}}
		if err := b.unpack(t, a, args, kwargs); err != nil {
			return nil, fmt.Errorf("%s: %w", fn.Name(), err)
		}
		v, err := b.Fn(t, a)
		if m, ok := err.(misuse); ok {
			return nil, fmt.Errorf("%s: %w", fn.Name(), m.error)
		}
		if err != nil {
			return nil, err
		}
		if v == nil {
			return starlark.None, nil
		}
		return v, nil
	}))
}

// misuse is the error of an invalid call, independent of the hosts. It gets the
// builtin's name as a prefix.
type misuse struct{ error }

func misusef(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

// Class is a type of values of scenarios: its attributes and methods.
type Class struct {
	Name    string
	Doc     string
	Attrs   []Attr
	Methods []*Builtin
}

// Attr is an attribute of a value. Its type is in the notation of [api.Builtin].
type Attr struct {
	Name string
	Type string
	Doc  string
	Get  func(s *scenarioState, self any) (starlark.Value, error) // must not wait
}

// object is a value of a class. It is a handle: the state is in self.
type object struct {
	class *Class
	state *scenarioState
	self  any
	label string // short, for messages: "vm1@host2"
}

var _ starlark.HasAttrs = (*object)(nil)

func (o *object) String() string       { return o.class.Name + " " + o.label }
func (o *object) Type() string         { return o.class.Name }
func (o *object) Freeze()              {} // the state is outside Starlark
func (o *object) Truth() starlark.Bool { return true }

// Hash makes hosts usable as keys of the results of on and sync.
func (o *object) Hash() (uint32, error) {
	if o.class.Name != "host" {
		return 0, fmt.Errorf("unhashable: %s", o.class.Name)
	}
	return starlark.String(o.label).Hash()
}

// Attr returns the attribute or method of that name, (nil, nil) when there is none.
func (o *object) Attr(name string) (starlark.Value, error) {
	for _, a := range o.class.Attrs {
		if a.Name == name {
			v, err := a.Get(o.state, o.self)
			if err != nil {
				return nil, fmt.Errorf("%s.%s: %w", o.class.Name, name, err)
			}
			return v, nil
		}
	}
	for _, m := range o.class.Methods {
		if m.Name == name {
			return m.value(o.self, o.class.Name+"."+name), nil
		}
	}
	return nil, nil
}

// AttrNames returns the names of all attributes and methods, sorted.
func (o *object) AttrNames() []string {
	var names []string
	for _, a := range o.class.Attrs {
		names = append(names, a.Name)
	}
	for _, m := range o.class.Methods {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}
