// SPDX-License-Identifier: Apache-2.0

// Package scenarios holds the scenarios that mhmig ships.
package scenarios

import (
	"embed"
	"io/fs"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/star"
)

//go:embed *.star
var embedded embed.FS

// FS holds the scenarios of this folder, without their tests.
var FS = files{embedded}

// files is a file system without tests of scenarios.
type files struct{ embed.FS }

var _ fs.ReadDirFS = files{}

// Open opens a file or the folder.
func (f files) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, star.TestSuffix) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f.FS.Open(name)
}

// ReadDir lists the folder.
func (f files) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := f.FS.ReadDir(name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), star.TestSuffix) }), err
}
