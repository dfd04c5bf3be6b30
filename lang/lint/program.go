// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
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
	p := &program{name: name, source: source, functions: map[*syntax.Ident]*signature{}, elsewhere: map[string]bool{}}
	var unresolved resolve.ErrorList
	errors.As(resolve.File(file, func(name string) bool { return slices.Contains(predeclared(p.name), name) }, isUniversal), &unresolved)
	for _, e := range unresolved {
		hint := ""
		if unknown, undefined := strings.CutPrefix(e.Msg, "undefined: "); undefined {
			if near := diag.Nearest(unknown, slices.Concat(predeclared(p.name), star.Universe())); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
		}
		p.report(diag.Error, "unknown-name", e.Pos, hint, "%s", e.Msg)
	}
	p.uses(file)
	p.loads(libraries, file)
	p.definedHere(file)
	p.sources(file)
	p.unused(file)
	p.attributesOf(file)
	p.calls(file)
	p.blocks(file)
	p.migrations(file)
	p.oneSided(file)
	p.list.Sort()
	return slices.CompactFunc(p.list, diag.Diagnostic.Same)
}

// predeclared are the names of mhmig's functions and modules in a file.
func predeclared(file string) []string {
	var names []string
	functions, modules := api.Functions(), api.Modules()
	if strings.HasSuffix(file, star.TestSuffix) {
		functions, modules = append(functions, api.TestLanguage().Functions...), append(modules, api.TestLanguage().Modules...)
	}
	for _, f := range functions {
		names = append(names, f.Name)
	}
	for _, m := range modules {
		names = append(names, m.Name)
	}
	return names
}

func isUniversal(name string) bool { return starlark.Universe.Has(name) }

