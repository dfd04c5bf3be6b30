// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gofrs/flock"

	"github.com/mhmig/mhmig/runtime/lab"
)

// The folder of a lab whose owner was killed before it had noted anything goes at
// once, however young; that of one which is just being made stays.
func TestRemoveHalfMade(t *testing.T) {
	t.Setenv("MHMIG_CACHE", t.TempDir())
	folder, err := lab.Folder()
	if err != nil {
		t.Fatal(err)
	}
	dead, made := filepath.Join(folder, "dead"), filepath.Join(folder, "made")
	for _, dir := range []string{dead, made} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "lab.lock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Killed while it wrote the state file.
	if err := os.WriteFile(filepath.Join(dead, "lab.json.tmp"), []byte(`{"id`), 0o600); err != nil {
		t.Fatal(err)
	}
	owner := flock.New(filepath.Join(made, "lab.lock"))
	if locked, err := owner.TryLock(); err != nil || !locked {
		t.Fatal(locked, err)
	}
	defer owner.Close()
	if removed, err := lab.RemoveDead(t.Context()); err != nil || len(removed) > 0 {
		t.Errorf("RemoveDead: got %v, %v", removed, err)
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("the folder of the dead owner: %v, want that it is gone", err)
	}
	if _, err := os.Stat(made); err != nil {
		t.Errorf("the folder of the owner that lives: %v", err)
	}
}

// A lab that is just being made is not taken for one whose owner has died, whenever others
// look for those; nor for the one that was in the same folder before.
func TestClaimBesideRemoveDead(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	t.Setenv("MHMIG_CACHE", t.TempDir())
	folder, err := lab.Folder()
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan struct{})
	var removers sync.WaitGroup
	for range 2 {
		removers.Go(func() {
			for {
				select {
				case <-made:
					return
				default:
				}
				if removed, err := lab.RemoveDead(t.Context()); err != nil || len(removed) > 0 {
					t.Errorf("RemoveDead: got %v, %v", removed, err)
				}
			}
		})
	}
	for i := range 200 {
		if err := lab.ClaimAndRemove(t.Context(), filepath.Join(folder, "kept")); err != nil {
			t.Errorf("lab %d: %v", i, err)
			break
		}
	}
	close(made)
	removers.Wait()
}
