// SPDX-License-Identifier: Apache-2.0

// Package library finds the files that configs and scenarios name.
//
// A name is a path of the operating system, or a file of a library:
//
//	include @std//cfg/base.cfg
//	load("@std//work.star", "start_memory_work")
//
// A name without "@" in a file of a library is relative to that file: it cannot leave the library.
//
// Values of this package never change: any goroutine may use them.
package library

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/diag"
)

// A Set is the available libraries, by their names without the "@". The nil Set has none: only files of the operating
// system.
type Set map[string]fs.FS

// Project is the key in a Set of the user's own project, if it has a manifest: it bounds the files that are not in a
// library.
const Project = ""

// Names are the names of the libraries, sorted.
func (s Set) Names() []string {
	names := slices.Sorted(maps.Keys(s))
	return slices.DeleteFunc(names, func(name string) bool { return name == Project })
}

// A Versioned library knows what it is.
type Versioned interface {
	fs.FS
	// Identity is its name, version and hash, such as "@net v1.2.0 h1:…"; of one that is not verified, its folder.
	Identity() string
}

// Identities are the identities of the libraries that have one, in the order of names: not of those that come with
// mhmig, nor of the project itself.
func (s Set) Identities() []string {
	var all []string
	for _, name := range s.Names() {
		if known, ok := s[name].(Versioned); ok && s[name] != s[Project] {
			all = append(all, known.Identity())
		}
	}
	return all
}

// find returns a library.
func (s Set) find(name string) (fs.FS, bool) {
	files, known := s[name]
	return files, known && name != Project
}

// Cut splits "@LIBRARY//FILE"; ok is whether name has that form. The library need not exist.
func Cut(name string) (library, file string, ok bool) {
	rest, ok := strings.CutPrefix(name, "@")
	if !ok {
		return "", "", false
	}
	library, file, ok = strings.Cut(rest, "//")
	return library, file, ok
}

// Resolve returns the full name of the file that the file from names; from is "" outside of any file. Full names resolve
// to themselves. It is an error if the name is invalid, or leaves its library.
func Resolve(from, name string) (string, error) {
	if _, file, ok := Cut(name); ok {
		if !fs.ValidPath(file) || file == "." {
			return "", fmt.Errorf("%q is no file of a library; want @LIBRARY//FOLDER/FILE", name)
		}
		return name, nil
	}
	if library, file, ok := Cut(from); ok {
		inner := path.Join(path.Dir(file), name)
		if path.IsAbs(name) || !fs.ValidPath(inner) {
			return "", fmt.Errorf("%q leaves the library @%s", name, library)
		}
		return "@" + library + "//" + inner, nil
	}
	if from == "" || filepath.IsAbs(name) {
		return name, nil
	}
	return filepath.Join(filepath.Dir(from), name), nil
}

// Resolve is the function [Resolve], for libraries that exist: the files of a library with a manifest can only name
// those libraries that the manifest names, and those that come with mhmig.
func (s Set) Resolve(from, name string) (string, error) {
	full, err := Resolve(from, name)
	if err != nil {
		return "", err
	}
	inner, _, fromLibrary := Cut(from)
	other, _, inLibrary := Cut(full)
	if !fromLibrary || !inLibrary || inner == other {
		return full, nil
	}
	bounded, ok := s[inner].(Bounded)
	if _, sealed := s[other].(Bounded); !ok || !sealed {
		return full, nil
	}
	if _, uses := bounded.Uses(other); !uses {
		return "", fmt.Errorf("library @%s cannot use @%s, which is not in the needs of its mhmig.toml", inner, other)
	}
	return full, nil
}

// Open opens a file by its full name. An error names the file, and the library if it is in one; if the file does not
// exist, it matches fs.ErrNotExist.
func (s Set) Open(name string) (fs.File, error) {
	library, file, ok := Cut(name)
	if !ok {
		return os.Open(name)
	}
	files, known := s.find(library)
	if !known {
		return nil, &UnknownError{Library: library, known: s.Names()}
	}
	f, err := files.Open(file)
	if fault, ok := errors.AsType[*fs.PathError](err); ok {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &missingError{library: library, file: file}
		}
		return nil, &fs.PathError{Op: fault.Op, Path: name, Err: fault.Err}
	}
	return f, err
}

// ReadFile returns the content of a file by its full name.
func (s Set) ReadFile(name string) ([]byte, error) {
	library, file, ok := Cut(name)
	if !ok {
		return os.ReadFile(name)
	}
	f, err := s.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return fs.ReadFile(s[library], file)
}

// Exists reports whether there is a file or folder of this full name.
func (s Set) Exists(name string) bool {
	library, file, ok := Cut(name)
	if !ok {
		_, err := os.Stat(name)
		return !errors.Is(err, fs.ErrNotExist)
	}
	files, known := s.find(library)
	if !known {
		return false
	}
	_, err := fs.Stat(files, file)
	return err == nil
}

// Nearest returns the full name of a file similar to name, which does not exist, "" when there is none: one with the
// omitted extension, or another file in the same folder with that extension. ending begins with a dot.
func (s Set) Nearest(name, ending string) string {
	library, file, inLibrary := Cut(name)
	if _, known := s.find(library); inLibrary && !known {
		if near := "@" + diag.Nearest(library, s.Names()) + "//" + file; s.Exists(near) {
			return near
		}
		return ""
	}
	folder, base := filepath.Split(name)
	var entries []fs.DirEntry
	if inLibrary {
		inner, last := path.Split(file)
		folder, base = "@"+library+"//"+inner, last
		entries, _ = fs.ReadDir(s[library], path.Clean("./"+inner))
	} else {
		entries, _ = os.ReadDir(filepath.Clean(folder + "."))
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ending) && !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	if slices.Contains(names, base+ending) {
		return folder + base + ending
	}
	// Without the extensions, which would make names similar.
	stems := make([]string, len(names))
	for i, n := range names {
		stems[i] = strings.TrimSuffix(n, ending)
	}
	if near := diag.Nearest(strings.TrimSuffix(base, ending), stems); near != "" {
		return folder + near + ending
	}
	return ""
}

// An UnknownError is a library that the set does not have.
type UnknownError struct {
	Library string

	known []string
}

func (e *UnknownError) Error() string {
	switch near := diag.Nearest(e.Library, e.known); {
	case near != "":
		return fmt.Sprintf("no library @%s; did you mean @%s?", e.Library, near)
	case len(e.known) == 0:
		return fmt.Sprintf("no library @%s", e.Library)
	}
	return fmt.Sprintf("no library @%[1]s, only @%[2]s; mhmig lib add %[1]s SOURCE adds one", e.Library, strings.Join(e.known, ", @"))
}

// missingError is a file that its library does not have.
type missingError struct{ library, file string }

func (e *missingError) Error() string {
	return fmt.Sprintf("library @%s has no file %s", e.library, e.file)
}

func (e *missingError) Unwrap() error { return fs.ErrNotExist }
