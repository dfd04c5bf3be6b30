// SPDX-License-Identifier: Apache-2.0

// Package ledger records the resources that a run makes on its hosts, each before it
// is made, so that those of a killed run can be found and removed.
//
//	id, err := l.Record(ledger.Entry{Host: "host1", Kind: ledger.Dir, Path: dir})
//	…make the folder, use it, remove it…
//	err = l.Done(id)
//
// Entries that are recorded and not done, [Ledger.Pending], are left by a dead run.
// [Ledger.Undo] removes them, for the run itself or later for mhmig cleanup.
//
// The file has one JSON object per line, either {"made": ENTRY} or {"done": ID}.
// Lines are only ever appended. An incomplete last line was being written when the
// run died: its Record never returned, so nothing was made.
//
// # Concurrency
//
// All methods of [Ledger] may be called by any goroutine at the same time. A
// file is held by one process at a time; see [ErrHeld].
package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Kind is the kind of a resource.
type Kind string

const (
	// Process is a process that outlives the command that started it. PIDFile is its
	// PID file; Path is a folder that its command line contains.
	Process Kind = "process"
	// File is a file at Path.
	File Kind = "file"
	// Dir is a folder at Path, with its contents.
	Dir Kind = "dir"
	// Netdev is a network device named Path.
	Netdev Kind = "netdev"
	// Firewall is an nftables table of the family inet, named Path. A process with
	// [FirewallVariable] in its environment, Path and a slash, may be about to delete
	// it.
	Firewall Kind = "firewall"
	// Commands are the commands of a scenario on a host, and their descendants: all
	// processes whose mark (see host.Command) begins with Path and a slash.
	Commands Kind = "commands"
)

// FirewallVariable is the environment variable of processes that belong to a [Firewall].
const FirewallVariable = "MHMIG_FIREWALL"

// Entry is one resource on one host.
type Entry struct {
	ID      int               `json:"id"` // given by Record, from 1
	Host    string            `json:"host"`
	Kind    Kind              `json:"kind"`
	Path    string            `json:"path"`
	PIDFile string            `json:"pidfile,omitempty"`
	Data    map[string]string `json:"data,omitempty"` // further information; not used by Undo
}

// String names the entry for a message.
func (e Entry) String() string { return fmt.Sprintf("%s %s on %s", e.Kind, e.Path, e.Host) }

// ErrHeld means that the process that writes a ledger is running.
var ErrHeld = errors.New("its run is still running")

// line is a line of the file. One of the two is set.
type line struct {
	Made *Entry `json:"made,omitempty"`
	Done int    `json:"done,omitempty"`
}

// Ledger is an open ledger file.
type Ledger struct {
	sync func() error // of the file; a test makes it fail

	mu      sync.Mutex // guards what follows
	file    *os.File
	size    int64 // of the complete lines
	last    int   // the highest ID
	pending []Entry
}

// Open opens the ledger at path, or makes a new one in a folder that exists, and
// reads the pending entries. When another process has it open, and has it for a second
// more, the error matches [ErrHeld]. The caller closes it.
func Open(path string) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{file: file, sync: file.Sync}
	if err := l.load(); err != nil {
		file.Close()
		return nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
	return l, nil
}

// Read returns the pending entries of the ledger at path, the last first, and whether
// the process that writes it is running. It changes nothing.
func Read(path string) (pending []Entry, held bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("read ledger: %w", err)
	}
	defer file.Close()
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) // released by Close
	if held = errors.Is(err, syscall.EWOULDBLOCK); err != nil && !held {
		return nil, false, fmt.Errorf("read ledger %s: %w", path, err)
	}
	l := &Ledger{file: file}
	if err := l.replayAll(); err != nil {
		return nil, held, fmt.Errorf("read ledger %s: %w", path, err)
	}
	return l.Pending(), held, nil
}

// forkTime is how long a held ledger is waited for. The kernel releases the lock however
// the process ends; but a child that it has forked just before has the lock too, until it
// executes its program.
const forkTime = time.Second

// lock locks the file.
func (l *Ledger) lock() error {
	over := time.After(forkTime)
	again := time.NewTicker(forkTime / 50)
	defer again.Stop()
	for {
		err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-again.C:
		case <-over:
			return ErrHeld
		}
	}
}

func (l *Ledger) load() error {
	if err := l.lock(); err != nil {
		return err
	}
	if err := l.replayAll(); err != nil {
		return err
	}
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(l.file.Name()))
}

// replayAll reads all complete lines of the file.
func (l *Ledger) replayAll() error {
	text, err := os.ReadFile(l.file.Name())
	if err != nil {
		return err
	}
	number := 0
	for {
		whole, rest, ok := bytes.Cut(text, []byte("\n"))
		if !ok {
			break
		}
		number++
		if err := l.replay(whole); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		l.size += int64(len(whole)) + 1
		text = rest
	}
	return nil
}

// syncFolder syncs a folder, so that a new file's name is durable.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (l *Ledger) replay(text []byte) error {
	var n line
	if err := json.Unmarshal(text, &n); err != nil {
		return err
	}
	switch {
	case n.Made != nil && n.Made.ID > l.last:
		l.pending = append(l.pending, *n.Made)
		l.last = n.Made.ID
	case n.Made == nil && n.Done > 0 && n.Done <= l.last:
		l.remove(n.Done)
	default:
		return fmt.Errorf("%s: want made with a new id or done with one that was made", text)
	}
	return nil
}

func (l *Ledger) remove(id int) {
	l.pending = slices.DeleteFunc(l.pending, func(e Entry) bool { return e.ID == id })
}

// Record records a resource that is about to be made, and returns when the entry is on
// disk. The entry's ID is ignored; the new one is returned. After an error the
// resource must not be made.
func (l *Ledger) Record(e Entry) (id int, err error) {
	if e.Host == "" || e.Path == "" || (e.Kind == Process) != (e.PIDFile != "") {
		return 0, fmt.Errorf("record %+v: want a host, a path, and for a process only a pidfile", e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.ID = l.last + 1
	if err := l.write(line{Made: &e}); err != nil {
		return 0, fmt.Errorf("record %s: %w", e, err)
	}
	l.last = e.ID // whatever follows, the file may have the line
	if err := l.sync(); err != nil {
		return 0, fmt.Errorf("record %s: %w", e, errors.Join(err, l.write(line{Done: e.ID})))
	}
	l.pending = append(l.pending, e)
	return e.ID, nil
}

// Done completes an entry: the resource is removed, or was never made. Calling it
// again is no error.
func (l *Ledger) Done(id int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id < 1 || id > l.last {
		return fmt.Errorf("complete entry %d of the ledger: there is none", id)
	}
	if err := l.write(line{Done: id}); err != nil {
		return fmt.Errorf("complete entry %d of the ledger: %w", id, err)
	}
	l.remove(id)
	return nil
}

// Pending returns the entries that are not done, the last first: the order to undo
// them in.
func (l *Ledger) Pending() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	pending := slices.Clone(l.pending)
	slices.Reverse(pending)
	return pending
}

// Close closes the file. The Ledger cannot be used any more.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Explicitly, as closing does not release the lock while a child that is just
	// being started has inherited the file.
	err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	if err := errors.Join(l.file.Close(), err); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return nil
}

// write appends a line after the last complete one. An incomplete line of a failed
// write is overwritten by the next, or ignored when reading.
func (l *Ledger) write(n line) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if _, err := l.file.WriteAt(text, l.size); err != nil {
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.size += int64(len(text))
	return nil
}
