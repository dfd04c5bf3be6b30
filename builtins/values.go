// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/star"
)

// ToStarlark converts values that encoding/json decodes to, and maps of these, to
// Starlark values.
func ToStarlark(v any) (starlark.Value, error) {
	switch v := v.(type) {
	case nil:
		return starlark.None, nil
	case bool:
		return starlark.Bool(v), nil
	case string:
		return starlark.String(v), nil
	case int:
		return starlark.MakeInt(v), nil
	case int64:
		return starlark.MakeInt64(v), nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return starlark.MakeInt64(int64(v)), nil
		}
		return starlark.Float(v), nil
	case []any:
		list := make([]starlark.Value, len(v))
		for i, item := range v {
			var err error
			if list[i], err = ToStarlark(item); err != nil {
				return nil, err
			}
		}
		return starlark.NewList(list), nil
	case map[string]any:
		return toDict(v)
	case map[string]map[string]any:
		return toDict(v)
	}
	return nil, fmt.Errorf("internal error: no Starlark value for %T", v)
}

func toDict[V any](m map[string]V) (starlark.Value, error) {
	dict := starlark.NewDict(len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		item, err := ToStarlark(m[k])
		if err != nil {
			return nil, err
		}
		if err := dict.SetKey(starlark.String(k), item); err != nil {
			return nil, err
		}
	}
	return dict, nil
}

// FromStarlark converts a Starlark value to one that encoding/json encodes. One that is nested deeper than
// [star.MaxDepth], such as a list that contains itself, is an error.
func FromStarlark(v starlark.Value) (any, error) { return fromStarlark(v, 0) }

// fromStarlark converts a value that is inside of so many others.
func fromStarlark(v starlark.Value, depth int) (any, error) {
	if depth > star.MaxDepth {
		return nil, star.DepthError{}
	}
	switch v := v.(type) {
	case starlark.NoneType:
		return nil, nil
	case starlark.Bool:
		return bool(v), nil
	case starlark.String:
		return string(v), nil
	case starlark.Int:
		if n, ok := v.Int64(); ok {
			return n, nil
		}
		return nil, fmt.Errorf("%s is too large", v)
	case starlark.Float:
		return float64(v), nil
	case starlark.IterableMapping:
		m := map[string]any{}
		for _, item := range v.Items() {
			key, ok := starlark.AsString(item[0])
			if !ok {
				return nil, fmt.Errorf("got key %s, want string", describe(item[0]))
			}
			var err error
			if m[key], err = fromStarlark(item[1], depth+1); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
	if items, ok := toSlice(v); ok {
		list := make([]any, len(items))
		for i, item := range items {
			var err error
			if list[i], err = fromStarlark(item, depth+1); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("got %s, want None, a bool, number, string, list or dict", describe(v))
}

// qmpName converts the name of a Starlark argument to QMP's: _ becomes -.
func qmpName(name string) string { return strings.ReplaceAll(name, "_", "-") }
