// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
)

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
		if times[a.Key] > 1 {
			continue
		}
		if near := api.NearestParam(a.Key, nil); near != "" && oneOff(a.Key, near) {
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

// unreadParams returns the params that configs set and nothing reads. files are all that are looked at, wholes the configs
// among them that no other one includes. Only those configs count whose scenarios are all known: others may be for
// programs that read what mhmig does not.
func unreadParams(libraries library.Set, files, wholes []string) diag.List {
	r := newReaders(libraries, files)
	var candidates []cartesian.Assigned
	foreign := map[string]bool{} // files of configs with scenarios that are not known
	for _, whole := range wholes {
		parts := outlines(libraries, whole)
		known := r.knowScenarios(libraries, whole, parts)
		for _, part := range parts {
			for _, key := range part.Used {
				r.strings[key] = true
			}
			for _, a := range part.Assigned {
				if foreign[a.Pos.File] = foreign[a.Pos.File] || !known; known && !a.Set {
					candidates = append(candidates, a)
				}
			}
		}
	}
	var list diag.List
	for _, a := range candidates {
		if _, _, inLibrary := library.Cut(a.Pos.File); inLibrary || foreign[a.Pos.File] || r.reads(a.Key) {
			continue
		}
		hint := ""
		if near := api.NearestParam(a.Key, nil); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		list = append(list, diag.Diagnostic{
			Severity: diag.Warning, Rule: "unread-param", Pos: a.Pos, Source: a.Source, Hint: hint,
			Message: fmt.Sprintf("neither mhmig nor a scenario that it knows reads the param %q", a.Key),
		})
	}
	return list
}

// ineffectiveParams returns the params that configs set for objects for which they cannot be set, see
// [api.IneffectiveParam], unless a Starlark file names them so. Where unreadParams does not look, only those of migrations
// count.
func ineffectiveParams(libraries library.Set, files, wholes []string) diag.List {
	r := newReaders(libraries, files)
	var list diag.List
	for _, whole := range wholes {
		params := cartesian.Params{} // each with all its values, so that all objects are known
		var assigned []cartesian.Assigned
		parts := outlines(libraries, whole)
		known := r.knowScenarios(libraries, whole, parts)
		for _, part := range parts {
			for _, a := range part.Assigned {
				if !a.Set {
					params[a.Key] += " " + strings.Join(a.Values, " ")
					assigned = append(assigned, a)
				}
			}
		}
		ineffective := map[string]api.IneffectiveParam{}
		for _, p := range api.IneffectiveParams(params) {
			ineffective[p.Key] = p
		}
		for _, a := range assigned {
			_, _, inLibrary := library.Cut(a.Pos.File)
			if p, ok := ineffective[a.Key]; ok && (known || p.Decides()) && !inLibrary && !r.strings[a.Key] && !r.strings[p.Param.Name+"_"] {
				list = append(list, diag.Diagnostic{
					Severity: diag.Warning, Rule: "ineffective-param", Pos: a.Pos, Source: a.Source, Message: p.String(),
				})
			}
		}
	}
	return list
}

// outlines returns the outlines of a config and of all that it includes.
func outlines(libraries library.Set, name string) []cartesian.Outline {
	var all []cartesian.Outline
	seen := map[string]bool{}
	var read func(name string)
	read = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		text, err := libraries.ReadFile(name)
		if err != nil {
			return // reported by what reads the config
		}
		o := cartesian.Outlined(name, string(text))
		all = append(all, o)
		for _, part := range o.Includes {
			read(part)
		}
	}
	read(name)
	return all
}

// readers are what reads params besides mhmig itself: the Starlark files of libraries, those that are looked at, and
// what these load.
type readers struct {
	libraries library.Set
	strings   map[string]bool  // all in the files
	patterns  []*regexp.Regexp // of strings from which names are made
	all       bool             // something reads all params, whatever they are called
	scenarios map[string]bool  // folders that have one
	seen      map[string]bool
}

