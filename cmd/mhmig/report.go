// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/spf13/cobra"

func newReportCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "report",
		Short: "Show what became of runs",
		Example: `  mhmig report history
  mhmig report compare 20260102 latest`,
		Args: group,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(newCompareCommand(), newHistoryCommand())
	return command
}
