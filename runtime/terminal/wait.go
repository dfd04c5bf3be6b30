// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// How long a command may be silent before it says what it does, and how often a
// terminal sees the time pass.
const (
	waitDelay  = 2 * time.Second
	waitUpdate = time.Second
)

// A Wait is work that may take long. When it does, stderr says what it is: a
// terminal in a line that counts the seconds and goes away, anything else once.
type Wait struct {
	out      io.Writer
	redraws  bool
	what     string
	began    time.Time
	mu       sync.Mutex
	timer    *time.Timer
	shown    bool // the line is to be seen, or has been written
	finished bool
}

// NewWait begins a wait for what is being done; Done ends it. What the command
// writes to its stdout meanwhile goes through Writer. Out is its stderr, and a
// terminal where redraws is set.
func NewWait(out io.Writer, redraws bool, what string) *Wait {
	w := &Wait{out: out, redraws: redraws, what: what, began: time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(waitDelay, w.show)
	return w
}

func (w *Wait) show() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.finished:
	case w.redraws:
		fmt.Fprintf(w.out, "\r\x1b[Kmhmig: %s, %d s", w.what, int(time.Since(w.began).Seconds()))
		w.shown = true
		w.timer.Reset(waitUpdate)
	case !w.shown:
		fmt.Fprintf(w.out, "mhmig: %s: takes longer than %v\n", w.what, waitDelay)
		w.shown = true
	}
}

// hide removes the line from a terminal.
func (w *Wait) hide() {
	if w.shown && w.redraws {
		fmt.Fprint(w.out, "\r\x1b[K")
		w.shown = false
	}
}

// Done ends the wait. It may be called again.
func (w *Wait) Done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finished = true
	w.timer.Stop()
	w.hide()
}

// Writer returns a writer to out, which is stdout. Where nobody sees that, only what
// comes soon enough keeps stderr silent.
func (w *Wait) Writer(out io.Writer) io.Writer { return waitWriter{w, out} }

type waitWriter struct {
	wait *Wait
	out  io.Writer
}

func (f waitWriter) Write(text []byte) (int, error) {
	f.wait.mu.Lock()
	defer f.wait.mu.Unlock()
	f.wait.hide()
	f.wait.began = time.Now()
	if Drawable(os.Stdout) {
		f.wait.finished = true
		f.wait.timer.Stop()
	}
	if !f.wait.finished {
		f.wait.timer.Reset(waitDelay)
	}
	return f.out.Write(text)
}
