// SPDX-License-Identifier: Apache-2.0

// Package lint finds what is probably wrong in scenarios and configs, as mhmig lint does, without running them:
//
//	list := lint.Files(reader, []string{"scenarios", "nightly.cfg"})
//
// Each finding has a rule. In Starlark files:
//
//	unknown-name       a name that neither the file nor mhmig has
//	unknown-attribute  an attribute or a method that a value does not have
//	wrong-argument     an argument that a function of mhmig, of the file or of a loaded one does not have, lacks or cannot use
//	unknown-load       a file or a name to load that is not there
//	unused-load        a name that is loaded and never used
//	unused-variable    a variable of a function, or one that begins with _, that is never used
//	unused-function    such a function
//	unreachable        what follows return, break, continue, fail, error, skip, or a loop or an if that ends so
//	not-joined         a migration for which nobody waits
//	sleep              sleep right after migrate, or in a loop that only asks, where a state can be waited for
//	one-sided-barrier  a barrier that only one side of a migration reaches
//
// In configs:
//
//	config             a warning of mhmig list --strict: filters that match nothing, joins that lose combinations, …
//	equal-variants     variants of a set with the same name: no filter can tell them apart
//	never-selected     a variant that filters inside the config drop wherever it could be
//	unknown-param      a param that is set once, and differs by one letter from one that mhmig has
//	ineffective-param  a param with the suffix of an object for which it cannot be set
//	unread-param       a param that neither mhmig nor a scenario reads, in configs whose scenarios are known
//
// Nothing is shared between calls: any goroutine may make them.
package lint

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/format"
	"github.com/mhmig/mhmig/lang/star"
)

// Files returns the findings in the files that are named, and in the .star and .cfg files of the folders that are named,
// in order. A config of a folder that another one there includes is looked at as a part of that. A file that cannot be
// read is an error.
func Files(reader cartesian.Reader, paths []string) diag.List {
	var list diag.List
	var all []string
	parts := map[string]bool{}
	for _, path := range paths {
		files := format.Files(path, &list)
		for file := range included(files) {
			parts[file] = true
		}
		all = append(all, files...)
	}
	var wholes []string // configs that are no parts
	for _, file := range all {
		text, err := os.ReadFile(file)
		switch {
		case err != nil:
			list = append(list, unreadable(file, err))
		case filepath.Ext(file) == star.Extension:
			list = append(list, Program(reader.Libraries, file, text)...)
		case !parts[filepath.Clean(file)]:
			list = append(list, config(reader, file)...)
			wholes = append(wholes, file)
			fallthrough
		default:
			list = append(list, unknownParams(file, string(text))...)
		}
	}
	list = append(list, ineffectiveParams(reader.Libraries, all, wholes)...)
	list = append(list, without(unreadParams(reader.Libraries, all, wholes), list)...)
	list.Sort()
	return slices.CompactFunc(list, diag.Diagnostic.Same)
}

// without returns the findings that are at no position of others: these say more.
func without(list, others diag.List) diag.List {
	taken := map[diag.Pos]bool{}
	for _, d := range others {
		taken[d.Pos] = true
	}
	return slices.DeleteFunc(list, func(d diag.Diagnostic) bool { return taken[d.Pos] })
}

// included returns those of files that others include.
func included(files []string) map[string]bool {
	parts := map[string]bool{}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && filepath.Ext(file) != star.Extension {
			for _, part := range cartesian.Outlined(file, string(text)).Includes {
				parts[filepath.Clean(part)] = true
			}
		}
	}
	return parts
}

// config returns what is probably wrong in a config and in what it includes.
func config(reader cartesian.Reader, name string) diag.List {
	config, err := reader.Read(name)
	if list := diag.Of(err); list != nil {
		return list
	} else if err != nil {
		return diag.List{{Pos: diag.Pos{File: name}, Message: err.Error()}}
	}
	list := config.StrictWarnings()
	ctx, cancel := context.WithTimeout(context.Background(), unselectedLimit)
	defer cancel()
	if unselected, err := reader.Unselected(ctx, name); err == nil { // else it takes too long
		list = append(list, unselected...)
	}
	for i := range list {
		list[i].Rule = cmp.Or(list[i].Rule, "config")
	}
	return list
}

// unselectedLimit is how long variants are looked for that are never selected.
const unselectedLimit = 3 * time.Second

func unreadable(file string, err error) diag.Diagnostic {
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		err = inner.Err // which the position names
	}
	return diag.Diagnostic{Pos: diag.Pos{File: file}, Message: err.Error()}
}
