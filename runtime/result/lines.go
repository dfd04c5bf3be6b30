// SPDX-License-Identifier: Apache-2.0

package result

import (
	"context"
	"io"
	"log/slog"
	"sync"
)

// LevelProgress is the level of records of a migration's progress, a few per second:
// too many for any log.
const LevelProgress = slog.LevelDebug - 4

// Listener is a slog.Handler that passes records from a minimum level on to a
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
// JSON object per line. Errors of w are ignored.
func Lines(w io.Writer) *Listener {
	var mu sync.Mutex
	return Listen(slog.LevelInfo, func(e Event) {
		line, err := e.jsonLine()
		if err != nil {
			return // it cannot be encoded, also not in events.jsonl
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = w.Write(line)
	})
}

// Enabled implements slog.Handler.
func (l *Listener) Enabled(_ context.Context, level slog.Level) bool { return level >= l.minLevel }

// Handle implements slog.Handler.
func (l *Listener) Handle(_ context.Context, rec slog.Record) error {
	l.handle(l.event(rec))
	return nil
}

// WithAttrs implements slog.Handler.
func (l *Listener) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Listener{l.withAttrs(attrs), l.minLevel, l.handle}
}

// WithGroup implements slog.Handler.
func (l *Listener) WithGroup(name string) slog.Handler {
	return &Listener{l.withGroup(name), l.minLevel, l.handle}
}
