// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/diag"
)

// A signature is what a function can be called with.
type signature struct {
	name   string
	text   string // how it is called
	params []param
	rest   bool // more arguments by position
	fields bool // and by name
}

// A param is a parameter of a signature.
type param struct {
	name     string
	optional bool
	named    bool     // given by name only
	kind     string   // its type, as in [api.Builtin]; "" if it is not known
	wants    string   // the type as text
	choices  []string // all strings that it may be; nil if it may be others
}

// builtinSignature returns the signature of a builtin.
func builtinSignature(b api.Builtin) *signature {
	s := &signature{name: b.Name, text: b.Signature(), rest: b.Rest != "", fields: b.Fields != ""}
	for _, p := range b.Params {
		s.params = append(s.params, param{name: p.Name, optional: p.Optional, kind: p.Type, wants: p.Wants, choices: p.Choices})
	}
	return s
}

// definedSignature returns the signature of a function that a file defines.
func definedSignature(name string, params []syntax.Expr) *signature {
	s := &signature{name: name}
	named := false
	var texts []string
	for _, p := range params {
		switch p := p.(type) {
		case *syntax.Ident:
			s.params = append(s.params, param{name: p.Name, named: named})
			texts = append(texts, p.Name)
		case *syntax.BinaryExpr:
			name := p.X.(*syntax.Ident).Name
			s.params = append(s.params, param{name: name, named: named, optional: true})
			texts = append(texts, name+"=…")
		case *syntax.UnaryExpr:
			id, _ := p.X.(*syntax.Ident)
			text := p.Op.String()
			if id != nil {
				text += id.Name
			}
			texts = append(texts, text)
			if p.Op == syntax.STARSTAR {
				s.fields = true
				continue
			}
			named = true
			s.rest = id != nil
		}
	}
	s.text = name + "(" + strings.Join(texts, ", ") + ")"
	return s
}

// definitions returns the functions that a file defines at its top level under names that it sets only once.
func definitions(file *syntax.File) map[string]*signature {
	times := map[string]int{}
	found := map[string]*signature{}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			times[n.Name.Name]++
			found[n.Name.Name] = definedSignature(n.Name.Name, n.Params)
			return false
		case *syntax.AssignStmt:
			for _, id := range targets(n.LHS) {
				times[id.Name]++
			}
		case *syntax.ForStmt:
			for _, id := range targets(n.Vars) {
				times[id.Name]++
			}
		}
		return true
	})
	for name := range found {
		if times[name] != 1 {
			delete(found, name)
		}
	}
	return found
}

// targets are the names that an assignment to x sets.
func targets(x syntax.Expr) []*syntax.Ident {
	switch x := x.(type) {
	case *syntax.Ident:
		return []*syntax.Ident{x}
	case *syntax.ParenExpr:
		return targets(x.X)
	case *syntax.TupleExpr:
		return targetsOf(x.List)
	case *syntax.ListExpr:
		return targetsOf(x.List)
	}
	return nil
}

func targetsOf(list []syntax.Expr) []*syntax.Ident {
	var all []*syntax.Ident
	for _, x := range list {
		all = append(all, targets(x)...)
	}
	return all
}

// definedHere adds the functions of this file that names always stand for.
func (p *program) definedHere(file *syntax.File) {
	add := func(id *syntax.Ident, params []syntax.Expr) {
		if first(id) != nil && p.sets[first(id)] == 1 {
			p.functions[first(id)] = definedSignature(id.Name, params)
		}
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			add(n.Name, n.Params)
		case *syntax.AssignStmt:
			id, isName := n.LHS.(*syntax.Ident)
			if lambda, ok := n.RHS.(*syntax.LambdaExpr); ok && isName && n.Op == syntax.EQ {
				add(id, lambda.Params)
			}
		}
		return true
	})
}

