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

// screen is lines at the end of a terminal that are drawn anew again and again, and
// what is written above them.
//
// Between two frames the cursor stands at the beginning of what is drawn. A terminal
// keeps it at that text when it becomes narrow and wraps its lines, or low, whether
// it has told its new size or not; so clearing from the cursor on leaves no copy.
type screen struct {
	out   *os.File
	frame func(columns, rows int) []string // at most so many

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

// write puts whole lines above the frame, with the next one. false: it is closed.
func (s *screen) write(p []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.pending.Write(p)
	}
	return !s.closed
}

// close draws once more, as things have come to stand, and takes the frame away.
func (s *screen) close() {
	close(s.stop)
	s.stopped.Wait()
	s.draw(false)
	s.draw(true)
}

// What a terminal is told. It clears all from the second column on, behind a blank: tmux
// keeps a copy of a screen that is cleared from the first. Lines of a frame must not wrap
// where the terminal is narrower than it says.
const (
	clearBelow = "\r \x1b[J\r"
	noWrap     = "\x1b[?7l"
	wrap       = "\x1b[?7h"
)

// draw takes the old frame away, writes what is pending, and draws a new frame unless
// it is the end.
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
	_, _ = s.out.Write(b.Bytes()) // who has closed the terminal does not look
}
