// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/lang/doc"
	"github.com/mhmig/mhmig/lang/doc/manual"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/version"
)

func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages",
		Long: `Write the manual pages of all commands (section 1), of configs and params (5) and of
what scenarios can use (7) into DIR/man1, DIR/man5 and DIR/man7, as man looks for
them: man -M DIR mhmig-exec shows one.`,
		Example: "  mhmig man /usr/local/share/man",
		Args:    arguments(1, 1),
		RunE: func(command *cobra.Command, args []string) error {
			index, err := doc.New(shipped)
			if err != nil {
				return err
			}
			pages := append(commandPages(command.Root()), manual.Config(index), manual.Scenario(index))
			return exit.Hosts.Wrap(manual.Write(args[0], manual.Source{Version: version.Module(), Date: version.Date()}, pages))
		},
	}
}

// commandPages returns the pages of a command and of those below it.
func commandPages(command *cobra.Command) []manual.Page {
	command.InitDefaultHelpFlag()
	c := manual.Command{
		Path: command.CommandPath(), Short: command.Short, Use: command.UseLine(), Long: command.Long, Example: command.Example,
	}
	command.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		flag := manual.Flag{Name: f.Name, Shorthand: f.Shorthand}
		if flag.Value, flag.Usage = pflag.UnquoteUsage(f); f.Value.Type() == "bool" {
			flag.Value = ""
		}
		if !slices.Contains([]string{"", "false", "0", "0s", "[]"}, f.DefValue) {
			flag.Default = f.DefValue
		}
		c.Flags = append(c.Flags, flag)
	})
	if command.HasParent() {
		c.See = append(c.See, command.Parent().CommandPath())
	}
	var below []manual.Page
	for _, sub := range command.Commands() {
		if sub.IsAvailableCommand() {
			c.See = append(c.See, sub.CommandPath())
			below = append(below, commandPages(sub)...)
		}
	}
	return append([]manual.Page{c.Page()}, below...)
}
