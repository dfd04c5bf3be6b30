// SPDX-License-Identifier: Apache-2.0

package assist

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/star"
)

// keywords are those of Starlark that can be written in scenarios.
var keywords = []string{
	"and", "break", "continue", "def", "elif", "else", "for", "if", "in", "lambda", "load", "not", "or", "pass", "return", "while",
}

func isKeyword(word string) bool { return slices.Contains(keywords, word) }

// A program is a Starlark file, or what can be read of it.
type program struct {
	source
	w     *Workspace
	name  string
	file  *syntax.File
	exact bool // the whole text is valid

	origins map[*syntax.Ident][]origin        // by the first place of a name, where its values come from
	defs    map[*syntax.Ident]*syntax.DefStmt // by the first place of its name
	loads   map[*syntax.Ident]loaded          // by the first place of the name that is loaded
	params  map[*syntax.Ident]parameterOf     // by the first place of a parameter
	clauses map[*syntax.Ident]bool            // the first places of names that comprehensions set
	calls   []*syntax.CallExpr
}

// An origin is an expression whose value a name has, or a part of that.
type origin struct {
	expr    syntax.Expr
	element bool // any element of it
	index   int  // the element at an index; -1: the whole
}

// A loaded name is that of another file.
type loaded struct {
	module string // as it is written
	name   string
}

// A parameterOf is a parameter of a function.
type parameterOf struct {
	def   *syntax.DefStmt
	index int
	value syntax.Expr // its default, nil for none
}

// program reads a text of a Starlark file.
func (w *Workspace) program(name, text string) *program {
	p := &program{source: newSource(text), w: w, name: name}
	p.file, p.exact = parse(name, text)
	_ = resolve.File(p.file, isPredeclared, starlark.Universe.Has) // what it finds wrong is for lint
	p.look()
	return p
}

// module reads the file that another one loads; nil if there is none.
func (w *Workspace) module(from, path string) *program {
	name, ok := w.resolve(from, path)
	if !ok {
		return nil
	}
	text, ok := w.Text(name)
	if !ok {
		return nil
	}
	return w.program(name, text)
}

// resolve returns the full name of what a file names.
func (w *Workspace) resolve(from, path string) (string, bool) {
	name, err := w.libraries.Resolve(from, path)
	return name, err == nil && path != ""
}

var predeclared = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for _, f := range api.Functions() {
		names[f.Name] = true
	}
	for _, m := range api.Modules() {
		names[m.Name] = true
	}
	return names
})

func isPredeclared(name string) bool { return predeclared()[name] }

// first returns the place that stands for all uses of the name, nil if it is not one of the file.
func first(id *syntax.Ident) *syntax.Ident {
	if b, ok := id.Binding.(*resolve.Binding); ok {
		return b.First
	}
	return nil
}

// scopeOf returns where a name is defined.
func scopeOf(id *syntax.Ident) resolve.Scope {
	if b, ok := id.Binding.(*resolve.Binding); ok {
		return b.Scope
	}
	return resolve.Undefined
}

// maxRepairs limits how often a text is parsed until it is valid.
const maxRepairs = 60

