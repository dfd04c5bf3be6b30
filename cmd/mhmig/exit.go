// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/terminal"
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
// matter of usage: a wrong flag or argument.
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

// complain tells a person of an error.
func complain(w io.Writer, err error) {
	fmt.Fprintf(w, "mhmig: %s\n", printable.Lines(err.Error()))
}

// complaining returns complain with its writer.
func complaining(w io.Writer) func(error) { return func(err error) { complain(w, err) } }

// hiding is err with its text as hide leaves it.
func hiding(err error, hide func(string) string) error {
	if err == nil || hide(err.Error()) == err.Error() {
		return err
	}
	return &exitError{exitCode(err), errors.New(hide(err.Error()))}
}

// tell writes for a person what a command has ended with. A wrong flag or
// argument is answered with where to read about them.
func tell(stderr *os.File, command *cobra.Command, err error) {
	w := disarmed(stderr)
	if list := diag.Of(err); len(list) > 0 {
		_ = diag.Render(w, list, terminal.Coloured(stderr))
		return
	}
	if load, ok := errors.AsType[*star.LoadError](err); ok {
		at := task.Position(load)
		failure := result.Failure{Position: at, Source: sourceLine(at), Backtrace: task.Backtrace(load), Message: load.Err.Error()}
		terminal.Failure(w, failure, terminal.Width(stderr))
		return
	}
	for _, err := range unsaid(err) {
		complain(w, err)
	}
	if _, judged := errors.AsType[*exitError](err); err != nil && !judged && exitCode(err) == exitUsage {
		fmt.Fprintf(w, "see %s --help\n", command.CommandPath())
	}
}

// unsaid takes an error apart into those that a person has not read yet.
func unsaid(err error) []error {
	if err == nil || errors.Is(err, run.ErrInterrupted) && !isJoined(err) {
		return nil // the interruption was answered when it came
	}
	if judged, ok := err.(*exitError); ok {
		return unsaid(judged.err)
	}
	if !isJoined(err) {
		return []error{err}
	}
	var all []error
	for _, part := range err.(interface{ Unwrap() []error }).Unwrap() {
		all = append(all, unsaid(part)...)
	}
	return all
}

// isJoined says whether err is one of errors.Join, which has no words of its
// own.
func isJoined(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	return ok && errors.Join(joined.Unwrap()...).Error() == err.Error()
}

// arguments admits from least to most arguments.
func arguments(least, most int) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("an argument is missing: %s", command.UseLine())
		case len(args) > most:
			return fmt.Errorf("unexpected argument %q: %s", args[most], command.UseLine())
		}
		return nil
	}
}

// group admits no arguments to a command that has only commands below it.
func group(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	names := subcommands(command)
	if near := diag.Nearest(args[0], names); near != "" {
		return fmt.Errorf("%s has no command %q%s", command.CommandPath(), args[0], didYouMean(near))
	}
	return fmt.Errorf("%s has no command %q, only %s", command.CommandPath(), args[0], strings.Join(names, ", "))
}

// subcommands are the names of the commands below a command.
func subcommands(command *cobra.Command) []string {
	var names []string
	for _, c := range command.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// wrongValue says of a flag's value that it is none of those allowed, which are
// two or more.
func wrongValue(flag, value string, allowed ...string) error {
	if near := diag.Nearest(value, allowed); near != "" {
		return fmt.Errorf("--%s %s: did you mean %s?", flag, value, near)
	}
	if len(allowed) == 2 {
		return fmt.Errorf("--%s %s: want %s or %s", flag, value, allowed[0], allowed[1])
	}
	return fmt.Errorf("--%s %s: want one of %s", flag, value, strings.Join(allowed, ", "))
}

// didYouMean ends a message about what does not exist; near is "" when nothing
// is like it.
func didYouMean(near string) string {
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", near)
}

// unknownFlag adds to an error of the flags the flag that was probably meant.
func unknownFlag(command *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return err
	}
	name := unknown.GetSpecifiedName()
	var names []string
	part := "" // a flag of which the name is a part, or which takes what it names
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
		return err
	}
	return fmt.Errorf("%w%s", err, didYouMean("--"+near))
}
