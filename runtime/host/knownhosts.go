// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/skeema/knownhosts"
)

// knownHosts are the keys of known_hosts files.
type knownHosts struct {
	db     *knownhosts.HostKeyDB
	copies map[string]string // from the cleaned copy of a file with bad lines to the file
}

// original returns the user's file that a file of the db is a copy of.
func (k *knownHosts) original(name string) string {
	if of, ok := k.copies[name]; ok {
		return of
	}
	return name
}

// readKnownHosts reads known_hosts files. A missing file is skipped; an unreadable
// one, and an invalid line, are skipped as by ssh, with a warning.
func readKnownHosts(files []string, log *slog.Logger) (*knownHosts, error) {
	k := &knownHosts{copies: map[string]string{}}
	var dir string
	defer func() { os.RemoveAll(dir) }() // the db is in memory
	var readable []string
	for i, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			log.Warn("known_hosts file skipped", "file", file, "reason", err)
			continue
		}
		if _, err := knownhosts.NewDB(file); err == nil {
			readable = append(readable, file)
			continue
		}
		if dir == "" {
			if dir, err = os.MkdirTemp("", "mhmig-known_hosts-"); err != nil {
				return nil, err
			}
		}
		good, bad := goodLines(text, filepath.Join(dir, "line"))
		cleaned := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(cleaned, good, 0o600); err != nil {
			return nil, err
		}
		log.Warn("invalid lines of a known_hosts file skipped", "file", file, "lines", strings.Join(bad, ", "))
		k.copies[cleaned] = file
		readable = append(readable, cleaned)
	}
	db, err := knownhosts.NewDB(readable...)
	k.db = db
	return k, err
}

// goodLines returns a known_hosts file with its invalid lines blanked, and the
// numbers of the first few of them. It tries each line in a separate file, since
// the library stops at the first invalid one.
func goodLines(text []byte, trial string) (good []byte, bad []string) {
	const named = 5
	n, more := 0, 0
	for line := range bytes.Lines(text) {
		n++
		err := os.WriteFile(trial, line, 0o600)
		if err == nil {
			_, err = knownhosts.NewDB(trial)
		}
		switch {
		case err == nil:
			good = append(good, line...)
			continue
		case len(bad) < named:
			bad = append(bad, fmt.Sprint(n))
		default:
			more++
		}
		good = append(good, '\n')
	}
	if more > 0 {
		bad = append(bad, fmt.Sprintf("and %d more", more))
	}
	return good, bad
}
