// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
)

// command starts the command of an exec: URI. Its Close waits for the command's end, and
// returns an error if that was not successful.
func (m *QEMU) command(text string) (io.ReadWriteCloser, error) {
	if m.script.Command != nil {
		return m.script.Command(text)
	}
	c := exec.Command("/bin/sh", "-c", text)
	c.Stderr = os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &shellCommand{stdout, stdin, sync.OnceValue(func() error {
		return errors.Join(stdin.Close(), stdout.Close(), c.Wait())
	})}, c.Start()
}

// shellCommand is a command of this machine's shell. Several goroutines may close it.
type shellCommand struct {
	io.Reader
	io.Writer

	end func() error
}

func (c *shellCommand) Close() error { return c.end() }

// connect opens the source's end of a migration.
func (m *QEMU) connect(network, where string) (io.ReadWriteCloser, error) {
	if network == "exec" {
		return m.command(where)
	}
	return m.network.Dial(network, where)
}
