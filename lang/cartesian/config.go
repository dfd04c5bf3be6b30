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
	"github.com/mhmig/mhmig/lang/library"
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

	lookalikes []place    // assignments that may look like filters
	extraKeys  []extraKey // of assignments in extra statements that may be meant as filters
	oddities   []oddity
	inFiles    bitSet // keys that assignments in files name

	sets     []*setKeys  // all of the config
	common   []statement // what all variants begin with: the first statements of the leaf
	limiting []keyID     // keys that limit others
	worrying []keyID     // those of them that may make it impossible to build a variant
	nameless bool        // names depend on values, or finding them out may fail: dicts must be built for them

	encoded sync.Once

	name string // as the caller named its file
}

// A Reader reads configs. The zero Reader knows the files of this machine.
type Reader struct {
	Libraries library.Set // whose files "include @LIBRARY//FILE" and a config's name can mean too

	// Texts are the texts of files that are not to be read, such as those that an editor has not saved, by their full
	// names.
	Texts map[string]string
}

// An Extra is config text after the file's, as --filter and --param give it.
type Extra struct {
	Name string // what errors call its place, such as "--filter 2"
	Text string // any statements: "only RHEL", "mem = 512"; includes start at the working directory

	// Param says that Text is one assignment. Then KEY=VALUE sets exactly VALUE, with its quotes; with blanks around the
	// operator, and with the other operators, it reads as in a file. Keys that a file could not set so are errors.
	Param bool
}

// Read reads the config file called name, and what it includes, and then each of extra. Errors in the text are a
// [diag.List] with all of them.
func (r Reader) Read(name string, extra ...Extra) (*Config, error) {
	return parseConfig(namedFiles{r.Libraries, r.Texts}, name, extra)
}

// ParseFile reads the config file at path, and what it includes. Each of extra is the text of an [Extra] that errors call
// "<string>".
func ParseFile(path string, extra ...string) (*Config, error) {
	return Reader{}.Read(path, unnamed(extra)...)
}

// ParseFS is ParseFile for a file of fsys, whose includes lie in fsys too. Includes of extra statements start at the
// root of fsys.
func ParseFS(fsys fs.FS, name string, extra ...string) (*Config, error) {
	return parseConfig(fsFiles{fsys}, name, unnamed(extra))
}

func unnamed(texts []string) []Extra {
	extra := make([]Extra, len(texts))
	for i, text := range texts {
		extra[i] = Extra{Name: extraName, Text: text}
	}
	return extra
}

func parseConfig(files files, name string, extra []Extra) (*Config, error) {
	return buildConfig(files, name, extra, false)
}

// buildConfig is parseConfig; unfiltered leaves out the filters at the top level of files.
func buildConfig(files files, name string, extra []Extra, unfiltered bool) (*Config, error) {
	path, err := files.resolve("", name)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", name, err)
	}
	src, err := files.read(path)
	if list, ok := errors.AsType[diag.List](err); ok {
		return nil, list
	}
	if err != nil {
		if near := files.nearest(path); near != "" && errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; did you mean %s?", err, near)
		}
		return nil, fmt.Errorf("config %s: %w", name, err)
	}
	b := &builder{
		files: files, unfiltered: unfiltered,
		parsed:   map[string]*parsedFile{},
		labels:   &labelTable{ids: map[string]labelID{}},
		rows:     &rowTable{ids: map[string]rowID{}},
		keys:     newKeyTable(),
		patterns: map[string]*pattern{},
		names:    map[string]*namedFile{},
	}
	leaf := &node{preferred: -1}
	s := &scope{node: leaf, statements: &leaf.statements, within: []string{path}, top: true}
	s.file = b.parse(src, path)
	b.block(s.file.body, s)
	s.within = nil
	for _, e := range extra {
		if s.file = b.extra(e); s.file != nil {
			b.block(s.file.body, s)
		}
	}
	if err := onePerLine(b.errs).Err(); err != nil {
		return nil, err
	}
	return b.finish(&Config{
		root: s.node, common: commonStatements(leaf.statements), name: name,
	}), nil
}

// KeysInFiles returns the keys that assignments in the config's files name, in order: not those of extra statements.
func (c *Config) KeysInFiles() []string {
	var keys []string
	c.inFiles.all(func(id int) { keys = append(keys, c.keys.keys[id].text) })
	return keys
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
	resolve(from, include string) (string, error)
	// nearest returns the path of a config that was probably meant by one that does not exist, "" if there is none.
	nearest(path string) string
}

// ending is how the names of configs mostly end.
const ending = ".cfg"

// namedFiles are the files of this machine, and those of libraries.
type namedFiles struct {
	libraries library.Set
	texts     map[string]string // of files that are not read
}

func (f namedFiles) read(name string) (*source, error) {
	if text, known := f.texts[name]; known {
		if len(text) > maxSource {
			return nil, errTooLarge
		}
		return newSource(name, filepath.Base(name), text)
	}
	if _, _, inLibrary := library.Cut(name); !inLibrary { // to open a FIFO could wait without end
		if info, err := os.Stat(name); err != nil {
			return nil, withoutPath(err)
		} else if !info.Mode().IsRegular() {
			return nil, errNotRegular
		}
	}
	file, err := f.libraries.Open(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	return readSource(file, name, filepath.Base(name))
}

func (f namedFiles) resolve(from, include string) (string, error) {
	return f.libraries.Resolve(from, expandHome(include))
}

func (f namedFiles) nearest(path string) string { return f.libraries.Nearest(path, ending) }

// readSource reads a regular file.
func readSource(file fs.File, name, base string) (*source, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	text, err := readText(file, info.Size())
	if err != nil {
		return nil, withoutPath(err)
	}
	return newSource(name, base, text)
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
	file, err := f.fsys.Open(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	return readSource(file, name, path.Base(name))
}

func (fsFiles) resolve(from, include string) (string, error) {
	if from == "" {
		return path.Clean(include), nil
	}
	return path.Join(path.Dir(from), include), nil
}

func (fsFiles) nearest(string) string { return "" }

var errNotRegular = errors.New("not a regular file")

// withoutPath removes what the caller names anyway.
func withoutPath(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}
