// SPDX-License-Identifier: Apache-2.0

package star

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/library"
)

// An Outline is what a Starlark file offers to those who load it.
type Outline struct {
	Doc       string // the file's docstring
	Functions []Function
	Names     []string // of everything at its top level that others can load, sorted
	Scenario  bool     // the file is a scenario: it defines [Entry]
}

// A Function is a function at the top level of a file, whose name does not begin with _.
type Function struct {
	Name      string
	Signature string // "NAME(PARAMETERS)" as it is written
	Doc       string // its docstring; "" for none
	Line      int
}

// Outlined returns the outline of a file without running it. name is the file's name in errors, a [diag.List].
func Outlined(name string, source []byte) (Outline, error) {
	if err := checkText(name, source); err != nil {
		return Outline{}, err
	}
	file, err := Dialect.Parse(name, source, 0)
	if err != nil {
		return Outline{}, new(Loader).diagnostics(source, err, library.Allow{})
	}
	o := Outline{Doc: Docstring(file.Stmts), Names: exported(file)}
	for _, s := range file.Stmts {
		def, ok := s.(*syntax.DefStmt)
		if !ok {
			continue
		}
		o.Scenario = o.Scenario || def.Name.Name == Entry
		if strings.HasPrefix(def.Name.Name, "_") {
			continue
		}
		var params []string
		for _, p := range def.Params {
			params = append(params, sourceOf(source, p))
		}
		o.Functions = append(o.Functions, Function{
			Name: def.Name.Name, Signature: def.Name.Name + "(" + strings.Join(params, ", ") + ")",
			Doc: Docstring(def.Body), Line: int(def.Def.Line),
		})
	}
	return o, nil
}

// exported returns the names that a file sets outside of functions, without those that begin with _.
func exported(file *syntax.File) []string {
	var names []string
	var set func(x syntax.Expr)
	set = func(x syntax.Expr) {
		switch x := x.(type) {
		case *syntax.Ident:
			if !strings.HasPrefix(x.Name, "_") {
				names = append(names, x.Name)
			}
		case *syntax.ParenExpr:
			set(x.X)
		case *syntax.TupleExpr:
			for _, e := range x.List {
				set(e)
			}
		case *syntax.ListExpr:
			for _, e := range x.List {
				set(e)
			}
		}
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			set(n.Name)
			return false
		case *syntax.LambdaExpr, *syntax.Comprehension:
			return false
		case *syntax.AssignStmt:
			set(n.LHS)
		case *syntax.ForStmt:
			set(n.Vars)
		}
		return true
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// Universe returns the names of Starlark's own functions and values, sorted.
func Universe() []string { return slices.Sorted(slices.Values(starlark.Universe.Keys())) }

// Docstring returns the string that statements begin with, without the indentation of its lines.
func Docstring(statements []syntax.Stmt) string {
	if len(statements) == 0 {
		return ""
	}
	statement, ok := statements[0].(*syntax.ExprStmt)
	if !ok {
		return ""
	}
	literal, ok := statement.X.(*syntax.Literal)
	if !ok || literal.Token != syntax.STRING {
		return ""
	}
	lines := strings.Split(literal.Value.(string), "\n")
	indent := -1 // of all lines but the first
	for _, line := range lines[1:] {
		if text := strings.TrimLeft(line, " \t"); text != "" && (indent < 0 || len(line)-len(text) < indent) {
			indent = len(line) - len(text)
		}
	}
	for i, line := range lines {
		if i > 0 {
			line = line[min(max(indent, 0), len(line)):]
		}
		lines[i] = strings.TrimRight(line, " \t")
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// sourceOf returns the text of a node, on one line.
func sourceOf(source []byte, n syntax.Node) string {
	start, end := n.Span()
	var parts []string
	for number := start.Line; number <= end.Line; number++ {
		runes := []rune(line(source, int(number)))
		from, to := 0, len(runes)
		if number == start.Line {
			from = int(start.Col) - 1
		}
		if number == end.Line {
			to = int(end.Col) - 1
		}
		parts = append(parts, strings.TrimSpace(string(runes[from:to])))
	}
	return strings.Join(parts, " ")
}
