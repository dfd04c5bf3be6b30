// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"fmt"
	"math"
	"math/rand/v2"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/task"
)

// numberType unpacks to starlark.Int, which an int64 can hold, or to starlark.Float.
var numberType = Type{Want: "number", Name: "int | float", Unpack: func(_ *task.Task, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.Int:
		if _, ok := v.Int64(); !ok {
			return nil, fmt.Errorf("%s is too large", v)
		}
		return v, nil
	case starlark.Float:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%s is not finite", v)
		}
		return v, nil
	}
	return nil, nil
}}

var randomFunction = &Builtin{
	Name: "random",
	Params: []Param{
		{"a", numberType, Required, "the least number"},
		{"b", numberType, Required, "the greatest one; a float is always less"},
	},
	Doc: "Draws a random number between a and b: whole if both are, and then b may come. " +
		"The numbers of a variant depend on its name and the run's --seed, which the results, the log and the note of a failed variant have. A repeat (--repeat) has a seed of its own.",
	Returns: Return{"int | float", "the number"},
	Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
		least, greatest := arg[starlark.Value](a, "a"), arg[starlark.Value](a, "b")
		random := stateOf(t).bed.Random()
		if from, whole := least.(starlark.Int); whole {
			if to, whole := greatest.(starlark.Int); whole {
				return randomInt(random, from, to)
			}
		}
		from, _ := starlark.AsFloat(least)
		to, _ := starlark.AsFloat(greatest)
		if from >= to {
			return nil, misusef("b: got %v, want more than a = %v", greatest, least)
		}
		drawn := from + random.Float64()*(to-from)
		return starlark.Float(min(drawn, math.Nextafter(to, from))), nil // rounding may reach to
	},
}

func randomInt(random *rand.Rand, from, to starlark.Int) (starlark.Value, error) {
	least, _ := from.Int64()
	greatest, _ := to.Int64()
	if least > greatest {
		return nil, misusef("b: got %v, want a = %v or more", to, from)
	}
	drawn := random.Uint64()
	if count := uint64(greatest) - uint64(least) + 1; count != 0 { // 0: every int64
		drawn = random.Uint64N(count)
	}
	return starlark.MakeInt64(int64(uint64(least) + drawn)), nil
}
