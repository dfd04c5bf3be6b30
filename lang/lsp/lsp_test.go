// SPDX-License-Identifier: Apache-2.0

package lsp_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sourcegraph/jsonrpc2"
	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/lsp"
	"github.com/mhmig/mhmig/stdlib"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type object = map[string]any

// An editor is a client of a server.
type editor struct {
	t    testing.TB
	conn *jsonrpc2.Conn

	mu        sync.Mutex
	published []published // in order
	messages  []string
	arrived   chan struct{}
	served    chan error
}

type published struct {
	URI         string
	Version     int
	Diagnostics []struct {
		Range struct {
			Start, End struct{ Line, Character int }
		}
		Severity int
		Code     string
		Message  string
	}
}

// start starts a server and an editor.
func start(t testing.TB, options lsp.Options) *editor {
	t.Helper()
	if options.Libraries == nil {
		set := library.Set{"std": stdlib.FS, "x": fstest.MapFS{"a.star": {Data: []byte("def first(): pass\n")}}}
		options.Libraries = func(string) (library.Set, error) { return set, nil }
	}
	e := &editor{t: t, arrived: make(chan struct{}, 1), served: make(chan error, 1)}
	here, there := net.Pipe()
	go func() { e.served <- lsp.Serve(t.Context(), io.NopCloser(there), there, options) }()
	e.conn = jsonrpc2.NewConn(context.Background(), jsonrpc2.NewBufferedStream(here, jsonrpc2.VSCodeObjectCodec{}), e)
	t.Cleanup(func() { e.conn.Close() })
	return e
}

// opened starts a server with a file that is open.
func opened(t *testing.T, uri, text string) *editor {
	t.Helper()
	e := start(t, lsp.Options{Copies: t.TempDir()})
	e.call("initialize", object{}, nil)
	e.notify("initialized", object{})
	e.open(uri, text)
	return e
}

// Handle takes what the server says.
func (e *editor) Handle(_ context.Context, _ *jsonrpc2.Conn, r *jsonrpc2.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch r.Method {
	case "textDocument/publishDiagnostics":
		var p published
		if err := json.Unmarshal(*r.Params, &p); err != nil {
			e.t.Error(err)
		}
		e.published = append(e.published, p)
	case "window/showMessage":
		var m struct{ Message string }
		if err := json.Unmarshal(*r.Params, &m); err != nil {
			e.t.Error(err)
		}
		e.messages = append(e.messages, m.Message)
	}
	select {
	case e.arrived <- struct{}{}:
	default:
	}
}

func (e *editor) call(method string, params, result any) {
	e.t.Helper()
	if err := e.conn.Call(e.t.Context(), method, params, result); err != nil {
		e.t.Fatalf("%s: %v", method, err)
	}
}

// fault returns the code of the error of a request.
func (e *editor) fault(method string, params any) int64 {
	e.t.Helper()
	err := e.conn.Call(e.t.Context(), method, params, nil)
	fault, ok := errors.AsType[*jsonrpc2.Error](err)
	if !ok {
		e.t.Fatalf("%s: got %v, want an error", method, err)
	}
	return fault.Code
}

func (e *editor) notify(method string, params any) {
	e.t.Helper()
	if err := e.conn.Notify(e.t.Context(), method, params); err != nil {
		e.t.Fatalf("%s: %v", method, err)
	}
}

func (e *editor) open(uri, text string) {
	e.t.Helper()
	e.notify("textDocument/didOpen", object{"textDocument": object{"uri": uri, "languageId": "starlark", "version": 1, "text": text}})
}

// await returns the first diagnostics of a version of a document.
func (e *editor) await(uri string, version int) published {
	e.t.Helper()
	for timeout := time.After(time.Minute); ; {
		e.mu.Lock()
		for _, p := range e.published {
			if p.URI == uri && p.Version == version {
				e.mu.Unlock()
				return p
			}
		}
		e.mu.Unlock()
		select {
		case <-e.arrived:
		case <-timeout:
			e.t.Fatalf("no diagnostics of version %d of %s", version, uri)
		}
	}
}

func place(uri string, line, character int) object {
	return object{"textDocument": object{"uri": uri}, "position": object{"line": line, "character": character}}
}

const my = "file:///none/my.star"

