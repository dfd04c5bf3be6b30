// SPDX-License-Identifier: Apache-2.0

package assist

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/star"
)

// A use is what stands at an offset of a program.
type use struct {
	id     *syntax.Ident    // a name, nil for others
	dot    *syntax.DotExpr  // of which id is the attribute
	call   *syntax.CallExpr // of which id names an argument
	load   *syntax.LoadStmt // of which id is a name
	string *syntax.Literal  // the file of load
}

// useAt returns what stands at an offset.
func (p *program) useAt(at int) use {
	path := p.path(at)
	if len(path) == 0 {
		return use{}
	}
	var u use
	switch last := path[len(path)-1].(type) {
	case *syntax.Ident:
		u.id = last
	case *syntax.Literal:
		u.string = last
	default:
		// A LoadStmt's parts, and the names of functions, may have been left out of the way.
		return use{}
	}
	for i, n := range slices.Backward(path[:len(path)-1]) {
		switch n := n.(type) {
		case *syntax.DotExpr:
			if u.id == n.Name {
				u.dot = n
			}
		case *syntax.BinaryExpr:
			if n.Op == syntax.EQ && n.X == syntax.Expr(u.id) && i > 0 {
				if call, ok := path[i-1].(*syntax.CallExpr); ok {
					u.call = call
				}
			}
		case *syntax.LoadStmt:
			u.load = n
		}
	}
	if u.string != nil && (u.load == nil || u.load.Module != u.string) {
		return use{}
	}
	return u
}

// hoverProgram returns what is meant at an offset of a Starlark file.
func (w *Workspace) hoverProgram(name, text string, at int) Hover {
	p := w.program(name, text)
	u := p.useAt(at)
	switch {
	case u.string != nil:
		if m := w.module(name, u.load.ModuleName()); m != nil {
			return Hover{p.span(u.string), code(m.name, star.Docstring(m.file.Stmts))}
		}
	case u.id != nil:
		return Hover{p.span(u.id), p.describe(u)}
	}
	return Hover{}
}

// describe returns what a name means, as Markdown.
func (p *program) describe(u use) string {
	switch {
	case u.dot != nil:
		m, ok := find(members(p.typeOf(u.dot.X, maxSteps)), u.id.Name)
		if !ok {
			return ""
		}
		if t := topic(m.owner + "." + m.name); t.Name != "" {
			return markdown(t)
		}
		return code(m.owner+"."+m.name, m.doc)
	case u.call != nil:
		c := p.callee(u.call.Fn, maxSteps)
		if c.builtin != nil {
			for _, param := range c.builtin.Params {
				if param.Name == u.id.Name {
					return code(param.Name+": "+param.Wants, param.Doc)
				}
			}
		}
		return ""
	case u.load != nil:
		for i, from := range u.load.From {
			if from == u.id || u.load.To[i] == u.id {
				return p.describeName(u.load.To[i])
			}
		}
		return ""
	}
	if first(u.id) == nil {
		return markdown(topic(u.id.Name))
	}
	return p.describeName(u.id)
}

// describeName describes a name of the file.
func (p *program) describeName(id *syntax.Ident) string {
	item := p.nameItem(id)
	switch {
	case item.Kind == Function:
		return code("def "+item.Detail, item.Doc)
	case item.Detail != "":
		about := ""
		if c := class(item.Detail); c != nil {
			about = c.Doc
		}
		return code(id.Name+": "+item.Detail, about)
	}
	return code(id.Name, "")
}

// defineProgram returns where what is meant at an offset of a Starlark file is defined.
func (w *Workspace) defineProgram(name, text string, at int) []Place {
	p := w.program(name, text)
	u := p.useAt(at)
	switch {
	case u.string != nil:
		if full, ok := w.resolve(name, u.load.ModuleName()); ok {
			if text, ok := w.Text(full); ok {
				return []Place{{full, text, Span{}}}
			}
		}
	case u.id == nil || u.dot != nil:
	case u.call != nil:
		if c := p.callee(u.call.Fn, maxSteps); c.def != nil {
			for _, x := range c.def.Params {
				if id, _ := parameter(x); id != nil && id.Name == u.id.Name {
					return []Place{c.program.place(id)}
				}
			}
		}
	case u.load != nil:
		for i, from := range u.load.From {
			if from == u.id || u.load.To[i] == u.id {
				return p.definition(u.load.To[i])
			}
		}
	default:
		return p.definition(u.id)
	}
	return nil
}

// definition returns where a name of the file is defined.
func (p *program) definition(id *syntax.Ident) []Place {
	id = first(id)
	if id == nil {
		return nil
	}
	if from, ok := p.loads[id]; ok {
		if m := p.w.module(p.name, from.module); m != nil {
			if global := m.global(from.name); global != nil {
				return []Place{m.place(global)}
			}
		}
	}
	return []Place{p.place(id)}
}

func (p *program) place(n syntax.Node) Place { return Place{p.name, p.text, p.span(n)} }

// Renameable returns the name at an offset of a file that can be renamed; the error says why it cannot.
func (w *Workspace) Renameable(name string, at int) (Span, error) {
	text, ok := w.Text(name)
	if !ok || isConfig(name) {
		return Span{}, errors.New("only names in Starlark files can be renamed")
	}
	p := w.program(name, text)
	id, err := p.renameable(min(max(at, 0), len(text)))
	if err != nil {
		return Span{}, err
	}
	return p.span(id), nil
}

