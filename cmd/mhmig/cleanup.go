// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/runtime/cleanup"
	"github.com/mhmig/mhmig/runtime/interrupt"
	"github.com/mhmig/mhmig/runtime/terminal"
)

func newCleanupCommand() *cobra.Command {
	var c cleanup.Cleanup
	command := &cobra.Command{
		Use:   "cleanup [RESULTS-DIR]",
		Short: "Remove what killed runs left on their hosts",
		Long: `Remove what runs left on their hosts because they were killed, or because they
were to keep their VMs: QEMU processes, commands and their descendants, folders,
taps, firewall tables. Dead labs are removed too. RESULTS-DIR is one run, or a
folder of runs; default: mhmig-results, all runs in it.

What runs leave on purpose stays: states of guests that have booted, from which
others start warm (param guest_start), 2 GiB on each host at most. --states
removes them too: those of labs, in mhmig's cache, and those of the runs' hosts.

What was removed is listed. Exit status: 0 nothing is left, 2 a run is still
running or has no ledger, 3 a host could not be cleaned up.`,
		Example: `  mhmig cleanup
  mhmig cleanup --states
  mhmig cleanup mhmig-results/20260102T030405Z-a1b2c3`,
		Args: usage.Arguments(0, 1),
		RunE: func(command *cobra.Command, args []string) error {
			folder := resultsDir
			if len(args) == 1 {
				folder = args[0]
			}
			if _, err := os.Stat(folder); len(args) == 0 && c.States && errors.Is(err, fs.ErrNotExist) {
				folder = "" // states may be all that there is
			}
			interrupt.IgnoreBrokenPipe()
			c.Out, c.Log = command.OutOrStdout(), slog.New(terminal.New(command.ErrOrStderr(), terminal.Options{
				Color: terminal.Coloured(os.Stderr), Width: func() int { return terminal.Width(os.Stderr) },
			}))
			return c.All(command.Context(), folder)
		},
	}
	command.Flags().BoolVar(&c.States, "states", false, "remove saved states of guests too")
	command.Flags().StringVar((*string)(&c.Password), "ssh-password", "", "the hosts' `PASSWORD`, where the run had it from a param")
	return command
}
