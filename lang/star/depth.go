// SPDX-License-Identifier: Apache-2.0

package star

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"
)

// MaxDepth is how deep a value may be nested that is written, converted or frozen. All of these recurse: some million
// levels overflow Go's stack, which ends the process, as no program can recover from that.
const MaxDepth = 10_000

// MaxParts is how many parts a value may have that is written or converted: what it contains, and what that contains, each
// as often as it is there, and strings by each sixteen bytes. A list of one list twice, sixty times over, needs little
// memory, and has more parts than can ever be written.
const MaxParts = 10_000_000

// A SizeError is a value that has more than [MaxParts] parts.
type SizeError struct{}

func (SizeError) Error() string {
	return fmt.Sprintf("more than %d parts when it is written out; does it contain the same list many times?", MaxParts)
}

// A DepthError is a value that is nested deeper than [MaxDepth].
type DepthError struct{}

func (DepthError) Error() string {
	return fmt.Sprintf("nested more than %d levels deep; does it contain itself?", MaxDepth)
}

// CheckWritable returns a [DepthError] if a value is nested deeper than [MaxDepth], and a [SizeError] if it has more than
// [MaxParts] parts. A value that contains itself, which Starlark writes as [...], is nested as deep as it has lists, tuples
// and dicts, at most. Each of these is looked at once, however many contain it.
func CheckWritable(v starlark.Value) error {
	m := measure{}
	if err := m.check(v); err != nil {
		return err
	}
	if m.extents[m.identity(v)].parts > MaxParts {
		return SizeError{}
	}
	return nil
}

// checkFreeze is CheckWritable for what freezing reaches: also the variables and defaults of functions. What many contain is
// frozen once.
func checkFreeze(v starlark.Value) error { return (&measure{functions: true}).check(v) }

// measure measures how much a value contains.
type measure struct {
	functions bool           // may contain values, too
	extents   map[any]extent // of what contains others
	tooDeep   bool
	cyclic    bool // extents may be too small
}

// extent is how much a value contains.
type extent struct {
	height int // the levels from itself to its innermost part
	parts  int // at most MaxParts + 1
}

// measuring is the height of what is being measured.
const measuring = -1

func (m *measure) check(v starlark.Value) error {
	if m.identity(v) == nil {
		return nil
	}
	m.extents = map[any]extent{}
	m.extent(v, 0)
	if m.tooDeep || m.cyclic && len(m.extents) > MaxDepth {
		return DepthError{}
	}
	return nil
}

// extent returns the extent of a value with so many levels above it.
func (m *measure) extent(v starlark.Value, above int) extent {
	id := m.identity(v)
	if id == nil || m.tooDeep {
		text, _ := v.(starlark.String)
		return extent{parts: 1 + len(text)/16}
	}
	e, known := m.extents[id]
	if e.height == measuring {
		m.cyclic = true
		return extent{parts: 1}
	}
	if !known && above < MaxDepth {
		m.extents[id] = extent{height: measuring}
		e.parts = 1
		eachPart(v, func(part starlark.Value) {
			inside := m.extent(part, above+1)
			e.height, e.parts = max(e.height, inside.height), min(e.parts+inside.parts, MaxParts+1)
		})
		e.height++
		m.extents[id] = e
	}
	m.tooDeep = m.tooDeep || above >= MaxDepth || above+e.height > MaxDepth
	return e
}

// identity tells a value that can contain others from all others; it is nil for those that cannot.
func (m *measure) identity(v starlark.Value) any {
	switch v := v.(type) {
	case starlark.Tuple:
		if len(v) > 0 {
			return [2]any{&v[0], len(v)} // a slice of a tuple shares its memory
		}
	case *starlark.List, *starlark.Dict, *starlark.Set:
		return v
	case *starlark.Function, *starlark.Builtin:
		if m.functions {
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

// Guarded returns a builtin that refuses arguments which [CheckWritable] refuses, and does what b does with all others.
func Guarded(b *starlark.Builtin) *starlark.Builtin {
	return starlark.NewBuiltin(b.Name(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		for i, v := range args {
			if err := CheckWritable(v); err != nil {
				return nil, fmt.Errorf("%s: argument %d: %w", b.Name(), i+1, err)
			}
		}
		for _, named := range kwargs {
			if err := CheckWritable(named[1]); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", b.Name(), string(named[0].(starlark.String)), err)
			}
		}
		return b.CallInternal(thread, args, kwargs)
	})
}

// limited returns a builtin that refuses arguments with more elements than [MaxParts], such as a range: it looks at all of
// them in one call, which nothing can stop.
func limited(b *starlark.Builtin) *starlark.Builtin {
	return starlark.NewBuiltin(b.Name(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		for i, v := range args {
			if n := starlark.Len(v); n > MaxParts {
				return nil, fmt.Errorf("%s: argument %d has %d elements, at most %d are allowed", b.Name(), i+1, n, MaxParts)
			}
		}
		return b.CallInternal(thread, args, kwargs)
	})
}

// Starlark's own functions that write values, or look at all elements of one, are guarded for all files: Universe may be
// changed before any is loaded. The operators, methods, and the keys of dicts and sets cannot be guarded.
func init() {
	for names, guard := range map[string]func(*starlark.Builtin) *starlark.Builtin{
		"fail print repr str": Guarded,
		"all any dict enumerate list max min reversed set sorted tuple zip": limited,
	} {
		for name := range strings.FieldsSeq(names) {
			starlark.Universe[name] = guard(starlark.Universe[name].(*starlark.Builtin))
		}
	}
}
