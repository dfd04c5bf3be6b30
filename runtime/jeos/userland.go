// SPDX-License-Identifier: Apache-2.0

package jeos

import (
	"bytes"
	"embed"
	"io/fs"
)

// userlandFS has the guest's configuration files and scripts.
//
//go:embed userland
var userlandFS embed.FS

// file is a regular file of the guest.
type file struct {
	path    string // without a leading slash
	mode    uint64 // permissions
	content []byte
}

// userland lists the files in order of their paths. Scripts are executable.
func userland() ([]file, error) {
	root, err := fs.Sub(userlandFS, "userland")
	if err != nil {
		return nil, err
	}
	var files []file
	err = fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f := file{path: path, mode: 0o644}
		if f.content, err = fs.ReadFile(root, path); err != nil {
			return err
		}
		if bytes.HasPrefix(f.content, []byte("#!")) {
			f.mode = 0o755
		}
		files = append(files, f)
		return nil
	})
	return files, err
}
