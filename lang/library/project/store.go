// SPDX-License-Identifier: Apache-2.0

package project

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// store is the cache of libraries, which all projects and processes of a user share. A library's content is in a
// folder that its hash names, and never changes:
//
//	content/HASH/files/…   read-only
//	content/HASH/sums      the hash of each file
//	git/…                  bare repositories
//	temporary/…            of processes that run
//
// Reading needs no lock: a folder appears when it is complete.
type store struct{ dir string }

// content is the folder of a content with the hash sum.
func (s store) content(sum string) string {
	digest, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:"))
	if err != nil { // of a lock that was edited: there is no such folder
		digest = []byte(sum)
	}
	return filepath.Join(s.dir, "content", fmt.Sprintf("%x", digest))
}

func (s store) files(sum string) string { return filepath.Join(s.content(sum), "files") }

// sums reads the sums of a content, fs.ErrNotExist if it is not there.
func (s store) sums(sum string) (sums, error) {
	return readSums(filepath.Join(s.content(sum), "sums"), sum)
}

// put copies the library in a folder to the store.
func (s store) put(from string) (sum string, err error) {
	dir, release, err := s.temporary()
	if err != nil {
		return "", err
	}
	defer release()
	all, err := copyFiles(from, filepath.Join(dir, "files"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "sums"), all.text(), 0o444); err != nil {
		return "", err
	}
	target := s.content(all.hash())
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return "", err
	}
	err = os.Rename(dir, target)
	if _, there := os.Stat(target); there == nil { // another process was first
		err = nil
	}
	return all.hash(), err
}

// temporary makes a folder on the store's file system.
func (s store) temporary() (dir string, release func(), err error) {
	parent := filepath.Join(s.dir, "temporary")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", nil, fmt.Errorf("make the cache of libraries (MHMIG_CACHE can name another one): %w", err)
	}
	dir, err = os.MkdirTemp(parent, "")
	if err != nil {
		return "", nil, err
	}
	return dir, func() { _ = os.RemoveAll(dir) }, os.Chmod(dir, 0o755)
}

// lock waits until no other process holds the lock called name.
func (s store) lock(ctx context.Context, name string) (unlock func(), err error) {
	dir := filepath.Join(s.dir, "locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache of libraries (MHMIG_CACHE can name another one): %w", err)
	}
	lock := flock.New(filepath.Join(dir, name))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return func() { _ = lock.Close() }, nil
}
