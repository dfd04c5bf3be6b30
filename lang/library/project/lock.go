// SPDX-License-Identifier: Apache-2.0

package project

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/pelletier/go-toml/v2"
)

// LockName is the file beside a project's manifest that pins its libraries.
const LockName = "mhmig.lock"

// Locked is an entry of the lock: a library at one version, with one content.
type Locked struct {
	Name    string `toml:"name"`
	Version string `toml:"version"`
	Source  string `toml:"source"`           // a git repository, a registry, or a folder, relative to the project's
	Commit  string `toml:"commit,omitempty"` // or the digest in a registry
	Sum     string `toml:"sum"`              // the h1: hash of its files
	Signer  string `toml:"signer,omitempty"` // who signed the tag, and the key's fingerprint
}

func (l Locked) title() string { return "@" + l.Name + " " + l.Version }

const lockHeader = `# Written by mhmig lib. Keep it under version control, beside mhmig.toml.
`

// readLock reads the lock in a folder; without one there are no entries.
func readLock(dir string) ([]Locked, error) {
	file := filepath.Join(dir, LockName)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var content struct {
		Library []Locked `toml:"library"`
	}
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&content); err != nil {
		return nil, tomlFault(err, text, fromHere(file), "mhmig lib writes this file")
	}
	for _, l := range content.Library {
		if checkName(l.Name) != nil || checkVersion(l.Version) != nil || l.Source == "" || !strings.HasPrefix(l.Sum, "h1:") {
			return nil, fmt.Errorf("%s: the entry of %q is incomplete; mhmig lib update writes the file anew", file, l.Name)
		}
	}
	return content.Library, nil
}

// writeLock writes the lock in a folder, in the order of names.
func writeLock(dir string, all []Locked) error {
	all = slices.SortedFunc(slices.Values(all), func(a, b Locked) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	b.WriteString(lockHeader)
	for _, l := range all {
		text, err := toml.Marshal(struct {
			Library []Locked `toml:"library"`
		}{[]Locked{l}})
		if err != nil {
			return err
		}
		b.WriteString("\n")
		b.Write(text)
	}
	return renameio.WriteFile(filepath.Join(dir, LockName), b.Bytes(), 0o644)
}
