// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// WriteFile writes a report to a file. A regular file is replaced atomically at the end; a
// special file, such as a FIFO or /dev/stdout, is written to. Symbolic links are followed.
// Stream returns how to write to this process's standard output or error, which path may
// be.
func WriteFile(path string, stream func(*os.File) io.Writer, write func(io.Writer) error) error {
	about, err := os.Stat(path)
	switch {
	case err == nil:
		for _, f := range []*os.File{os.Stdout, os.Stderr} { // /dev/stdout may be a file that others write to as well
			if of, err := f.Stat(); err == nil && os.SameFile(of, about) {
				return write(stream(f))
			}
		}
		if !about.Mode().IsRegular() {
			return writeInPlace(path, write)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	case isLink(path): // to a file that does not exist yet
		return writeInPlace(path, write)
	}
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	defer func() { _ = file.Cleanup() }() // does nothing after a replacement
	if err := write(file); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}

func isLink(path string) bool {
	about, err := os.Lstat(path)
	return err == nil && about.Mode()&os.ModeSymlink != 0
}

func writeInPlace(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return errors.Join(write(file), file.Close())
}
