// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
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
		Args:    usage.Arguments(1, 1),
		RunE: func(command *cobra.Command, args []string) error {
			index, err := doc.New(shipped)
			if err != nil {
				return err
			}
			pages := append(usage.Pages(command.Root()), manual.Config(index), manual.Scenario(index))
			return exit.Hosts.Wrap(manual.Write(args[0], manual.Source{Version: version.Module(), Date: version.Date()}, pages))
		},
	}
}
