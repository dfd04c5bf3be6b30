// SPDX-License-Identifier: Apache-2.0

package gueststate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/gueststate"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// local runs a store's scripts on this machine.
type local struct{}

func (local) Name() string { return "host1" }

func (local) Run(ctx context.Context, c host.Command) (host.Output, error) {
	args := c.Args
	if c.Script != "" {
		args = []string{"/bin/sh", "-c", c.Script}
	}
	run := exec.CommandContext(ctx, args[0], args[1:]...)
	run.Stdin = c.Stdin
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	err := run.Run()
	out := host.Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Status: run.ProcessState.ExitCode()}
	if err != nil {
		err = &host.ExitError{Host: "host1", Command: c.String(), Output: out}
	}
	return out, err
}

// newStore is an empty store, and the ledger of a run, in which nothing may be pending
// at the test's end.
func newStore(t *testing.T, limit int64) (gueststate.Store, *ledger.Ledger) {
	t.Helper()
	record, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	store := gueststate.Store{Host: local{}, Dir: filepath.Join(t.TempDir(), "cache", "states"), Limit: limit}
	t.Cleanup(func() {
		if pending := record.Pending(); len(pending) > 0 {
			t.Errorf("the ledger still has %+v", pending)
		}
		hidden, _ := filepath.Glob(filepath.Join(store.Dir, ".*"))
		if len(hidden) > 0 {
			t.Errorf("left: %v", hidden)
		}
		if err := record.Close(); err != nil {
			t.Error(err)
		}
	})
	return store, record
}

