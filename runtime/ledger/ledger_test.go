// SPDX-License-Identifier: Apache-2.0

package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/mhmig/mhmig/runtime/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, path string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) // closed by most tests already
	return l
}

func TestRecordIsOnDiskAndPendingIsLastFirst(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l := open(t, path)
	entries := []ledger.Entry{
		{Host: "host1", Kind: ledger.Dir, Path: "/var/tmp/mhmig-x"},
		{Host: "host2", Kind: ledger.Process, Path: "/var/tmp/mhmig-x", PIDFile: "/var/tmp/mhmig-x/pid", Data: map[string]string{"vm": "vm1"}},
		{Host: "host1", Kind: ledger.File, Path: "/shared/mhmig-x/disk"},
	}
	for i := range entries {
		id, err := l.Record(entries[i])
		if err != nil {
			t.Fatal(err)
		}
		entries[i].ID = id
		text, err := os.ReadFile(path)
		if err != nil || bytes.Count(text, []byte("\n")) != i+1 || !strings.Contains(string(text), entries[i].Path) {
			t.Errorf("after record %d the file has %q, %v", i, text, err)
		}
	}
	if err := l.Done(entries[1].ID); err != nil {
		t.Fatal(err)
	}
	if err := l.Done(entries[1].ID); err != nil {
		t.Errorf("second Done: %v", err)
	}
	want := []ledger.Entry{entries[2], entries[0]}
	if d := cmp.Diff(want, l.Pending()); d != "" {
		t.Errorf("Pending (-want +got):\n%s", d)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, path)
	if d := cmp.Diff(want, l.Pending()); d != "" {
		t.Errorf("Pending after another Open (-want +got):\n%s", d)
	}
	if id, err := l.Record(entries[0]); err != nil || id != 4 {
		t.Errorf("Record after another Open: got id %d, %v; want 4", id, err)
	}
}

