// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"io"
)

// outbox writes to a connection whose Write takes no context: a guest that does
// not read blocks the outbox's goroutine and not its callers.
type outbox struct {
	queue   chan []byte
	stop    chan struct{}
	stopped chan struct{}
}

// newOutbox starts the goroutine that writes to w. fail gets w's first error.
func newOutbox(w io.Writer, fail func(error)) *outbox {
	o := &outbox{queue: make(chan []byte), stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() { // ended and awaited by close
		defer close(o.stopped)
		for {
			select {
			case p := <-o.queue:
				if _, err := w.Write(p); err != nil {
					fail(err)
					return
				}
			case <-o.stop:
				return
			}
		}
	}()
	return o
}

// send hands p over for writing; it waits for the piece before.
func (o *outbox) send(ctx context.Context, p []byte) error {
	select {
	case o.queue <- p:
		return nil
	case <-o.stopped:
		return io.ErrClosedPipe
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close ends the goroutine. The connection must have been closed before, so
// that a blocked write returns. It is called once.
func (o *outbox) close() {
	close(o.stop)
	<-o.stopped
}
