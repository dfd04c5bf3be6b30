// SPDX-License-Identifier: Apache-2.0

package attach

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

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
	"github.com/mhmig/mhmig/runtime/vm"
)

const (
	// DetachKey is the key at a terminal that detaches from a console: Ctrl-].
	DetachKey = 0x1d
	// quietEnd is how long a console must be silent after the end of the input.
	quietEnd = time.Second
)

// Console is a connection to the serial console of a VM.
type Console struct {
	Before string // the last lines that it has shown, "" if none

	conn      net.Conn
	closeHost func() error
	running   bool // the run is running
}

// Console attaches to the VM's console: through the [Relay] of a running run, else on its
// host.
func (e *Endpoint) Console(ctx context.Context) (_ *Console, err error) {
	c := &Console{running: e.Running, closeHost: func() error { return nil }}
	if c.Before, err = e.shown(); err != nil {
		return nil, exit.Failed.Wrap(err)
	}
	if e.Running {
		if c.conn, err = e.join(); err != nil {
			return nil, exit.Hosts.Wrap(err)
		}
		return c, nil
	}
	if c.conn, c.closeHost, err = e.dial(ctx, vm.DataConsole, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	return c, nil
}

// Close detaches from the console.
func (c *Console) Close() error {
	_ = c.conn.Close() // Talk may have closed it
	return c.closeHost()
}

// Account is the user of the guest in the variant's params, and JeOS's public password.
func (e *Endpoint) Account() string {
	var params cartesian.Params
	data, err := os.ReadFile(filepath.Join(e.folder, e.Variant, result.ParamsFile))
	if err != nil || json.Unmarshal(data, &params) != nil {
		return "as in params username and password"
	}
	own := params.Object(e.VM)
	user := own.Get("username", "root")
	switch own["password"] {
	case "":
		return user + ", without a password"
	case jeos.Password:
		return user + ", password " + jeos.Password
	}
	return user + ", with the password of param password"
}

// shownLines and shownBytes limit how much of a console's log is shown at first.
const (
	shownLines = 20
	shownBytes = 64 << 10
)

// shown is the last lines of the console's log, "" when it has none.
func (e *Endpoint) shown() (string, error) {
	file, err := os.Open(filepath.Join(e.folder, e.Variant, result.VMPath(e.VM, e.Host, "console.log")))
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

// Talk connects a keyboard, and out, to the console until either ends: a terminal with
// [DetachKey], other input when it has ended and the console has been silent for a
// second. For a run that has ended, the last lines are shown first.
func (c *Console) Talk(ctx context.Context, keys *terminal.Keyboard, out io.Writer, isTerminal bool) error {
	if c.Before != "" && !c.running { // the relay of a running run sends them
		fmt.Fprintf(out, "%s\r\n", strings.ReplaceAll(c.Before, "\n", "\r\n"))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	defer stop()
	quiet := time.AfterFunc(time.Hour, func() { cancel(io.EOF) })
	defer quiet.Stop()
	ended := make(chan struct{}) // standard input has
	go func() {                  // ends with ctx
		for {
			text, err := keys.Read(ctx)
			i := bytes.IndexByte(text, DetachKey)
			if isTerminal && i >= 0 {
				text = text[:i]
			}
			if isTerminal { // after a session of mhmig, the guest's terminal does not accept CR as Enter
				text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
			}
			if len(text) > 0 {
				if _, err := c.conn.Write(text); err != nil {
					return
				}
			}
			if isTerminal && (i >= 0 || err != nil) {
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
		n, err := c.conn.Read(buf)
		if _, gone := out.Write(buf[:n]); gone != nil {
			return exit.Failed.Default(gone)
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
