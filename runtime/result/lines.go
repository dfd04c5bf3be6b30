// SPDX-License-Identifier: Apache-2.0

package result

import (
	"context"
	"io"
	"log/slog"
	"sync"
)

// LevelProgress is the level of records that tell how far a move has come, a few
// times a second: too many for any log.
const LevelProgress = slog.LevelDebug - 4

// Listener is a slog.Handler that gives the records from some level on to a
// function, as events.
type Listener struct {
	recorder
	minLevel slog.Level
	handle   func(Event)
}

// Listen returns a Listener. The function may be called by any goroutine.
func Listen(minLevel slog.Level, handle func(Event)) *Listener {
	return &Listener{minLevel: minLevel, handle: handle}
}

// Lines writes the records from Info on to w as they are in events.jsonl: one
// JSON object a line. Faults of w are ignored.
func Lines(w io.Writer) *Listener {
	var mu sync.Mutex
	return Listen(slog.LevelInfo, func(e Event) {
		line, err := e.jsonLine()
		if err != nil {
			return // a value that JSON cannot say, which events.jsonl lacks too
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = w.Write(line)
	})
}

// Enabled is slog.Handler's.
func (l *Listener) Enabled(_ context.Context, level slog.Level) bool { return level >= l.minLevel }

// Handle hears one record.
func (l *Listener) Handle(_ context.Context, rec slog.Record) error {
	l.handle(l.event(rec))
	return nil
}

// WithAttrs is slog.Handler's.
func (l *Listener) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Listener{l.withAttrs(attrs), l.minLevel, l.handle}
}

// WithGroup is slog.Handler's.
func (l *Listener) WithGroup(name string) slog.Handler {
	return &Listener{l.withGroup(name), l.minLevel, l.handle}
}
