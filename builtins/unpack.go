// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/task"
)

// Args are the arguments of one call, as Go values.
type Args struct {
	Self   any // the receiver of a method
	Rest   starlark.Tuple
	Fields []starlark.Tuple
	values map[string]any // the given arguments, and the defaults of the others
	given  map[string]bool
}

// Has says whether an optional argument was given.
func (a *Args) Has(name string) bool { return a.given[name] }

// arg returns the argument called name as the Go type of its Type. If it was not given,
// it is the default, or the zero value if that is None or computed.
func arg[T any](a *Args, name string) T {
	v, _ := a.values[name].(T)
	return v
}

// argOr is arg with a computed default.
func argOr[T any](a *Args, name string, otherwise T) T {
	if !a.Has(name) {
		return otherwise
	}
	return arg[T](a, name)
}

// unpack assigns the arguments of a call to the builtin's parameters. Every
// error names the parameter and what was expected.
func (b *Builtin) unpack(t *task.Task, a *Args, args starlark.Tuple, kwargs []starlark.Tuple) error {
	if len(args) > len(b.Params) {
		if b.Rest == "" {
			return fmt.Errorf("got %d positional arguments, want at most %d: %s", len(args), len(b.Params), b.Signature())
		}
		a.Rest = args[len(b.Params):]
		args = args[:len(b.Params)]
	}
	named := map[string]bool{} // given in the call, including None
	for i, v := range args {
		named[b.Params[i].Name] = true
		if err := b.Params[i].assign(t, a, v); err != nil {
			return err
		}
	}
	for _, kv := range kwargs {
		name, v := string(kv[0].(starlark.String)), kv[1]
		i := slices.IndexFunc(b.Params, func(p Param) bool { return p.Name == name })
		switch {
		case i < 0 && b.Fields != "":
			a.Fields = append(a.Fields, kv)
			continue
		case i < 0:
			return b.unknown(name)
		case named[name]:
			return fmt.Errorf("%s: given twice", name)
		}
		named[name] = true
		if err := b.Params[i].assign(t, a, v); err != nil {
			return err
		}
	}
	for _, p := range b.Params {
		switch {
		case !p.Default.optional && !named[p.Name]:
			return fmt.Errorf("%s: missing, want %s: %s", p.Name, p.Type.Want, b.Signature())
		case !a.Has(p.Name):
			a.values[p.Name] = p.Default.value
		}
	}
	return nil
}

func (p Param) assign(t *task.Task, a *Args, v starlark.Value) error {
	if p.Default.optional && v == starlark.None {
		return nil
	}
	x, err := p.Type.Unpack(t, v)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	if x == nil {
		return fmt.Errorf("%s: got %s, want %s", p.Name, describe(v), p.Type.Want)
	}
	if params, ok := x.(cartesian.Params); ok { // at once: an error shows the line of the call
		stateOf(t).bed.HideParams(params)
	}
	a.values[p.Name], a.given[p.Name] = x, true
	return nil
}

func (b *Builtin) unknown(name string) error {
	names := make([]string, len(b.Params))
	for i, p := range b.Params {
		names[i] = p.Name
	}
	if near := diag.Nearest(name, names); near != "" {
		return fmt.Errorf("no parameter %s; did you mean %s? %s", name, near, b.Signature())
	}
	return fmt.Errorf("no parameter %s: %s", name, b.Signature())
}

// describe describes a value in an error: its type, and the value if it is short.
func describe(v starlark.Value) string {
	if star.CheckWritable(v) != nil {
		return v.Type()
	}
	if s := v.String(); len(s) <= 40 && v != starlark.None {
		if v.Type() == s || strings.HasPrefix(s, v.Type()+" ") {
			return s
		}
		return v.Type() + " " + s
	}
	return cmp.Or(v.Type(), "nothing")
}
