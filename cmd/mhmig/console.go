// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/attach"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
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
		Args:    arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			vm, err := a.find(c.Context(), args[0], c.ErrOrStderr())
			if err != nil {
				return err
			}
			return joinConsole(c.Context(), vm, c.ErrOrStderr())
		},
	}
	a.flags(c)
	return c
}

// joinConsole connects standard input and output with a VM's console.
func joinConsole(ctx context.Context, vm *attach.Endpoint, stderr io.Writer) (err error) {
	console, err := vm.Console(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, console.Close()) }()
	if console.Before == "" {
		fmt.Fprintln(stderr, "mhmig: no console output yet")
	}
	fmt.Fprintf(stderr, "mhmig: console of %s@%s: the guest's account is %s\n", vm.VM, vm.Host, printable.Line(vm.Account()))
	keys := terminal.NewKeyboard(os.Stdin, os.Stdout)
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return console.Talk(ctx, keys, escapeCommands(os.Stdout), false)
	}
	cooked, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return exit.Hosts.Wrap(err)
	}
	defer func() {
		_ = term.Restore(int(os.Stdin.Fd()), cooked)
		fmt.Fprintln(stderr)
	}()
	fmt.Fprint(stderr, "mhmig: Ctrl-] detaches\r\n")
	return console.Talk(ctx, keys, os.Stdout, true)
}
