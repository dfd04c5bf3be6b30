// SPDX-License-Identifier: Apache-2.0

package assist

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/star"
)

// Types are those of lang/api, such as "vm", "list[host]" and "session | None"; "" is one that is not known. The type of a
// module is "module NAME".

// modulePrefix begins the type of a module.
const modulePrefix = "module "

// maxSteps limits how many expressions a type is derived from.
const maxSteps = 30

// typeOf returns the type of an expression.
func (p *program) typeOf(x syntax.Expr, steps int) string {
	if steps--; steps <= 0 || x == nil {
		return ""
	}
	switch x := x.(type) {
	case *syntax.ParenExpr:
		return p.typeOf(x.X, steps)
	case *syntax.Literal:
		return star.LiteralType(x)
	case *syntax.ListExpr:
		if len(x.List) == 0 {
			return "list"
		}
		return generic("list", p.typeOf(x.List[0], steps))
	case *syntax.TupleExpr:
		var parts []string
		for _, e := range x.List {
			kind := p.typeOf(e, steps)
			if kind == "" {
				kind = "any"
			}
			parts = append(parts, kind)
		}
		return generic("tuple", parts...)
	case *syntax.DictExpr:
		if len(x.List) == 0 {
			return "dict"
		}
		entry := x.List[0].(*syntax.DictEntry)
		return generic("dict", p.typeOf(entry.Key, steps), p.typeOf(entry.Value, steps))
	case *syntax.Comprehension:
		if !x.Curly {
			return generic("list", p.typeOf(x.Body, steps))
		}
		if entry, ok := x.Body.(*syntax.DictEntry); ok {
			return generic("dict", p.typeOf(entry.Key, steps), p.typeOf(entry.Value, steps))
		}
		return "set"
	case *syntax.CondExpr:
		return or(p.typeOf(x.True, steps), p.typeOf(x.False, steps))
	case *syntax.UnaryExpr:
		if x.Op == syntax.NOT {
			return "bool"
		}
		return p.typeOf(x.X, steps)
	case *syntax.BinaryExpr:
		switch x.Op {
		case syntax.AND, syntax.OR:
			return or(p.typeOf(x.X, steps), p.typeOf(x.Y, steps))
		case syntax.PLUS, syntax.PERCENT, syntax.PIPE:
			return p.typeOf(x.X, steps)
		case syntax.EQL, syntax.NEQ, syntax.LT, syntax.GT, syntax.LE, syntax.GE, syntax.IN, syntax.NOT_IN:
			return "bool"
		}
	case *syntax.SliceExpr:
		return p.typeOf(x.X, steps)
	case *syntax.IndexExpr:
		return element(p.typeOf(x.X, steps), indexOf(x.Y))
	case *syntax.DotExpr:
		if m, ok := find(members(p.typeOf(x.X, steps)), x.Name.Name); ok && m.function == nil {
			return m.kind
		}
	case *syntax.CallExpr:
		return p.returned(x, steps)
	case *syntax.Ident:
		return p.typeOfName(x, steps)
	}
	return ""
}

// typeOfName returns the type of the value of a name.
func (p *program) typeOfName(x *syntax.Ident, steps int) string {
	switch x.Name {
	case "True", "False":
		return "bool"
	case "None":
		return "None"
	}
	id := first(x)
	if id == nil {
		if isPredeclared(x.Name) && module(x.Name) != nil {
			return modulePrefix + x.Name
		}
		return ""
	}
	for _, from := range p.origins[id] {
		kind := p.typeOf(from.expr, steps)
		switch {
		case from.element:
			kind = element(kind, -1)
		case from.index >= 0:
			kind = element(kind, from.index)
		}
		if kind != "" && kind != "None" {
			return kind
		}
	}
	if from, ok := p.params[id]; ok {
		return p.typeOfParameter(from, id.Name, steps)
	}
	if from, ok := p.loads[id]; ok {
		if m := p.w.module(p.name, from.module); m != nil {
			if global := m.global(from.name); global != nil && m.defs[global] == nil {
				return m.typeOfName(global, steps)
			}
		}
	}
	return ""
}

// global returns the first place of a global name, nil if there is none.
func (p *program) global(name string) *syntax.Ident {
	if m := moduleOf(p.file); m != nil {
		for _, b := range m.Globals {
			if b.First != nil && b.First.Name == name {
				return b.First
			}
		}
	}
	return nil
}

