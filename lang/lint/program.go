// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
)

// Program returns what is probably wrong in a Starlark file, in order. Of what the file loads only the names are looked at.
func Program(libraries library.Set, name string, source []byte) diag.List {
	if _, err := star.Outlined(name, source); err != nil {
		return diag.Of(err) // in words for users, which the parser does not have
	}
	file, err := star.Dialect.Parse(name, source, 0)
	if err != nil {
		return diag.Of(err)
	}
	p := &program{name: name, source: source}
	var unresolved resolve.ErrorList
	errors.As(resolve.File(file, isPredeclared, isUniversal), &unresolved)
	for _, e := range unresolved {
		hint := ""
		if unknown, undefined := strings.CutPrefix(e.Msg, "undefined: "); undefined {
			if near := diag.Nearest(unknown, slices.Concat(predeclared(), star.Universe())); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
		}
		p.report(diag.Error, "unknown-name", e.Pos, hint, "%s", e.Msg)
	}
	p.loads(libraries, file)
	p.uses(file)
	p.unused(file)
	p.calls(file)
	p.blocks(file)
	p.migrations(file)
	p.oneSided(file)
	p.list.Sort()
	return p.list
}

// predeclared are the names of mhmig's functions and modules.
func predeclared() []string {
	var names []string
	for _, f := range api.Functions() {
		names = append(names, f.Name)
	}
	for _, m := range api.Modules() {
		names = append(names, m.Name)
	}
	return names
}

func isPredeclared(name string) bool { return slices.Contains(predeclared(), name) }

func isUniversal(name string) bool { return starlark.Universe.Has(name) }

// A program is one file that is looked at.
type program struct {
	name   string
	source []byte
	list   diag.List

	read   map[*syntax.Ident]int  // by the first place of a name, how often it is read
	stored map[*syntax.Ident]bool // places that set a name
}

func (p *program) report(severity diag.Severity, rule string, at syntax.Position, hint, format string, args ...any) {
	source := ""
	if lines := bytes.Split(p.source, []byte("\n")); int(at.Line) <= len(lines) {
		source = strings.TrimRight(string(lines[at.Line-1]), "\r")
	}
	p.list = append(p.list, diag.Diagnostic{
		Severity: severity, Rule: rule, Pos: diag.Pos{File: p.name, Line: int(at.Line), Col: int(at.Col)},
		Message: fmt.Sprintf(format, args...), Hint: hint, Source: source,
	})
}

// first returns the place that stands for all uses of the name, nil for builtins.
func first(id *syntax.Ident) *syntax.Ident {
	if b, ok := id.Binding.(*resolve.Binding); ok {
		return b.First
	}
	return nil
}

// builtin returns the name of the builtin that x is, "" if it is none.
func builtin(x syntax.Expr) string {
	if id, ok := x.(*syntax.Ident); ok {
		if b, ok := id.Binding.(*resolve.Binding); ok && b.Scope == resolve.Predeclared {
			return id.Name
		}
	}
	return ""
}

// loads reports what is loaded and is not there.
func (p *program) loads(libraries library.Set, file *syntax.File) {
	syntax.Walk(file, func(n syntax.Node) bool {
		load, ok := n.(*syntax.LoadStmt)
		if !ok {
			return true
		}
		at := load.Module.TokenPos
		module, err := library.Resolve(p.name, load.ModuleName())
		if err != nil {
			p.report(diag.Error, "unknown-load", at, "", "%v", err)
			return true
		}
		source, err := libraries.ReadFile(module)
		if err != nil {
			hint := ""
			if near := libraries.Nearest(module, star.Extension); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			p.report(diag.Error, "unknown-load", at, hint, "%v", err)
			return true
		}
		outline, err := star.Outlined(module, source)
		if err != nil {
			return true // found when that file is looked at
		}
		for _, from := range load.From {
			if slices.Contains(outline.Names, from.Name) {
				continue
			}
			hint := ""
			if near := diag.Nearest(from.Name, outline.Names); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			p.report(diag.Error, "unknown-load", from.NamePos, hint, "%s has no %s", module, from.Name)
		}
		return true
	})
}