// renameable returns the name at an offset.
func (p *program) renameable(at int) (*syntax.Ident, error) {
	if !p.exact {
		return nil, errors.New("the file has errors: correct them before a name is changed")
	}
	u := p.useAt(at)
	id := u.id
	switch {
	case id == nil:
		return nil, errors.New("there is no name here")
	case u.dot != nil:
		return nil, fmt.Errorf("%s is an attribute, which cannot be renamed", id.Name)
	case u.load != nil:
		if i := slices.Index(u.load.From, id); i >= 0 {
			id = u.load.To[i]
		}
	case u.call != nil:
		c := p.callee(u.call.Fn, maxSteps)
		if c.program != p {
			return nil, fmt.Errorf("%s is a parameter of a function that is not in this file", id.Name)
		}
		for _, x := range c.def.Params {
			if param, _ := parameter(x); param != nil && param.Name == id.Name {
				id = param
			}
		}
	}
	switch {
	case first(id) == nil:
		return nil, fmt.Errorf("%s is not defined in this file", id.Name)
	case scopeOf(id) != resolve.Global || strings.HasPrefix(id.Name, "_"):
		return id, nil
	case p.global(star.Entry) == nil:
		return nil, fmt.Errorf("other files can load %s, which would not be renamed there", id.Name)
	case id.Name == star.Entry || id.Name == "hosts_needed" || id.Name == "guest_start":
		return nil, fmt.Errorf("mhmig looks for %s by its name", id.Name)
	}
	return id, nil
}

var validName = regexp.MustCompile(`^[\pL_][\pL\pN_]*$`)

// Rename returns the edits that rename the name at an offset of a Starlark file: a local one, one that the file loads, or
// one that only this file can use. It is an error if the name would then mean something else anywhere.
func (w *Workspace) Rename(name string, at int, to string) ([]Edit, error) {
	if _, err := w.Renameable(name, at); err != nil {
		return nil, err
	}
	if !validName.MatchString(to) || isKeyword(to) {
		return nil, fmt.Errorf("%q cannot be a name", to)
	}
	text, _ := w.Text(name)
	p := w.program(name, text)
	id, err := p.renameable(min(max(at, 0), len(text)))
	if err != nil {
		return nil, err
	}
	edits := p.renamed(first(id), to)
	changed := apply(text, edits)
	after := w.program(name, changed)
	if !after.exact || !slices.Equal(p.meanings(), after.meanings()) {
		return nil, fmt.Errorf("%s is taken: something would mean another thing than now", to)
	}
	return edits, nil
}

// renamed returns the edits that give a name another one.
func (p *program) renamed(id *syntax.Ident, to string) []Edit {
	var edits []Edit
	edit := func(n *syntax.Ident) { edits = append(edits, Edit{p.span(n), to}) }
	syntax.Walk(p.file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.LoadStmt:
			for i, name := range n.To {
				if first(name) != id {
					continue
				}
				s := p.span(n.From[i]) // the content of the string
				if name == n.From[i] || p.span(name) == s {
					quoted := Span{s.From - 1, s.To + 1}
					edits = append(edits, Edit{quoted, to + " = " + p.text[quoted.From:quoted.To]})
				} else {
					edit(name)
				}
			}
			return false
		case *syntax.Ident:
			if first(n) == id {
				edit(n)
			}
		case *syntax.CallExpr:
			def := p.params[id].def
			if def == nil || p.callee(n.Fn, maxSteps).def != def {
				break
			}
			for _, arg := range n.Args {
				if b, ok := arg.(*syntax.BinaryExpr); ok && b.Op == syntax.EQ {
					if name := b.X.(*syntax.Ident); name.Name == id.Name {
						edit(name)
					}
				}
			}
		}
		return true
	})
	slices.SortFunc(edits, func(a, b Edit) int { return a.From - b.From })
	return slices.CompactFunc(edits, func(a, b Edit) bool { return a.Span == b.Span })
}

// apply returns a text after edits, which are in order and apart.
func apply(text string, edits []Edit) string {
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(text[at:e.From] + e.Text)
		at = e.To
	}
	return b.String() + text[at:]
}

// meanings returns for each name of the file, in order, which of them is the first for the same thing; what is not
// defined in the file is its own name.
func (p *program) meanings() []string {
	numbers := map[*syntax.Ident]int{}
	var all []string
	syntax.Walk(p.file, func(n syntax.Node) bool {
		if load, ok := n.(*syntax.LoadStmt); ok {
			for i, to := range load.To {
				numbers[first(to)] = len(numbers)
				all = append(all, load.ModuleName()+load.From[i].Name)
			}
			return false
		}
		id, ok := n.(*syntax.Ident)
		if !ok || id.Binding == nil {
			return true // an attribute, or the name of an argument
		}
		of := first(id)
		if of == nil {
			all = append(all, id.Name)
			return true
		}
		number, known := numbers[of]
		if !known {
			number = len(numbers)
			numbers[of] = number
		}
		all = append(all, fmt.Sprint(number))
		return true
	})
	return all
}