// typeOfParameter returns the type of what a function is called with: by those who call it, here or in mhmig, else by the
// name of the parameter.
func (p *program) typeOfParameter(param parameterOf, name string, steps int) string {
	if param.def.Name.Name == star.Entry && param.index == 0 {
		return "env"
	}
	function := first(param.def.Name)
	is := func(x syntax.Expr) bool {
		id, ok := x.(*syntax.Ident)
		return ok && function != nil && first(id) == function
	}
	for _, call := range p.calls {
		if is(call.Fn) {
			if x := argument(call, param.index, name); x != nil {
				if kind := p.typeOf(x, steps); kind != "" {
					return kind
				}
			}
			continue
		}
		for i, arg := range call.Args {
			keyword := ""
			if b, ok := arg.(*syntax.BinaryExpr); ok && b.Op == syntax.EQ {
				keyword, arg = b.X.(*syntax.Ident).Name, b.Y
			}
			if !is(arg) {
				continue
			}
			if kind := p.typeOfCallback(call, i, keyword, param.index, steps); kind != "" {
				return kind
			}
		}
	}
	if kind := p.typeOf(param.value, steps); kind != "" && kind != "None" {
		return kind
	}
	if kind := strings.TrimRight(name, "0123456789"); class(kind) != nil {
		return kind
	}
	return ""
}

// typeOfCallback returns the type of what a builtin calls its argument with: of the index of the call's argument, or its
// keyword, the parameter's index.
func (p *program) typeOfCallback(call *syntax.CallExpr, arg int, keyword string, index, steps int) string {
	c := p.callee(call.Fn, steps)
	if c.builtin == nil {
		return ""
	}
	for i, param := range c.builtin.Params {
		if keyword != param.Name && (keyword != "" || i != arg) {
			continue
		}
		if param.Type == "function" && c.builtin.Rest != "" { // spawn(fn, args...)
			if at := arg + 1 + index; at < len(call.Args) {
				return p.typeOf(call.Args[at], steps)
			}
			return ""
		}
		for _, part := range union(param.Type) {
			if inner, ok := strings.CutPrefix(part, "function("); ok {
				if kinds := list(strings.TrimSuffix(inner, ")")); index < len(kinds) {
					return kinds[index]
				}
			}
		}
	}
	return ""
}

// argument returns the argument of a call that a parameter gets, nil if that is not known.
func argument(call *syntax.CallExpr, index int, name string) syntax.Expr {
	position := 0
	for _, arg := range call.Args {
		switch a := arg.(type) {
		case *syntax.UnaryExpr:
			if a.Op == syntax.STAR || a.Op == syntax.STARSTAR {
				return nil
			}
		case *syntax.BinaryExpr:
			if a.Op == syntax.EQ {
				if a.X.(*syntax.Ident).Name == name {
					return a.Y
				}
				continue
			}
		}
		if position == index {
			return arg
		}
		position++
	}
	return nil
}

// A callee is what is called: a builtin, or a function of a program.
type callee struct {
	owner   string // the type whose method the builtin is, "" for none
	builtin *api.Builtin
	program *program
	def     *syntax.DefStmt
}

// callee returns what an expression calls.
func (p *program) callee(fn syntax.Expr, steps int) callee {
	if steps--; steps <= 0 {
		return callee{}
	}
	switch fn := fn.(type) {
	case *syntax.ParenExpr:
		return p.callee(fn.X, steps)
	case *syntax.DotExpr:
		owner := p.typeOf(fn.X, steps)
		if m, ok := find(members(owner), fn.Name.Name); ok {
			return callee{owner: m.owner, builtin: m.function}
		}
	case *syntax.Ident:
		id := first(fn)
		if id == nil {
			return callee{builtin: function(fn.Name)}
		}
		if def := p.defs[id]; def != nil {
			return callee{program: p, def: def}
		}
		if from, ok := p.loads[id]; ok {
			if m := p.w.module(p.name, from.module); m != nil {
				if global := m.global(from.name); global != nil && m.defs[global] != nil {
					return callee{program: m, def: m.defs[global]}
				}
			}
		}
	}
	return callee{}
}

// returned returns the type of the result of a call.
func (p *program) returned(call *syntax.CallExpr, steps int) string {
	c := p.callee(call.Fn, steps)
	switch {
	case c.builtin != nil:
		return c.builtin.Returns.Type
	case c.def != nil:
		return c.program.result(c.def, steps)
	}
	id, ok := call.Fn.(*syntax.Ident)
	if !ok || first(id) != nil {
		return ""
	}
	switch id.Name {
	case "str", "repr", "type", "chr":
		return "string"
	case "int", "len", "ord", "hash":
		return "int"
	case "float", "bool", "bytes", "dict", "set":
		return id.Name
	case "range":
		return "list[int]"
	case "sorted", "reversed", "list":
		if len(call.Args) > 0 {
			return generic("list", element(p.typeOf(call.Args[0], steps), -1))
		}
		return "list"
	}
	return ""
}

