// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/lang/doc/manual"
)

// Pages returns the manual pages of a command and of those below it.
func Pages(command *cobra.Command) []manual.Page {
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
			below = append(below, Pages(sub)...)
		}
	}
	return append([]manual.Page{c.Page()}, below...)
}