// parse returns the syntax of a text; of one with errors, that without the statements that have them: exact is false.
func parse(name, text string) (file *syntax.File, exact bool) {
	file, err := star.Dialect.Parse(name, text, 0)
	if err == nil {
		return file, true
	}
	lines := strings.SplitAfter(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n")
	r := repair{lines, make([]int, len(lines))}
	r.closeBrackets()
	for range maxRepairs {
		file, err = star.Dialect.Parse(name, strings.Join(r.lines, ""), 0)
		if err == nil {
			return file, false
		}
		fault, ok := errors.AsType[syntax.Error](err)
		if !ok {
			break
		}
		r.mend(int(fault.Pos.Line)-1, strings.HasSuffix(fault.Msg, "want indent"))
	}
	// What is before the error that is left.
	if fault, ok := errors.AsType[syntax.Error](err); ok {
		before := r.lines[:min(max(int(fault.Pos.Line)-1, 0), len(r.lines))]
		if file, err := star.Dialect.Parse(name, strings.Join(before, ""), 0); err == nil {
			return file, false
		}
	}
	file, _ = star.Dialect.Parse(name, "", 0) // no text has no errors
	return file, false
}

// A repair makes a text valid by replacing lines of it.
type repair struct {
	lines []string
	tried []int // what a line was replaced by: 0 nothing, 1 a statement that does nothing, 2 nothing is left of it
}

// closeBrackets replaces statements with a bracket that the next line, which is not indented more, does not close.
func (r *repair) closeBrackets() {
	text := strings.Join(r.lines, "")
	var open []int // the lines of open brackets
	line, begin := 0, 0
	tokens := scan(text)
	for i, t := range tokens {
		switch kind := t.kind; {
		case kind == '\n' || kind == 's':
			for range strings.Count(t.in(text), "\n") {
				line++
			}
			begin = strings.LastIndexByte(text[:t.To], '\n') + 1
			if kind == 's' || len(open) == 0 || i+1 == len(tokens) {
				continue
			}
			next := tokens[i+1]
			if next.kind != '\n' && next.kind != '#' && closers[next.kind] == 0 && next.From-begin <= len(indentOf(r.lines[open[0]])) {
				r.replace(open[0], line)
				open = nil
			}
		case isOpener(kind):
			open = append(open, line)
		case closers[kind] != 0:
			open = open[:max(0, len(open)-1)]
		}
	}
	if len(open) > 0 {
		r.replace(open[0], len(r.lines))
	}
}

// replace replaces the statement in the lines from one up to another.
func (r *repair) replace(from, to int) {
	for i := from + 1; i < to; i++ {
		r.empty(i)
	}
	r.neutral(from)
}

// mend changes the line of an error, or the one before it: noBlock says that the error is a block without statements.
func (r *repair) mend(line int, noBlock bool) {
	line = min(line, len(r.lines)-1)
	if noBlock {
		for i := line - 1; i >= 0; i-- {
			if code, _, _ := strings.Cut(r.lines[i], "#"); strings.TrimSpace(code) != "" {
				r.lines[i] = strings.TrimRight(code, " \t\n") + " pass\n"
				return
			}
		}
	}
	for line > 0 && (r.tried[line] == 2 || strings.TrimSpace(r.lines[line]) == "") {
		line--
	}
	if r.tried[line] == 0 {
		r.neutral(line)
	} else {
		r.empty(line)
	}
}

// neutral replaces a line by one that does nothing, and can have a block if a block follows.
func (r *repair) neutral(line int) {
	r.tried[line] = 1
	indent := indentOf(strings.TrimRight(r.lines[line], "\n"))
	statement := "pass"
	for _, next := range r.lines[line+1:] {
		if strings.TrimSpace(next) != "" {
			if len(indentOf(next)) > len(indent) {
				statement = "if True:"
			}
			break
		}
	}
	r.lines[line] = indent + statement + "\n"
}

func (r *repair) empty(line int) {
	r.tried[line] = 2
	r.lines[line] = "\n"
}

// look notes where values of names come from.
func (p *program) look() {
	p.origins, p.defs = map[*syntax.Ident][]origin{}, map[*syntax.Ident]*syntax.DefStmt{}
	p.loads, p.params = map[*syntax.Ident]loaded{}, map[*syntax.Ident]parameterOf{}
	p.clauses = map[*syntax.Ident]bool{}
	syntax.Walk(p.file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.AssignStmt:
			if n.Op == syntax.EQ {
				p.bind(n.LHS, origin{n.RHS, false, -1})
			}
		case *syntax.ForStmt:
			p.bind(n.Vars, origin{n.X, true, -1})
		case *syntax.ForClause:
			p.bind(n.Vars, origin{n.X, true, -1})
			syntax.Walk(n.Vars, func(n syntax.Node) bool {
				if id, ok := n.(*syntax.Ident); ok {
					p.clauses[first(id)] = true
				}
				return true
			})
		case *syntax.CallExpr:
			p.calls = append(p.calls, n)
		case *syntax.LoadStmt:
			for i, to := range n.To {
				if id := first(to); id != nil {
					p.loads[id] = loaded{n.ModuleName(), n.From[i].Name}
				}
			}
		case *syntax.DefStmt:
			if id := first(n.Name); id != nil {
				p.defs[id] = n
			}
			for i, x := range n.Params {
				id, value := parameter(x)
				if id != nil && first(id) != nil {
					p.params[first(id)] = parameterOf{n, i, value}
				}
			}
		}
		return true
	})
}

// parameter returns the name and the default of a parameter of a function; nil for a mere "*".
func parameter(x syntax.Expr) (id *syntax.Ident, value syntax.Expr) {
	switch x := x.(type) {
	case *syntax.Ident:
		return x, nil
	case *syntax.BinaryExpr:
		id, _ = x.X.(*syntax.Ident)
		return id, x.Y
	case *syntax.UnaryExpr:
		id, _ = x.X.(*syntax.Ident)
	}
	return id, nil
}

// bind notes that what is assigned to has the value of an origin.
func (p *program) bind(to syntax.Expr, from origin) {
	switch to := to.(type) {
	case *syntax.ParenExpr:
		p.bind(to.X, from)
	case *syntax.Ident:
		if id := first(to); id != nil {
			p.origins[id] = append(p.origins[id], from)
		}
	case *syntax.TupleExpr:
		p.bindAll(to.List, from)
	case *syntax.ListExpr:
		p.bindAll(to.List, from)
	}
}

func (p *program) bindAll(to []syntax.Expr, from origin) {
	values, isTuple := from.expr.(*syntax.TupleExpr)
	for i, x := range to {
		switch {
		case from.element || from.index >= 0: // of what is an element itself
		case isTuple && len(values.List) == len(to):
			p.bind(x, origin{values.List[i], false, -1})
		default:
			p.bind(x, origin{from.expr, false, i})
		}
	}
}

// span returns the part of the text that a node is.
func (p *program) span(n syntax.Node) Span {
	start, end := n.Span()
	return Span{p.offset(int(start.Line), int(start.Col)), p.offset(int(end.Line), int(end.Col))}
}

// path returns the nodes around an offset, the innermost last. An offset directly after a node is in it too.
func (p *program) path(at int) []syntax.Node {
	var found, open []syntax.Node
	syntax.Walk(p.file, func(n syntax.Node) bool {
		if n == nil {
			open = open[:len(open)-1]
			return true
		}
		if _, isFile := n.(*syntax.File); !isFile {
			if s := p.span(n); at < s.From || at > s.To {
				return false
			}
		}
		open = append(open, n)
		if len(open) >= len(found) {
			found = slices.Clone(open)
		}
		return true
	})
	return found
}
