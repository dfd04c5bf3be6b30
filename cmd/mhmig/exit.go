// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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

// arguments accepts minimum to maximum arguments.
func arguments(minimum, maximum int) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		switch {
		case len(args) < minimum:
			return wrongArgument("an argument is missing: %s", command.UseLine())
		case len(args) > maximum:
			return wrongArgument("unexpected argument %q: %s", args[maximum], command.UseLine())
		}
		return nil
	}
}

// requireSubcommand rejects arguments of a command that only has subcommands.
func requireSubcommand(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	names := subcommands(command)
	if near := diag.Nearest(args[0], names); near != "" {
		return wrongArgument("%s has no command %q%s", command.CommandPath(), args[0], didYouMean(near))
	}
	return wrongArgument("%s has no command %q, only %s", command.CommandPath(), args[0], strings.Join(names, ", "))
}

// subcommands are the names of a command's subcommands.
func subcommands(command *cobra.Command) []string {
	var names []string
	for _, c := range command.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// wrongValue is the error of a flag whose value is not one of allowed, at least two.
func wrongValue(flag, value string, allowed ...string) error {
	if near := diag.Nearest(value, allowed); near != "" {
		return wrongArgument("--%s %s: did you mean %s?", flag, value, near)
	}
	if len(allowed) == 2 {
		return wrongArgument("--%s %s: want %s or %s", flag, value, allowed[0], allowed[1])
	}
	return wrongArgument("--%s %s: want one of %s", flag, value, strings.Join(allowed, ", "))
}

// didYouMean is the suggestion at the end of a message; "" if near is "".
func didYouMean(near string) string {
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", near)
}

// unknownFlag adds a suggestion to the error of an unknown flag.
func unknownFlag(command *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return wrongArguments(err)
	}
	name := unknown.GetSpecifiedName()
	var names []string
	part := "" // a flag that has name as a part, or as its value
	command.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		names = append(names, f.Name)
		value, _ := pflag.UnquoteUsage(f)
		if slices.Contains(strings.Split(f.Name, "-"), name) || strings.EqualFold(value, name) {
			part = f.Name
		}
	})
	near := part
	if near == "" {
		near = diag.Nearest(name, names)
	}
	if near == "" || unknown.GetSpecifiedShortnames() != "" {
		return wrongArguments(err)
	}
	return wrongArgument("%w%s", err, didYouMean("--"+near))
}
