// SPDX-License-Identifier: Apache-2.0

// Package interrupt is how a command is ended by signals: the first interrupt lets it
// clean up, the second ends it at once. What comes within half a second of the first
// signal is the same interrupt: kernel and shell both send SIGHUP when a terminal is
// closed, and coreutils' timeout sends its signal to the command and then to the process
// group.
package interrupt

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// sameInterrupt is how long after the first signal others belong to the same interrupt.
const sameInterrupt = 500 * time.Millisecond

// Context returns a context that is cancelled with the cause by the first SIGINT, SIGTERM
// or SIGHUP (the terminal is closed; under nohup it is ignored), after the message was
// written to w. At the next signal after sameInterrupt, again is called, which is to end
// the program. The function that is returned ends the watch for signals.
func Context(cause error, w io.Writer, message string, again func()) (context.Context, func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // by nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	ctx, stop := watch(signals, cause, w, message, again)
	return ctx, func() {
		signal.Stop(signals)
		stop()
	}
}

func watch(signals <-chan os.Signal, cause error, w io.Writer, message string, again func()) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		fmt.Fprintln(w, message)
		cancel(cause)
		if !ignore(signals, done) {
			return
		}
		select {
		case <-signals:
			again()
		case <-done:
		}
	}()
	return ctx, func() {
		close(done)
		cancel(nil)
	}
}

// ignore drops the signals of the same interrupt. It returns false when done is closed.
func ignore(signals <-chan os.Signal, done <-chan struct{}) bool {
	over := time.After(sameInterrupt)
	for {
		select {
		case <-signals:
		case <-done:
			return false
		case <-over:
			for len(signals) > 0 { // they came before, though the machine was too busy to see them
				<-signals
			}
			return true
		}
	}
}

// IgnoreBrokenPipe keeps the program running when the reader of its output has exited: at
// Ctrl-C a tee in the pipeline dies first, and the hosts must still be cleaned up.
func IgnoreBrokenPipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
