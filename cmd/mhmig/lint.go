// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/lint"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
	"github.com/mhmig/mhmig/runtime/version"
)

func newLintCommand() *cobra.Command {
	format := textFormat
	command := &cobra.Command{
		Use:   "lint [FILE|FOLDER]...",
		Short: "Find what is probably wrong in scenarios and configs",
		Long: `Find what is probably wrong in Starlark files (.star) and configs (.cfg), without
running them: those that are named, and all in folders; default: the working
folder. Exit status: 0 nothing was found, 1 something was.`,
		Example: "  mhmig lint\n  mhmig lint my.star --format sarif >lint.sarif",
		RunE: func(command *cobra.Command, args []string) error {
			if format != textFormat && format != "sarif" {
				return usage.WrongValue("format", format, textFormat, "sarif")
			}
			if len(args) == 0 {
				args = []string{"."}
			}
			set, err := new(configFlags).libraries()
			if err != nil {
				return err
			}
			list := lint.Files(cartesian.Reader{Libraries: set}, args)
			write := func() error { return diag.Render(command.OutOrStdout(), list, terminal.Coloured(os.Stdout)) }
			if format == "sarif" {
				write = func() error { return diag.WriteSARIF(command.OutOrStdout(), list, "mhmig", version.Module()) }
			}
			if err := write(); err != nil || len(list) == 0 {
				return err
			}
			return &exit.Error{Code: exit.Failed} // they are listed
		},
	}
	command.Flags().StringVar(&format, "format", format, "what to write: text, sarif")
	return command
}
