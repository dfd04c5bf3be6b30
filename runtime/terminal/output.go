// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/exit"
)

// Output is standard output. It keeps its first write error, with which the command
// then fails, even if the writer ignored it. EPIPE, when the reader has exited, is no
// error. Several goroutines may write.
type Output struct {
	w io.Writer

	mu  sync.Mutex // guards err
	err error
}

// NewOutput returns an Output to w.
func NewOutput(w io.Writer) *Output { return &Output{w: w} }

func (o *Output) Write(p []byte) (int, error) {
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

// Err returns the first write error.
func (o *Output) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// Lossy returns a writer to w, standard error, whose write errors are ignored, so that
// nothing else fails because of them.
func Lossy(w io.Writer) io.Writer { return lossy{w} }

type lossy struct{ w io.Writer }

func (l lossy) Write(p []byte) (int, error) {
	_, _ = l.w.Write(p)
	return len(p), nil
}

// Escaped returns f, for text that may come from others: on CI systems that interpret
// lines of a job's output as commands, these are escaped.
func Escaped(f *os.File) io.Writer {
	for _, sign := range []string{"GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION"} {
		if os.Getenv(sign) != "" {
			return printable.EscapeCommands(f, printable.Backslash)
		}
	}
	return f
}

// WriteError writes the message of an error of mhmig's.
func WriteError(w io.Writer, err error) {
	fmt.Fprintf(w, "mhmig: %s\n", printable.Lines(err.Error()))
}
