// SPDX-License-Identifier: Apache-2.0

// Package history has the outcomes of variants in all runs in a folder of results
// folders: which are flaky, which runs were the last good ones, whether migrations
// become slower.
//
//	h, err := history.Open(ctx, "mhmig-results", notice)
//	defer h.Close()
//	for _, v := range h.Variants(ctx, history.Query{}) …
//
// It caches what it has read in an SQLite database next to the folders, which each
// Open and Sync updates from the folders, and which is rebuilt when it is lost,
// damaged or of an older mhmig.
//
// Concurrency: several processes may use one database; updates are transactions. A
// History may be used by any goroutine.
package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// History is the open database of a folder of results folders.
type History struct {
	base string
	db   *sql.DB
}

// lockFile is locked by a process that updates or rebuilds the database.
const lockFile = ".history.lock"

// lockPollInterval is the time between two attempts to take the lock.
const lockPollInterval = 10 * time.Millisecond

func takeLock(ctx context.Context, base string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(base, lockFile))
	if _, err := lock.TryLockContext(ctx, lockPollInterval); err != nil {
		return nil, err
	}
	return lock, nil
}

// Open returns the history of the results folders in base, up to date. If the
// database cannot be written, as in a read-only folder, the history is in memory.
// notice is called for that, and for unreadable folders, which are skipped. The
// caller closes the History.
func Open(ctx context.Context, base string, notice func(error)) (*History, error) {
	if _, err := os.Stat(base); err != nil {
		return nil, fmt.Errorf("history: %w; want the folder of the results folders", err)
	}
	h, err := open(ctx, base, filepath.Join(base, databaseFile), notice)
	if err == nil || ctx.Err() != nil {
		return h, err
	}
	notice(fmt.Errorf("%s: %w; the history is kept in memory", filepath.Join(base, databaseFile), err))
	return open(ctx, base, inMemory, notice)
}

// Sync updates the database of base, to make the next Open quick. It reads only new
// or changed folders. Call it when a run has ended; an error loses no data.
func Sync(ctx context.Context, base string, notice func(error)) error {
	h, err := open(ctx, base, filepath.Join(base, databaseFile), notice)
	if err != nil {
		return fmt.Errorf("history: %s: %w", filepath.Join(base, databaseFile), err)
	}
	return h.Close()
}

// Rebuild rebuilds the database of base from all folders. Readers of the old one keep
// using that.
func Rebuild(ctx context.Context, base string, notice func(error)) error {
	file := filepath.Join(base, databaseFile)
	lock, err := takeLock(ctx, base)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	defer func() { _ = lock.Unlock() }() // the lock ends with the process at the latest
	for _, old := range []string{file, file + "-journal"} {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("history: %w", err)
		}
	}
	h, err := openLocked(ctx, base, file, notice)
	if err != nil {
		return fmt.Errorf("history: %s: %w; remove the file", file, err)
	}
	return h.Close()
}

// open opens a database and updates it. Damage may be detected only then.
func open(ctx context.Context, base, file string, notice func(error)) (*History, error) {
	if file != inMemory {
		lock, err := takeLock(ctx, base)
		if err != nil {
			return nil, err
		}
		defer func() { _ = lock.Unlock() }() // the lock ends with the process at the latest
	}
	return openLocked(ctx, base, file, notice)
}

func openLocked(ctx context.Context, base, file string, notice func(error)) (*History, error) {
	for again := true; ; again = false {
		db, err := openDatabase(ctx, base, file, notice)
		if err != nil {
			return nil, err
		}
		h := &History{base, db}
		err = h.sync(ctx, notice)
		if err == nil {
			return h, nil
		}
		_ = db.Close() // err is more specific
		if !again || !isBroken(err) {
			return nil, err
		}
		if err := replace(ctx, base, file, notice); err != nil {
			return nil, err
		}
	}
}

// Close closes the database.
func (h *History) Close() error { return h.db.Close() }