func newReaders(libraries library.Set, files []string) *readers {
	r := &readers{libraries: libraries, strings: map[string]bool{}, scenarios: map[string]bool{}, seen: map[string]bool{}}
	for _, name := range libraries.Names() {
		_ = fs.WalkDir(libraries[name], ".", func(inner string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				r.add("@" + name + "//" + inner)
			}
			return nil // of a library that cannot be read nothing is known
		})
	}
	for _, file := range files {
		r.add(file)
	}
	for text := range r.strings {
		if pattern := madeName(text); pattern != nil {
			r.patterns = append(r.patterns, pattern)
		}
	}
	return r
}

// add reads a file, if it is a Starlark file, and what it loads.
func (r *readers) add(name string) {
	if r.seen[name] || filepath.Ext(name) != star.Extension {
		return
	}
	r.seen[name] = true
	source, err := r.libraries.ReadFile(name)
	if err != nil {
		return
	}
	file, err := star.Dialect.Parse(name, source, 0)
	if err != nil {
		return
	}
	literals(file, r.strings)
	_, _, inLibrary := library.Cut(name)
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			if n.Name.Name == star.Entry {
				r.scenarios[filepath.Dir(name)] = true
			}
		case *syntax.DotExpr:
			if name := n.Name.Name; !inLibrary && (name == "keys" || name == "items") {
				r.all = r.all || endsInParams(n.X)
			}
		case *syntax.LoadStmt:
			if other, err := r.libraries.Resolve(name, n.ModuleName()); err == nil {
				r.add(other)
			}
		}
		return true
	})
}

// endsInParams reports whether an expression is something called params.
func endsInParams(x syntax.Expr) bool {
	switch x := x.(type) {
	case *syntax.Ident:
		return strings.HasSuffix(x.Name, "params")
	case *syntax.DotExpr:
		return x.Name.Name == "params"
	}
	return false
}

// verb is a place in a string where a scenario puts another one.
var verb = regexp.MustCompile(`%[a-z]|\\\{[a-z_0-9]*\\\}`)

// madeName returns what matches names of params that are made from a string: "time_%s", "time_" + name; nil for others.
func madeName(text string) *regexp.Regexp {
	const name = "[A-Za-z0-9_]+"
	quoted := regexp.QuoteMeta(text)
	pattern := verb.ReplaceAllString(quoted, name)
	switch made := pattern != quoted; {
	case strings.HasSuffix(text, "_"):
		pattern += name
	case strings.HasPrefix(text, "_"):
		pattern = name + pattern
	case !made:
		return nil
	}
	if strings.ContainsAny(text, " \t\n/") || strings.Trim(pattern, "_") == name {
		return nil
	}
	return regexp.MustCompile("^(?:" + pattern + ")$")
}

// knowScenarios reports whether all scenarios of a config are known: the values of type, or some beside it.
func (r *readers) knowScenarios(libraries library.Set, config string, parts []cartesian.Outline) bool {
	if r.all {
		return false
	}
	types := 0
	for _, part := range parts {
		for _, a := range part.Assigned {
			if a.Key != "type" {
				continue
			}
			for _, value := range a.Values {
				types++
				full, err := libraries.Resolve(config, value+star.Extension)
				if err != nil {
					return false
				}
				if r.add(full); !r.seen[full] || !libraries.Exists(full) && !libraries.Exists("@scenarios//"+value+star.Extension) {
					return false
				}
			}
		}
	}
	return types > 0 || r.scenarios[filepath.Dir(config)]
}

// endings make a param the limit of another one.
var endings = []string{"_min", "_max", "_fixed"}

// reads reports whether mhmig or a scenario reads a param.
func (r *readers) reads(key string) bool {
	for _, ending := range endings {
		key = strings.TrimSuffix(key, ending)
	}
	if _, known := api.Find(key); known || strings.HasPrefix(key, "_") {
		return true
	}
	if _, known := api.FindUnsupported(key); known {
		return true
	}
	for name := key; ; {
		if r.strings[name] {
			return true
		}
		cut := strings.LastIndexByte(name, '_')
		if cut < 0 {
			break
		}
		name = name[:cut] // without the name of an object
	}
	return slices.ContainsFunc(r.patterns, func(p *regexp.Regexp) bool { return p.MatchString(key) })
}