// uses counts where names are read.
func (p *program) uses(file *syntax.File) {
	p.read, p.stored = map[*syntax.Ident]int{}, map[*syntax.Ident]bool{}
	var stores func(x syntax.Expr)
	stores = func(x syntax.Expr) {
		switch x := x.(type) {
		case *syntax.Ident:
			p.stored[x] = true
		case *syntax.ParenExpr:
			stores(x.X)
		case *syntax.TupleExpr:
			for _, e := range x.List {
				stores(e)
			}
		case *syntax.ListExpr:
			for _, e := range x.List {
				stores(e)
			}
		}
	}
	params := func(list []syntax.Expr) {
		for _, x := range list {
			switch x := x.(type) {
			case *syntax.Ident:
				p.stored[x] = true
			case *syntax.BinaryExpr:
				stores(x.X)
			case *syntax.UnaryExpr:
				stores(x.X)
			}
		}
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.AssignStmt:
			if n.Op == syntax.EQ {
				stores(n.LHS)
			}
		case *syntax.ForStmt:
			stores(n.Vars)
		case *syntax.ForClause:
			stores(n.Vars)
		case *syntax.DefStmt:
			p.stored[n.Name] = true
			params(n.Params)
		case *syntax.LambdaExpr:
			params(n.Params)
		case *syntax.LoadStmt:
			for i, to := range n.To {
				p.stored[to] = true
				p.stored[n.From[i]] = true
			}
		case *syntax.Ident:
			if name := first(n); name != nil && !p.stored[n] {
				p.read[name]++
			}
		}
		return true
	})
}

// unused reports what is loaded, set or defined, and never read.
func (p *program) unused(file *syntax.File) {
	unread := func(id *syntax.Ident) bool {
		name := first(id)
		return name != nil && p.read[name] == 0
	}
	depth := 0 // of functions
	var kinds []bool
	syntax.Walk(file, func(n syntax.Node) bool {
		if n == nil {
			if kinds[len(kinds)-1] {
				depth--
			}
			kinds = kinds[:len(kinds)-1]
			return true
		}
		_, isDef := n.(*syntax.DefStmt)
		private := func(id *syntax.Ident) bool { return depth > 0 || strings.HasPrefix(id.Name, "_") }
		switch n := n.(type) {
		case *syntax.LoadStmt:
			for _, to := range n.To {
				if unread(to) {
					p.report(diag.Warning, "unused-load", to.NamePos, "remove it from load(…)", "%s is loaded and never used", to.Name)
				}
			}
		case *syntax.AssignStmt:
			if id, ok := n.LHS.(*syntax.Ident); ok && n.Op == syntax.EQ && first(id) == id && private(id) && id.Name != "_" && unread(id) && called(n.RHS) != "migrate" {
				p.report(diag.Warning, "unused-variable", id.NamePos, "", "%s is set and never used", id.Name)
			}
		case *syntax.DefStmt:
			if private(n.Name) && unread(n.Name) {
				p.report(diag.Warning, "unused-function", n.Name.NamePos, "", "the function %s is never used", n.Name.Name)
			}
		}
		if isDef {
			depth++
		}
		kinds = append(kinds, isDef)
		return true
	})
}

// calls compares the arguments of calls of builtins with their parameters.
func (p *program) calls(file *syntax.File) {
	functions, methods := callables()
	syntax.Walk(file, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok {
			return true
		}
		var candidates []api.Builtin
		switch fn := call.Fn.(type) {
		case *syntax.Ident:
			candidates = functions[builtin(fn)]
		case *syntax.DotExpr:
			owner, isIdent := fn.X.(*syntax.Ident)
			isModule := isIdent && builtin(owner) != ""
			for _, m := range methods[fn.Name.Name] {
				if isModule == (m.owner == "json") && (isModule || !ofStarlark(fn.Name.Name)) {
					candidates = append(candidates, m.Builtin)
				}
			}
		}
		var wrong *wrongArgument
		for _, b := range candidates {
			w := arguments(call, b)
			if w == nil {
				return true
			}
			wrong = cmp.Or(wrong, w)
		}
		if wrong != nil {
			p.report(diag.Error, "wrong-argument", wrong.at, wrong.hint, "%s", wrong.message)
		}
		return true
	})
}

// A method is a method of a value, or a function of a module.
type method struct {
	owner string
	api.Builtin
}

