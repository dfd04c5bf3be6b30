// SPDX-License-Identifier: Apache-2.0

package result

import (
	"context"
	"io"
	"log/slog"
	"sync"
)

// Lines writes the records from Info on to w as they are in events.jsonl: one
// JSON object a line. It is a slog.Handler; faults of w are ignored.
type Lines struct {
	recorder
	out *lockedWriter
}

type lockedWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

// NewLines returns a Lines that writes to w.
func NewLines(w io.Writer) *Lines { return &Lines{out: &lockedWriter{w: w}} }

// Enabled is slog.Handler's.
func (l *Lines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle writes one record.
func (l *Lines) Handle(_ context.Context, rec slog.Record) error {
	e := l.event(rec)
	line, err := e.jsonLine()
	if err != nil {
		return err
	}
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	_, _ = l.out.w.Write(line)
	return nil
}

// WithAttrs is slog.Handler's.
func (l *Lines) WithAttrs(attrs []slog.Attr) slog.Handler { return &Lines{l.withAttrs(attrs), l.out} }

// WithGroup is slog.Handler's.
func (l *Lines) WithGroup(name string) slog.Handler { return &Lines{l.withGroup(name), l.out} }
