// SPDX-License-Identifier: Apache-2.0

// Package star is mhmig's dialect of Starlark and its file loader.
//
// The dialect is Starlark with while loops, top-level control flow, sets and
// reassignment of globals; recursion is off, as in Starlark. A file is loaded
// once, frozen, and may then be used by any number of threads.
//
// load("work.star", …) is relative to the loading file; "@std//work.star" is a
// file of the library called std.
package star

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
)

// Dialect is the options of the Starlark dialect.
var Dialect = &syntax.FileOptions{Set: true, While: true, TopLevelControl: true, GlobalReassign: true}

// Extension is the file extension of Starlark files.
const Extension = ".star"

// TestSuffix is how the names of files with tests of scenarios end: they are no scenarios.
const TestSuffix = "_test" + Extension

// Entry is the function that a scenario must define.
const Entry = "migration_scenario"

// Loader loads files and what they load, each once. It is used by one
// goroutine; what it has loaded is frozen and may be used by any.
type Loader struct {
	Predeclared starlark.StringDict // builtins in addition to Starlark's own
	Libraries   library.Set

	Limits Limits // of the top level of each file

	// Print gets output of print during loading, with its position. Nil: discarded.
	Print func(at, message string)

	loaded  map[module]starlark.StringDict
	strings map[string]bool // all string literals of what was loaded
	reads   []ParamRead     // of what was loaded
	objects objectReads     // of what was loaded
	chain   []string        // the files that are being loaded, outermost first
}

// module is a file, with the builtins that it may use.
type module struct{ name, allow string }

// Scenario is a loaded file that defines [Entry].
type Scenario struct {
	Path    string
	Globals starlark.StringDict
	Main    *starlark.Function

	// HostsNeeded is the number of hosts of the scenario's global hosts_needed; 0: not set.
	HostsNeeded int
	// ColdStart is true if the scenario's global guest_start says that its guests boot.
	ColdStart bool

	strings    map[string]bool
	paramReads []ParamRead
	objects    objectReads
	libraries  library.Set
}

// ReadFile returns the content of a file beside the scenario's own, see
// [library.Set.ReadRelative].
func (s *Scenario) ReadFile(name string) ([]byte, error) {
	return s.libraries.ReadRelative(s.Path, name)
}

// Mentions reports whether the scenario, or a file that it loads, has text as a string
// literal, such as the name of a param.
func (s *Scenario) Mentions(text string) bool { return s.strings[text] }

// MayReadOf reports whether the scenario, or a file that it loads, may read the param name
// of the object whose suffix key has: it has the whole key or its beginning as a string
// literal, or reads the name of an object's params (vm.params, params.object), or names it,
// and does with such params what is not known.
func (s *Scenario) MayReadOf(name, key string) bool {
	return s.strings[key] || s.strings[name+"_"] || s.objects.keys[name] || s.objects.any && s.strings[name]
}

// hostsNeeded is the global of a scenario with the number of hosts it needs.
const hostsNeeded = "hosts_needed"

// guestStart is the global of a scenario that tests booting, or clocks: "cold".
const guestStart = "guest_start"

// Scenario loads the scenario at path, a file of the operating system or "@lib//path".
// Its top level is cancelled with ctx. All syntax and name errors are returned together,
// as a [diag.List]; an error of its top level is a *[LoadError].
func (l *Loader) Scenario(ctx context.Context, path string) (*Scenario, error) {
	globals, err := l.load(ctx, path, "", library.Allow{})
	if err != nil {
		return nil, err
	}
	value, defined := globals[Entry]
	main, isFunction := value.(*starlark.Function)
	switch {
	case !defined:
		message := fmt.Sprintf("no function %s(env): a scenario must define it", Entry)
		return nil, diag.List{{Pos: diag.Pos{File: path}, Message: message, Hint: suggest(Entry, globals)}}.Err()
	case !isFunction:
		return nil, diag.List{{Pos: diag.Pos{File: path}, Message: fmt.Sprintf("%s is a %s, want a function", Entry, value.Type())}}.Err()
	case main.NumParams() != 1:
		pos := main.Position()
		source, err := l.Libraries.ReadFile(pos.Filename())
		if err != nil {
			return nil, err
		}
		message := fmt.Sprintf("%s takes %d parameters, want one: env", Entry, main.NumParams())
		return nil, diag.List{at(pos, source, message)}.Err()
	}
	scenario := &Scenario{Path: path, Globals: globals, Main: main, strings: l.strings, paramReads: l.reads, objects: l.objects, libraries: l.Libraries}
	if value, says := globals[guestStart]; says {
		if scenario.ColdStart = value == starlark.String("cold"); !scenario.ColdStart {
			message := fmt.Sprintf(`%s is %s, want "cold"`, guestStart, value)
			return nil, diag.List{{Pos: diag.Pos{File: path}, Message: message}}.Err()
		}
	}
	if value, says := globals[hostsNeeded]; says {
		if err := starlark.AsInt(value, &scenario.HostsNeeded); err != nil || scenario.HostsNeeded < 1 {
			message := fmt.Sprintf("%s is %s, want the number of hosts, 1 or more", hostsNeeded, value)
			return nil, diag.List{{Pos: diag.Pos{File: path}, Message: message}}.Err()
		}
	}
	return scenario, nil
}

