// SPDX-License-Identifier: Apache-2.0

// Package live draws a running run on a terminal: a line for each running variant,
// a progress bar for each migrating VM, the run's totals.
//
//	view := live.New(os.Stderr, live.Options{Planned: 40, Color: true})
//	printer := terminal.New(view, …)      // its lines appear above
//	log := slog.New(slog.NewMultiHandler(folder.Handler(), view.Handler(), printer))
//	…
//	view.Close()
//
// Concurrency: all methods may be called by any goroutine. The view has
// goroutines until Close.
package live

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// refreshRate is the time between two redraws.
const refreshRate = 150 * time.Millisecond

// Options are the options of a View.
type Options struct {
	Planned int // number of variants of the run; 0: unknown
	Color   bool
}

// View is the live view of one run. What is written to it appears above.
type View struct {
	options Options
	out     *os.File

	mu       sync.Mutex // guards what follows
	picture  *picture
	screen   *screen   // nil while it is suspended, and after Close
	closed   bool      // by Close
	redirect io.Writer // while suspended: gets what is written
}

// New draws on out, which must be a terminal, from now on.
func New(out *os.File, o Options) *View {
	v := &View{options: o, out: out, picture: newPicture(o.Planned, time.Now())}
	v.screen = v.open()
	return v
}

// Handler returns the handler that gets the run's records.
func (v *View) Handler() slog.Handler {
	return result.Listen(result.LevelProgress, func(e result.Event) {
		v.mu.Lock()
		over := v.picture.handle(e)
		v.mu.Unlock()
		if over != nil {
			width, _ := terminal.Size(v.out)
			_, _ = fmt.Fprintln(v, draw(over.end(e, width), width, v.options.Color))
		}
	})
}

// Write puts whole lines above the view.
func (v *View) Write(p []byte) (int, error) {
	v.mu.Lock()
	s, through := v.screen, v.redirect
	v.mu.Unlock()
	switch {
	case s != nil && s.write(p): // else it was closed meanwhile
		return len(p), nil
	case through != nil:
		return through.Write(p)
	}
	return v.out.Write(p)
}

// Suspend clears the view from the terminal until resume, which does nothing after
// Close. Until then, what is written goes to through, which keeps it separate from the
// user's input.
func (v *View) Suspend(through io.Writer) (resume func()) {
	v.close()
	v.mu.Lock()
	v.redirect = through
	v.mu.Unlock()
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.redirect = nil
		if v.screen == nil && !v.closed {
			v.screen = v.open()
		}
	}
}

// Close clears the view from the terminal and ends it.
func (v *View) Close() {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.close()
}

func (v *View) close() {
	v.mu.Lock()
	s := v.screen
	v.screen = nil
	v.mu.Unlock()
	if s != nil {
		s.close()
	}
}

// open starts drawing.
func (v *View) open() *screen {
	return newScreen(v.out, func(width, rows int) []string {
		v.mu.Lock()
		pieces := v.picture.lines(time.Now(), width, rows)
		v.mu.Unlock()
		var lines []string
		if len(pieces) < rows {
			lines = append(lines, "") // separates the view from the lines above
		}
		for _, p := range pieces {
			lines = append(lines, draw(p, width, v.options.Color))
		}
		return lines
	})
}
