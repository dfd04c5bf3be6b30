// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"fmt"
	"slices"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/task"
)

// Builtin is one row of the table: a function that scenarios can call, or a
// method of one of their values. Its arguments, its documentation and its
// error messages all come from here; as data it is an [api.Builtin].
type Builtin struct {
	Name    string
	Doc     string
	Params  []Param
	Rest    string // name of what *args collects, "" for none
	Fields  string // name of what **kwargs collects, "" for none
	Waits   bool   // gives the scenario's lock away while it waits
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

// Default is what an optional argument is that is not given, or given as None. The
// zero value, [Required], is that of one that must be given.
type Default struct {
	optional bool
	value    any    // of the Go type that the parameter's Type unpacks to, or starlark.None
	words    string // for the reference, where the builtin computes the value
}

// The defaults that need no value.
var (
	Required = Default{}
	None     = Value(starlark.None) // there is nothing instead
)

// Value is a default that stands in the table alone: the builtin gets v where the
// argument is not given.
func Value(v any) Default { return Default{optional: true, value: v} }

// Computed is a default that the builtin finds out, which must ask [Args.Has]; the
// words say what it is.
func Computed(words string) Default { return Default{optional: true, words: words} }

// Return is what a builtin gives back: its type in the words of [api.Builtin], and
// what it is.
type Return struct{ Type, Doc string }

// What builtins return that have no value to return.
var (
	Nothing = Return{Type: "None"}
	Never   = Return{Type: "never"} // they end the scenario
)

// Signature returns the builtin as one writes its call, as [api.Builtin.Signature].
func (b *Builtin) Signature() string { return b.describe().Signature() }

// value makes the builtin callable. Self is nil for a function, else the
// value whose method it is; label is how errors call it: "vm.pause".
func (b *Builtin) value(self any, label string) *starlark.Builtin {
	return starlark.NewBuiltin(label, func(thread *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		t := task.From(thread)
		if t == nil {
			return nil, fmt.Errorf("%s: only inside migration_scenario, not while the file is loaded", fn.Name())
		}
		a := &Args{Self: self, values: map[string]any{}, given: map[string]bool{}}
		if err := b.unpack(t, a, args, kwargs); err != nil {
			return nil, fmt.Errorf("%s: %w", fn.Name(), err)
		}
		v, err := b.Fn(t, a)
		if wrong, ok := err.(misuse); ok {
			return nil, fmt.Errorf("%s: %w", fn.Name(), wrong.error)
		}
		if err != nil {
			return nil, err
		}
		if v == nil {
			return starlark.None, nil
		}
		return v, nil
	})
}

// misuse is the error of a call that makes no sense, whatever the hosts do. It
// gets the builtin's name in front of it.
type misuse struct{ error }

func misusef(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

// Class is a kind of value that scenarios handle: its attributes and methods.
type Class struct {
	Name    string
	Doc     string
	Attrs   []Attr
	Methods []*Builtin
}

// Attr is a plain attribute of a value. Its type is in the words of [api.Builtin].
type Attr struct {
	Name string
	Type string
	Doc  string
	Get  func(s *Scene, self any) (starlark.Value, error) // must not wait
}

// object is a value of some class. It is a handle: the state lives in self.
type object struct {
	class *Class
	scene *Scene
	self  any
	label string // short, for messages: "vm1@host2"
}

var _ starlark.HasAttrs = (*object)(nil)

func (o *object) String() string       { return o.class.Name + " " + o.label }
func (o *object) Type() string         { return o.class.Name }
func (o *object) Freeze()              {} // what a handle stands for lives outside Starlark
func (o *object) Truth() starlark.Bool { return true }

// Hash makes hosts usable as keys of what on and sync return.
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
			v, err := a.Get(o.scene, o.self)
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
