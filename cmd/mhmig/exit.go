// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// wrongArguments marks err as an argument error; it may be nil.
func wrongArguments(err error) error {
	if err == nil {
		return nil
	}
	return &exit.ArgumentError{Err: err}
}

// wrongArgument is fmt.Errorf for an argument error.
func wrongArgument(format string, args ...any) error {
	return wrongArguments(fmt.Errorf(format, args...))
}

// printError prints the error of a command. For a wrong flag or argument it refers to
// --help, for an unexpected error it asks for a report.
func printError(stderr *os.File, command *cobra.Command, err error) {
	w := terminal.Escaped(stderr)
	if list := diag.Of(err); len(list) > 0 {
		_ = diag.Render(w, list, terminal.Coloured(stderr))
		return
	}
	if load, ok := errors.AsType[*star.LoadError](err); ok {
		at := task.Position(load)
		failure := result.Failure{Position: at, Source: load.Libraries.SourceLine(at), Backtrace: task.Backtrace(load), Message: load.Err.Error()}
		terminal.Failure(w, failure, terminal.Width(stderr))
		return
	}
	for _, err := range exit.Unreported(err) {
		terminal.WriteError(w, err)
	}
	switch _, wrong := errors.AsType[*exit.ArgumentError](err); {
	case wrong && exit.Of(err) == exit.Usage:
		fmt.Fprintf(w, "see %s --help\n", command.CommandPath())
	case exit.Of(err) == exit.Internal:
		fmt.Fprintln(w, "this error is unexpected and may be a bug in mhmig: please report it")
	}
}
