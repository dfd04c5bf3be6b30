// SPDX-License-Identifier: Apache-2.0

// Package history knows how variants fared in all runs whose results folders
// lie beside each other: which are flaky, which runs were the last good ones,
// whether migrations become slower.
//
//	h, err := history.Open(ctx, "mhmig-results", notice)
//	defer h.Close()
//	for _, v := range h.Variants(ctx, history.Query{}) …
//
// It keeps what it has read in an SQLite database beside the folders. That is a
// cache: it is brought up to date from the folders by each Open and Sync, and
// made anew when it is lost, damaged or of an older mhmig.
//
// Concurrency: several processes may use one database; each sees other's
// changes as wholes. A History may be used by any goroutine.
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

// lockFile is held by who brings the database up to date: none sees it while
// another makes it anew.
const lockFile = ".history.lock"

// lockPollInterval is how often who waits for the lock looks.
const lockPollInterval = 10 * time.Millisecond

func takeLock(ctx context.Context, base string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(base, lockFile))
	if _, err := lock.TryLockContext(ctx, lockPollInterval); err != nil {
		return nil, err
	}
	return lock, nil
}

// Open returns the history of the results folders in base, up to date. Where
// the database cannot be written, as in a folder that is read-only, the history
// is made in memory. notice is told so, and of folders that cannot be read,
// which are left out. The caller closes the History.
func Open(ctx context.Context, base string, notice func(error)) (*History, error) {
	if _, err := os.Stat(base); err != nil {
		return nil, fmt.Errorf("history: %w; want the folder that runs left their results in", err)
	}
	h, err := open(ctx, base, filepath.Join(base, File), notice)
	if err == nil || ctx.Err() != nil {
		return h, err
	}
	notice(fmt.Errorf("%s: %w; the history is made in memory", filepath.Join(base, File), err))
	return open(ctx, base, inMemory, notice)
}

// Sync brings the database of base up to date, for the next Open to be quick.
// It reads only folders that are new or changed. Call it when a run has ended;
// an error of it loses nothing.
func Sync(ctx context.Context, base string, notice func(error)) error {
	h, err := open(ctx, base, filepath.Join(base, File), notice)
	if err != nil {
		return fmt.Errorf("history: %s: %w", filepath.Join(base, File), err)
	}
	return h.Close()
}

// Rebuild makes the database of base anew from all folders. Who reads the old one
// goes on with that.
func Rebuild(ctx context.Context, base string, notice func(error)) error {
	file := filepath.Join(base, File)
	lock, err := takeLock(ctx, base)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	defer func() { _ = lock.Unlock() }() // it ends with the process at the latest
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

// open opens a database and brings it up to date. That it is damaged may show
// only then.
func open(ctx context.Context, base, file string, notice func(error)) (*History, error) {
	if file != inMemory {
		lock, err := takeLock(ctx, base)
		if err != nil {
			return nil, err
		}
		defer func() { _ = lock.Unlock() }() // it ends with the process at the latest
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
		_ = db.Close() // err says more
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