// save saves a state with this content, and with the images of disks that have these.
func save(t *testing.T, store gueststate.Store, record *ledger.Ledger, identity, content string, disks ...string) {
	t.Helper()
	saving, err := store.Begin(t.Context(), record)
	if err != nil {
		t.Fatal(err)
	}
	if pending := record.Pending(); !slices.ContainsFunc(pending, func(e ledger.Entry) bool { return e.Path == filepath.Dir(saving.Files().State) }) {
		t.Errorf("the ledger has %+v, want the folder of %+v", pending, saving.Files())
	}
	if err := os.WriteFile(saving.Files().State, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, disk := range disks {
		if err := os.WriteFile(filepath.Join(saving.Files().Disks, fmt.Sprintf("vm1-%d.qcow2", i)), []byte(disk), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := saving.Keep(t.Context(), identity); err != nil {
		t.Fatal(err)
	}
}

func wantFound(t *testing.T, store gueststate.Store, identity, content string) {
	t.Helper()
	files, err := store.Find(t.Context(), identity)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(files.State); err != nil || string(got) != content {
		t.Errorf("%s: got %q, %v, want %q", files.State, got, err, content)
	}
}

func wantNone(t *testing.T, store gueststate.Store, identity string, want error) {
	t.Helper()
	if files, err := store.Find(t.Context(), identity); !errors.Is(err, want) {
		t.Errorf("Find(%q): got %q, %v, want %v", identity, files, err, want)
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	store, record := newStore(t, 1000)
	wantNone(t, store, "one\n", gueststate.ErrNone)
	save(t, store, record, "one\n", "state of one")
	wantFound(t, store, "one\n", "state of one")
	wantNone(t, store, "another\n", gueststate.ErrNone)
	save(t, store, record, "one\n", "saved by another run") // which does not disturb who loads the first
	wantFound(t, store, "one\n", "state of one")
	if err := store.Drop(t.Context(), "one\n"); err != nil {
		t.Error(err)
	}
	wantNone(t, store, "one\n", gueststate.ErrNone)
	if err := store.Drop(t.Context(), "one\n"); err != nil {
		t.Errorf("drop of none: %v", err)
	}
}

// disk is the file of a state's disk.
func disk(state string, number int) string {
	return filepath.Join(filepath.Dir(state), "disks", fmt.Sprintf("vm1-%d.qcow2", number))
}

// The disks are kept with the state.
func TestDisks(t *testing.T) {
	t.Parallel()
	store, record := newStore(t, 1000)
	save(t, store, record, "one\n", "state", "first disk", "second disk")
	files, err := store.Find(t.Context(), "one\n")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"first disk", "second disk"} {
		if got, err := os.ReadFile(filepath.Join(files.Disks, fmt.Sprintf("vm1-%d.qcow2", i))); err != nil || string(got) != want {
			t.Errorf("disk %d: got %q, %v, want %q", i, got, err, want)
		}
	}
	states, err := store.List(t.Context())
	if want := int64(len("state" + "first disk" + "second disk")); err != nil || len(states) != 1 || states[0].Bytes != want {
		t.Errorf("got %+v, %v, want one with %d bytes", states, err, want)
	}
}

// Why a guest cannot have a state is found in its place, until it is dropped or has one.
func TestRefuse(t *testing.T) {
	t.Parallel()
	store, record := newStore(t, 1000)
	refuse := func(identity, why string) {
		t.Helper()
		saving, err := store.Begin(t.Context(), record)
		if err == nil {
			err = os.WriteFile(saving.Files().State, []byte("half a state"), 0o600)
		}
		if err == nil {
			err = saving.Refuse(t.Context(), identity, why)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	refuse("one's\n", "it has no perl")
	for range 2 {
		_, err := store.Find(t.Context(), "one's\n")
		if refused, ok := errors.AsType[*gueststate.RefusedError](err); !ok || refused.Why != "it has no perl" {
			t.Errorf("got %v, want why it is refused", err)
		}
	}
	wantNone(t, store, "other\n", gueststate.ErrNone)
	if states, err := store.List(t.Context()); err != nil || len(states) != 0 {
		t.Errorf("List: got %+v, %v, want none", states, err)
	}
	if err := store.Drop(t.Context(), "one's\n"); err != nil {
		t.Error(err)
	}
	save(t, store, record, "one's\n", "a state after all")
	refuse("one's\n", "it has no perl")
	wantFound(t, store, "one's\n", "a state after all")
}

// A state that is not what was saved is found to be so, and is not there any more.
func TestDamage(t *testing.T) {
	t.Parallel()
	damages := map[string]func(file string) error{
		"a byte": func(file string) error {
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			content[5] ^= 1
			return os.WriteFile(file, content, 0o600)
		},
		"truncated": func(file string) error { return os.Truncate(file, 7) },
		"empty":     func(file string) error { return os.Truncate(file, 0) },
		"gone":      os.Remove,
		"another's checksum": func(file string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(file), "sum"), []byte("0  -\n"), 0o600)
		},
		"no checksum":      func(file string) error { return os.Truncate(filepath.Join(filepath.Dir(file), "sum"), 0) },
		"a byte of a disk": func(file string) error { return os.WriteFile(disk(file, 1), []byte("Disk"), 0o600) },
		"no disk":          func(file string) error { return os.Remove(disk(file, 0)) },
		"a disk more":      func(file string) error { return os.WriteFile(disk(file, 2), nil, 0o600) },
		"disks exchanged": func(file string) error {
			return errors.Join(os.Rename(disk(file, 0), disk(file, 2)), os.Rename(disk(file, 1), disk(file, 0)), os.Rename(disk(file, 2), disk(file, 1)))
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, record := newStore(t, 1000)
			save(t, store, record, "one\n", "state of one", "disk", "another disk")
			files, err := store.Find(t.Context(), "one\n")
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(files.State); err != nil {
				t.Fatal(err)
			}
			wantNone(t, store, "one\n", gueststate.ErrDamaged)
			wantNone(t, store, "one\n", gueststate.ErrNone)
			if _, err := os.Stat(filepath.Dir(files.State)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the damaged state is still there: %v", err)
			}
		})
	}
}

// Beyond the limit go those that were not used for longest.
func TestEviction(t *testing.T) {
	t.Parallel()
	store, record := newStore(t, 25)
	save(t, store, record, "first", "0123456789")
	save(t, store, record, "second", "0123456789")
	hourAgo := time.Now().Add(-time.Hour)
	for _, identity := range []string{"first", "second"} {
		used := filepath.Join(store.Dir, gueststate.Key(identity), "used")
		if err := os.Chtimes(used, hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
	}
	wantFound(t, store, "first", "0123456789") // and is used by that
	save(t, store, record, "third", "0123456789")
	wantNone(t, store, "second", gueststate.ErrNone)
	wantFound(t, store, "first", "0123456789")
	wantFound(t, store, "third", "0123456789")
	save(t, store, record, "huge", strings.Repeat("x", 26))
	wantNone(t, store, "huge", gueststate.ErrNone)
	save(t, store, record, "with disks", "0123456789", strings.Repeat("x", 8), strings.Repeat("x", 8))
	wantNone(t, store, "with disks", gueststate.ErrNone)
}

func TestRemove(t *testing.T) {
	t.Parallel()
	store, record := newStore(t, 1000)
	if states, err := store.Remove(t.Context()); err != nil || len(states) != 0 {
		t.Errorf("Remove of none: got %+v, %v", states, err)
	}
	save(t, store, record, "one\nin two lines\n", "0123456789")
	save(t, store, record, "other\n", "01234")
	states, err := store.Remove(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(states, func(a, b gueststate.State) int { return int(b.Bytes - a.Bytes) })
	if len(states) != 2 || states[0].Bytes != 10 || states[0].Identity != "one\nin two lines\n" || time.Since(states[0].Used) > time.Hour {
		t.Errorf("got %+v, want both states", states)
	}
	if _, err := os.Stat(store.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", store.Dir, err)
	}
}

// Runs that save, find, drop and evict at the same time find whole states only.
func TestConcurrentRuns(t *testing.T) {
	t.Parallel()
	store, record := newStore(t, 60)
	var running sync.WaitGroup
	for run := range 4 {
		running.Go(func() {
			for n := range 6 {
				identity := string(rune('a' + (run+n)%3))
				content := strings.Repeat(identity, 20)
				files, err := store.Find(t.Context(), identity)
				switch {
				case errors.Is(err, gueststate.ErrNone):
					save(t, store, record, identity, content)
				case err != nil:
					t.Errorf("Find: %v", err)
				default:
					if got, err := os.ReadFile(files.State); err == nil && string(got) != content {
						t.Errorf("%s: got %q, want %q", identity, got, content)
					}
				}
				if n == 3 {
					if err := store.Drop(t.Context(), identity); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	running.Wait()
}

// A folder that belongs to somebody else, as one may make it in a host's /tmp, is not
// used.
func TestForeignFolder(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: needs root, to give a folder away")
	}
	store, record := newStore(t, 1000)
	if err := os.MkdirAll(store.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(store.Dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Find(t.Context(), "one"); err == nil || !strings.Contains(err.Error(), "somebody else's folder") {
		t.Errorf("Find: got %v", err)
	}
	if _, err := store.Begin(t.Context(), record); err == nil || !strings.Contains(err.Error(), "somebody else's folder") {
		t.Errorf("Begin: got %v", err)
	}
}
