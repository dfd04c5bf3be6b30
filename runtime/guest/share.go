// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
)

// sharedTail is how many of the console's last lines a new client gets first.
const sharedTail = 20

// Share attaches a client to the console, in addition to the session that has it:
// the client gets the console's last lines and all further output, and what it
// sends is written to the console. Share blocks until the client's connection
// ends (nil), the console's stream ends, or ctx does. A client that does not read
// loses output; the guest and its session never wait for it. Share owns client
// and closes it.
func (c *Console) Share(ctx context.Context, client net.Conn) error {
	in := newInbox()
	if err := c.addViewer(in); err != nil {
		_ = client.Close()
		return err
	}
	defer c.removeViewer(in)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()

	var typing sync.WaitGroup
	typing.Go(func() { cancel(c.forwardInput(ctx, client)) })
	err := copyOutput(ctx, in, client)
	_ = client.Close()
	typing.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// addViewer copies the console's last lines and all further output to in.
func (c *Console) addViewer(in *inbox) error {
	tail := c.Tail(sharedTail)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if tail != "" {
		_, _ = in.Write([]byte(strings.ReplaceAll(tail, "\n", "\r\n") + "\r\n"))
	}
	c.viewers = append(c.viewers, in)
	return nil
}

func (c *Console) removeViewer(in *inbox) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.viewers = slices.DeleteFunc(c.viewers, func(other *inbox) bool { return other == in })
}

// forwardInput writes the client's input to the console until it ends: io.EOF.
func (c *Console) forwardInput(ctx context.Context, client io.Reader) error {
	for {
		buf := make([]byte, 4<<10) // the outbox keeps it
		n, err := client.Read(buf)
		if n > 0 {
			c.mu.Lock()
			c.occupied = true // the input may have started a command
			c.mu.Unlock()
			if err := c.out.send(ctx, buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return io.EOF // whatever the error, the client is gone
		}
	}
}

// copyOutput copies the output in in to w.
func copyOutput(ctx context.Context, in *inbox, w io.Writer) error {
	for {
		err := in.watch(ctx, func(buf []byte) bool { return len(buf) > 0 })
		if _, gone := w.Write(in.take(idleOutput)); gone != nil {
			return io.EOF
		}
		if err != nil {
			return err
		}
	}
}
