// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"github.com/mhmig/mhmig/runtime/exit"
)

// output is standard output. It keeps its first write error, with which the command
// then fails, even if the writer ignored it. EPIPE, when the reader has exited, is no
// error.
type output struct {
	w io.Writer

	mu  sync.Mutex // guards err
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err == nil {
		return n, nil
	}
	err = exit.Failed.Wrap(fmt.Errorf("the output is incomplete: %w", err))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil && !errors.Is(err, syscall.EPIPE) {
		o.err = err
	}
	return n, err
}

func (o *output) fault() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// stderrWriter is standard error. Write errors are ignored, so that nothing else fails
// because of them.
type stderrWriter struct{ w io.Writer }

func (n stderrWriter) Write(p []byte) (int, error) {
	_, _ = n.w.Write(p)
	return len(p), nil
}
