// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/runtime/run"
)

// The exit codes of mhmig.
const (
	exitOK          = 0   // everything passed (or warned, or was skipped)
	exitFailed      = 1   // some variant failed or erred
	exitUsage       = 2   // wrong arguments, or an error in a config or scenario file
	exitHosts       = 3   // the hosts, or this machine as their controller, cannot be used
	exitInterrupted = 130 // Ctrl-C
)

// exitError is an error that knows the exit code it deserves.
type exitError struct {
	code int
	err  error // nil: all is said
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(err error) error { return &exitError{exitUsage, err} }
func hostsError(err error) error { return &exitError{exitHosts, err} }

// exitCode returns the code that err deserves. What nobody has judged is a
// matter of usage: cobra's own errors about flags and arguments.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, run.ErrInterrupted) {
		return exitInterrupted
	}
	if judged, ok := errors.AsType[*exitError](err); ok {
		return judged.code
	}
	return exitUsage
}

// hasDiagnostics says whether err is about places in the user's files.
func hasDiagnostics(err error) bool { return len(diag.Of(err)) > 0 }