func TestBadUse(t *testing.T) {
	t.Parallel()
	l := open(t, filepath.Join(t.TempDir(), "ledger.jsonl"))
	for _, e := range []ledger.Entry{
		{Kind: ledger.File, Path: "/a"},
		{Host: "host1", Kind: ledger.File},
		{Host: "host1", Kind: ledger.Process, Path: "/a"},
		{Host: "host1", Kind: ledger.File, Path: "/a", PIDFile: "/b"},
	} {
		if _, err := l.Record(e); err == nil {
			t.Errorf("Record(%+v): got no error", e)
		}
	}
	for _, id := range []int{-1, 0, 1} {
		if err := l.Done(id); err == nil {
			t.Errorf("Done(%d): got no error", id)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Record(ledger.Entry{Host: "host1", Kind: ledger.File, Path: "/a"}); err == nil {
		t.Error("Record after Close: got no error")
	}
	if n := len(l.Pending()); n != 0 {
		t.Errorf("Pending: got %d entries of failed calls", n)
	}
}

// An entry that may not be on disk is none: its ID is not given again, and the ledger can
// be read.
func TestRecordIsNotOnDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l := open(t, path)
	diskFault := errors.New("input/output error")
	works := l.FailSync(diskFault)
	if _, err := l.Record(ledger.Entry{Host: "host1", Kind: ledger.Dir, Path: "/not-made"}); !errors.Is(err, diskFault) {
		t.Errorf("Record: got %v, want %v", err, diskFault)
	}
	works()
	made := ledger.Entry{Host: "host1", Kind: ledger.Dir, Path: "/made"}
	var err error
	if made.ID, err = l.Record(made); err != nil {
		t.Fatal(err)
	}
	want := []ledger.Entry{made}
	if d := cmp.Diff(want, l.Pending()); d != "" {
		t.Errorf("Pending (-want +got):\n%s", d)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	left, _, err := ledger.Read(path)
	if d := cmp.Diff(want, left); err != nil || d != "" {
		t.Errorf("Read: %v (-want +got):\n%s", err, d)
	}
}

func TestHeld(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l := open(t, path)
	if _, err := ledger.Open(path); !errors.Is(err, ledger.ErrHeld) {
		t.Errorf("Open of a held ledger: got %v, want ErrHeld", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

// TestHeldForAMoment: a child that a killed process has just forked has its lock, too,
// until it executes its program.
func TestHeldForAMoment(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l := open(t, path)
	closed := make(chan error, 1)
	time.AfterFunc(200*time.Millisecond, func() { closed <- l.Close() })
	open(t, path)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}

// TestRead looks into a ledger that another writes, and into one that is left.
func TestRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l := open(t, path)
	if _, err := l.Record(ledger.Entry{Host: "host1", Kind: ledger.Dir, Path: "/mhmig-1"}); err != nil {
		t.Fatal(err)
	}
	for _, wantHeld := range []bool{true, false} {
		pending, held, err := ledger.Read(path)
		if err != nil || held != wantHeld || !cmp.Equal(pending, l.Pending()) {
			t.Errorf("Read: got %v, %v, %v; want %v, %v", pending, held, err, l.Pending(), wantHeld)
		}
		if wantHeld {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	open(t, path) // Read has left no lock
	if _, _, err := ledger.Read(path + "x"); err == nil {
		t.Error("Read of no file: got no error")
	}
}

func TestDamagedFile(t *testing.T) {
	t.Parallel()
	made := `{"made":{"id":1,"host":"h","kind":"file","path":"/mhmig-1/x"}}` + "\n"
	tests := []struct {
		name, text, says string
	}{
		{"no JSON", made + "nonsense\n", "line 2"},
		{"done before it was made", `{"done":1}` + "\n" + made, "line 1"},
		{"made twice", made + made, "line 2"},
		{"neither", "{}\n", "line 1"},
	}
	for _, test := range tests {
		path := filepath.Join(t.TempDir(), "ledger.jsonl")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Open(path); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want an error that says %q", test.name, err, test.says)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l := open(t, path)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			id, err := l.Record(ledger.Entry{Host: "host1", Kind: ledger.File, Path: fmt.Sprint("/mhmig-1/", i)})
			if err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if err := l.Done(id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	want := l.Pending()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, open(t, path).Pending()); d != "" || len(want) != 10 {
		t.Errorf("%d pending; after another Open (-want +got):\n%s", len(want), d)
	}
}

// TestModel does random things to a ledger, dying in the middle of a write among
// them, and compares it to a list.
func TestModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		path := filepath.Join(dir, fmt.Sprint(runs))
		l, err := ledger.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if l != nil {
				l.Close()
			}
		}()
		var pending, before []ledger.Entry // oldest first; before the last line was written
		last, lastBefore, lines := 0, 0, 0
		reopen := func(t *rapid.T) {
			if l, err = ledger.Open(path); err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"record": func(t *rapid.T) {
				e := ledger.Entry{
					Host: rapid.SampledFrom([]string{"host1", "host2"}).Draw(t, "host"),
					Kind: rapid.SampledFrom([]ledger.Kind{ledger.File, ledger.Dir, ledger.Netdev}).Draw(t, "kind"),
					Path: "/" + rapid.String().Draw(t, "path"),
				}
				e.Path = strings.ToValidUTF8(e.Path, "?")
				id, err := l.Record(e)
				if err != nil {
					t.Fatal(err)
				}
				if id != last+1 {
					t.Fatalf("id: got %d, want %d", id, last+1)
				}
				before, lastBefore, lines = slices.Clone(pending), last, lines+1
				e.ID, last = id, id
				pending = append(pending, e)
			},
			"done": func(t *rapid.T) {
				id := rapid.IntRange(0, last+1).Draw(t, "id")
				err := l.Done(id)
				if known := id >= 1 && id <= last; known != (err == nil) {
					t.Fatalf("Done(%d) of %d: got %v", id, last, err)
				}
				if err != nil {
					return
				}
				before, lastBefore, lines = slices.Clone(pending), last, lines+1
				pending = slices.DeleteFunc(pending, func(e ledger.Entry) bool { return e.ID == id })
			},
			"reopen": func(t *rapid.T) {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				reopen(t)
			},
			"die while writing": func(t *rapid.T) {
				if lines == 0 {
					t.Skip("nothing was written")
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				start := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
				cut := rapid.IntRange(start, len(text)-1).Draw(t, "cut")
				if err := os.Truncate(path, int64(cut)); err != nil {
					t.Fatal(err)
				}
				pending, last = before, lastBefore
				lines = 0 // the line before it is whole
				reopen(t)
			},
			"": func(t *rapid.T) {
				want := slices.Clone(pending)
				slices.Reverse(want)
				if got := l.Pending(); !slices.EqualFunc(want, got, func(a, b ledger.Entry) bool { return cmp.Equal(a, b) }) {
					t.Fatalf("pending: got %v, want %v", got, want)
				}
			},
		})
	})
}
