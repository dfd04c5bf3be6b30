// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"bytes"
	"fmt"
	"io"

	"github.com/mhmig/mhmig/runtime/fake/shell"
)

// command is the command of an exec: URI, which the shell of QEMU's host runs.
func (q *qemu) command(text string) (io.ReadWriteCloser, error) {
	h := q.w.host(q.placement.Host.Name())
	if err := h.Err(); err != nil {
		return nil, err
	}
	return &hostCommand{run: func(stdin []byte) shell.Output {
		return h.machine.Run(q.w.ctx, q.w.ctx, text, stdin, nil)
	}}, nil
}

// hostCommand is a command that runs when all of its input is there: at the first Read,
// or at Close.
type hostCommand struct {
	run    func(stdin []byte) shell.Output
	stdin  bytes.Buffer
	stdout *bytes.Reader // nil: it has not run
	status int
}

func (c *hostCommand) Write(p []byte) (int, error) { return c.stdin.Write(p) }

func (c *hostCommand) Read(p []byte) (int, error) {
	c.finish()
	return c.stdout.Read(p)
}

func (c *hostCommand) finish() {
	if c.stdout == nil {
		out := c.run(c.stdin.Bytes())
		c.stdout, c.status = bytes.NewReader(out.Stdout), out.Status
	}
}

// Close returns an error if the command was not successful.
func (c *hostCommand) Close() error {
	c.finish()
	if c.status != 0 {
		return fmt.Errorf("the command ended with status %d", c.status)
	}
	return nil
}
