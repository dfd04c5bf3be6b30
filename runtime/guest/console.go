// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/mhmig/mhmig/runtime/excerpt"
)

// tailBytes is how much of a console's end is remembered.
const tailBytes = 64 << 10

// Console owns the byte stream of a VM's serial console: it alone reads it. It
// copies everything to a log, keeps the last 64 KiB, and gives the stream to one
// serial session at a time.
type Console struct {
	conn    net.Conn
	log     io.Writer
	out     *outbox
	reading sync.WaitGroup
	closing sync.Once
	done    chan struct{}

	mu       sync.Mutex
	tail     []byte
	session  *Session // the session that has the stream; nil: none
	viewers  []*inbox // of attached clients, see Share
	occupied bool     // what a session left may still run in the shell
	err      error
}

// NewConsole starts reading conn, which it owns from now on. Everything is
// copied to log; write errors of log are ignored, since the guest must not wait
// for it. log may be nil.
func NewConsole(conn net.Conn, log io.Writer) *Console {
	if log == nil {
		log = io.Discard
	}
	c := &Console{conn: conn, log: log, done: make(chan struct{})}
	c.out = newOutbox(conn, func(err error) { c.end(err) })
	c.reading.Go(c.read) // ends with the stream, at the latest by Close
	return c
}

func (c *Console) read() {
	buf := make([]byte, 32<<10)
	for {
		n, err := c.conn.Read(buf)
		if n > 0 {
			_, _ = c.log.Write(buf[:n])
			c.keep(buf[:n])
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

// keep remembers p and gives it to the session.
func (c *Console) keep(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tail = append(c.tail, p...)
	if extra := len(c.tail) - tailBytes; extra > tailBytes { // not each time: copying costs
		c.tail = append(c.tail[:0], c.tail[extra:]...)
	}
	if c.session != nil {
		_, _ = c.session.in.Write(p) // never waits, never fails
	}
	for _, in := range c.viewers {
		_, _ = in.Write(p)
	}
}

// end marks the stream as ended. The first reason is kept.
func (c *Console) end(err error) {
	if errors.Is(err, io.EOF) {
		err = errors.New("the console's stream ended")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	if c.session != nil {
		c.session.in.end(fmt.Errorf("%w: %w", ErrEnded, err))
	}
	for _, in := range c.viewers {
		in.end(err)
	}
}

// Done is closed when the stream is over, because QEMU ended or by Close; Err
// then says why.
func (c *Console) Done() <-chan struct{} { return c.done }

// Err returns why the stream is over, nil while it is not.
func (c *Console) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Tail returns the last lines that the console showed, at most n, without
// empty lines and escape sequences.
func (c *Console) Tail(n int) string {
	c.mu.Lock()
	tail := append([]byte(nil), c.tail[max(0, len(c.tail)-tailBytes):]...)
	c.mu.Unlock()
	return LastLines(tail, n)
}

// LastLines returns the last lines of what a console showed, as [Console.Tail] does.
func LastLines(shown []byte, n int) string { return lastLines(visible(shown), n) }

func lastLines(text string, n int) string {
	return strings.Join(excerpt.LastLines(text, n), "\n")
}

// Close closes the stream; a session on it ends. It waits until the log has
// all that came. Closing twice is allowed.
func (c *Console) Close() error {
	c.closing.Do(func() {
		c.end(errors.New("the console was closed"))
		_ = c.conn.Close() // it may be closed by its other end already
		c.reading.Wait()
		c.out.close()
	})
	return nil
}

// attach lends the stream to a new session; one that has it ends.
func (c *Console) attach() (s *Session, occupied bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, false, c.err
	}
	occupied = c.occupied
	if c.session != nil {
		c.session.in.end(ErrTakenOver)
	}
	s = newSession(&serialWire{c}, newInbox())
	c.session, c.occupied = s, true
	return s, occupied, nil
}

// serialWire is the console's stream in the hands of a session.
type serialWire struct{ console *Console }

func (w *serialWire) send(ctx context.Context, p []byte) error { return w.console.out.send(ctx, p) }

func (w *serialWire) interrupt(ctx context.Context) error { return w.send(ctx, []byte{ctrlC}) }

// close gives the stream back. The shell stays logged in, for the next login.
func (w *serialWire) close(s *Session) error {
	idle := false
	select {
	case <-s.lock: // no command runs
		idle = !s.busy && s.sent == ""
		s.release()
	default:
	}
	c := w.console
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == s {
		c.session, c.occupied = nil, !idle
	}
	return nil
}