// Positions count UTF-16 code units, of which some characters have two.
func TestDiagnosticsFollowChanges(t *testing.T) {
	t.Parallel()
	e := opened(t, my, "x = \"𝒳é\"; sleep(5, chek = 1)\n")
	first := e.await(my, 1)
	if len(first.Diagnostics) != 1 {
		t.Fatalf("got %+v", first)
	}
	d := first.Diagnostics[0]
	if d.Code != "wrong-argument" || d.Severity != 1 || d.Range.Start.Character != 20 || d.Range.End.Character != 24 || d.Range.End.Line != 0 {
		t.Errorf("got %+v", d)
	}
	change := func(version int, changes ...object) {
		e.notify("textDocument/didChange", object{"textDocument": object{"uri": my, "version": version}, "contentChanges": changes})
	}
	part := func(line, from, to int, text string) object {
		return object{"range": object{"start": object{"line": line, "character": from}, "end": object{"line": line, "character": to}}, "text": text}
	}
	change(2, part(0, 10, 30, "y = 1"), part(1, 0, 0, "migrte()\n")) // each counts in what the ones before have made
	if got := e.await(my, 2).Diagnostics; len(got) != 1 || got[0].Range.Start.Line != 1 || !strings.HasPrefix(got[0].Message, "undefined: migrte") {
		t.Errorf("after the second version: got %+v", got)
	}
	change(3, object{"text": "print(1)\n"})
	if got := e.await(my, 3).Diagnostics; len(got) != 0 {
		t.Errorf("after the third version: got %+v, want nothing", got)
	}
	e.notify("textDocument/didClose", object{"textDocument": object{"uri": my}})
	e.await(my, 0)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	e := opened(t, my, "load(\"@x//a.star\", \"first\")\n\ndef f(vm):\n    é=first()\n    vm.pau\n    return é\n")

	var list struct {
		Items []struct {
			Label    string
			TextEdit struct {
				Range   struct{ Start, End struct{ Line, Character int } }
				NewText string
			}
		}
	}
	e.call("textDocument/completion", place(my, 4, 10), &list)
	found := false
	for _, item := range list.Items {
		if item.Label == "pause" {
			found = item.TextEdit.NewText == "pause" && item.TextEdit.Range.Start.Character == 7 && item.TextEdit.Range.End.Character == 10
		}
	}
	if !found {
		t.Errorf("completion: got %+v, want pause for vm.pau", list)
	}

	var hover struct{ Contents struct{ Kind, Value string } }
	e.call("textDocument/hover", place(my, 3, 7), &hover)
	if hover.Contents.Kind != "markdown" || !strings.Contains(hover.Contents.Value, "def first()") {
		t.Errorf("hover: got %+v", hover)
	}
	var none any = "something"
	e.call("textDocument/hover", place(my, 1, 0), &none)
	if none != nil {
		t.Errorf("hover over nothing: got %v", none)
	}

	var locations []struct {
		URI   string
		Range struct{ Start struct{ Line, Character int } }
	}
	e.call("textDocument/definition", place(my, 3, 7), &locations)
	if len(locations) != 1 || locations[0].Range.Start.Character != 4 {
		t.Fatalf("definition: got %+v", locations)
	}
	// The copy of a library's file is the file.
	copied := strings.TrimPrefix(locations[0].URI, "file://")
	if text, err := os.ReadFile(copied); err != nil || string(text) != "def first(): pass\n" {
		t.Errorf("%s: got %q, %v", copied, text, err)
	}
	e.open(locations[0].URI, "def first(): pass\n")
	e.call("textDocument/definition", place(my, 3, 7), &locations)
	if len(locations) != 1 || !strings.HasSuffix(locations[0].URI, "/x/a.star") {
		t.Errorf("definition in an open file: got %+v", locations)
	}

	var edits []struct{ NewText string }
	e.call("textDocument/formatting", object{"textDocument": object{"uri": my}, "options": object{}}, &edits)
	if len(edits) != 1 || !strings.Contains(edits[0].NewText, "é = first()") {
		t.Errorf("formatting: got %+v", edits)
	}

	var renamed struct {
		Changes map[string][]struct {
			Range   struct{ Start struct{ Line, Character int } }
			NewText string
		}
	}
	rename := place(my, 5, 11)
	rename["newName"] = "result"
	e.call("textDocument/rename", rename, &renamed)
	if got := renamed.Changes[my]; len(got) != 2 || got[0].Range.Start.Line != 3 || got[1].Range.Start.Line != 5 || got[0].NewText != "result" {
		t.Errorf("rename: got %+v", renamed)
	}
	if code := e.fault("textDocument/prepareRename", place(my, 4, 8)); code != -32803 {
		t.Errorf("renaming an attribute: got %d", code)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	const uri = "file:///none/my%20own.cfg"
	e := opened(t, uri, "variants:\n    - linux:\n\t- windows:\nonly linxu\n")
	got := e.await(uri, 1).Diagnostics
	if len(got) == 0 || got[len(got)-1].Range.Start.Line < 2 {
		t.Errorf("got %+v", got)
	}
	var list struct{ Items []struct{ Label string } }
	e.call("textDocument/completion", place(uri, 3, 5), &list)
	if len(list.Items) == 0 || list.Items[0].Label != "linux" {
		t.Errorf("got %+v", list)
	}
}

// What the protocol says about the beginning, the end, and what is not understood.
func TestProtocol(t *testing.T) {
	t.Parallel()
	e := start(t, lsp.Options{})
	if code := e.fault("textDocument/hover", place(my, 0, 0)); code != -32002 {
		t.Errorf("before initialize: got %d", code)
	}
	var result struct {
		Capabilities struct {
			TextDocumentSync struct{ Change int }
			HoverProvider    bool
		}
	}
	e.call("initialize", object{"capabilities": object{}, "rootUri": nil}, &result)
	if !result.Capabilities.HoverProvider || result.Capabilities.TextDocumentSync.Change != 2 {
		t.Errorf("got %+v", result)
	}
	for _, tt := range []struct {
		method string
		params any
		want   int64
	}{
		{"textDocument/none", object{}, jsonrpc2.CodeMethodNotFound},
		{"textDocument/hover", place(my, 0, 0), jsonrpc2.CodeInvalidParams}, // not open
		{"textDocument/hover", []int{1}, jsonrpc2.CodeInvalidParams},
	} {
		if code := e.fault(tt.method, tt.params); code != tt.want {
			t.Errorf("%s: got %d, want %d", tt.method, code, tt.want)
		}
	}
	e.notify("textDocument/didChange", object{"textDocument": object{"uri": my, "version": 2}}) // not open
	e.notify("textDocument/didOpen", []int{1})
	e.notify("$/none", object{})
	e.open(my, "print(1)\n")
	e.call("textDocument/hover", place(my, -1, 1<<40), nil) // beyond the text
	e.call("shutdown", nil, nil)
	if code := e.fault("textDocument/hover", place(my, 0, 0)); code != jsonrpc2.CodeInvalidRequest {
		t.Errorf("after shutdown: got %d", code)
	}
	e.notify("exit", nil)
	if err := <-e.served; err != nil {
		t.Errorf("served: %v", err)
	}
}

func TestEditorIsGone(t *testing.T) {
	t.Parallel()
	e := start(t, lsp.Options{})
	e.call("initialize", object{}, nil)
	e.conn.Close()
	if err := <-e.served; !errors.Is(err, lsp.ErrNoShutdown) {
		t.Errorf("got %v", err)
	}
}

// A request is cancelled while it is worked on.
func TestCancel(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	e := start(t, lsp.Options{Libraries: func(string) (library.Set, error) {
		once.Do(func() { close(begun) })
		<-release
		return nil, nil
	}})
	defer close(release)
	e.call("initialize", object{}, nil)
	e.open(my, "print(1)\n")
	answered := make(chan error, 1)
	go func() {
		answered <- e.conn.Call(context.Background(), "textDocument/hover", place(my, 0, 1), nil, jsonrpc2.PickID(jsonrpc2.ID{Str: "seven", IsString: true}))
	}()
	<-begun
	for {
		e.notify("$/cancelRequest", object{"id": "seven"}) // until the request has come
		select {
		case err := <-answered:
			if fault, ok := errors.AsType[*jsonrpc2.Error](err); !ok || fault.Code != -32800 {
				t.Errorf("got %v, want that it is cancelled", err)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// The user is told once that the project's libraries cannot be used, and is served nevertheless.
func TestLibrariesFail(t *testing.T) {
	t.Parallel()
	e := start(t, lsp.Options{Libraries: func(string) (library.Set, error) {
		return library.Set{"std": stdlib.FS}, errors.New("mhmig.toml is wrong")
	}})
	e.call("initialize", object{}, nil)
	e.open(my, "migrte()\n")
	if got := e.await(my, 1).Diagnostics; len(got) != 1 {
		t.Errorf("got %+v", got)
	}
	e.notify("textDocument/didSave", object{"textDocument": object{"uri": my}})
	e.call("textDocument/hover", place(my, 0, 1), nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	if diff := cmp.Diff([]string{"mhmig.toml is wrong"}, e.messages); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

// What is loaded from another open file is what the editor has of it.
func TestOpenFilesAreReadAsTheyAreOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "other.star"), []byte("def old(): pass\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	uri := "file://" + dir
	e := opened(t, uri+"/other.star", "def new(): pass\n")
	e.open(uri+"/my.star", "load(\"other.star\", \"\")\n")
	var list struct{ Items []struct{ Label string } }
	e.call("textDocument/completion", place(uri+"/my.star", 0, 20), &list)
	if len(list.Items) != 1 || list.Items[0].Label != "new" {
		t.Errorf("got %+v, want the name of the text that is not saved", list)
	}
}
