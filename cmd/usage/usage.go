// SPDX-License-Identifier: Apache-2.0

// Package usage is what all commands say about themselves: help, manual pages, and what
// is wrong with arguments and flags, with suggestions for those that do not exist.
package usage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/runtime/exit"
)

// Prepare gives a root command, and all commands below it, their help and the errors of
// wrong flags.
func Prepare(root *cobra.Command) {
	root.SetHelpCommand(helpCommand())
	root.SetFlagErrorFunc(unknownFlag)
	addTemplateFuncs()
	root.SetUsageTemplate(strings.NewReplacer(
		".LocalFlags.FlagUsages", "flags .LocalFlags", ".InheritedFlags.FlagUsages", "flags .InheritedFlags",
	).Replace(root.UsageTemplate()))
}

// addTemplateFuncs registers a template function with cobra, which has them globally,
// that prints boolean flags without the "[=true|false]" of pflag.
var addTemplateFuncs = sync.OnceFunc(func() {
	cobra.AddTemplateFunc("flags", func(flags *pflag.FlagSet) string {
		const values = "[=true|false]"
		return strings.ReplaceAll(flags.FlagUsages(), values, strings.Repeat(" ", len(values)))
	})
})

// helpCommand returns cobra's help command, but with an error for unknown commands.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show what a command is for",
		Example: "  mhmig help exec",
		RunE: func(command *cobra.Command, args []string) error {
			asked := command.Root()
			for _, name := range args {
				below, _, err := asked.Find([]string{name})
				if err != nil || below == asked {
					return RequireSubcommand(asked, []string{name})
				}
				asked = below
			}
			asked.InitDefaultHelpFlag()
			return asked.Help()
		},
	}
}

// RequireSubcommand is the Args of a command that only has subcommands: any argument is
// an error, which suggests the nearest of them.
func RequireSubcommand(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	names := Subcommands(command)
	if near := diag.Nearest(args[0], names); near != "" {
		return wrong("%s has no command %q%s", command.CommandPath(), args[0], DidYouMean(near))
	}
	return wrong("%s has no command %q, only %s", command.CommandPath(), args[0], strings.Join(names, ", "))
}

// Subcommands are the names of a command's subcommands.
func Subcommands(command *cobra.Command) []string {
	var names []string
	for _, c := range command.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// DidYouMean is the suggestion at the end of a message; "" if near is "".
func DidYouMean(near string) string {
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", near)
}

// unknownFlag adds a suggestion to the error of an unknown flag.
func unknownFlag(command *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return &exit.ArgumentError{Err: err}
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
		return &exit.ArgumentError{Err: err}
	}
	return wrong("%w%s", err, DidYouMean("--"+near))
}

// wrong is the error of a wrong argument or flag.
func wrong(format string, args ...any) error {
	return &exit.ArgumentError{Err: fmt.Errorf(format, args...)}
}
