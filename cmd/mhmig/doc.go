// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/doc"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
)

func newDocCommand() *cobra.Command {
	var params, stub bool
	command := &cobra.Command{
		Use:   "doc [NAME]",
		Short: "Show what a function, value, method or param is for",
		Long: `Show what scenarios and configs can use: a function, a value and its methods, a
function of @std, a shipped scenario, a param, each with an example. Without NAME,
list what there is.`,
		Example: `  mhmig doc
  mhmig doc mig.join
  mhmig doc mem_vm1`,
		Args: arguments(0, 1),
		RunE: func(command *cobra.Command, args []string) error {
			if stub {
				return doc.WriteStub(command.OutOrStdout())
			}
			set, err := new(configFlags).libraries()
			if err != nil {
				return err
			}
			index, err := doc.New(set)
			switch {
			case err != nil:
				return exit.Usage.Wrap(err)
			case params:
				return index.WriteList(command.OutOrStdout(), doc.Param, doc.Missing)
			case len(args) == 0:
				return index.WriteList(command.OutOrStdout(), doc.Builtin, doc.Module, doc.Class, doc.Method, doc.File, doc.Shared, doc.Scenario)
			}
			topics, near := index.Find(args[0])
			if len(topics) == 0 {
				return wrongArgument("there is nothing called %q to be used in scenarios or configs%s", args[0], didYouMean(near))
			}
			return doc.Write(command.OutOrStdout(), topics, min(terminal.Width(os.Stdout), 100))
		},
	}
	command.Flags().BoolVar(&params, "params", false, "list the params")
	command.Flags().BoolVar(&stub, "stub", false, "write Python type stubs of what scenarios can use, for editors")
	return command
}
