// SPDX-License-Identifier: Apache-2.0

package live

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/terminal"
)

// screen is a frame of lines at the end of a terminal that is redrawn periodically,
// and the output above it.
//
// Between two frames the cursor is at the start of the frame. A terminal keeps it at
// that text when a resize wraps or scrolls the lines, whether it has reported its new
// size or not; so clearing from the cursor leaves no copy.
type screen struct {
	out   *os.File
	frame func(columns, rows int) []string // at most that many

	stop    chan struct{}
	stopped sync.WaitGroup

	mu      sync.Mutex // guards what follows
	pending bytes.Buffer
	closed  bool
}

func newScreen(out *os.File, frame func(columns, rows int) []string) *screen {
	s := &screen{out: out, frame: frame, stop: make(chan struct{})}
	s.stopped.Go(func() {
		tick := time.NewTicker(refreshRate)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.draw(false)
			case <-s.stop:
				return
			}
		}
	})
	return s
}

// write puts whole lines above the frame, with the next redraw. false: it is closed.
func (s *screen) write(p []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.pending.Write(p)
	}
	return !s.closed
}

// close draws the final state once more, and then clears the frame.
func (s *screen) close() {
	close(s.stop)
	s.stopped.Wait()
	s.draw(false)
	s.draw(true)
}

// Control sequences. clearBelow clears from the second column, after a blank: tmux
// saves a copy of a screen that is cleared from the first. Lines of a frame must not
// wrap if the terminal is narrower than it reports.
const (
	clearBelow = "\r \x1b[J\r"
	noWrap     = "\x1b[?7l"
	wrap       = "\x1b[?7h"
)

// draw clears the old frame, writes the pending output, and draws a new frame unless
// end is set.
func (s *screen) draw(end bool) {
	var lines []string
	if !end {
		columns, rows := terminal.Size(s.out)
		lines = s.frame(columns-1, rows)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var b bytes.Buffer
	b.WriteString(clearBelow)
	b.Write(s.pending.Bytes())
	s.pending.Reset()
	s.closed = end
	if len(lines) > 0 {
		b.WriteString(noWrap + strings.Join(lines, "\n") + wrap)
		if up := len(lines) - 1; up > 0 {
			fmt.Fprintf(&b, "\x1b[%dA", up)
		}
		b.WriteByte('\r')
	}
	_, _ = s.out.Write(b.Bytes()) // if the terminal is closed, nobody reads it
}
