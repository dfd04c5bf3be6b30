// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// After how long a command reports what it does, and how often a terminal shows the
// elapsed time.
const (
	waitDelay  = 2 * time.Second
	waitUpdate = time.Second
)

// A Wait is an operation that may take long. If it does, stderr shows it: on a
// terminal by a line that counts the seconds and disappears at the end, elsewhere by
// one line.
type Wait struct {
	out      io.Writer
	redraws  bool
	what     string
	began    time.Time
	mu       sync.Mutex
	timer    *time.Timer
	shown    bool // the line is visible, or was written
	finished bool
}

// NewWait starts a wait for the operation what; Done ends it. Until then, stdout is
// written through Writer. Out is stderr, and a terminal if redraws is set.
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

// Writer returns a writer to out, which is stdout. Output restarts the delay; on a
// terminal it ends the wait.
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
