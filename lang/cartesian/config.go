// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mhmig/mhmig/lang/diag"
)

// A Config is a parsed config.
type Config struct {
	root     *node
	labels   *labelTable
	rows     *rowTable
	keys     *keyTable
	patterns int // number of patterns
	changes  int // number of changeKey statements
	nodes    int
	picks    int // and of other statements that decide
	filters  []filterUse

	lookalikes []place // assignments that may look like conditions

	sets     []*setKeys  // all of the config
	common   []statement // what all variants begin with: the first statements of the leaf
	limiting []keyID     // keys that limit others
	nameless bool        // names depend on values, or finding them out may fail: dicts must be built for them

	encoded sync.Once

	name string // as the caller named its file
}

// ParseFile reads the config file at path, and what it includes. Each of extra is more config text that stands behind
// the file's, as given by --filter and --param: "only RHEL", "mem = 512". Errors in the text are a [diag.List] with all
// of them; extra statements have the file name "<string>".
func ParseFile(path string, extra ...string) (*Config, error) {
	return parseConfig(osFiles{}, path, extra)
}

// ParseFS is ParseFile for a file of fsys, whose includes lie in fsys too. Includes of extra statements start at the
// root of fsys.
func ParseFS(fsys fs.FS, name string, extra ...string) (*Config, error) {
	return parseConfig(fsFiles{fsys}, name, extra)
}

// Assignment returns the extra statement that sets key to exactly value, for --param. In the value, "${name}" is
// replaced as always.
func Assignment(key, value string) (string, error) {
	statement := fmt.Sprintf(`%s = "%s"`, key, value)
	if src, err := newSource(extraName, extraName, statement); err == nil {
		var got []string
		for _, t := range lex(src).all() {
			got = append(got, t.Value)
		}
		if slices.Equal(got, []string{key, "=", value, ""}) && key != "" {
			return statement, nil
		}
	}
	return "", fmt.Errorf("param %s=%s: a name has no operator, colon or keyword in it, a value no tab and only one line", key, value)
}

func parseConfig(files files, name string, extra []string) (*Config, error) {
	src, err := files.read(name)
	if list, ok := errors.AsType[diag.List](err); ok {
		return nil, list
	}
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", name, err)
	}
	b := &builder{
		files:    files,
		parsed:   map[string]*parsedFile{},
		labels:   &labelTable{ids: map[string]labelID{}},
		rows:     &rowTable{ids: map[string]rowID{}},
		keys:     newKeyTable(),
		patterns: map[string]*pattern{},
		names:    map[string]*namedFile{},
	}
	leaf := &node{preferred: -1}
	s := &scope{node: leaf, statements: &leaf.statements}
	sources := []*source{src}
	for _, text := range extra {
		src, err := newSource(extraName, extraName, text)
		if list, ok := errors.AsType[diag.List](err); ok {
			b.errs = append(b.errs, list...)
			continue
		}
		sources = append(sources, src)
	}
	for i, src := range sources {
		from := name
		s.within = []string{files.resolve("", name)}
		if i > 0 {
			from, s.within = "", nil
		}
		s.file = b.parse(src, from)
		b.block(s.file.body, s)
	}
	if err := onePerLine(b.errs).Err(); err != nil {
		return nil, err
	}
	return b.finish(&Config{
		root: s.node, common: commonStatements(leaf.statements), name: name,
	}), nil
}

// onePerLine keeps the first error of each line: the others mostly follow from it.
func onePerLine(l diag.List) diag.List {
	l.Sort()
	return slices.CompactFunc(l, func(a, b diag.Diagnostic) bool {
		// All extra statements have one name: the text tells them apart.
		return a.Pos.File == b.Pos.File && a.Pos.Line == b.Pos.Line && a.Source == b.Source
	})
}

// files is where configs come from.
type files interface {
	// read returns a regular file. Its errors need no path; those in its text are a diag.List.
	read(path string) (*source, error)
	// resolve returns the path of a file that the file from includes; from is "" for an extra statement.
	resolve(from, include string) string
}

// osFiles are the files of this machine.
type osFiles struct{}

func (osFiles) read(name string) (*source, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	text, err := readText(f, info.Size())
	if err != nil {
		return nil, withoutPath(err)
	}
	return newSource(name, filepath.Base(name), text)
}

func (osFiles) resolve(from, include string) string {
	include = expandHome(include)
	if filepath.IsAbs(include) || from == "" {
		return include
	}
	return filepath.Join(filepath.Dir(from), include)
}

// expandHome replaces a leading "~" or "~name" by a user's home folder, if there is such a user.
func expandHome(p string) string {
	name, ok := strings.CutPrefix(p, "~")
	if !ok {
		return p
	}
	name, rest, _ := strings.Cut(name, "/")
	home, err := os.UserHomeDir()
	if name != "" {
		var u *user.User
		if u, err = user.Lookup(name); err == nil {
			home = u.HomeDir
		}
	}
	if err != nil {
		return p
	}
	return filepath.Join(home, rest)
}

// fsFiles are the files of a file system, like the one that is built into mhmig.
type fsFiles struct{ fsys fs.FS }

func (f fsFiles) read(name string) (*source, error) {
	info, err := fs.Stat(f.fsys, name)
	if err != nil {
		return nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	file, err := f.fsys.Open(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	text, err := readText(file, info.Size())
	if err != nil {
		return nil, withoutPath(err)
	}
	return newSource(name, path.Base(name), text)
}

func (fsFiles) resolve(from, include string) string {
	if from == "" {
		return path.Clean(include)
	}
	return path.Join(path.Dir(from), include)
}

var errNotRegular = errors.New("not a regular file")

// withoutPath removes what the caller names anyway.
func withoutPath(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}