func callables() (functions map[string][]api.Builtin, methods map[string][]method) {
	functions, methods = map[string][]api.Builtin{}, map[string][]method{}
	for _, f := range api.Functions() {
		functions[f.Name] = []api.Builtin{f}
	}
	for _, m := range api.Modules() {
		for _, f := range m.Functions {
			methods[f.Name] = append(methods[f.Name], method{m.Name, f})
		}
	}
	for _, c := range api.Classes() {
		for _, m := range c.Methods {
			methods[m.Name] = append(methods[m.Name], method{c.Name, m})
		}
	}
	return functions, methods
}

// ofStarlark reports whether a value of Starlark's own has a method of this name.
func ofStarlark(name string) bool {
	for _, v := range []starlark.HasAttrs{starlark.String(""), starlark.Bytes(""), new(starlark.List), new(starlark.Dict), new(starlark.Set)} {
		if slices.Contains(v.AttrNames(), name) {
			return true
		}
	}
	return false
}

// A wrongArgument is what is wrong in a call.
type wrongArgument struct {
	at            syntax.Position
	message, hint string
}

// arguments compares the arguments of a call with the parameters of b; nil if they fit.
func arguments(call *syntax.CallExpr, b api.Builtin) *wrongArgument {
	var names []string
	for _, p := range b.Params {
		names = append(names, p.Name)
	}
	given := map[string]bool{}
	position, spread := 0, false
	for _, arg := range call.Args {
		at, _ := arg.Span()
		switch a := arg.(type) {
		case *syntax.UnaryExpr:
			if a.Op == syntax.STAR || a.Op == syntax.STARSTAR {
				spread = true // what it holds is not known
				continue
			}
		case *syntax.BinaryExpr:
			if a.Op != syntax.EQ {
				break
			}
			name := a.X.(*syntax.Ident).Name
			if !slices.Contains(names, name) && b.Fields == "" {
				hint := "it is called " + b.Signature()
				if near := diag.Nearest(name, names); near != "" {
					hint = fmt.Sprintf("did you mean %s?", near)
				}
				return &wrongArgument{at, fmt.Sprintf("%s has no parameter %s", b.Name, name), hint}
			}
			given[name] = true
			continue
		}
		if position < len(names) {
			given[names[position]] = true
		} else if b.Rest == "" && !spread {
			return &wrongArgument{at, fmt.Sprintf("%s takes at most %d arguments", b.Name, len(names)), "it is called " + b.Signature()}
		}
		position++
	}
	for _, p := range b.Params {
		if !p.Optional && !given[p.Name] && !spread {
			return &wrongArgument{call.Lparen, fmt.Sprintf("%s needs the argument %s", b.Name, p.Name), "it is called " + b.Signature()}
		}
	}
	return nil
}

// ends are the builtins that never return.
var ends = []string{"fail", "error", "skip"}

// blocks looks at statements that follow one another.
func (p *program) blocks(file *syntax.File) {
	look := func(list []syntax.Stmt) {
		for i, s := range list[:max(0, len(list)-1)] {
			if what := endOf(s); what != "" {
				at, _ := list[i+1].Span()
				p.report(diag.Warning, "unreachable", at, "", "this is never reached, after %s", what)
				break
			}
			p.sleepAfterMigrate(s, list[i+1])
		}
	}
	look(file.Stmts)
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			look(n.Body)
		case *syntax.IfStmt:
			look(n.True)
			look(n.False)
		case *syntax.ForStmt:
			look(n.Body)
		case *syntax.WhileStmt:
			look(n.Body)
		}
		return true
	})
}

// endOf returns what ends the block at a statement, "" if it goes on.
func endOf(s syntax.Stmt) string {
	switch s := s.(type) {
	case *syntax.ReturnStmt:
		return "return"
	case *syntax.BranchStmt:
		if s.Token != syntax.PASS {
			return s.Token.String()
		}
	case *syntax.ExprStmt:
		if name := called(s.X); slices.Contains(ends, name) {
			return name + "(…)"
		}
	}
	return ""
}

// called returns the name of the builtin that x calls, "" if it calls none.
func called(x syntax.Expr) string {
	if call, ok := x.(*syntax.CallExpr); ok {
		return builtin(call.Fn)
	}
	return ""
}