// File loads a file that need not be a scenario, and returns its globals. Errors are as
// those of [Loader.Scenario].
func (l *Loader) File(ctx context.Context, path string) (starlark.StringDict, error) {
	return l.load(ctx, path, "", library.Allow{})
}

func suggest(name string, globals starlark.StringDict) string {
	if near := diag.Nearest(name, slices.Sorted(slices.Values(globals.Keys()))); near != "" {
		return fmt.Sprintf("there is %s", near)
	}
	return ""
}

func (l *Loader) print(at, message string) {
	if l.Print != nil {
		l.Print(at, message)
	}
}

// load loads a file, as named in the file from ("" at the top), which may use the builtins of outer.
func (l *Loader) load(ctx context.Context, path, from string, outer library.Allow) (starlark.StringDict, error) {
	name, err := l.resolveName(path, from)
	if err != nil {
		return nil, err
	}
	allow := l.Libraries.Allow(outer, from, name)
	self := module{name, allow.String()}
	if globals, done := l.loaded[self]; done {
		return globals, nil
	}
	if i := slices.Index(l.chain, name); i >= 0 {
		return nil, fmt.Errorf("load cycle: %s -> %s", strings.Join(l.chain[i:], " -> "), name)
	}
	source, err := l.read(name, from)
	if err != nil {
		return nil, err
	}
	predeclared, err := l.permitted(allow)
	if err != nil {
		return nil, err
	}
	l.chain = append(l.chain, name)
	defer func() { l.chain = l.chain[:len(l.chain)-1] }()

	file, program, err := starlark.SourceProgramOptions(Dialect, name, source, predeclared.Has)
	if err != nil {
		return nil, l.diagnostics(source, err, allow)
	}
	l.record(file)
	thread := &starlark.Thread{
		Name:  "load " + name,
		Print: func(t *starlark.Thread, message string) { l.print(t.CallFrame(1).Pos.String(), message) },
		Load: func(_ *starlark.Thread, path string) (starlark.StringDict, error) {
			return l.load(ctx, path, name, allow)
		},
	}
	release := context.AfterFunc(ctx, func() { thread.Cancel("interrupted") })
	defer release()
	exceed := func(err *LimitError) { thread.Cancel(err.Error()) }
	if limit := l.Limits.Steps; limit > 0 {
		thread.SetMaxExecutionSteps(limit)
		thread.OnMaxSteps = func(*starlark.Thread) { exceed(&LimitError{What: "steps", Limit: limit}) }
	}
	globals, err := func() (starlark.StringDict, error) {
		defer l.Limits.WatchMemory(func() bool { return true }, exceed)()
		return initialize(ctx, program, thread, predeclared)
	}()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	default:
		return nil, l.loadError(err)
	}
	for _, global := range slices.Sorted(maps.Keys(globals)) {
		if err := checkFreeze(globals[global]); err != nil {
			return nil, diag.List{{Pos: diag.Pos{File: name}, Message: fmt.Sprintf("the global %s is %v", global, err)}}.Err()
		}
	}
	globals.Freeze()
	if l.loaded == nil {
		l.loaded = map[module]starlark.StringDict{}
	}
	l.loaded[self] = globals
	return globals, nil
}

// permitted returns the builtins that allow permits, all of which must exist.
func (l *Loader) permitted(allow library.Allow) (starlark.StringDict, error) {
	names, limited := allow.Names()
	if !limited {
		return l.Predeclared, nil
	}
	some := starlark.StringDict{}
	for _, name := range names {
		value, known := l.Predeclared[name]
		if !known {
			err := fmt.Errorf("%s: allow: there is no builtin %q", allow.By(), name)
			if near := diag.Nearest(name, slices.Sorted(slices.Values(l.Predeclared.Keys()))); near != "" {
				err = fmt.Errorf("%w; did you mean %q?", err, near)
			}
			return nil, err
		}
		some[name] = value
	}
	return some, nil
}

