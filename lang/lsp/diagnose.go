// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/mhmig/mhmig/lang/assist"
	"github.com/mhmig/mhmig/lang/diag"
)

// pause is how long no document must have changed before they are diagnosed: somebody is writing.
const pause = 150 * time.Millisecond

// diagnoseLater notes that documents are to be diagnosed.
func (s *server) diagnoseLater(documents map[string]*document) {
	s.mu.Lock()
	if s.dirty == nil {
		s.dirty = map[string]bool{}
	}
	for uri := range documents {
		s.dirty[uri] = true
	}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default: // it is noted already
	}
}

// diagnose publishes what is wrong in documents that have changed, until ctx ends.
func (s *server) diagnose(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		}
		timer := time.NewTimer(pause)
		for writing := true; writing; {
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-s.changed:
				timer.Reset(pause)
			case <-timer.C:
				writing = false
			}
		}
		s.mu.Lock()
		dirty := slices.Sorted(maps.Keys(s.dirty))
		s.dirty = nil
		s.mu.Unlock()
		for _, uri := range dirty {
			s.publish(ctx, uri)
		}
	}
}

// publish sends what is wrong in a document, unless it has changed meanwhile: then it is diagnosed again.
func (s *server) publish(ctx context.Context, uri string) {
	now := s.now()
	d := now.documents[uri]
	if d == nil {
		return
	}
	found := publishDiagnosticsParams{URI: uri, Version: &d.version, Diagnostics: []diagnostic{}}
	for _, p := range s.problems(ctx, now, d) {
		severity := 1
		if p.Severity == diag.Warning {
			severity = 2
		}
		message := p.Message
		if p.Hint != "" {
			message += "\n" + p.Hint
		}
		found.Diagnostics = append(found.Diagnostics, diagnostic{
			Range: d.textRange(p.Span), Severity: severity, Code: p.Rule, Source: "mhmig", Message: message,
		})
	}
	if s.now().documents[uri] == d {
		_ = s.conn.Notify(ctx, "textDocument/publishDiagnostics", found) // nobody is there if it fails
	}
}

// problems are what is wrong in a document: nothing, if finding that out panics.
func (s *server) problems(ctx context.Context, now *state, d *document) (problems []assist.Problem) {
	defer func() {
		if recover() != nil {
			problems = nil
		}
	}()
	return s.workspaceOf(ctx, now, d).Diagnose(d.name)
}
