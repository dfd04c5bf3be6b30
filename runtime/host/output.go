// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"io"
	"slices"
	"sync"
)

const (
	// MaxOutput limits a command's stdout and stderr together, and a file that
	// [Host.ReadFile] returns, in bytes.
	MaxOutput = 64 << 20
	// keptTail is how many bytes of each output are kept of a command that wrote more.
	keptTail = 4 << 10
)

// OutputError is the cause when a command was killed because it wrote more than
// [MaxOutput].
type OutputError struct{ Limit int }

func (e *OutputError) Error() string {
	return fmt.Sprintf("it wrote more than %d MiB; send its output to a file on the host", e.Limit>>20)
}

// Collect reads the outputs from now on, so that [Process.Wait] and the errors
// have them. A command that writes more than [MaxOutput] is killed: the error is a
// [*KilledError] whose cause is an [*OutputError], with the end of the output only.
// Calling it again does nothing; only the goroutine that called Start may do so.
func (p *Process) Collect() {
	if p.outputs != nil {
		return
	}
	o := &outputs{left: MaxOutput, ended: make(chan struct{})}
	o.full = func() { p.cancel(&OutputError{MaxOutput}) }
	o.stdout.all, o.stderr.all = o, o
	p.outputs = o
	var group sync.WaitGroup
	group.Go(func() { o.stdout.fill(p.Stdout) })
	group.Go(func() { o.stderr.fill(p.Stderr) })
	go func() { group.Wait(); close(o.ended) }() // ends with the command's outputs or the connection
}

// collected waits until the outputs have ended, after the command has.
func (p *Process) collected() {
	if p.outputs == nil {
		return
	}
	select {
	case <-p.outputs.ended:
	case <-p.abandoned: // a process left the group and still holds the outputs
	}
}

// outputs are a command's stdout and stderr, up to a limit.
type outputs struct {
	stdout, stderr capture
	ended          chan struct{} // closed when both are complete
	full           func()        // called when the limit is exceeded

	mu   sync.Mutex // guards what follows, and the captures
	left int        // bytes until the limit; negative: only the end is kept
}

// capture is stdout or stderr of a command. It may be read at any time. It is kept
// in pieces: a buffer that grows as a whole would take three times the memory.
type capture struct {
	all    *outputs
	pieces [][]byte
	size   int
}

const largestPiece = 256 << 10

func (c *capture) fill(r io.Reader) {
	_, _ = io.Copy(c, r) // ends with the command or the connection, which Run reports
}

// Write keeps data, or only its end above the limit. It always accepts all: a
// command that is being killed must not block on its outputs.
func (c *capture) Write(data []byte) (int, error) {
	o := c.all
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left >= 0 {
		if o.left -= len(data); o.left < 0 {
			o.stdout.truncate()
			o.stderr.truncate()
			o.full()
		}
	}
	c.keep(data)
	if o.left < 0 && c.size > 2*keptTail {
		c.truncate()
	}
	return len(data), nil
}

// keep appends data. The lock is held.
func (c *capture) keep(data []byte) {
	c.size += len(data)
	for len(data) > 0 {
		last := len(c.pieces) - 1
		if last < 0 || len(c.pieces[last]) == cap(c.pieces[last]) {
			c.pieces = append(c.pieces, make([]byte, 0, min(max(c.size, 512), largestPiece)))
			last++
		}
		piece := c.pieces[last]
		n := min(len(data), cap(piece)-len(piece))
		c.pieces[last] = append(piece, data[:n]...)
		data = data[n:]
	}
}

// truncate frees the memory except for the end. The lock is held.
func (c *capture) truncate() {
	var end []byte
	for _, piece := range slices.Backward(c.pieces) {
		if end = append(slices.Clone(piece), end...); len(end) >= keptTail {
			end = slices.Clone(end[len(end)-keptTail:])
			break
		}
	}
	c.pieces, c.size = nil, 0
	c.keep(end)
}

func (c *capture) bytes() []byte {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	return slices.Concat(c.pieces...)
}
