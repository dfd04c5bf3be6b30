// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/result"
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
and its log, or of one whose VMs were left (exec --keep). The last lines that the
run saw there come first. Ctrl-] leaves. Without a terminal, standard input is
typed, and the command ends when that has ended and the console has been quiet
for a second.`,
		Example: "  mhmig console vm1\n  mhmig console vm1 --host host2 --run mhmig-results/20260102T030405Z-a1b2c3",
		Args:    arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := a.find(c.Context(), args[0], c.ErrOrStderr())
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
			return exit.Hosts.Wrap(err)
		}
	} else {
		var closeHost func() error
		if conn, closeHost, err = d.dial(ctx, vm.DataConsole, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeHost()) }()
	}
	defer conn.Close()
	before, err := d.shown()
	if err != nil {
		return err
	}
	if before == "" {
		fmt.Fprintln(stderr, "mhmig: the console has shown nothing yet")
	}
	fmt.Fprintf(stderr, "mhmig: console of %s@%s: the guest's account is %s\n", d.VM, d.Host, printable.Line(d.account()))
	p := newPerson(os.Stdin, os.Stdout)
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		out := disarmed(os.Stdout)
		d.recall(out, before)
		return talkTo(ctx, conn, p, out, false)
	}
	cooked, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return err
	}
	defer func() {
		_ = term.Restore(int(os.Stdin.Fd()), cooked)
		fmt.Fprintln(stderr)
	}()
	fmt.Fprint(stderr, "mhmig: Ctrl-] leaves\r\n")
	d.recall(p.out, before)
	return talkTo(ctx, conn, p, p.out, true)
}

// account is whom the variant's params log in as, and the password if everybody knows it.
func (d *door) account() string {
	var params cartesian.Params
	data, err := os.ReadFile(filepath.Join(d.folder, d.Variant, result.ParamsFile))
	if err != nil || json.Unmarshal(data, &params) != nil {
		return "what params username and password say"
	}
	own := params.Object(d.VM)
	user := own.Get("username", "root")
	switch own["password"] {
	case "":
		return user + ", without a password"
	case jeos.Password:
		return user + ", its password " + jeos.Password
	}
	return user + ", its password what the param password says"
}

// shownLines and shownBytes are how much of a console's log is shown to whom joins.
const (
	shownLines = 20
	shownBytes = 64 << 10
)

// shown is the last lines of the console's log, "" when it has none.
func (d *door) shown() (string, error) {
	file, err := os.Open(filepath.Join(d.folder, d.Variant, result.VMPath(d.VM, d.Host, "console.log")))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = file.Seek(max(0, size-shownBytes), io.SeekStart)
	}
	log, more := io.ReadAll(file)
	return guest.LastLines(log, shownLines), errors.Join(err, more)
}

// recall shows what the console of a run that is over showed; one that goes on
// does so itself.
func (d *door) recall(w io.Writer, before string) {
	if before != "" && !d.running {
		fmt.Fprintf(w, "%s\r\n", strings.ReplaceAll(before, "\n", "\r\n"))
	}
}

// talkTo joins a person, and out, with a console until either goes.
func talkTo(ctx context.Context, conn net.Conn, p *person, out io.Writer, terminal bool) error {
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
		if _, gone := out.Write(buf[:n]); gone != nil {
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
			return exit.Hosts.Wrap(errors.New("the console has ended"))
		}
		return nil
	}
}
