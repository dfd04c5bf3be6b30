// SPDX-License-Identifier: Apache-2.0

// Package interrupt is how a command is ended by signals: the first one lets it clean
// up, the second ends it at once.
package interrupt

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Context returns a context that is cancelled with the cause by the first SIGINT, SIGTERM
// or SIGHUP (the terminal is closed; under nohup it is ignored), after the message was
// written to w. At the second signal, again is called, which is to end the program. The
// function that is returned ends the watch for signals.
func Context(cause error, w io.Writer, message string, again func()) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // by nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		fmt.Fprintln(w, message)
		cancel(cause)
		select {
		case <-signals:
			again()
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// IgnoreBrokenPipe keeps the program running when the reader of its output has exited: at
// Ctrl-C a tee in the pipeline dies first, and the hosts must still be cleaned up.
func IgnoreBrokenPipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
