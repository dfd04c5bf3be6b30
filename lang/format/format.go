// SPDX-License-Identifier: Apache-2.0

// Package format brings configs and Starlark files into the house's form, as mhmig fmt does:
//
//	changes, faults := format.Changes([]string{"scenarios", "nightly.cfg"})
//	for _, c := range changes {
//		fmt.Print(c.Diff()) // or c.Write()
//	}
//
// The kind of a file is told by its name: .star and .cfg. What a file means never changes: lang/star and lang/cartesian
// compare what they read before and after.
//
// Nothing is shared between calls: any goroutine may make them.
package format

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/google/renameio/v2"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
)

// A formatter returns the formatted content of the file called name. Errors in the content are a diag.List.
type formatter func(name string, content []byte) ([]byte, error)

// formatters are the kinds of files, by their endings.
var formatters = map[string]formatter{
	star.Extension: star.Reformat,
	".cfg": func(name string, content []byte) ([]byte, error) {
		formatted, err := cartesian.Reformat(name, string(content))
		return []byte(formatted), err
	},
}

// A Change is a file that is not formatted.
type Change struct {
	Path          string
	before, after string
}

// Diff returns the change as a unified diff, which patch can apply.
func (c Change) Diff() string {
	return udiff.Unified(c.Path+".orig", c.Path, c.before, c.after)
}

// Write replaces the file's content, all at once; its permissions stay. The file at the end of symbolic links is replaced.
func (c Change) Write() error {
	path, err := filepath.EvalSymlinks(c.Path)
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, []byte(c.after), 0o644, renameio.WithExistingPermissions())
}

// Changes returns the files that are not formatted of those that are named, and of all in the folders that are named, in
// order. In folders, files of other kinds, and files and folders whose names begin with a dot, are left out, and symbolic
// links are not followed. Files that cannot be read or formatted are in faults; the others are still looked at.
func Changes(paths []string) (changes []Change, faults diag.List) {
	for _, path := range paths {
		for _, file := range Files(path, &faults) {
			change, err := look(file)
			if list := diag.Of(err); list != nil {
				faults = append(faults, list...)
			} else if err != nil {
				faults = append(faults, fault(file, err))
			} else if change.before != change.after {
				changes = append(changes, change)
			}
		}
	}
	return changes, faults
}

// Files returns the .star and .cfg files of a path: itself, whatever it is, or those in the folder, as Changes takes them.
// What cannot be read of the folder is added to faults.
func Files(path string, faults *diag.List) []string {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return []string{path}
	}
	var found []string
	_ = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error { // never fails
		hidden := name != path && strings.HasPrefix(entry.Name(), ".")
		switch {
		case err != nil:
			*faults = append(*faults, fault(name, err))
		case hidden && entry.IsDir():
			return fs.SkipDir
		case !hidden && entry.Type().IsRegular() && formatters[filepath.Ext(name)] != nil:
			found = append(found, name)
		}
		return nil
	})
	return found
}

// look formats one file.
func look(path string) (Change, error) {
	format, known := formatters[filepath.Ext(path)]
	if _, _, ok := library.Cut(path); ok {
		return Change{}, errors.New("is a file of a library, which can be changed in its own folder only")
	} else if !known {
		return Change{}, errors.New("is neither a .star nor a .cfg file")
	}
	if info, err := os.Stat(path); err != nil {
		return Change{}, err
	} else if !info.Mode().IsRegular() { // to open a FIFO could wait without end
		return Change{}, errors.New("is not a regular file")
	} else if info.Size() > library.MaxFile {
		return Change{}, fmt.Errorf("is larger than %d MiB", library.MaxFile>>20)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		return Change{}, err
	}
	after, err := format(path, before)
	return Change{Path: path, before: string(before), after: string(after)}, err
}

// fault is an error about a file as a whole.
func fault(path string, err error) diag.Diagnostic {
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		err = inner.Err // which the position names
	}
	return diag.Diagnostic{Pos: diag.Pos{File: path}, Message: err.Error()}
}
