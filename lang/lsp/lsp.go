// SPDX-License-Identifier: Apache-2.0

// Package lsp serves editors by the Language Server Protocol, for scenarios (.star) and configs (.cfg): diagnostics while
// a file is written, completion, hover, definitions, formatting, and renaming of names in scenarios.
//
//	err := lsp.Serve(ctx, os.Stdin, os.Stdout, lsp.Options{Libraries: libraries})
//
// What is answered is of package assist; here are the protocol, the documents that are open and their positions.
//
// Messages are taken in their order. A notification changes the documents before the next message is taken; a request is
// answered by a goroutine of its own, from the documents as they are when it comes. Diagnostics are made by another one,
// for the latest version of each document. A panic in any of these is the error of its request.
package lsp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"runtime/debug"
	"sync"

	"github.com/sourcegraph/jsonrpc2"

	"github.com/mhmig/mhmig/lang/assist"
	"github.com/mhmig/mhmig/lang/library"
)

// Options are what a server needs to know.
type Options struct {
	// Libraries returns the libraries that the files of a folder can use. With an error it returns those that can be used
	// nevertheless, and the user is told the error.
	Libraries func(folder string) (library.Set, error)
	// Copies is the folder for copies of libraries' files, which editors show.
	Copies string
	// Version is that of mhmig.
	Version string
}

// ErrNoShutdown is the end of an editor that has not asked the server to shut down before.
var ErrNoShutdown = errors.New("the editor has ended without a shutdown request")

// Serve serves one editor, until this says exit, in is at its end, or ctx ends.
func Serve(ctx context.Context, in io.ReadCloser, out io.WriteCloser, options Options) error {
	served, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{
		options: options, pending: map[jsonrpc2.ID]context.CancelFunc{}, sets: map[string]library.Set{},
		told: map[string]bool{}, changed: make(chan struct{}, 1), workspace: assist.New(nil, nil), connected: make(chan struct{}),
	}
	s.state = &state{documents: map[string]*document{}, open: map[string]string{}}
	s.conn = jsonrpc2.NewConn(served, jsonrpc2.NewBufferedStream(pipe{in, out}, jsonrpc2.VSCodeObjectCodec{}), s, jsonrpc2.SetLogger(silent{}))
	close(s.connected)
	s.work.Go(func() { s.diagnose(served) })
	<-s.conn.DisconnectNotify()
	cancel()
	s.work.Wait()
	if !s.ending() && ctx.Err() == nil {
		return ErrNoShutdown
	}
	return nil
}

// A pipe is both directions of a connection.
type pipe struct {
	io.ReadCloser
	out io.WriteCloser
}

func (p pipe) Write(b []byte) (int, error) { return p.out.Write(b) }

func (p pipe) Close() error { return errors.Join(p.ReadCloser.Close(), p.out.Close()) }

// silent drops what package jsonrpc2 says when the connection ends: whom could it be told.
type silent struct{}

func (silent) Printf(string, ...any) {}

// A state is the documents at one moment. It does not change.
type state struct {
	documents map[string]*document // by URI
	open      map[string]string    // their texts, by their full names
}

// A server serves one editor.
type server struct {
	options   Options
	connected chan struct{} // closed when conn is set: messages come before
	conn      *jsonrpc2.Conn
	work      sync.WaitGroup
	changed   chan struct{} // documents have changed
	workspace *assist.Workspace

	mu          sync.Mutex
	state       *state
	pending     map[jsonrpc2.ID]context.CancelFunc // of requests that are not answered
	sets        map[string]library.Set             // by folder
	told        map[string]bool                    // errors of libraries
	dirty       map[string]bool                    // URIs of documents to diagnose
	initialized bool
	stopping    bool
}

// now returns the documents at this moment.
func (s *server) now() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *server) ending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// Handle takes a message.
func (s *server) Handle(ctx context.Context, conn *jsonrpc2.Conn, r *jsonrpc2.Request) {
	<-s.connected
	if r.Notif {
		defer func() { _ = recover() }() // of a message that nobody could answer; the next one is taken
		s.notified(ctx, r)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.pending[r.ID] = cancel
	s.mu.Unlock()
	state := s.now()
	answer := make(chan func() error, 1)
	s.work.Go(func() { // the work
		result, err := s.answer(ctx, state, r)
		answer <- func() error {
			if err != nil {
				return conn.ReplyWithError(ctx, r.ID, protocolError(err))
			}
			return conn.Reply(ctx, r.ID, result)
		}
	})
	s.work.Go(func() { // its answer, or that it is cancelled, which the work does not notice
		select {
		case reply := <-answer:
			_ = reply() // nobody is there if it fails
		case <-ctx.Done():
			_ = conn.ReplyWithError(ctx, r.ID, &jsonrpc2.Error{Code: codeRequestCancelled, Message: "the request was cancelled"})
		}
		s.mu.Lock()
		delete(s.pending, r.ID)
		s.mu.Unlock()
		cancel()
	})
}

func protocolError(err error) *jsonrpc2.Error {
	if known, ok := errors.AsType[*jsonrpc2.Error](err); ok {
		return known
	}
	return &jsonrpc2.Error{Code: codeRequestFailed, Message: err.Error()}
}

// answer returns the result of a request.
func (s *server) answer(ctx context.Context, now *state, r *jsonrpc2.Request) (result any, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = &jsonrpc2.Error{
				Code:    jsonrpc2.CodeInternalError,
				Message: fmt.Sprintf("%s: this may be a bug in mhmig: please report it: %v\n%s", r.Method, fault, debug.Stack()),
			}
		}
	}()
	s.mu.Lock()
	switch {
	case r.Method == "initialize":
		s.initialized = true
	case !s.initialized:
		err = &jsonrpc2.Error{Code: codeNotInitialized, Message: "the first request must be initialize"}
	case s.stopping:
		err = &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidRequest, Message: "the server is shut down"}
	case r.Method == "shutdown":
		s.stopping = true
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	switch r.Method {
	case "initialize":
		return s.initialize(), nil
	case "shutdown":
		return nil, nil
	}
	about, known := questions[r.Method]
	if !known {
		return nil, &jsonrpc2.Error{Code: jsonrpc2.CodeMethodNotFound, Message: "there is no method " + r.Method}
	}
	p, err := params[documentParams](r)
	if err != nil {
		return nil, err
	}
	d := now.documents[p.TextDocument.URI]
	if d == nil {
		return nil, &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidParams, Message: p.TextDocument.URI + " is not open"}
	}
	return about(question{s, d, s.workspaceOf(ctx, now, d), d.offset(p.Position), p.NewName})
}

