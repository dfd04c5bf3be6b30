// SPDX-License-Identifier: Apache-2.0

package result

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// shortestSecret is the length from which on the value of a password is hidden
// wherever it appears. Shorter ones are words, as that of a guest that everybody
// knows, and would make holes in all texts.
const shortestSecret = 6

// secrets are the values of passwords and their like that params have. They are
// hidden in all that a run shows and keeps, also where a scenario has put them
// into a command.
type secrets struct {
	mu       sync.Mutex // guards known
	known    []string   // the longest first
	replacer atomic.Pointer[strings.Replacer]
}

// learn adds those among params.
func (s *secrets) learn(params map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.known)
	for key, value := range params {
		if len(value) >= shortestSecret && secretKey.MatchString(key) && !slices.Contains(s.known, value) {
			s.known = append(s.known, value)
		}
	}
	if len(s.known) == before {
		return
	}
	slices.SortFunc(s.known, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, value := range s.known {
		pairs = append(pairs, value, masked)
	}
	s.replacer.Store(strings.NewReplacer(pairs...))
}

// mask hides secrets in text.
func (s *secrets) mask(text string) string {
	if r := s.replacer.Load(); r != nil {
		return r.Replace(text)
	}
	return text
}

func (s *secrets) maskFailure(f Failure) Failure {
	for _, text := range []*string{&f.Message, &f.Backtrace, &f.Source, &f.Evidence} {
		*text = s.mask(*text)
	}
	return f
}

func (s *secrets) maskOutcome(o Outcome) Outcome {
	o.Failure = s.maskFailure(o.Failure)
	o.Further, o.Warnings = slices.Clone(o.Further), slices.Clone(o.Warnings)
	for i, f := range o.Further {
		o.Further[i] = s.maskFailure(f)
	}
	for i, w := range o.Warnings {
		o.Warnings[i] = s.mask(w)
	}
	return o
}

// maskingWriter hides secrets in what is written as one piece.
type maskingWriter struct {
	io.WriteCloser
	secrets *secrets
}

func (w maskingWriter) Write(p []byte) (int, error) {
	if w.secrets.replacer.Load() == nil {
		return w.WriteCloser.Write(p)
	}
	if _, err := io.WriteString(w.WriteCloser, w.secrets.mask(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Masked returns a handler that gives records on to h in which the secrets of the
// run's variants are hidden.
func (f *Folder) Masked(h slog.Handler) slog.Handler { return maskingHandler{h, &f.secrets} }

type maskingHandler struct {
	slog.Handler
	secrets *secrets
}

func (h maskingHandler) Handle(ctx context.Context, rec slog.Record) error {
	if h.secrets.replacer.Load() == nil {
		return h.Handler.Handle(ctx, rec)
	}
	clean := slog.NewRecord(rec.Time, rec.Level, h.secrets.mask(rec.Message), rec.PC)
	rec.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.secrets.maskAttr(a))
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

func (h maskingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.secrets.maskAttr(a)
	}
	return maskingHandler{h.Handler.WithAttrs(clean), h.secrets}
}

func (h maskingHandler) WithGroup(name string) slog.Handler {
	return maskingHandler{h.Handler.WithGroup(name), h.secrets}
}

// maskAttr hides secrets in what is text; what is not, and has one in it,
// becomes text.
func (s *secrets) maskAttr(a slog.Attr) slog.Attr {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		group := slices.Clone(value.Group())
		for i, member := range group {
			group[i] = s.maskAttr(member)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(group...)}
	}
	shown := text(plain(value))
	if hidden := s.mask(shown); hidden != shown {
		value = slog.StringValue(hidden)
	}
	return slog.Attr{Key: a.Key, Value: value}
}
