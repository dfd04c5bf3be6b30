// SPDX-License-Identifier: Apache-2.0

// Package lint finds what is probably wrong in scenarios and configs, as mhmig lint does, without running them:
//
//	list := lint.Files(reader, []string{"scenarios", "nightly.cfg"})
//
// Each finding has a rule. In Starlark files:
//
//	unknown-name       a name that neither the file nor mhmig has
//	wrong-argument     an argument that a builtin does not have, or lacks
//	unknown-load       a file or a name to load that is not there
//	unused-load        a name that is loaded and never used
//	unused-variable    a variable of a function, or one that begins with _, that is never used
//	unused-function    such a function
//	unreachable        what follows return, break, continue, fail, error or skip
//	not-joined         a migration for which nobody waits
//	sleep              sleep right after migrate, where a state can be waited for
//	one-sided-barrier  a barrier that only one side of a migration reaches
//
// In configs:
//
//	config             a warning of mhmig list --strict: filters that match nothing, joins that lose combinations, …
//	unknown-param      a param that is set once, and differs by one letter from one that mhmig has
//
// Nothing is shared between calls: any goroutine may make them.
package lint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mhmig/mhmig/lang/api"
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
	for _, path := range paths {
		files := format.Files(path, &list)
		parts := included(files)
		for _, file := range files {
			text, err := os.ReadFile(file)
			switch {
			case err != nil:
				list = append(list, unreadable(file, err))
			case filepath.Ext(file) == star.Extension:
				list = append(list, Program(reader.Libraries, file, text)...)
			case !parts[filepath.Clean(file)]:
				list = append(list, config(reader, file)...)
				fallthrough
			default:
				list = append(list, unknownParams(file, string(text))...)
			}
		}
	}
	list.Sort()
	return slices.CompactFunc(list, diag.Diagnostic.Same)
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
	list := config.Strict()
	for i := range list {
		list[i].Severity, list[i].Rule = diag.Warning, "config"
	}
	return list
}

// unknownParams returns the params that a config's text sets and that are probably misspelt: nothing knows them, and one
// letter is wrong in the name of one that is known. One that several assignments set is meant so.
func unknownParams(name, text string) diag.List {
	var list diag.List
	assigned := cartesian.Outlined(name, text).Assigned
	times := map[string]int{}
	for _, a := range assigned {
		times[a.Key]++
	}
	for _, a := range assigned {
		if near := api.NearestParam(a.Key, nil); near != "" && times[a.Key] == 1 && oneOff(a.Key, near) {
			list = append(list, diag.Diagnostic{
				Severity: diag.Warning, Rule: "unknown-param", Pos: a.Pos, Source: a.Source,
				Message: fmt.Sprintf("mhmig has no param %q", a.Key), Hint: fmt.Sprintf("did you mean %q?", near),
			})
		}
	}
	return list
}

// oneOff reports whether a and b differ by one letter that is missing or another one, or by two that are exchanged, and
// are not so short that this means nothing.
func oneOff(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(a) < 5 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch rest := a[i:]; {
	case len(b) == len(a)+1:
		return rest == b[i+1:]
	case len(a) != len(b) || rest == "":
		return false
	default:
		return rest[1:] == b[i+1:] || len(rest) > 1 && rest[0] == b[i+1] && rest[1] == b[i] && rest[2:] == b[i+2:]
	}
}

func unreadable(file string, err error) diag.Diagnostic {
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		err = inner.Err // which the position names
	}
	return diag.Diagnostic{Pos: diag.Pos{File: file}, Message: err.Error()}
}