// record records a file's string literals and how it reads params.
func (l *Loader) record(file *syntax.File) {
	if l.strings == nil {
		l.strings = map[string]bool{}
		l.objects = objectReads{keys: map[string]bool{}, known: map[*syntax.DotExpr]bool{}}
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		if literal, ok := n.(*syntax.Literal); ok && literal.Token == syntax.STRING {
			l.strings[literal.Value.(string)] = true
		}
		if read, ok := paramRead(n); ok {
			l.reads = append(l.reads, read)
		}
		l.objects.visit(n)
		return true
	})
}

// stopLimit is how long a cancelled top level may take to stop.
const stopLimit = 3 * time.Second

// initialize runs a file's top level. A single operation, such as the product of huge
// numbers, cannot be cancelled: its goroutine is abandoned when ctx ends.
func initialize(ctx context.Context, program *starlark.Program, thread *starlark.Thread, predeclared starlark.StringDict) (starlark.StringDict, error) {
	var globals starlark.StringDict
	var err error // both owned by the goroutine until it has ended
	ended := make(chan struct{})
	go func() { // ends with the top level
		defer close(ended)
		globals, err = program.Init(thread, predeclared)
	}()
	select {
	case <-ended:
		return globals, err
	case <-ctx.Done():
	}
	timer := time.NewTimer(stopLimit)
	defer timer.Stop()
	select {
	case <-ended:
		return globals, err
	case <-timer.C:
		return nil, context.Cause(ctx)
	}
}

// resolveName returns the full name of a file that the file from loads.
func (l *Loader) resolveName(path, from string) (string, error) {
	if _, _, inLibrary := library.Cut(path); strings.HasPrefix(path, "@") && !inLibrary {
		return "", fmt.Errorf("%q is no file of a library; want @LIBRARY//FOLDER/FILE", path)
	}
	name, err := l.Libraries.Resolve(from, path)
	if _, _, inLibrary := library.Cut(name); inLibrary || err != nil {
		return name, err
	}
	return filepath.Clean(name), nil
}

// read returns the source of a file, which the file from loads. Invalid bytes are a
// [diag.List].
func (l *Loader) read(name, from string) ([]byte, error) {
	source, err := l.Libraries.ReadFile(name)
	if err != nil {
		// For the top file, the caller has a better suggestion.
		if near := l.Libraries.Nearest(name, Extension); from != "" && near != "" && errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; did you mean %s?", err, near)
		}
		return nil, err
	}
	return source, checkText(name, source)
}

// LoadError is a file whose top level failed.
type LoadError struct {
	Err       *starlark.EvalError
	Libraries library.Set // in which its files are
}

func (e *LoadError) Error() string { return e.Err.Backtrace() }
func (e *LoadError) Unwrap() error { return e.Err }

// loadError adds the backtrace to an evaluation error, unless it comes from a loaded file,
// which has it already.
func (l *Loader) loadError(err error) error {
	var inner *LoadError
	if errors.As(err, &inner) {
		return inner
	}
	if list := diag.Of(err); list != nil {
		return list
	}
	var eval *starlark.EvalError
	if errors.As(err, &eval) {
		return &LoadError{eval, l.Libraries}
	}
	return err
}

// diagnostics converts errors of Starlark's parser and resolver, in a file that may use the builtins of allow.
func (l *Loader) diagnostics(source []byte, err error, allow library.Allow) error {
	var list diag.List
	var syntaxError syntax.Error
	var unresolved resolve.ErrorList
	switch {
	case errors.As(err, &syntaxError):
		list = append(list, explain(syntaxError, source))
	case errors.As(err, &unresolved):
		for _, e := range unresolved {
			d := at(e.Pos, source, e.Msg)
			// The resolver suggests names of the file itself, but not predeclared ones.
			name, undefined := strings.CutPrefix(e.Msg, "undefined: ")
			name, _, suggested := strings.Cut(name, " ")
			switch {
			case undefined && l.Predeclared.Has(name) && !allow.Has(name):
				d.Message = fmt.Sprintf("%s is not allowed here: %s allows %s", name, allow.By(), allow)
			case undefined && !suggested:
				if near := diag.Nearest(name, slices.Sorted(slices.Values(l.Predeclared.Keys()))); near != "" {
					d.Hint = fmt.Sprintf("did you mean %s?", near)
				}
			}
			list = append(list, d)
		}
	default:
		return err
	}
	list.Sort()
	return list.Err()
}

// at returns a diagnostic with its source line.
func at(pos syntax.Position, source []byte, message string) diag.Diagnostic {
	return diag.Diagnostic{
		Pos:     diag.Pos{File: pos.Filename(), Line: int(pos.Line), Col: int(pos.Col)},
		Message: message,
		Source:  line(source, int(pos.Line)),
	}
}
