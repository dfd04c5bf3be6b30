// SPDX-License-Identifier: Apache-2.0

package star

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"go.starlark.net/syntax"
)

// Breaks compares two versions of a library, and returns a line for each thing that its users must adapt to: a file that
// is gone, and an exported name of a file that is gone, or is no function any more, or takes other parameters. Names
// with "_" at the beginning, and files "*_test.star", are not exported.
func Breaks(before, after fs.FS) ([]string, error) {
	old, err := exportsOf(before)
	if err != nil {
		return nil, err
	}
	now, err := exportsOf(after)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, file := range slices.Sorted(maps.Keys(old)) {
		names, there := now[file]
		if !there {
			lines = append(lines, "removed: "+file)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(old[file])) {
			was := old[file][name]
			is, there := names[name]
			switch {
			case !there:
				lines = append(lines, fmt.Sprintf("removed: %s: %s", file, was))
			case was.function && (!is.function || !is.accepts(was)):
				lines = append(lines, fmt.Sprintf("changed: %s: %s -> %s", file, was, is))
			}
		}
	}
	return lines, nil
}

// export is a name that other files can load.
type export struct {
	name     string
	function bool
	params   []param
}

type param struct {
	name     string // with its stars
	optional bool
}

func (e export) String() string {
	if !e.function {
		return e.name
	}
	params := make([]string, len(e.params))
	for i, p := range e.params {
		params[i] = p.name
		if p.optional && !strings.HasPrefix(p.name, "*") {
			params[i] += " = …"
		}
	}
	return fmt.Sprintf("%s(%s)", e.name, strings.Join(params, ", "))
}

// accepts reports whether every call of the function as it was is still valid: its parameters come first, and what was
// added is optional.
func (e export) accepts(was export) bool {
	positional := func(params []param) []param {
		if i := slices.IndexFunc(params, func(p param) bool { return strings.HasPrefix(p.name, "*") }); i >= 0 {
			return params[:i]
		}
		return params
	}
	before, now := positional(was.params), positional(e.params)
	for i, p := range before {
		if i >= len(now) || now[i].name != p.name {
			return false
		}
	}
	byName := map[string]param{}
	for _, p := range e.params {
		byName[p.name] = p
	}
	known := map[string]bool{}
	for _, p := range was.params {
		known[p.name] = true
		if is, there := byName[p.name]; p.name != "*" && (!there || p.optional && !is.optional) {
			return false
		}
	}
	return !slices.ContainsFunc(e.params, func(p param) bool { return !known[p.name] && !p.optional })
}

// exportsOf returns the exports of each Starlark file, and no exports for each config.
func exportsOf(library fs.FS) (map[string]map[string]export, error) {
	all := map[string]map[string]export{}
	err := fs.WalkDir(library, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if path.Ext(name) == ".cfg" {
			all[name] = nil
		}
		if path.Ext(name) != Extension || strings.HasSuffix(name, "_test"+Extension) {
			return nil
		}
		source, err := fs.ReadFile(library, name)
		if err != nil {
			return err
		}
		file, err := Dialect.Parse(name, source, 0)
		if fault, ok := errors.AsType[syntax.Error](err); ok {
			return Explain(fault, source)
		} else if err != nil {
			return err
		}
		all[name] = exports(file)
		return nil
	})
	return all, err
}

func exports(file *syntax.File) map[string]export {
	all := map[string]export{}
	for _, name := range exported(file) {
		all[name] = export{name: name}
	}
	for _, statement := range file.Stmts {
		def, ok := statement.(*syntax.DefStmt)
		if !ok {
			continue
		}
		if name := def.Name.Name; !strings.HasPrefix(name, "_") {
			all[name] = export{name: name, function: true, params: paramsOf(def)}
		}
	}
	return all
}

func paramsOf(def *syntax.DefStmt) []param {
	var params []param
	for _, p := range def.Params {
		switch p := p.(type) {
		case *syntax.Ident:
			params = append(params, param{name: p.Name})
		case *syntax.BinaryExpr:
			params = append(params, param{p.X.(*syntax.Ident).Name, true})
		case *syntax.UnaryExpr:
			name := p.Op.String()
			if ident, ok := p.X.(*syntax.Ident); ok {
				name += ident.Name
			}
			params = append(params, param{name, true})
		}
	}
	return params
}
