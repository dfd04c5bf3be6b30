// SPDX-License-Identifier: Apache-2.0

package star

import (
	"fmt"

	"go.starlark.net/starlark"
)

// MaxDepth is how deep a value may be nested that is written, converted or frozen. All of these recurse: some million
// levels overflow Go's stack, which ends the process, as no program can recover from that.
const MaxDepth = 10_000

// A DepthError is a value that is nested deeper than [MaxDepth].
type DepthError struct{}

func (DepthError) Error() string {
	return fmt.Sprintf("nested more than %d levels deep; does it contain itself?", MaxDepth)
}

// CheckDepth returns a [DepthError] if a value is nested deeper than [MaxDepth]. A value that contains itself, which
// Starlark writes as [...], is nested as deep as it has lists, tuples and dicts, at most. Each of these is looked at once,
// however many contain it.
func CheckDepth(v starlark.Value) error { return depth{}.check(v) }

// checkFreeze is CheckDepth for what freezing reaches: also the variables and defaults of functions.
func checkFreeze(v starlark.Value) error { return depth{functions: true}.check(v) }

// depth measures how deep a value is nested.
type depth struct {
	functions bool        // may contain values, too
	heights   map[any]int // the levels of what contains others, from itself to its innermost part
	tooDeep   bool
	cyclic    bool // heights may be too low
}

// measuring is the height of what is being measured.
const measuring = -1

func (d depth) check(v starlark.Value) error {
	if d.identity(v) == nil {
		return nil
	}
	d.heights = map[any]int{}
	d.height(v, 0)
	if d.tooDeep || d.cyclic && len(d.heights) > MaxDepth {
		return DepthError{}
	}
	return nil
}

// height returns the height of a value with so many levels above it.
func (d *depth) height(v starlark.Value, above int) int {
	id := d.identity(v)
	if id == nil || d.tooDeep {
		return 0
	}
	height, known := d.heights[id]
	if height == measuring {
		d.cyclic = true
		return 0
	}
	if !known && above < MaxDepth {
		d.heights[id] = measuring
		below := 0
		eachPart(v, func(part starlark.Value) { below = max(below, d.height(part, above+1)) })
		height = below + 1
		d.heights[id] = height
	}
	d.tooDeep = d.tooDeep || above >= MaxDepth || above+height > MaxDepth
	return height
}

// identity tells a value that can contain others from all others; it is nil for those that cannot.
func (d *depth) identity(v starlark.Value) any {
	switch v := v.(type) {
	case starlark.Tuple:
		if len(v) > 0 {
			return [2]any{&v[0], len(v)} // a slice of a tuple shares its memory
		}
	case *starlark.List, *starlark.Dict, *starlark.Set:
		return v
	case *starlark.Function, *starlark.Builtin:
		if d.functions {
			return v
		}
	}
	return nil
}

// eachPart calls see with each value that v contains; nil for a variable that is not set.
func eachPart(v starlark.Value, see func(starlark.Value)) {
	switch v := v.(type) {
	case *starlark.Dict:
		for key, value := range v.Entries() {
			see(key)
			see(value)
		}
	case starlark.Iterable: // a list, tuple or set
		for part := range starlark.Elements(v) {
			see(part)
		}
	case *starlark.Function:
		for i := range v.NumFreeVars() {
			_, value := v.FreeVar(i)
			see(value)
		}
		for i := range v.NumParams() {
			see(v.ParamDefault(i))
		}
	case *starlark.Builtin:
		see(v.Receiver())
	}
}

// Guarded returns a builtin that refuses arguments which are nested deeper than [MaxDepth], and does what b does with all
// others.
func Guarded(b *starlark.Builtin) *starlark.Builtin {
	return starlark.NewBuiltin(b.Name(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		for i, v := range args {
			if err := CheckDepth(v); err != nil {
				return nil, fmt.Errorf("%s: argument %d: %w", b.Name(), i+1, err)
			}
		}
		for _, named := range kwargs {
			if err := CheckDepth(named[1]); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", b.Name(), string(named[0].(starlark.String)), err)
			}
		}
		return b.CallInternal(thread, args, kwargs)
	})
}

// Starlark's own functions that write values are guarded for all files: Universe may be changed before any is loaded. The
// operator %, format, and the keys of dicts and sets cannot be guarded.
func init() {
	for _, name := range []string{"fail", "print", "repr", "str"} {
		starlark.Universe[name] = Guarded(starlark.Universe[name].(*starlark.Builtin))
	}
}
