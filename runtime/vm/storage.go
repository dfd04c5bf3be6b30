// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"time"
)

// Network file systems may take this long to show a new file.
const (
	storageLag  = 3 * time.Second
	storageStep = 100 * time.Millisecond
)

// Folder is a folder on a host.
type Folder struct {
	Host Host
	Path string
}

// CheckSharedStorage checks that the folders are the same: that the others can read what
// the first host writes. The error says which host does not see which folder. No file
// remains.
func CheckSharedStorage(ctx context.Context, folders []Folder) (err error) {
	if len(folders) < 2 {
		return nil
	}
	token := rand.Text()
	name := ".mhmig-shared-" + token
	first := folders[0]
	where := path.Join(first.Path, name)
	defer func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
		defer cancel()
		if removeErr := first.Host.RemoveAll(undo, where); removeErr != nil && err == nil {
			err = fmt.Errorf("%s: remove %s: %w", first.Host.Name(), where, removeErr)
		}
	}()
	if err := first.Host.WriteFile(ctx, where, []byte(token), 0o644); err != nil {
		return fmt.Errorf("shared storage: %s cannot write to %s: %w", first.Host.Name(), first.Path, err)
	}
	var errs []error
	for _, f := range folders[1:] {
		if err := waitForToken(ctx, f, name, token); err != nil {
			errs = append(errs, fmt.Errorf("shared storage: %s does not see in %s what %s wrote to %s: %w",
				f.Host.Name(), f.Path, first.Host.Name(), first.Path, err))
		}
	}
	return errors.Join(errs...)
}

func waitForToken(ctx context.Context, f Folder, name, token string) error {
	ctx, cancel := context.WithTimeout(ctx, storageLag)
	defer cancel()
	err := errors.New("it does not answer")
	for {
		data, readErr := f.Host.ReadFile(ctx, path.Join(f.Path, name))
		switch {
		case readErr == nil && bytes.Equal(data, []byte(token)):
			return nil
		case readErr == nil:
			err = errors.New("the file has other content")
		case ctx.Err() == nil: // else the error is that the time is over
			err = readErr
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(storageStep):
		}
	}
}
