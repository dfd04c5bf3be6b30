// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// ValueError is a param with an invalid value.
type ValueError struct {
	Param   string   // its name in the registry
	Objects []string // for which it was read: stg, nic1
	Value   string
	Want    string // allowed values
	Unfit   string // else why it does not fit other params
}

// Error names the param, and its value with what is allowed, or why it does not fit.
func (e *ValueError) Error() string {
	if e.Unfit != "" {
		return fmt.Sprintf("param %s: %s", e.Param, e.Unfit)
	}
	return fmt.Sprintf("param %s: got %q, want %s", e.Param, e.Value, e.Want)
}

// Values reads the params of one object by the registry, which has their types and
// defaults. An invalid value is an error of [Values.Err], and reads as the zero value,
// so that one pass finds all invalid values.
//
// Reading a name that is not in the registry, or as another kind than it has there, is a
// bug and panics: the tests of each reader detect it.
type Values struct {
	params cartesian.Params
	of     []string // the object that params were narrowed to: stg
	errs   *[]error
}

// Read returns a reader of params that are already narrowed to the object.
func Read(p cartesian.Params) Values { return Values{params: p, errs: new([]error)} }

// Object returns a reader for an inner object, whose errors are collected together.
func (v Values) Object(name string) Values {
	return Values{params: v.params.Object(name), of: append(slices.Clip(v.of), name), errs: v.errs}
}

// Params returns the params.
func (v Values) Params() cartesian.Params { return v.params }

// Err returns all errors, joined by [errors.Join].
func (v Values) Err() error { return errors.Join(*v.errs...) }

// AddError adds an error of the object.
func (v Values) AddError(err error) {
	if len(v.of) > 0 {
		err = fmt.Errorf("%s: %w", strings.Join(v.of, ": "), err)
	}
	*v.errs = append(*v.errs, err)
}

// Invalid adds the error of a param with an invalid value; want are the allowed ones.
func (v Values) Invalid(name, want string) {
	v.AddError(&ValueError{Param: name, Objects: v.of, Value: v.params[name], Want: want})
}

// Unfit adds the error of a param that does not fit others; format and args say why.
func (v Values) Unfit(name, format string, args ...any) {
	v.AddError(&ValueError{Param: name, Objects: v.of, Value: v.params[name], Unfit: fmt.Sprintf(format, args...)})
}

// row is the registry's row of a param, which must be of one of these kinds.
func row(name string, kinds ...Kind) Param {
	p, ok := Find(name)
	if !ok || !slices.Contains(kinds, p.Kind) {
		panic(fmt.Sprintf("param %s is not in the registry as %v", name, kinds))
	}
	return p
}

// text is the value without blanks around it, or the default.
func (v Values) text(p Param, name string) string {
	if s := strings.TrimSpace(v.params[name]); s != "" {
		return s
	}
	return p.Default
}

// Has reports whether the param has a value.
func (v Values) Has(name string) bool { return strings.TrimSpace(v.params[name]) != "" }

// Text is the unchanged value, or the default.
func (v Values) Text(name string) string {
	p := row(name, Text)
	return v.params.Get(name, p.Default)
}

// Word is the value without blanks around it.
func (v Values) Word(name string) string { return v.text(row(name, Word), name) }

// Names are the names of objects, without duplicates.
func (v Values) Names(name string) []string {
	p := row(name, Names)
	if !v.Has(name) {
		return cartesian.Params{name: p.Default}.Objects(name)
	}
	return v.params.Objects(name)
}

// Int is an integer.
func (v Values) Int(name string) int {
	p := row(name, Number)
	s := v.text(p, name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	switch {
	case err != nil:
		v.Invalid(name, "a whole number")
		return 0
	case p.Max > 0 && (n < p.Min || n > p.Max):
		v.Invalid(name, p.Limits())
		return 0
	case n < p.Min:
		v.Invalid(name, fmt.Sprintf("%d at least", p.Min))
		return 0
	}
	return n
}

// Port is a TCP port; 0 if there is none.
func (v Values) Port(name string) int {
	s := v.text(row(name, Port), name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 {
		v.Invalid(name, "a port number")
		return 0
	}
	return n
}

// Bool is yes or no.
func (v Values) Bool(name string) bool {
	p := row(name, Bool)
	b, err := cartesian.Params{name: v.text(p, name)}.Bool(name, false)
	if err != nil {
		v.Invalid(name, "yes or no")
	}
	return b
}

// Seconds is a duration.
func (v Values) Seconds(name string) time.Duration {
	p := row(name, Seconds)
	d, err := cartesian.Params{name: v.text(p, name)}.Seconds(name, 0)
	switch {
	case err != nil:
		v.Invalid(name, "seconds (240, 1.5) or a time with units (1m30s)")
	case p.Longest > 0 && v.Has(name) && (d < p.Shortest || d > p.Longest):
		v.Invalid(name, p.Limits())
		return 0
	}
	return d
}

// Size is a number of bytes.
func (v Values) Size(name string) int64 {
	p := row(name, Size)
	unit := int64(1)
	if p.Unit == "MiB" {
		unit = 1 << 20
	}
	n, err := cartesian.Params{name: v.text(p, name)}.Size(name, 0, unit)
	switch {
	case err != nil:
		v.Invalid(name, "a size (512, 64M, 1.5G)")
	case p.PowerOfTwo > 0 && v.Has(name) && (n < p.PowerOfTwo || n&(n-1) != 0):
		v.Invalid(name, p.Limits())
		return 0
	}
	return n
}

// Choice is one of the row's choices.
func (v Values) Choice(name string) string {
	p := row(name, Choice)
	s := v.text(p, name)
	if ours, ok := p.Spellings[s]; ok {
		s = ours
	}
	if !slices.Contains(p.Choices, s) {
		v.Invalid(name, "one of "+strings.Join(p.Choices, ", "))
		return p.Default
	}
	return s
}

// Pattern is a regular expression.
func (v Values) Pattern(name string) *regexp.Regexp {
	s := v.params.Get(name, row(name, Pattern).Default)
	re, err := regexp.Compile(s)
	if err != nil {
		v.Invalid(name, "a regular expression: "+err.Error())
		return nil
	}
	return re
}

// Ports is a range of TCP ports; two zeros mean any.
func (v Values) Ports(name string) (first, last int) {
	s := v.text(row(name, Ports), name)
	if s == "" || s == "0" {
		return 0, 0
	}
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	one, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	other, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	if err1 != nil || err2 != nil || one == 0 || one > other {
		v.Invalid(name, "a TCP port, a range such as 5200-5899, or 0 for any")
		return 0, 0
	}
	return int(one), int(other)
}

// Check validates a param's value.
func (v Values) Check(p Param) {
	switch p.Kind {
	case Text, Word, Names:
	case Number:
		v.Int(p.Name)
	case Bool:
		v.Bool(p.Name)
	case Seconds:
		v.Seconds(p.Name)
	case Size:
		v.Size(p.Name)
	case Choice:
		v.Choice(p.Name)
	case Port:
		v.Port(p.Name)
	case Ports:
		v.Ports(p.Name)
	case Pattern:
		v.Pattern(p.Name)
	}
}
