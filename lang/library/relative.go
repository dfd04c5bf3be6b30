// SPDX-License-Identifier: Apache-2.0

package library

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// MaxFile is the maximum size of a file that ReadRelative reads.
const MaxFile = 64 << 20

// ReadRelative returns the content of a file that the file from names: "@LIBRARY//FILE", or a path below the folder of
// from. It is an error if the path leaves that folder, by "..", by a symbolic link or because it is absolute, and if the
// file is not a regular one or larger than [MaxFile].
func (s Set) ReadRelative(from, name string) ([]byte, error) {
	if _, _, ok := Cut(name); !ok && !filepath.IsLocal(name) {
		return nil, fmt.Errorf("%q leaves the folder of %s", name, from)
	}
	full, err := s.Resolve(from, name)
	if err != nil {
		return nil, err
	}
	if _, _, ok := Cut(full); ok {
		return s.ReadFile(full)
	}
	data, err := readInside(filepath.Dir(from), name)
	if fault, ok := errors.AsType[*fs.PathError](err); ok {
		err = fault.Err
	}
	if err != nil {
		return nil, fmt.Errorf("%q in the folder of %s: %w", name, from, err)
	}
	return data, nil
}

// readInside reads a file of a folder of the operating system, without leaving that.
func readInside(folder, name string) ([]byte, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(name) // opening a pipe would block
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case info.Size() > MaxFile:
		return nil, fmt.Errorf("is larger than %d MiB", MaxFile>>20)
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, MaxFile))
}
