// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/mhmig/mhmig/lang/library"
)

// nameOf returns the full name of the file that a URI stands for: that of a library's file for the copy which the server
// has shown. What is no file, such as a text without a name yet, is called by its URI.
func (s *server) nameOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" {
		return uri
	}
	name := filepath.Clean(filepath.FromSlash(u.Path))
	if inner, err := filepath.Rel(s.options.Copies, name); s.options.Copies != "" && err == nil && filepath.IsLocal(inner) {
		if lib, file, ok := strings.Cut(filepath.ToSlash(inner), "/"); ok {
			return "@" + lib + "//" + file
		}
	}
	return name
}

// uriOf returns the URI of a file. One of a library is copied, for the editor to show.
func (s *server) uriOf(name, content string) (string, error) {
	for _, d := range s.now().documents {
		if d.name == name {
			return d.uri, nil
		}
	}
	full := name
	if lib, file, inLibrary := library.Cut(name); inLibrary {
		full = filepath.Join(s.options.Copies, lib, filepath.FromSlash(path.Clean("/"+file)))
		if known, err := os.ReadFile(full); err != nil || string(known) != content {
			if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
				return "", err
			}
			if err := renameio.WriteFile(full, []byte(content), 0o444, renameio.IgnoreUmask()); err != nil {
				return "", err
			}
		}
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(full)}
	return u.String(), nil
}
