// SPDX-License-Identifier: Apache-2.0

// Package exit has the exit codes of mhmig, and maps errors to them. An error has its
// code by a method:
//
//	func (e *LostError) ExitCode() exit.Code { return exit.Hosts }
//
// or is wrapped with one, as in exit.Usage.Wrap(err). Other errors are [Internal]: not
// a fault of the user's arguments. A method Status does the same for a variant's
// result (package result).
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
	Failed      Code = 1   // a variant has FAIL or ERROR, or a checked condition is false
	Usage       Code = 2   // wrong arguments, or an error in a config or scenario file
	Hosts       Code = 3   // the hosts, or this machine as their controller, cannot be used
	Internal    Code = 4   // an error that mhmig does not expect
	Interrupted Code = 130 // Ctrl-C
)

// Error is an error with an exit code.
type Error struct {
	Code Code
	Err  error // nil: already reported
}

// Error is the message of Err.
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

// ArgumentError is a wrong flag or argument of the command line. Its code is [Usage].
type ArgumentError struct{ Err error }

// Error is the message of Err.
func (e *ArgumentError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *ArgumentError) Unwrap() error { return e.Err }

// ExitCode returns [Usage].
func (*ArgumentError) ExitCode() Code { return Usage }

// Wrap gives err the code, keeping it for errors.Is and errors.As. Wrap of nil is nil.
// A fault of this machine, such as a full disk, is never a usage error: its code is
// [Hosts].
func (c Code) Wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case c == Usage && isMachineFault(err):
		c = Hosts
	}
	return &Error{c, err}
}

// Default is Wrap for an error without a code.
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

// Of returns the code of err: [Interrupted] if an error in its tree has that, else the
// code of the first error in it that has one.
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

// interrupted looks for an interruption in the whole tree of an error: it overrides
// other errors, as these are often its consequence.
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

// Unreported splits an error into those that were not reported yet: an interruption was
// when it happened, and an [Error] without Err.
func Unreported(err error) []error {
	if err == nil || interrupted(err) && !isJoined(err) {
		return nil
	}
	switch judged := err.(type) {
	case *Error:
		return Unreported(judged.Err)
	case *ArgumentError:
		return Unreported(judged.Err)
	}
	if !isJoined(err) {
		return []error{err}
	}
	var all []error
	for _, part := range err.(interface{ Unwrap() []error }).Unwrap() {
		all = append(all, Unreported(part)...)
	}
	return all
}

// isJoined reports whether err is of errors.Join, without a message of its own.
func isJoined(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	return ok && errors.Join(joined.Unwrap()...).Error() == err.Error()
}

// machineFaults are errors that other arguments would not avoid.
var machineFaults = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE,
}

func isMachineFault(err error) bool {
	return slices.ContainsFunc(machineFaults, func(fault error) bool { return errors.Is(err, fault) })
}