func (s *server) initialize() initializeResult {
	return initializeResult{
		Capabilities: capabilities{
			TextDocumentSync:           syncOptions{OpenClose: true, Change: incremental, Save: true},
			CompletionProvider:         completionOptions{TriggerCharacters: []string{".", `"`, "/", "@", "{"}},
			HoverProvider:              true,
			DefinitionProvider:         true,
			DocumentFormattingProvider: true,
			RenameProvider:             renameOptions{PrepareProvider: true},
		},
		ServerInfo: serverInfo{"mhmig", s.options.Version},
	}
}

// workspaceOf returns the workspace of a document.
func (s *server) workspaceOf(ctx context.Context, now *state, d *document) *assist.Workspace {
	return s.workspace.With(s.librariesOf(ctx, d), now.open)
}

// librariesOf returns the libraries that a document can use.
func (s *server) librariesOf(ctx context.Context, d *document) library.Set {
	folder := filepath.Dir(d.name)
	s.mu.Lock()
	set, known := s.sets[folder]
	s.mu.Unlock()
	if known {
		return set
	}
	set, err := s.options.Libraries(folder)
	s.mu.Lock()
	s.sets[folder] = set
	tell := err != nil && !s.told[err.Error()]
	if tell {
		s.told[err.Error()] = true
	}
	s.mu.Unlock()
	if tell {
		_ = s.conn.Notify(ctx, "window/showMessage", showMessageParams{messageError, err.Error()})
	}
	return set
}

// notified takes a notification. Those that it does not know mean nothing to it.
func (s *server) notified(ctx context.Context, r *jsonrpc2.Request) {
	switch r.Method {
	case "exit":
		_ = s.conn.Close()
	case "$/cancelRequest":
		if p, err := params[cancelParams](r); err == nil {
			s.mu.Lock()
			if cancel := s.pending[p.ID]; cancel != nil {
				cancel()
			}
			s.mu.Unlock()
		}
	case "textDocument/didOpen":
		if p, err := params[didOpenParams](r); err == nil {
			s.forget()
			d := p.TextDocument
			s.set(&document{d.URI, s.nameOf(d.URI), d.Version, newText(d.Text)})
		}
	case "textDocument/didChange":
		p, err := params[didChangeParams](r)
		d := s.now().documents[p.TextDocument.URI]
		if err != nil || d == nil {
			return
		}
		changed := d.text
		for _, c := range p.ContentChanges {
			changed = changed.after(c)
		}
		s.set(&document{d.uri, d.name, p.TextDocument.Version, changed})
	case "textDocument/didSave":
		s.forget() // a manifest may have changed, or what other documents load
		s.mu.Lock()
		all := s.state.documents
		s.mu.Unlock()
		s.diagnoseLater(all)
	case "textDocument/didClose":
		if p, err := params[documentParams](r); err == nil {
			s.close(ctx, p.TextDocument.URI)
		}
	}
}

// forget makes the server ask for the libraries again.
func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sets)
}

// set opens a document, or changes it.
func (s *server) set(d *document) {
	s.mu.Lock()
	documents := maps.Clone(s.state.documents)
	documents[d.uri] = d
	s.state = newState(documents)
	s.mu.Unlock()
	s.diagnoseLater(map[string]*document{d.uri: d})
}

func newState(documents map[string]*document) *state {
	open := map[string]string{}
	for _, d := range documents {
		open[d.name] = d.content
	}
	return &state{documents, open}
}

// close closes a document: what was wrong in it is not shown any longer.
func (s *server) close(ctx context.Context, uri string) {
	s.mu.Lock()
	documents := maps.Clone(s.state.documents)
	delete(documents, uri)
	s.state = newState(documents)
	s.mu.Unlock()
	_ = s.conn.Notify(ctx, "textDocument/publishDiagnostics", publishDiagnosticsParams{URI: uri, Diagnostics: []diagnostic{}})
}
