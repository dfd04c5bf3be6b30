// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	idleOutput = 1 << 20  // bytes kept of what arrives while no command runs
	maxOutput  = 64 << 20 // bytes of one command's output
)

var errTooMuch = errors.New("more than 64 MiB of output; send it to a file in the guest")

// inbox buffers a shell's output. The connection's reader adds to it and never
// waits; the session's current command watches it.
type inbox struct {
	more chan struct{} // has a token when something changed since the watcher looked
	done chan struct{} // closed by end

	mu       sync.Mutex
	buf      []byte
	limit    int
	overflow bool  // a command printed more than maxOutput
	err      error // why nothing more comes; nil while it may
}

func newInbox() *inbox {
	return &inbox{more: make(chan struct{}, 1), done: make(chan struct{}), limit: idleOutput}
}

// Write adds p. Above the limit, the older half is dropped.
func (in *inbox) Write(p []byte) (int, error) {
	in.mu.Lock()
	in.buf = append(in.buf, p...)
	if len(in.buf) > in.limit {
		in.buf = append([]byte(nil), in.buf[len(in.buf)-in.limit/2:]...)
		in.overflow = in.limit == maxOutput
	}
	in.mu.Unlock()
	in.wake()
	return len(p), nil
}

// end marks the output as complete. The first reason is kept.
func (in *inbox) end(err error) {
	in.mu.Lock()
	if in.err == nil {
		in.err = err
		close(in.done)
	}
	in.mu.Unlock()
	in.wake()
}

func (in *inbox) wake() {
	select {
	case in.more <- struct{}{}:
	default:
	}
}

// take returns the buffer and clears it; limit bounds it from now on.
func (in *inbox) take(limit int) []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	buf := in.buf
	in.buf, in.limit, in.overflow = nil, limit, false
	return buf
}

// peek returns a copy of the buffer.
func (in *inbox) peek() []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]byte(nil), in.buf...)
}

// ended returns why nothing more comes, nil while it may.
func (in *inbox) ended() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}

// watch waits until look returns true for all output since take. look must not
// keep the bytes, nor positions in them while no command runs: the older half may
// be dropped. It returns ctx's cause when that ends first, and the inbox's reason
// when it has ended. One goroutine may watch.
func (in *inbox) watch(ctx context.Context, look func(buf []byte) bool) error {
	for {
		in.mu.Lock()
		overflow, err := in.overflow, in.err
		found := !overflow && look(in.buf)
		in.mu.Unlock()
		switch {
		case found:
			return nil
		case overflow:
			return errTooMuch
		case err != nil:
			return err
		}
		select {
		case <-in.more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// quiet waits until there was no output for the duration d.
func (in *inbox) quiet(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case <-in.done:
			return in.ended()
		case <-in.more:
			timer.Reset(d)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
