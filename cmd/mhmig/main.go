// SPDX-License-Identifier: Apache-2.0

// Command mhmig runs multi-host migration tests of QEMU guests.
package main

import (
	"errors"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/inspect"
	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/interrupt"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/terminal"
	"github.com/mhmig/mhmig/runtime/version"
)

func main() { os.Exit(execute(os.Args[1:])) }

// execute runs one command line and returns the exit code.
func execute(args []string) int {
	ctx, stop := interrupt.Context(run.ErrInterrupted, os.Stderr, interruptMessage(args), func() { os.Exit(int(exit.Interrupted)) })
	defer stop()
	root := newRootCommand()
	root.SetArgs(args)
	stdout := terminal.NewOutput(terminal.Escaped(os.Stdout))
	root.SetOut(stdout)
	root.SetErr(terminal.Lossy(terminal.Escaped(os.Stderr)))
	begun := false
	root.PersistentPreRun = func(*cobra.Command, []string) { begun = true }
	command, err := root.ExecuteContextC(ctx)
	if !begun {
		err = wrongArguments(err) // an error of cobra
	}
	if lost := stdout.Err(); lost != nil && !errors.Is(err, lost) {
		err = errors.Join(err, lost)
	}
	printError(os.Stderr, command, err)
	return int(exit.Of(err))
}

// interruptMessage is the message after the first signal: commands that only read have
// nothing to clean up.
func interruptMessage(args []string) string {
	if len(args) > 0 && slices.Contains([]string{"list", "lib", "explain", "report", "lsp", "vmstate", "qemu"}, args[0]) {
		return "mhmig: interrupted"
	}
	return "mhmig: interrupted, cleaning up (interrupt again to exit at once; mhmig cleanup then removes what is left)"
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "mhmig",
		Short: "Multi-host migration tests of QEMU guests",
		Long: `mhmig migrates running guests between hosts, which it controls over SSH, and
verifies that they survived. A config expands into variants, filters select among
them, and a scenario written in Starlark runs once per variant: on the hosts that
you name, or on a lab that mhmig makes on this machine.`,
		Example: `  mhmig bootstrap                                   # once: build the guest image
  mhmig exec scenarios/multihost_migration.star     # on the lab
  mhmig exec my.star --hosts host1,host2 --filter 'only RHEL.6.4.x86_64'`,
		Args:          usage.RequireSubcommand,
		RunE:          func(command *cobra.Command, _ []string) error { return command.Help() },
		Version:       version.Text(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	usage.Prepare(root)
	root.AddCommand(newExecCommand(), newExploreCommand(), newListCommand(), newExplainCommand(), newReportCommand(), newBootstrapCommand(), newCheckCommand(), newLabCommand(), newCleanupCommand(),
		newConsoleCommand(), newQMPCommand(), inspect.NewQEMUCommand(), inspect.NewVMStateCommand(), newLibCommand(), newArchiveCommand(), newFmtCommand(), newDocCommand(), newManCommand(), newReplCommand(), newLintCommand(), newLSPCommand(), newTestCommand(), newRecordCommand(), newVersionCommand())
	completions().Add(root)
	return root
}

// waitFor starts a wait for a command's operation.
func waitFor(command *cobra.Command, what string) *terminal.Wait {
	return terminal.NewWait(command.ErrOrStderr(), terminal.Drawable(os.Stderr), what)
}
