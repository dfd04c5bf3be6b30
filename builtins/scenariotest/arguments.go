// SPDX-License-Identifier: Apache-2.0

package scenariotest

import (
	"fmt"
	"math"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// seconds is an argument: a time.
type seconds time.Duration

// Unpack takes a number of seconds, or a text such as 1m30s.
func (s *seconds) Unpack(v starlark.Value) error {
	switch v := v.(type) {
	case starlark.NoneType:
		return nil
	case starlark.String:
		d, err := time.ParseDuration(string(v))
		if err != nil {
			return fmt.Errorf("got %s, want seconds, or a text such as 1m30s", v)
		}
		*s = seconds(d)
		return nil
	}
	f, ok := starlark.AsFloat(v)
	if !ok {
		return fmt.Errorf("got %s, want seconds", v.Type())
	}
	ns := f * float64(time.Second)
	if !(math.Abs(ns) < math.MaxInt64) { // nor NaN
		return fmt.Errorf("%v is not a valid time", v)
	}
	*s = seconds(ns)
	return nil
}

// size is an argument: bytes.
type size int64

// Unpack takes a number of bytes, or a text such as 32M.
func (s *size) Unpack(v starlark.Value) error {
	switch v := v.(type) {
	case starlark.NoneType:
		return nil
	case starlark.String:
		n, err := cartesian.Params{"size": string(v)}.Size("size", 0, 1)
		if err != nil {
			return fmt.Errorf("got %s, want bytes, or a text such as 32M", v)
		}
		*s = size(n)
		return nil
	}
	n, ok := v.(starlark.Int)
	if !ok {
		return fmt.Errorf("got %s, want bytes", v.Type())
	}
	bytes, _ := n.Int64()
	*s = size(bytes)
	return nil
}

// paramsArgument is an argument: params.
type paramsArgument cartesian.Params

// Unpack takes a dict of texts, numbers and bools.
func (p *paramsArgument) Unpack(v starlark.Value) error {
	*p = paramsArgument{}
	if v == starlark.None {
		return nil
	}
	dict, ok := v.(starlark.IterableMapping)
	if !ok {
		return fmt.Errorf("got %s, want a dict of params", v.Type())
	}
	for _, item := range dict.Items() {
		key, ok := starlark.AsString(item[0])
		if !ok {
			return fmt.Errorf("got key %s, want a string", item[0])
		}
		switch value := item[1].(type) {
		case starlark.String:
			(*p)[key] = string(value)
		case starlark.Bool:
			(*p)[key] = map[bool]string{true: "yes", false: "no"}[bool(value)]
		case starlark.Int, starlark.Float:
			(*p)[key] = value.String()
		default:
			return fmt.Errorf("%s: got %s, want a text, number or bool", key, value.Type())
		}
	}
	return nil
}

// filtersArgument is an argument: statements of configs.
type filtersArgument []string

// Unpack takes a statement, or a list of them.
func (f *filtersArgument) Unpack(v starlark.Value) error {
	if text, ok := starlark.AsString(v); ok {
		*f = filtersArgument{text}
		return nil
	}
	list, ok := v.(starlark.Iterable)
	if !ok {
		if v == starlark.None {
			return nil
		}
		return fmt.Errorf("got %s, want a statement such as 'only JeOS', or a list of them", v.Type())
	}
	for item := range starlark.Elements(list) {
		text, ok := starlark.AsString(item)
		if !ok {
			return fmt.Errorf("got %s in the list, want a statement", item.Type())
		}
		*f = append(*f, text)
	}
	return nil
}