// calls compares the arguments of calls with the parameters of what is called.
func (p *program) calls(file *syntax.File) {
	functions, methods := callables()
	syntax.Walk(file, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok {
			return true
		}
		var candidates []*signature
		switch fn := call.Fn.(type) {
		case *syntax.Ident:
			if s := functions[builtin(fn)]; s != nil {
				candidates = append(candidates, s)
			} else if s := p.functions[first(fn)]; s != nil && first(fn) != nil {
				candidates = append(candidates, s)
			}
		case *syntax.DotExpr:
			module := ""
			if owner, ok := fn.X.(*syntax.Ident); ok {
				module = builtin(owner)
			}
			class := p.typeOf(fn.X)
			for _, m := range methods[fn.Name.Name] {
				switch {
				case module != "" && m.owner == module,
					class != "" && m.owner == class,
					module == "" && class == "" && !m.module && !ofStarlark(fn.Name.Name):
					candidates = append(candidates, m.signature)
				}
			}
		}
		var wrong *wrongArgument
		for _, s := range candidates {
			w := p.arguments(call, s)
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
	*signature
	owner  string
	module bool
}

func callables() (functions map[string]*signature, methods map[string][]method) {
	functions, methods = map[string]*signature{}, map[string][]method{}
	for _, f := range api.Functions() {
		functions[f.Name] = builtinSignature(f)
	}
	for _, f := range api.TestLanguage().Functions { // a scenario has no such names
		functions[f.Name] = builtinSignature(f)
	}
	for _, m := range append(api.Modules(), api.TestLanguage().Modules...) {
		for _, f := range m.Functions {
			methods[f.Name] = append(methods[f.Name], method{builtinSignature(f), m.Name, true})
		}
	}
	for _, c := range append(api.Classes(), api.TestLanguage().Classes...) {
		for _, m := range c.Methods {
			methods[m.Name] = append(methods[m.Name], method{builtinSignature(m), c.Name, false})
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

// arguments compares the arguments of a call with the parameters of s; nil if they fit.
func (p *program) arguments(call *syntax.CallExpr, s *signature) *wrongArgument {
	called := "it is called " + s.text
	var names []string
	byPosition := 0
	for _, p := range s.params {
		names = append(names, p.name)
		if !p.named {
			byPosition++
		}
	}
	given := map[string]bool{}
	position, spread := 0, false
	var rest []syntax.Expr // beyond the parameters
	for _, arg := range call.Args {
		at, _ := arg.Span()
		name, value := "", arg
		switch a := arg.(type) {
		case *syntax.UnaryExpr:
			if a.Op == syntax.STAR || a.Op == syntax.STARSTAR {
				spread = true // what it holds is not known
				continue
			}
		case *syntax.BinaryExpr:
			if a.Op == syntax.EQ {
				name, value = a.X.(*syntax.Ident).Name, a.Y
			}
		}
		switch {
		case name == "" && position < byPosition:
			name = names[position]
			position++
		case name == "":
			position++
			rest = append(rest, value)
			if !s.rest && !spread {
				return &wrongArgument{at, fmt.Sprintf("%s takes at most %d arguments%s", s.name, byPosition, where(byPosition < len(names))), called}
			}
			continue
		case !slices.Contains(names, name):
			if s.fields {
				continue
			}
			hint := called
			if near := diag.Nearest(name, names); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			return &wrongArgument{at, fmt.Sprintf("%s has no parameter %s", s.name, name), hint}
		case given[name]:
			return &wrongArgument{at, fmt.Sprintf("%s gets the argument %s twice", s.name, name), called}
		}
		given[name] = true
		of := s.params[slices.Index(names, name)]
		if message := p.mismatch(value, of.kind, of.wants); message != "" {
			start, _ := value.Span()
			return &wrongArgument{start, fmt.Sprintf("%s: %s: %s", s.name, name, message), ""}
		}
		if w := noChoice(value, of); w != nil {
			w.message = fmt.Sprintf("%s: %s: %s", s.name, name, w.message)
			return w
		}
	}
	for _, p := range s.params {
		if !p.optional && !given[p.name] && !spread {
			return &wrongArgument{call.Lparen, fmt.Sprintf("%s needs the argument %s", s.name, p.name), called}
		}
	}
	// What spawn and cleanup call gets the arguments after it.
	if s.rest && !spread && len(s.params) > 0 && s.params[0].kind == "function" && len(call.Args) > len(rest) {
		fn := call.Args[0]
		if message := p.cannotTake(fn, len(rest)); message != "" {
			at, _ := fn.Span()
			return &wrongArgument{at, fmt.Sprintf("%s: %s", s.name, message), ""}
		}
	}
	return nil
}

// noChoice says that a value is a string, and none of those that a parameter may be.
func noChoice(x syntax.Expr, of param) *wrongArgument {
	literal, ok := x.(*syntax.Literal)
	if !ok || literal.Token != syntax.STRING || len(of.choices) == 0 {
		return nil
	}
	text := literal.Value.(string)
	if slices.Contains(of.choices, text) {
		return nil
	}
	hint := "one of " + strings.Join(of.choices, ", ")
	if near := diag.Nearest(text, of.choices); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return &wrongArgument{literal.TokenPos, fmt.Sprintf("got %q, want %s", text, of.wants), hint}
}

// where says that a limit is for arguments by position, if there are others.
func where(others bool) string {
	if others {
		return " by position"
	}
	return ""
}

// cannotTake says why a function cannot be called with so many arguments, "" if it can, or if it is not known.
func (p *program) cannotTake(fn syntax.Expr, count int) string {
	var s *signature
	switch fn := fn.(type) {
	case *syntax.Ident:
		if first(fn) == nil {
			return ""
		}
		s = p.functions[first(fn)]
	case *syntax.LambdaExpr:
		s = definedSignature("the lambda", fn.Params)
	}
	if s == nil {
		return ""
	}
	needs, takes := 0, 0
	for _, p := range s.params {
		switch {
		case p.named && !p.optional:
			return fmt.Sprintf("%s needs %s by name, and is called with arguments by position", s.name, p.name)
		case p.named:
		case p.optional:
			takes++
		default:
			needs++
			takes++
		}
	}
	if count < needs || count > takes && !s.rest {
		return fmt.Sprintf("%s is called with %s, and takes %s", s.name, numbered(count), limits(needs, takes, s.rest))
	}
	return ""
}

func numbered(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

func limits(least, most int, more bool) string {
	switch {
	case more:
		return fmt.Sprintf("at least %d", least)
	case least == most:
		return fmt.Sprint(least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}