// sleepAfterMigrate reports a wait for a time where a migration's state is there to be waited for.
func (p *program) sleepAfterMigrate(s, next syntax.Stmt) {
	assign, ok := s.(*syntax.AssignStmt)
	if !ok || called(assign.RHS) != "migrate" {
		return
	}
	wait, ok := next.(*syntax.ExprStmt)
	if !ok || called(wait.X) != "sleep" || len(wait.X.(*syntax.CallExpr).Args) == 0 {
		return
	}
	if _, constant := wait.X.(*syntax.CallExpr).Args[0].(*syntax.Literal); !constant {
		return // meant so
	}
	mig := "mig"
	if id, ok := assign.LHS.(*syntax.Ident); ok {
		mig = id.Name
	}
	at, _ := wait.X.Span()
	p.report(diag.Warning, "sleep", at, fmt.Sprintf(`%s.wait(status = "active") or %s.wait(passes = 1) waits for what the migration does`, mig, mig),
		"the migration may have ended, or not have begun, after this time")
}

// migrations reports those that nobody waits for.
func (p *program) migrations(file *syntax.File) {
	const hint = "call its join(), or migrate_wait"
	escapes := map[*syntax.Ident]bool{} // names whose value is used beyond its attributes, or joined
	attributes := map[*syntax.Ident]bool{}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DotExpr:
			if id, ok := n.X.(*syntax.Ident); ok {
				attributes[id] = n.Name.Name != "join"
			}
		case *syntax.Ident:
			if name := first(n); name != nil && !p.stored[n] && !attributes[n] {
				escapes[name] = true
			}
		}
		return true
	})
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.ExprStmt:
			if called(n.X) == "migrate" {
				at, _ := n.X.Span()
				p.report(diag.Warning, "not-joined", at, hint, "nobody waits for this migration")
			}
		case *syntax.AssignStmt:
			if id, ok := n.LHS.(*syntax.Ident); ok && called(n.RHS) == "migrate" && first(id) != nil && !escapes[first(id)] {
				p.report(diag.Warning, "not-joined", id.NamePos, hint, "nobody waits for the migration %s", id.Name)
			}
		}
		return true
	})
}

// oneSided reports barriers in what only one side of a migration does, with a tag that is nowhere else.
func (p *program) oneSided(file *syntax.File) {
	tags := map[string]int{}
	meetings := func(list []syntax.Stmt, found func(call *syntax.CallExpr, tag string)) {
		for _, s := range list {
			syntax.Walk(s, func(n syntax.Node) bool {
				call, ok := n.(*syntax.CallExpr)
				if !ok || len(call.Args) == 0 || builtin(call.Fn) != "barrier" && builtin(call.Fn) != "sync" {
					return true
				}
				if tag, ok := call.Args[0].(*syntax.Literal); ok && tag.Token == syntax.STRING {
					found(call, tag.Value.(string))
				}
				return true
			})
		}
	}
	meetings(file.Stmts, func(_ *syntax.CallExpr, tag string) { tags[tag]++ })
	syntax.Walk(file, func(n syntax.Node) bool {
		branch, ok := n.(*syntax.IfStmt)
		if !ok || !asksSide(branch.Cond) {
			return true
		}
		for _, list := range [][]syntax.Stmt{branch.True, branch.False} {
			inside := map[string]int{}
			meetings(list, func(_ *syntax.CallExpr, tag string) { inside[tag]++ })
			meetings(list, func(call *syntax.CallExpr, tag string) {
				if inside[tag] == tags[tag] {
					at, _ := call.Span()
					p.report(diag.Warning, "one-sided-barrier", at, "call it on both sides, outside of the if", "only one side of the migration reaches %s(%q)", builtin(call.Fn), tag)
				}
			})
		}
		return true
	})
}

// asksSide reports whether a condition is is_src of something, or its contrary.
func asksSide(x syntax.Expr) bool {
	switch x := x.(type) {
	case *syntax.ParenExpr:
		return asksSide(x.X)
	case *syntax.UnaryExpr:
		return x.Op == syntax.NOT && asksSide(x.X)
	case *syntax.DotExpr:
		return x.Name.Name == "is_src"
	}
	return false
}