// result returns the type of what a function returns.
func (p *program) result(def *syntax.DefStmt, steps int) string {
	kind := ""
	for _, s := range def.Body {
		syntax.Walk(s, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.DefStmt, *syntax.LambdaExpr:
				return false
			case *syntax.ReturnStmt:
				if n.Result != nil && (kind == "" || kind == "None") {
					kind = p.typeOf(n.Result, steps)
				}
			}
			return true
		})
	}
	return kind
}

// function returns a function of mhmig by its name, nil if there is none.
func function(name string) *api.Builtin {
	for _, f := range api.Functions() {
		if f.Name == name {
			return &f
		}
	}
	return nil
}

// module returns a module of mhmig by its name, nil if there is none.
func module(name string) *api.Module {
	for _, m := range api.Modules() {
		if m.Name == name {
			return &m
		}
	}
	return nil
}

// class returns a class of mhmig's values by its name, nil if there is none.
func class(name string) *api.Class {
	for _, c := range api.Classes() {
		if c.Name == name {
			return &c
		}
	}
	return nil
}

// A member is an attribute or a method of a value.
type member struct {
	owner    string // the class, the module, or Starlark's own type
	name     string
	kind     string // the type of an attribute
	doc      string
	function *api.Builtin // a method; nil also for those of Starlark's own values
	method   bool
}

// members returns what values of a type have.
func members(kind string) []member {
	var all []member
	for _, part := range union(kind) {
		base, _, _ := strings.Cut(part, "[")
		if name, ok := strings.CutPrefix(base, modulePrefix); ok {
			if m := module(name); m != nil {
				for _, f := range m.Functions {
					all = append(all, member{owner: name, name: f.Name, doc: f.Doc, function: &f, method: true})
				}
			}
			continue
		}
		if c := class(base); c != nil {
			for _, a := range c.Attributes {
				all = append(all, member{owner: base, name: a.Name, kind: a.Type, doc: a.Doc})
			}
			for _, m := range c.Methods {
				all = append(all, member{owner: base, name: m.Name, doc: m.Doc, function: &m, method: true})
			}
			continue
		}
		if v := starlarkValues[base]; v != nil {
			for _, name := range v.AttrNames() {
				all = append(all, member{owner: base, name: name, method: true})
			}
		}
	}
	return all
}

// starlarkValues are values of Starlark's own types.
var starlarkValues = map[string]starlark.HasAttrs{
	"string": starlark.String(""), "bytes": starlark.Bytes(""), "list": new(starlark.List), "dict": new(starlark.Dict),
	"set": new(starlark.Set),
}

func find(all []member, name string) (member, bool) {
	i := slices.IndexFunc(all, func(m member) bool { return m.name == name })
	if i < 0 {
		return member{}, false
	}
	return all[i], true
}

// generic returns a type with those of its parts, without these if one is not known.
func generic(base string, parts ...string) string {
	if slices.Contains(parts, "") {
		return base
	}
	return base + "[" + strings.Join(parts, ", ") + "]"
}

// or returns the first type that is known.
func or(a, b string) string {
	if a == "" || a == "None" {
		return b
	}
	return a
}

// element returns the type of an element of a value of a type, that at an index if it is not negative.
func element(kind string, index int) string {
	for _, part := range union(kind) {
		base, inner, ok := strings.Cut(part, "[")
		parts := list(strings.TrimSuffix(inner, "]"))
		switch {
		case base == "params" || base == "string":
			return "string"
		case !ok:
		case base == "list":
			return parts[0]
		case base == "tuple" && index >= 0 && index < len(parts):
			return parts[index]
		case base == "dict" && len(parts) == 2:
			return parts[1]
		}
	}
	return ""
}

// indexOf returns the number that an index is, -1 if it is no number.
func indexOf(x syntax.Expr) int {
	if l, ok := x.(*syntax.Literal); ok {
		if n, ok := l.Value.(int64); ok && n < 1000 {
			return int(n)
		}
	}
	return -1
}

// union returns the parts of a type but None.
func union(kind string) []string {
	parts := cut(kind, '|')
	return slices.DeleteFunc(parts, func(part string) bool { return part == "None" || part == "" })
}

// list returns types that are separated by commas.
func list(kinds string) []string { return cut(kinds, ',') }

// cut splits a text at a separator that is not in brackets.
func cut(text string, separator byte) []string {
	var parts []string
	depth, from := 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '[' || c == '(':
			depth++
		case c == ']' || c == ')':
			depth--
		case c == separator && depth == 0:
			parts = append(parts, strings.TrimSpace(text[from:i]))
			from = i + 1
		}
	}
	return append(parts, strings.TrimSpace(text[from:]))
}
