// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
)

func newConsoleCommand() *cobra.Command {
	var a attachFlags
	c := &cobra.Command{
		Use:   "console VM",
		Short: "Attach to the serial console of a VM of a running or kept run",
		Long: `Attach to the serial console of a VM: of a running run, which still reads and
logs the console, or of one whose VMs were kept (exec --keep). The last lines of
the console come first. Ctrl-] detaches. Without a terminal, standard input is
sent, and the command ends when that has ended and the console has been quiet for
a second.`,
		Example: "  mhmig console vm1\n  mhmig console vm1 --host host2 --run mhmig-results/20260102T030405Z-a1b2c3",
		Args:    usage.Arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			vm, err := a.find(c.Context(), args[0], c.ErrOrStderr())
			if err != nil {
				return err
			}
			return vm.JoinConsole(c.Context(), c.ErrOrStderr())
		},
	}
	a.flags(c)
	return c
}
