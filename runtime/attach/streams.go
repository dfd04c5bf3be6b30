// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// JoinConsole connects this process's standard input and output with the VM's console,
// until the user detaches or the input ends. Messages go to stderr.
func (e *Endpoint) JoinConsole(ctx context.Context, stderr io.Writer) (err error) {
	console, err := e.Console(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, console.Close()) }()
	if console.Before == "" {
		fmt.Fprintln(stderr, "mhmig: no console output yet")
	}
	fmt.Fprintf(stderr, "mhmig: console of %s@%s: the guest's account is %s\n", e.VM, e.Host, printable.Line(e.Account()))
	keys := terminal.NewKeyboard(os.Stdin, os.Stdout)
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return console.Talk(ctx, keys, terminal.Escaped(os.Stdout), false)
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

// TalkQMP executes the QMP command in words, if there are any, else the commands from
// standard input. Replies go to standard output. The timeout limits each command.
func (e *Endpoint) TalkQMP(ctx context.Context, words []string, timeout time.Duration) (err error) {
	monitor, err := e.Monitor(ctx, timeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, monitor.Close()) }()
	outIsTerminal := term.IsTerminal(int(os.Stdout.Fd()))
	switch {
	case len(words) > 0:
		return monitor.Once(ctx, words, os.Stdout, outIsTerminal)
	case term.IsTerminal(int(os.Stdin.Fd())) && outIsTerminal:
		return monitor.Interactive(ctx, os.Stdin, os.Stdout)
	}
	return monitor.Script(ctx, os.Stdin, os.Stdout)
}
