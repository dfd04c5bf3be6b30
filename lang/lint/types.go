// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/star"
)

// typeOf returns the type of an expression: a type of lang/api that is not a union, "" if it is not known.
func (p *program) typeOf(x syntax.Expr) string { return p.typeAt(x, maxSteps) }

// maxSteps limits how many expressions a type is derived from.
const maxSteps = 30

func (p *program) typeAt(x syntax.Expr, steps int) string {
	if steps == 0 {
		return ""
	}
	switch x := x.(type) {
	case *syntax.ParenExpr:
		return p.typeAt(x.X, steps-1)
	case *syntax.Ident:
		id := first(x)
		if id == nil || p.sets[id] != 1 {
			return ""
		}
		switch from := p.from[id].(type) {
		case string:
			return from
		case syntax.Expr:
			return p.typeAt(from, steps-1)
		case elementOf:
			return element(p.typeAt(from.list, steps-1))
		}
	case *syntax.CallExpr:
		switch fn := x.Fn.(type) {
		case *syntax.Ident:
			return single(returned()[builtin(fn)])
		case *syntax.DotExpr:
			if class := p.typeAt(fn.X, steps-1); class != "" {
				return single(returned()[class+"."+fn.Name.Name])
			}
		}
	case *syntax.DotExpr:
		if class := p.typeAt(x.X, steps-1); class != "" {
			return single(attributes()[class+"."+x.Name.Name])
		}
	case *syntax.IndexExpr:
		return element(p.typeAt(x.X, steps-1))
	}
	return ""
}

// elementOf is the value of a name that a loop sets.
type elementOf struct{ list syntax.Expr }

// sources notes where the values of names come from that are set once.
func (p *program) sources(file *syntax.File) {
	p.from = map[*syntax.Ident]any{}
	note := func(x syntax.Expr, from any) {
		if id, ok := x.(*syntax.Ident); ok && first(id) != nil {
			p.from[first(id)] = from
		}
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.AssignStmt:
			if n.Op == syntax.EQ {
				note(n.LHS, n.RHS)
			}
		case *syntax.ForStmt:
			note(n.Vars, elementOf{n.X})
		case *syntax.ForClause:
			note(n.Vars, elementOf{n.X})
		case *syntax.DefStmt:
			if n.Name.Name == star.Entry && len(n.Params) == 1 {
				note(n.Params[0], "env")
			}
		}
		return true
	})
}

// single returns a type without "| None", "" if others are left than one.
func single(kind string) string {
	var left []string
	for part := range strings.SplitSeq(kind, " | ") {
		if part != "None" {
			left = append(left, part)
		}
	}
	if len(left) != 1 || left[0] == "any" {
		return ""
	}
	return left[0]
}

// element returns the type of what a list has, "" if it is not known.
func element(kind string) string {
	inner, ok := strings.CutPrefix(kind, "list[")
	if !ok {
		return ""
	}
	return single(strings.TrimSuffix(inner, "]"))
}

// returned are the types that functions "f" and methods "class.f" return.
var returned = sync.OnceValue(func() map[string]string {
	types := map[string]string{}
	for _, f := range api.Functions() {
		types[f.Name] = f.Returns.Type
	}
	for _, c := range api.Classes() {
		for _, m := range c.Methods {
			types[c.Name+"."+m.Name] = m.Returns.Type
		}
	}
	return types
})

// attributes are the types of "class.attribute".
var attributes = sync.OnceValue(func() map[string]string {
	types := map[string]string{}
	for _, c := range api.Classes() {
		for _, a := range c.Attributes {
			types[c.Name+"."+a.Name] = a.Type
		}
	}
	return types
})

// members are the names of what values of a class have, and under "" those of all values that scenarios can have.
var members = sync.OnceValue(func() map[string][]string {
	all := map[string][]string{}
	add := func(owner, name string) {
		all[owner] = append(all[owner], name)
		all[""] = append(all[""], name)
	}
	for _, m := range append(api.Modules(), api.TestLanguage().Modules...) {
		for _, f := range m.Functions {
			add(m.Name, f.Name)
		}
	}
	for _, c := range append(api.Classes(), api.TestLanguage().Classes...) {
		for _, a := range c.Attributes {
			add(c.Name, a.Name)
		}
		for _, m := range c.Methods {
			add(c.Name, m.Name)
		}
	}
	return all
})

// attributesOf reports what values do not have.
func (p *program) attributesOf(file *syntax.File) {
	syntax.Walk(file, func(n syntax.Node) bool {
		dot, ok := n.(*syntax.DotExpr)
		if !ok || isUndefined(dot.X) {
			return true
		}
		name := dot.Name.Name
		owner := p.typeOf(dot.X)
		if id, ok := dot.X.(*syntax.Ident); ok && builtin(id) != "" {
			owner = id.Name
		}
		known := members()[owner]
		switch {
		case owner != "" && known == nil: // a value of Starlark's own
		case slices.Contains(known, name), owner == "" && ofStarlark(name):
		case owner == "":
			p.report(diag.Error, "unknown-attribute", dot.Name.NamePos, meant(name, known), "no value has %s", name)
		default:
			p.report(diag.Error, "unknown-attribute", dot.Name.NamePos, meant(name, known), "%s has no %s", owner, name)
		}
		return true
	})
}

// isUndefined reports whether an expression begins with a name that nothing defines, which is reported already.
func isUndefined(x syntax.Expr) bool {
	switch x := x.(type) {
	case *syntax.Ident:
		b, ok := x.Binding.(*resolve.Binding)
		return !ok || b.Scope == resolve.Undefined
	case *syntax.DotExpr:
		return isUndefined(x.X)
	case *syntax.CallExpr:
		return isUndefined(x.Fn)
	case *syntax.IndexExpr:
		return isUndefined(x.X)
	}
	return false
}

func meant(name string, candidates []string) string {
	if near := diag.Nearest(name, candidates); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return ""
}

// mismatch says why a value cannot be an argument of a type, "" if it can, or if that is not known.
func (p *program) mismatch(x syntax.Expr, kind, wants string) string {
	if kind == "" {
		return ""
	}
	switch x := x.(type) {
	case *syntax.Ident, *syntax.LambdaExpr:
		if inner, ok := strings.CutPrefix(kind, "function("); ok {
			return p.cannotTake(x, parameters(inner))
		}
	case *syntax.ListExpr:
		if inner, ok := strings.CutPrefix(kind, "list[function("); ok {
			for _, e := range x.List {
				if message := p.cannotTake(e, parameters(strings.TrimSuffix(inner, "]"))); message != "" {
					return message
				}
			}
		}
	}
	got := literalType(x)
	if got == "" {
		return ""
	}
	for part := range strings.SplitSeq(kind, " | ") {
		base, _, _ := strings.Cut(part, "[")
		if base == got || base == "any" || base == "params" && got == "dict" || base == "float" && got == "int" {
			return ""
		}
	}
	return fmt.Sprintf("got %s, want %s", got, wants)
}

// parameters counts those of a function's type after its "(".
func parameters(list string) int {
	list, _, _ = strings.Cut(list, ")")
	if list == "" {
		return 0
	}
	return strings.Count(list, ",") + 1
}

// literalType returns the type of a literal, "" of other expressions.
func literalType(x syntax.Expr) string {
	switch x := x.(type) {
	case *syntax.Literal:
		return star.LiteralType(x)
	case *syntax.ListExpr:
		return "list"
	case *syntax.DictExpr:
		return "dict"
	}
	return ""
}
