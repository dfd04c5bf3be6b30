// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/format"
	"github.com/mhmig/mhmig/runtime/exit"
)

func newFmtCommand() *cobra.Command {
	var check, diff bool
	command := &cobra.Command{
		Use:   "fmt [FILE|FOLDER]...",
		Short: "Format scenarios and configs",
		Long: `Format Starlark files (.star) and configs (.cfg): those that are named, and all in
folders; default: the working folder. Files that were not formatted are written
anew, and listed. Only the layout changes: the program stays the same, and the
config's variants; comments stay where they are.

Exit status: 0, 1 with --check if a file is not formatted, 2 if one has an error.`,
		Example: `  mhmig fmt
  mhmig fmt --check scenarios nightly.cfg
  mhmig fmt --diff my.star`,
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			changes, faults := format.Changes(args)
			for _, c := range changes {
				text := c.Path + "\n"
				if diff {
					text = c.Diff()
				} else if !check {
					if err := c.Write(); err != nil {
						return exit.Usage.Wrap(fmt.Errorf("%s: %w", c.Path, err))
					}
				}
				if _, err := io.WriteString(command.OutOrStdout(), text); err != nil {
					return err
				}
			}
			if check && len(changes) > 0 && len(faults) == 0 {
				return &exit.Error{Code: exit.Failed} // they are listed
			}
			return exit.Usage.Wrap(faults.Err())
		},
	}
	command.Flags().BoolVar(&check, "check", false, "change nothing, and fail if a file is not formatted")
	command.Flags().BoolVar(&diff, "diff", false, "change nothing, and show what would change")
	return command
}
