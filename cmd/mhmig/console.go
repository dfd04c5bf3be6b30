// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mhmig/mhmig/runtime/vm"
)

const (
	leaveKey = 0x1d // Ctrl-]
	// quietEnd is how long a console must be quiet after the end of standard input.
	quietEnd = time.Second
)

const disturbed = "the run goes on: what you do may disturb the test"

func newConsoleCommand() *cobra.Command {
	var a attachment
	c := &cobra.Command{
		Use:   "console VM",
		Short: "Join the serial console of a VM, of a run that goes on or was kept",
		Long: `Join the serial console of a VM: of a run that goes on, which keeps the console
and its log, or of one whose VMs were left (exec --keep). Ctrl-] leaves. Without
a terminal, standard input is typed, and the command ends when that has ended and
the console has been quiet for a second.`,
		Example: "  mhmig console vm1\n  mhmig console vm1 --host host2 --run mhmig-results/20260102T030405Z-a1b2c3",
		Args:    arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := a.find(args[0])
			if err != nil {
				return err
			}
			return d.console(c.Context(), c.ErrOrStderr())
		},
	}
	a.flags(c)
	return c
}

func (d *door) console(ctx context.Context, stderr io.Writer) (err error) {
	var conn net.Conn
	if d.running {
		fmt.Fprintln(stderr, "mhmig:", disturbed)
		if conn, err = d.join(); err != nil {
			return hostsError(err)
		}
	} else {
		var closeHost func() error
		if conn, closeHost, err = d.dial(ctx, vm.DataConsole, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeHost()) }()
	}
	defer conn.Close()
	p := newPerson(os.Stdin, os.Stdout)
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return talkTo(ctx, conn, p, false)
	}
	before, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return err
	}
	defer func() {
		_ = term.Restore(int(os.Stdin.Fd()), before)
		fmt.Fprintln(stderr)
	}()
	fmt.Fprintf(stderr, "mhmig: console of %s@%s; Ctrl-] leaves\r\n", d.VM, d.Host)
	return talkTo(ctx, conn, p, true)
}

// talkTo joins a person with a console until either goes.
func talkTo(ctx context.Context, conn net.Conn, p *person, terminal bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	quiet := time.AfterFunc(time.Hour, func() { cancel(io.EOF) })
	defer quiet.Stop()
	ended := make(chan struct{}) // standard input has
	go func() {                  // ends with ctx
		for {
			text, err := p.read(ctx)
			i := bytes.IndexByte(text, leaveKey)
			if terminal && i >= 0 {
				text = text[:i]
			}
			if terminal { // a session of mhmig's leaves a guest's terminal that takes no CR for Enter
				text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
			}
			if len(text) > 0 {
				if _, err := conn.Write(text); err != nil {
					return
				}
			}
			if terminal && (i >= 0 || err != nil) {
				cancel(io.EOF)
				return
			}
			if err != nil {
				close(ended)
				quiet.Reset(quietEnd)
				return
			}
		}
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := conn.Read(buf)
		if _, gone := p.out.Write(buf[:n]); gone != nil {
			return gone
		}
		select {
		case <-ended:
			quiet.Reset(quietEnd)
		default:
		}
		if err == nil {
			continue
		}
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, io.EOF) {
			return cause
		} else if cause == nil {
			return hostsError(errors.New("the console has ended"))
		}
		return nil
	}
}
