// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/doc"
	"github.com/mhmig/mhmig/lang/doc/site"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
)

func newDocCommand() *cobra.Command {
	var params, stub bool
	var folder string
	command := &cobra.Command{
		Use:   "doc [NAME]",
		Short: "Show what a function, value, method or param is for",
		Long: `Show what scenarios and configs can use: a function, a value and its methods, a
function of @std, a shipped scenario, a param, each with an example. Without NAME,
list what there is.`,
		Example: `  mhmig doc
  mhmig doc mig.join
  mhmig doc mem_vm1
  mhmig doc --html reference`,
		Args: usage.Arguments(0, 1),
		RunE: func(command *cobra.Command, args []string) error {
			for _, all := range []string{"params", "stub", "html"} {
				if len(args) > 0 && command.Flags().Changed(all) {
					return wrongArgument("unexpected argument %q: --%s is for all that there is", args[0], all)
				}
			}
			if command.Flags().Changed("html") && folder == "" {
				return wrongArgument("--html: empty, want a folder")
			}
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
			case command.Flags().Changed("html"):
				return exit.Hosts.Wrap(site.Write(folder, index))
			case params:
				return index.WriteList(command.OutOrStdout(), doc.Param, doc.Missing)
			case len(args) == 0:
				return index.WriteList(command.OutOrStdout(), doc.Builtin, doc.Module, doc.Class, doc.Method, doc.File, doc.Shared, doc.Scenario, doc.Test)
			}
			topics, near := index.Find(args[0])
			if len(topics) == 0 {
				return wrongArgument("there is nothing called %q to be used in scenarios or configs%s", args[0], usage.DidYouMean(near))
			}
			return doc.Write(command.OutOrStdout(), topics, min(terminal.Width(os.Stdout), 100))
		},
	}
	command.Flags().BoolVar(&params, "params", false, "list the params")
	command.Flags().StringVar(&folder, "html", "", "write all of it as HTML files into `DIR`, for browsers; they need no server")
	command.Flags().BoolVar(&stub, "stub", false, "write Python type stubs of what scenarios can use, for editors")
	command.MarkFlagsMutuallyExclusive("params", "stub", "html")
	return command
}
