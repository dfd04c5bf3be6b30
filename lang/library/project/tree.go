// SPDX-License-Identifier: Apache-2.0

package project

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/library"
)

// VendorDir is the folder of a project with copies of the libraries that it needs.
const VendorDir = "mhmig-vendor"

// list returns the paths of a library's files in its folder, sorted. Hidden files and folders, the lock, copies of other
// libraries, results of runs, and folders with a manifest of their own do not belong to it.
func list(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(full string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, full)
		if err != nil || name == "." {
			return err
		}
		if entry.IsDir() {
			_, err := os.Lstat(filepath.Join(full, ManifestName))
			if err == nil || strings.HasPrefix(entry.Name(), ".") || name == VendorDir || name == "mhmig-results" {
				return fs.SkipDir
			}
			return nil
		}
		info, err := entry.Info()
		switch name = filepath.ToSlash(name); {
		case err != nil:
			return err
		case strings.HasPrefix(entry.Name(), ".") || name == LockName:
			return nil
		case info.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s is a symbolic link: a library has only regular files", name)
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is not a regular file: a library has no others", name)
		case info.Size() > library.MaxFile:
			return fmt.Errorf("%s is larger than %d MiB", name, library.MaxFile>>20)
		case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }):
			return fmt.Errorf("%q: a file of a library cannot have such a name", name)
		}
		files = append(files, name)
		return nil
	})
	slices.Sort(files)
	return files, err
}

// sums are the SHA-256 of a library's files, as hexadecimal digits, by their paths.
type sums map[string]string

// text is a line "SUM  PATH" per file, as sha256sum has it.
func (s sums) text() []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%s  %s\n", s[name], name)
	}
	return b.Bytes()
}

// hash is the h1: hash of package dirhash.
func (s sums) hash() string { return hashOf(s.text()) }

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return "h1:" + base64.StdEncoding.EncodeToString(sum[:])
}

// readSums reads the text of sums, which must have the hash want.
func readSums(file, want string) (sums, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if got := hashOf(text); got != want {
		return nil, fmt.Errorf("%s has changed: its hash is %s, in %s it is %s", file, got, LockName, want)
	}
	all := sums{}
	for line := range strings.Lines(string(text)) {
		sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		all[name] = sum
	}
	return all, nil
}

func sumOf(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// sumFolder reads all files of the library in a folder.
func sumFolder(dir string) (sums, error) {
	names, err := list(dir)
	if err != nil {
		return nil, err
	}
	all := sums{}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		all[name] = sumOf(data)
	}
	return all, nil
}

// copyFiles copies a library's files to a new folder, read-only.
func copyFiles(from, to string) (sums, error) {
	names, err := list(from)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return nil, err
	}
	all := sums{}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(from, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		target := filepath.Join(to, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, data, 0o444)); err != nil {
			return nil, err
		}
		all[name] = sumOf(data)
	}
	return all, nil
}

// differences names the files of a folder that are not those of want: "checks.star has changed".
func (s sums) differences(want sums) []string {
	var all []string
	names := slices.Sorted(maps.Keys(want))
	for name := range s {
		if _, known := want[name]; !known {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		got, here := s[name]
		switch sum, known := want[name]; {
		case !here:
			all = append(all, name+" is missing")
		case !known:
			all = append(all, name+" was added")
		case got != sum:
			all = append(all, name+" has changed")
		}
	}
	return all
}

// files are a library in a folder. Each file is verified when it is opened. It implements [library.Bounded] and
// [library.Versioned].
type files struct {
	title    string // "@net v1.2.0"
	dir      string
	sums     sums // nil: nothing is verified, as the user works on this folder
	mend     string
	manifest Manifest
	free     bool // there is no manifest, and so no bounds
}

func (f *files) Allow() library.Allow { return f.manifest.allow() }

func (f *files) Uses(other string) (library.Allow, bool) {
	need, ok := f.manifest.Needs[other]
	return need.allow(f.manifest.title(), other), ok || f.free
}

// Identity is the title and the hash, or the folder of what is not verified.
func (f *files) Identity() string {
	if f.sums == nil {
		return fmt.Sprintf("%s in %s, not verified", f.title, f.dir)
	}
	return f.title + " " + f.sums.hash()
}

// Open opens a file or folder.
func (f *files) Open(name string) (fs.File, error) {
	fail := func(err error) (fs.File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, fmt.Errorf("library %s: %w", f.title, err)
	}
	defer root.Close()
	info, err := root.Stat(name) // opening a pipe would block
	listed, known := f.sums[name]
	switch {
	case err != nil && known:
		return nil, f.changed(name, "is missing")
	case err == nil && info.IsDir():
		return root.Open(name)
	case err == nil && f.sums != nil && !known:
		return nil, f.changed(name, "was added")
	case err == nil && !info.Mode().IsRegular():
		return fail(errors.New("is not a regular file"))
	case err == nil && info.Size() > library.MaxFile:
		return fail(fmt.Errorf("is larger than %d MiB", library.MaxFile>>20))
	}
	file, err := root.Open(name)
	if err != nil || f.sums == nil {
		return file, err
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	if sumOf(data) != listed {
		return nil, f.changed(name, "has changed")
	}
	return &verified{bytes.NewReader(data), info}, nil
}

// Stat does not verify the file.
func (f *files) Stat(name string) (fs.FileInfo, error) {
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Stat(name)
}

func (f *files) changed(name, what string) error {
	return &ChangedError{Library: f.title, File: filepath.Join(f.dir, filepath.FromSlash(name)), what: path.Base(name) + " " + what, mend: f.mend}
}

// A ChangedError is a file of a library that is not what the lock says.
type ChangedError struct {
	Library string // "@net v1.2.0"
	File    string

	what, mend string
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("library %s: %s since %s was written: %s; %s", e.Library, e.what, LockName, e.File, e.mend)
}

// verified is an open file whose content was verified.
type verified struct {
	*bytes.Reader
	info fs.FileInfo
}

func (f *verified) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *verified) Close() error               { return nil }

// absent is a library that is locked but not on this machine.
type absent struct{ err error }

func (a absent) Open(string) (fs.File, error) { return nil, a.err }
