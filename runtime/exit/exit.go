// SPDX-License-Identifier: Apache-2.0

// Package exit has the exit codes of mhmig, and says which one an error means. An
// error tells it by a method:
//
//	func (e *LostError) ExitCode() exit.Code { return exit.Hosts }
//
// or is told so by who knows, as in exit.Usage.Wrap(err). What nobody has judged is
// [Internal]: no fault of the user's arguments. What an error means for a variant's
// results is told the same way, by a method Status (package result).
package exit

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
)

// Code is an exit code.
type Code int

// The exit codes of mhmig.
const (
	OK          Code = 0   // everything passed (or warned, or was skipped)
	Failed      Code = 1   // some variant failed or erred, or what was asked for is not so
	Usage       Code = 2   // wrong arguments, or an error in a config or scenario file
	Hosts       Code = 3   // the hosts, or this machine as their controller, cannot be used
	Internal    Code = 4   // an error that mhmig does not expect
	Interrupted Code = 130 // Ctrl-C
)

// Error is an error whose exit code somebody knows.
type Error struct {
	Code Code
	Err  error // nil: all is said
}

// Error is that of Err.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode returns Code.
func (e *Error) ExitCode() Code { return e.Code }

// Wrap gives err the code, keeping it for errors.Is and errors.As. Wrap of nil is nil.
// A fault of this machine, such as a full disk, is never one of usage: it is one of
// [Hosts] then.
func (c Code) Wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case c == Usage && isMachineFault(err):
		c = Hosts
	}
	return &Error{c, err}
}

// Default is Wrap for an error that says nothing of its code itself.
func (c Code) Default(err error) error {
	if hasCode(err) {
		return err
	}
	return c.Wrap(err)
}

func hasCode(err error) bool {
	var withCode interface{ ExitCode() Code }
	return errors.As(err, &withCode)
}

// Of returns the code that err means: that of the interruption if there is one in its
// tree, else of the first error in it that knows.
func Of(err error) Code {
	if err == nil {
		return OK
	}
	if interrupted(err) {
		return Interrupted
	}
	var withCode interface{ ExitCode() Code }
	switch {
	case errors.As(err, &withCode):
		return withCode.ExitCode()
	case isMachineFault(err):
		return Hosts
	}
	return Internal
}

// interrupted looks for an interruption in the whole tree of an error: it overrules
// whatever else went wrong, as much of that is its consequence.
func interrupted(err error) bool {
	if withCode, ok := err.(interface{ ExitCode() Code }); ok && withCode.ExitCode() == Interrupted {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return interrupted(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), interrupted)
	}
	return false
}

// machineFaults are what no other argument would mend.
var machineFaults = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE,
}

func isMachineFault(err error) bool {
	return slices.ContainsFunc(machineFaults, func(fault error) bool { return errors.Is(err, fault) })
}