// A program is one file that is looked at.
type program struct {
	name   string
	source []byte
	list   diag.List

	read   map[*syntax.Ident]int  // by the first place of a name, how often it is read
	sets   map[*syntax.Ident]int  // how often it is set
	stored map[*syntax.Ident]bool // places that set a name

	functions map[*syntax.Ident]*signature // that names always stand for
	from      map[*syntax.Ident]any        // where values of names come from, see sources
	elsewhere map[string]bool              // the strings in loaded files
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
		if loaded, err := star.Dialect.Parse(module, source, 0); err == nil {
			p.loaded(load, loaded)
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

// loaded notes what the loaded file says of the names that are loaded.
func (p *program) loaded(load *syntax.LoadStmt, from *syntax.File) {
	defined := definitions(from)
	for i, to := range load.To {
		if s := defined[load.From[i].Name]; s != nil && first(to) != nil {
			p.functions[first(to)] = s
		}
	}
	literals(from, p.elsewhere)
}

// literals adds the strings in a file to all.
func literals(file *syntax.File, all map[string]bool) {
	syntax.Walk(file, func(n syntax.Node) bool {
		if l, ok := n.(*syntax.Literal); ok && l.Token == syntax.STRING {
			all[l.Value.(string)] = true
		}
		return true
	})
}

// uses counts where names are set and read.
func (p *program) uses(file *syntax.File) {
	p.read, p.sets, p.stored = map[*syntax.Ident]int{}, map[*syntax.Ident]int{}, map[*syntax.Ident]bool{}
	stores := func(x syntax.Expr) {
		for _, id := range targets(x) {
			p.stored[id] = true
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
			switch name := first(n); {
			case name == nil:
			case p.stored[n]:
				p.sets[name]++
			default:
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

// ends are the builtins that never return.
var ends = []string{"fail", "error", "skip"}

// blocks looks at statements that follow one another.
func (p *program) blocks(file *syntax.File) {
	look := func(list []syntax.Stmt) {
		p.overwritten(list)
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
			p.polling(n.For, nil, n.Body)
		case *syntax.WhileStmt:
			look(n.Body)
			p.polling(n.While, n.Cond, n.Body)
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
	case *syntax.IfStmt:
		if endsSomewhere(s.True) && endsSomewhere(s.False) {
			return "an if whose branches all end before it"
		}
	case *syntax.WhileStmt:
		if isTrue(s.Cond) && !breaks(s.Body) {
			return "a loop without break"
		}
	}
	return ""
}

// endsSomewhere reports whether a block does not go on to what follows it.
func endsSomewhere(list []syntax.Stmt) bool {
	return slices.ContainsFunc(list, func(s syntax.Stmt) bool { return endOf(s) != "" })
}

func isTrue(x syntax.Expr) bool {
	id, ok := x.(*syntax.Ident)
	return ok && id.Name == "True" && first(id) == nil
}

// breaks reports whether the body of a loop has a break of it.
func breaks(list []syntax.Stmt) bool {
	return slices.ContainsFunc(list, func(s syntax.Stmt) bool {
		switch s := s.(type) {
		case *syntax.BranchStmt:
			return s.Token == syntax.BREAK
		case *syntax.IfStmt:
			return breaks(s.True) || breaks(s.False)
		}
		return false
	})
}

// polling reports loops that do nothing but ask and sleep: wait_for does that.
func (p *program) polling(at syntax.Position, cond syntax.Expr, body []syntax.Stmt) {
	naps, asks, others := 0, 0, 0
	for _, s := range body {
		nap, isCall := s.(*syntax.ExprStmt)
		ask, isIf := s.(*syntax.IfStmt)
		switch {
		case isCall && called(nap.X) == "sleep":
			naps++
		case isIf && len(ask.True) == 1 && len(ask.False) == 0 && leavesLoop(ask.True[0]):
			asks++
		default:
			others++
		}
	}
	if cond != nil && !isTrue(cond) {
		asks++
	}
	if naps == 1 && asks == 1 && others == 0 {
		p.report(diag.Warning, "sleep", at, "wait_for(lambda: …, timeout = …) asks until it is so, and fails with a message when it never is",
			"this loop only asks and sleeps, where wait_for waits for a condition")
	}
}

// leavesLoop reports whether a statement is break or return.
func leavesLoop(s syntax.Stmt) bool {
	switch s := s.(type) {
	case *syntax.BranchStmt:
		return s.Token == syntax.BREAK
	case *syntax.ReturnStmt:
		return true
	}
	return false
}

// overwritten reports migrations whose variable gets another value before anything reads it.
func (p *program) overwritten(list []syntax.Stmt) {
	for i, s := range list {
		id := assigned(s)
		if id == nil || called(s.(*syntax.AssignStmt).RHS) != "migrate" || !isLocal(id) {
			continue
		}
		for _, next := range list[i+1:] {
			other := assigned(next)
			if other != nil && first(other) == first(id) && !mentions(next.(*syntax.AssignStmt).RHS, first(id)) {
				p.report(diag.Warning, "not-joined", id.NamePos, joinHint, "nobody waits for this migration before %s becomes another one in line %d", id.Name, other.NamePos.Line)
			}
			if mentions(next, first(id)) {
				break
			}
		}
	}
}

// assigned returns the name that a statement gives a value with "=", nil if it is not one name.
func assigned(s syntax.Stmt) *syntax.Ident {
	if a, ok := s.(*syntax.AssignStmt); ok && a.Op == syntax.EQ {
		if id, ok := a.LHS.(*syntax.Ident); ok && first(id) != nil {
			return id
		}
	}
	return nil
}

// isLocal reports whether a name is of one function, and not used by those in it.
func isLocal(id *syntax.Ident) bool {
	b, ok := id.Binding.(*resolve.Binding)
	return ok && b.Scope == resolve.Local
}

// mentions reports whether a name is anywhere in n.
func mentions(n syntax.Node, name *syntax.Ident) (found bool) {
	syntax.Walk(n, func(n syntax.Node) bool {
		id, ok := n.(*syntax.Ident)
		found = found || ok && first(id) == name
		return !found
	})
	return found
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

const joinHint = "call its join(), or migrate_wait"

// migrations reports those that nobody waits for.
func (p *program) migrations(file *syntax.File) {
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
				p.report(diag.Warning, "not-joined", at, joinHint, "nobody waits for this migration")
			}
		case *syntax.AssignStmt:
			if id, ok := n.LHS.(*syntax.Ident); ok && called(n.RHS) == "migrate" && first(id) != nil && !escapes[first(id)] {
				p.report(diag.Warning, "not-joined", id.NamePos, joinHint, "nobody waits for the migration %s", id.Name)
			}
		}
		return true
	})
}

// oneSided reports barriers in what only one side of a migration does, with a tag that is nowhere else.
func (p *program) oneSided(file *syntax.File) {
	texts := map[string]int{} // how often a string is in the file
	syntax.Walk(file, func(n syntax.Node) bool {
		if l, ok := n.(*syntax.Literal); ok && l.Token == syntax.STRING {
			texts[l.Value.(string)]++
		}
		return true
	})
	look := func(nodes []syntax.Node) { // all that one side does, and only it
		inside := map[string]int{}
		for _, n := range nodes {
			meetings(n, func(_ *syntax.CallExpr, tag string) { inside[tag]++ })
		}
		for _, n := range nodes {
			meetings(n, func(call *syntax.CallExpr, tag string) {
				if inside[tag] == texts[tag] && !p.elsewhere[tag] {
					at, _ := call.Span()
					p.report(diag.Warning, "one-sided-barrier", at, "call it on both sides, outside of the if", "only one side of the migration reaches %s(%q)", builtin(call.Fn), tag)
				}
			})
		}
	}
	block := func(list []syntax.Stmt) {
		for i, s := range list {
			branch, ok := s.(*syntax.IfStmt)
			if !ok || !asksSide(branch.Cond) {
				continue
			}
			yes, no := nodes(branch.True), nodes(branch.False)
			if endsSomewhere(branch.True) {
				no = append(no, nodes(list[i+1:])...)
			}
			if endsSomewhere(branch.False) {
				yes = append(yes, nodes(list[i+1:])...)
			}
			look(yes)
			look(no)
		}
	}
	block(file.Stmts)
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			block(n.Body)
		case *syntax.IfStmt:
			block(n.True)
			block(n.False)
		case *syntax.ForStmt:
			block(n.Body)
		case *syntax.WhileStmt:
			block(n.Body)
		case *syntax.CondExpr:
			if asksSide(n.Cond) {
				look([]syntax.Node{n.True})
				look([]syntax.Node{n.False})
			}
		case *syntax.BinaryExpr:
			if (n.Op == syntax.AND || n.Op == syntax.OR) && asksSide(n.X) {
				look([]syntax.Node{n.Y})
			}
		}
		return true
	})
}

// nodes returns statements as nodes.
func nodes(list []syntax.Stmt) []syntax.Node {
	all := make([]syntax.Node, len(list))
	for i, s := range list {
		all[i] = s
	}
	return all
}

// meetings finds the barriers and syncs in n whose tags are written there.
func meetings(n syntax.Node, found func(call *syntax.CallExpr, tag string)) {
	syntax.Walk(n, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok || builtin(call.Fn) != "barrier" && builtin(call.Fn) != "sync" {
			return true
		}
		for i, arg := range call.Args {
			named, isNamed := arg.(*syntax.BinaryExpr)
			isNamed = isNamed && named.Op == syntax.EQ
			switch {
			case isNamed && named.X.(*syntax.Ident).Name == "tag":
				arg = named.Y
			case isNamed || i > 0:
				continue
			}
			if tag, ok := arg.(*syntax.Literal); ok && tag.Token == syntax.STRING {
				found(call, tag.Value.(string))
			}
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
