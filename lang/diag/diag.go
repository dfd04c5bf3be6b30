// SPDX-License-Identifier: Apache-2.0

// Package diag has diagnostics of a user's files: position, message, and hint.
//
// A parser collects a [Diagnostic] for each error in a [List], goes on, and returns List.Err at its end. The command
// prints the list with [Render]:
//
//	guests.cfg:3:6: a block of labels cannot begin with three dots
//	    only RHEL...6
//	         ^
//	    hint: "." joins adjacent labels, ".." joins labels in any place
//
// Values of this package are plain data: any goroutine may read them, none may change them while another reads.
package diag

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Pos is a place in a file. The zero value is an unknown place.
type Pos struct {
	File string // as the user named it; "" when there is none
	Line int    // from 1; 0 when unknown
	Col  int    // in characters, from 1; 0 when unknown
}

// String returns "file:line:col" without the parts that are unknown.
func (p Pos) String() string {
	parts := make([]string, 0, 3)
	if p.File != "" {
		parts = append(parts, p.File)
	}
	if p.Line > 0 {
		parts = append(parts, strconv.Itoa(p.Line))
		if p.Col > 0 {
			parts = append(parts, strconv.Itoa(p.Col))
		}
	}
	return strings.Join(parts, ":")
}

// Severity is whether a diagnostic is an error.
type Severity int

const (
	// Error makes the file unusable.
	Error Severity = iota
	// Warning is valid, but probably not what the user meant.
	Warning
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// A Diagnostic is one error or warning in a user's file. It implements error.
type Diagnostic struct {
	Severity Severity
	Pos      Pos
	Message  string // lower case, one line, no full stop
	Hint     string // what to do next; "" for none
	Rule     string // of mhmig lint, such as "unused-load"; "" for what is always an error
	Source   string // text of the line at Pos, in which Pos.Col counts; "" when it is not known
}

// Error returns "file:line:col: message", with "warning: " before the message of a warning.
func (d Diagnostic) Error() string {
	message := d.Message
	if d.Severity == Warning {
		message = "warning: " + message
	}
	if pos := d.Pos.String(); pos != "" {
		return pos + ": " + message
	}
	return message
}

// Same reports whether d and other have the same position and message.
func (d Diagnostic) Same(other Diagnostic) bool {
	return d.Pos == other.Pos && d.Message == other.Message
}

// A List is several diagnostics, usually all of one parse.
type List []Diagnostic

// Error returns one line for each diagnostic.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, d := range l {
		lines[i] = d.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns the whole list as an error if it holds an [Error], else nil: warnings alone are no error.
func (l List) Err() error {
	for _, d := range l {
		if d.Severity == Error {
			return l
		}
	}
	return nil
}

// Sort orders the list by file, line and column; diagnostics of one place keep their order.
func (l List) Sort() {
	slices.SortStableFunc(l, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Pos.File, b.Pos.File),
			cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Col, b.Pos.Col),
		)
	})
}

// Of returns the diagnostics in err, nil if there are none.
func Of(err error) List {
	if l, ok := errors.AsType[List](err); ok {
		return l
	}
	if d, ok := errors.AsType[Diagnostic](err); ok {
		return List{d}
	}
	return nil
}

// Join joins the diagnostics in errors, which may be nil, in order of position and each
// once. The first error without diagnostics is returned instead, as it is.
func Join(errs ...error) error {
	var all List
	for _, err := range errs {
		list := Of(err)
		if err != nil && list == nil {
			return err
		}
		all = append(all, list...)
	}
	if len(all) == 0 {
		return nil
	}
	all.Sort()
	return slices.Compact(all)
}
