// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/runtime/task"
)

// paramsValue is the variant's params: an immutable dict with virt-test's methods.
type paramsValue struct {
	object
	params cartesian.Params
}

var (
	_ starlark.IterableMapping = (*paramsValue)(nil)
	_ starlark.Sequence        = (*paramsValue)(nil)
	_ starlark.HasAttrs        = (*paramsValue)(nil)
)

func (s *scenarioState) params(p cartesian.Params) *paramsValue {
	return &paramsValue{object: object{class: s.classes["params"], state: s, self: p, label: fmt.Sprintf("(%d)", len(p))}, params: p}
}

// Get makes params["mem"] and "mem" in params work.
func (p *paramsValue) Get(key starlark.Value) (starlark.Value, bool, error) {
	name, ok := starlark.AsString(key)
	if !ok {
		return nil, false, fmt.Errorf("params: got key %s, want string", describe(key))
	}
	p.state.bed.ReadParam(name)
	v, found := p.params[name]
	if near := diag.Nearest(name, slices.Sorted(maps.Keys(p.params))); !found && near != "" {
		return nil, false, fmt.Errorf("params has no key %q; did you mean %q?", name, near) // the operator in treats it as not found
	}
	return starlark.String(v), found, nil
}

func (p *paramsValue) keys() []starlark.Value {
	p.readAll()
	var keys []starlark.Value
	for _, k := range slices.Sorted(maps.Keys(p.params)) {
		keys = append(keys, starlark.String(k))
	}
	return keys
}

// Items returns the pairs in the order of their keys.
func (p *paramsValue) Items() []starlark.Tuple {
	p.readAll()
	var items []starlark.Tuple
	for _, k := range slices.Sorted(maps.Keys(p.params)) {
		items = append(items, starlark.Tuple{starlark.String(k), starlark.String(p.params[k])})
	}
	return items
}

// readAll records that the scenario has read all params.
func (p *paramsValue) readAll() {
	for key := range p.params {
		p.state.bed.ReadParam(key)
	}
}

// Iterate iterates over the keys in order.
func (p *paramsValue) Iterate() starlark.Iterator { return starlark.NewList(p.keys()).Iterate() }

// Len is the number of params.
func (p *paramsValue) Len() int { return len(p.params) }

var keyParam = Param{"key", String, Required, "the param's name"}

// paramOf returns the params and the key of a call of a method of params.
func paramOf(t *task.Task, a *Args) (p cartesian.Params, key string) {
	key = arg[string](a, "key")
	stateOf(t).bed.ReadParam(key)
	return a.Self.(cartesian.Params), key
}

func paramsClass() *Class {
	return &Class{
		Name: "params",
		Doc:  "The variant's params: a dict of strings that cannot be changed. params[key], key in params, len and for work as with a dict.",
		Methods: []*Builtin{
			{
				Name: "get", Params: []Param{keyParam, {"default", Any, None, "what to return when the param is not set"}},
				Doc:     "Reads a param.",
				Returns: Return{"any", "the param's text, or default"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					p, key := paramOf(t, a)
					if v, ok := p[key]; ok {
						return starlark.String(v), nil
					}
					return arg[starlark.Value](a, "default"), nil
				},
			},
			{
				Name: "int", Params: []Param{keyParam, {"default", Int, Value(0), "what to return when the param is not set"}},
				Doc:     "Reads a param that is a whole number. Any other text is an ERROR.",
				Returns: Return{"int", "the number"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					p, key := paramOf(t, a)
					n, err := p.Int(key, arg[int](a, "default"))
					return starlark.MakeInt(n), err
				},
			},
			{
				Name: "bool", Params: []Param{keyParam, {"default", Bool, Value(false), "what to return when the param is not set"}},
				Doc:     "Reads a param that is yes or no. Any other text is an ERROR.",
				Returns: Return{"bool", "whether it is yes"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					p, key := paramOf(t, a)
					b, err := p.Bool(key, arg[bool](a, "default"))
					return starlark.Bool(b), err
				},
			},
			{
				Name: "seconds", Params: []Param{keyParam, {"default", Seconds, Value(time.Duration(0)), "what to return when the param is not set"}},
				Doc:     "Reads a param that is a time (240, 1.5, 1m30s). Any other text is an ERROR.",
				Returns: Return{"float", "the time in seconds"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					p, key := paramOf(t, a)
					d, err := p.Seconds(key, arg[time.Duration](a, "default"))
					return starlark.Float(d.Seconds()), err
				},
			},
			{
				Name: "bytes", Params: []Param{keyParam, {"default", Bytes, Value(int64(0)), "what to return when the param is not set"}},
				Doc:     "Reads a param that is a size (512, 64M, 1.5G). Any other text is an ERROR.",
				Returns: Return{"int", "the size in bytes"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					p, key := paramOf(t, a)
					n, err := p.Size(key, arg[int64](a, "default"), 1)
					return starlark.MakeInt64(n), err
				},
			},
			{
				Name: "object", Params: []Param{{"name", String, Required, "the name of a VM, an image or a NIC, or hostN"}},
				Doc:     "Returns the params as they are for one object: for vm1, mem_vm1 replaces mem.",
				Returns: Return{"params", "the object's params"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return stateOf(t).params(a.Self.(cartesian.Params).Object(arg[string](a, "name"))), nil
				},
			},
			{
				Name: "objects", Params: []Param{keyParam},
				Doc:     "Reads a param that is a list of names.",
				Returns: Return{"list[string]", "the names"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					p, key := paramOf(t, a)
					return stringList(p.Objects(key)), nil
				},
			},
			{
				Name: "keys", Doc: "Lists the names of all params.",
				Returns: Return{"list[string]", "the names, sorted"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					return starlark.NewList(stateOf(t).params(a.Self.(cartesian.Params)).keys()), nil
				},
			},
			{
				Name: "items", Doc: "Lists all params with their values.",
				Returns: Return{"list[tuple[string, string]]", "pairs of name and value, sorted by name"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					var items []starlark.Value
					for _, pair := range stateOf(t).params(a.Self.(cartesian.Params)).Items() {
						items = append(items, pair)
					}
					return starlark.NewList(items), nil
				},
			},
		},
	}
}

func stringList(words []string) *starlark.List {
	values := make([]starlark.Value, len(words))
	for i, w := range words {
		values[i] = starlark.String(w)
	}
	return starlark.NewList(values)
}
