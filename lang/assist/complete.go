// SPDX-License-Identifier: Apache-2.0

package assist

import (
	"cmp"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/star"
)

// placeholder is a function that is called with the expression that is asked about, so that it is found in a program.
const placeholder = "mhmig_asked_about"

// completeProgram returns what can be written at an offset of a Starlark file.
func (w *Workspace) completeProgram(name, text string, at int) Completion {
	tokens := scan(text[:at])
	if len(tokens) == 0 {
		return w.names(name, text, Span{at, at}, nil)
	}
	last := tokens[len(tokens)-1]
	switch {
	case last.kind == '#' || last.kind == '0' && last.To == at:
		return Completion{}
	case last.kind == 's' && !last.closed:
		return w.completeString(name, text, at, tokens)
	case last.kind == 's' && last.To == at:
		return Completion{}
	}
	written := Span{at, at}
	if last.kind == 'n' && last.To == at {
		written.From = last.From
		tokens = tokens[:len(tokens)-1]
	}
	for written.To < len(text) && isWordByte(text[written.To]) {
		written.To++
	}
	if n := len(tokens); n > 0 && tokens[n-1].kind == '.' {
		return w.completeMember(name, text, written, tokens)
	}
	if n := len(tokens); n > 0 && tokens[n-1].kind == 'n' && tokens[n-1].in(text) == "def" {
		return Completion{} // a new name
	}
	return w.names(name, text, written, tokens)
}

// completeMember returns the attributes and methods of the value before the dot that tokens end with.
func (w *Workspace) completeMember(name, text string, written Span, tokens []token) Completion {
	c := Completion{Span: written}
	begin := operand(text, tokens, len(tokens)-2)
	if begin < 0 {
		return c
	}
	dot := tokens[len(tokens)-1].From
	value := text[tokens[begin].From:dot]
	p, asked, _ := w.ask(name, text, Span{tokens[begin].From, written.To}, value)
	if asked == nil {
		return c
	}
	for _, m := range members(p.typeOf(asked, maxSteps)) {
		c.Items = append(c.Items, m.item())
	}
	return c
}

func (m member) item() Item {
	item := Item{Label: m.name, Kind: Attribute, Detail: m.kind, Doc: m.doc}
	if m.method {
		item.Kind = Method
	}
	if m.function != nil {
		item.Detail = signature(*m.function)
	}
	return item
}

// signature returns the signature of a builtin with the type of its result.
func signature(b api.Builtin) string {
	if b.Returns.Type == "None" {
		return b.Signature()
	}
	return b.Signature() + " -> " + b.Returns.Type
}

// ask reads a text in which an expression stands in place of what is written in a span, and returns the program, the
// expression in it and the nodes around that; nil if nothing can be made of the text. Where the text is not valid with it,
// the expression stands in place of the whole statement.
func (w *Workspace) ask(name, text string, written Span, value string) (*program, syntax.Expr, []syntax.Node) {
	call := placeholder + "(" + value + ")"
	whole := text[:written.From] + call + text[written.To:]
	if _, err := star.Dialect.Parse(name, whole, 0); err != nil {
		statement := w.statement(text, written)
		line := text[statement.From:statement.To]
		instead := indentOf(line) + call
		if next := strings.TrimLeft(text[statement.To:], "\r\n"); len(indentOf(next)) > len(indentOf(line)) {
			instead = indentOf(line) + "if " + call + ":"
		}
		whole = text[:statement.From] + strings.ReplaceAll(instead, "\n", " ") + text[statement.To:]
	}
	p := w.program(name, whole)
	var asked syntax.Expr
	var around, open []syntax.Node
	syntax.Walk(p.file, func(n syntax.Node) bool {
		if n == nil {
			open = open[:len(open)-1]
			return true
		}
		open = append(open, n)
		if c, ok := n.(*syntax.CallExpr); ok && len(c.Args) == 1 {
			if fn, ok := c.Fn.(*syntax.Ident); ok && fn.Name == placeholder {
				asked, around = c.Args[0], slices.Clone(open)
			}
		}
		return true
	})
	return p, asked, around
}

// statement returns the lines of the statement that a span is in, up to the end of the span's line.
func (*Workspace) statement(text string, written Span) Span {
	from := written.From
	tokens := scan(text[:from])
	for {
		open := enclosing(text, tokens)
		if open < 0 {
			break
		}
		from, tokens = tokens[open].From, tokens[:open]
	}
	return Span{lineOf(text, from).From, lineOf(text, written.To).To}
}

// names returns the names that can be written in place of a span, after tokens.
func (w *Workspace) names(name, text string, written Span, tokens []token) Completion {
	c := Completion{Span: written}
	c.Items = w.argumentNames(name, text, written, tokens)
	seen := map[string]bool{placeholder: true}
	add := func(item Item) {
		if !seen[item.Label] {
			seen[item.Label] = true
			c.Items = append(c.Items, item)
		}
	}
	p, _, around := w.ask(name, text, written, "None")
	for _, n := range slices.Backward(around) {
		_, all := n.(*syntax.Comprehension)
		for _, b := range locals(n) {
			if id := b.First; id != nil && (all || !p.clauses[id]) {
				add(p.nameItem(id))
			}
		}
	}
	for _, global := range p.globals() {
		add(p.nameItem(global))
	}
	for _, f := range api.Functions() {
		add(Item{Label: f.Name, Kind: Function, Detail: signature(f), Doc: f.Doc})
	}
	for _, m := range api.Modules() {
		add(Item{Label: m.Name, Kind: Module, Doc: m.Doc})
	}
	for _, n := range star.Universe() {
		t := topic(n)
		add(Item{Label: n, Kind: Function, Detail: t.Heading, Doc: t.Doc})
	}
	for _, k := range keywords {
		add(Item{Label: k, Kind: Keyword})
	}
	return c
}

// locals returns the local names of a function, those of its comprehensions too, or of a comprehension.
func locals(n syntax.Node) []*resolve.Binding {
	var f any
	switch n := n.(type) {
	case *syntax.DefStmt:
		f = n.Function
	case *syntax.LambdaExpr:
		f = n.Function
	case *syntax.Comprehension:
		var all []*resolve.Binding
		for _, clause := range n.Clauses {
			if clause, ok := clause.(*syntax.ForClause); ok {
				syntax.Walk(clause.Vars, func(n syntax.Node) bool {
					if id, ok := n.(*syntax.Ident); ok {
						if b, ok := id.Binding.(*resolve.Binding); ok {
							all = append(all, b)
						}
					}
					return true
				})
			}
		}
		return all
	}
	if f, ok := f.(*resolve.Function); ok && f != nil {
		return f.Locals
	}
	return nil
}

// moduleOf returns what the resolver knows of a file.
func moduleOf(file *syntax.File) *resolve.Module {
	m, _ := file.Module.(*resolve.Module)
	return m
}

// nameItem describes a name of the file.
func (p *program) nameItem(id *syntax.Ident) Item {
	item := Item{Label: id.Name, Kind: Variable}
	if c := p.callee(id, maxSteps); c.def != nil {
		item.Kind = Function
		item.Detail, item.Doc = c.program.signature(c.def), star.Docstring(c.def.Body)
	} else {
		item.Detail = p.typeOfName(id, maxSteps)
	}
	return item
}

// signature returns the head of a function as it is written, on one line.
func (p *program) signature(def *syntax.DefStmt) string {
	var params []string
	for _, x := range def.Params {
		s := p.span(x)
		params = append(params, strings.Join(strings.Fields(p.text[s.From:s.To]), " "))
	}
	return def.Name.Name + "(" + strings.Join(params, ", ") + ")"
}

// argumentNames returns the names of the parameters of the call whose brackets tokens end in.
func (w *Workspace) argumentNames(name, text string, written Span, tokens []token) []Item {
	open := enclosing(text, tokens)
	if open < 1 || tokens[open].kind != '(' {
		return nil
	}
	if before := tokens[len(tokens)-1].kind; before != '(' && before != ',' && before != '\n' {
		return nil
	}
	c := w.called(name, text, written, tokens[:open])
	var items []Item
	switch {
	case c.builtin != nil:
		for _, param := range c.builtin.Params {
			detail := param.Wants
			if param.Default != "" {
				detail += ", default " + param.Default
			}
			items = append(items, Item{Label: param.Name + " = ", Kind: Argument, Detail: detail, Doc: param.Doc})
		}
	case c.def != nil:
		for _, x := range c.def.Params {
			if _, collects := x.(*syntax.UnaryExpr); collects {
				continue
			}
			if id, value := parameter(x); id != nil {
				item := Item{Label: id.Name + " = ", Kind: Argument}
				if value != nil {
					s := c.program.span(value)
					item.Detail = "default " + c.program.text[s.From:s.To]
				}
				items = append(items, item)
			}
		}
	}
	// Those that are there already are left out.
	given := text[tokens[open].To:written.From]
	return slices.DeleteFunc(items, func(i Item) bool { return hasKeyword(given, strings.TrimSuffix(i.Label, " = ")) })
}

// hasKeyword reports whether the text of arguments gives one by its name.
func hasKeyword(arguments, name string) bool {
	tokens := scan(arguments)
	for i := range len(tokens) - 1 {
		if tokens[i].kind == 'n' && tokens[i].in(arguments) == name && tokens[i+1].kind == '=' {
			return true
		}
	}
	return false
}

// called returns what the operand calls that tokens end with; something is being written in a span after it.
func (w *Workspace) called(name, text string, written Span, tokens []token) callee {
	begin := operand(text, tokens, len(tokens)-1)
	if begin < 0 {
		return callee{}
	}
	fn := text[tokens[begin].From:tokens[len(tokens)-1].To]
	p, asked, _ := w.ask(name, text, Span{tokens[begin].From, written.To}, fn)
	if asked == nil {
		return callee{}
	}
	return p.callee(asked, maxSteps)
}

// completeString returns what the string that tokens end with can hold: a file to load, a name of it, the name of a param.
func (w *Workspace) completeString(name, text string, at int, tokens []token) Completion {
	str := tokens[len(tokens)-1]
	tokens = tokens[:len(tokens)-1]
	written := Span{str.begin, at}
	for written.To < len(text) && strings.IndexByte("\"'\r\n,)", text[written.To]) < 0 {
		written.To++
	}
	open := enclosing(text, tokens)
	if isLoad(text, tokens) {
		return w.completeLoad(name, text, written, tokens)
	}
	if open < 1 {
		return Completion{}
	}
	before := tokens[len(tokens)-1]
	switch tokens[open].kind {
	case '(':
		if before.kind != '(' {
			return Completion{}
		}
		c := w.called(name, text, Span{at, written.To}, tokens[:open])
		if c.owner != "params" || c.builtin == nil || len(c.builtin.Params) == 0 || c.builtin.Params[0].Name != "key" {
			return Completion{}
		}
	case '[':
		begin := operand(text, tokens[:open], open-1)
		if begin < 0 || before.kind != '[' {
			return Completion{}
		}
		value := text[tokens[begin].From:tokens[open].From]
		p, asked, _ := w.ask(name, text, Span{tokens[begin].From, written.To}, value)
		if asked == nil || p.typeOf(asked, maxSteps) != "params" {
			return Completion{}
		}
	case '{': // params = {"…
		if open < 2 || tokens[open-1].kind != '=' || tokens[open-2].in(text) != "params" || before.kind != '{' && before.kind != ',' && before.kind != '\n' {
			return Completion{}
		}
	}
	return Completion{Span: written, Items: paramItems()}
}

// isLoad reports whether tokens end in the brackets of a load statement.
func isLoad(text string, tokens []token) bool {
	for i, t := range slices.Backward(tokens) {
		if t.kind == ')' {
			return false
		}
		if t.kind == '(' {
			return i > 0 && tokens[i-1].in(text) == "load"
		}
	}
	return false
}

// completeLoad returns the files that can be loaded, or the names of the one that is.
func (w *Workspace) completeLoad(name, text string, written Span, tokens []token) Completion {
	open := len(tokens) - 1
	for tokens[open].kind != '(' {
		open--
	}
	if open == len(tokens)-1 || tokens[len(tokens)-1].kind == '\n' && open == len(tokens)-2 {
		c := w.paths(name, text[written.From:written.To], star.Extension, written.From)
		return c
	}
	c := Completion{Span: written}
	i := slices.IndexFunc(tokens[open:], func(t token) bool { return t.kind == 's' })
	if i < 0 {
		return c
	}
	path := tokens[open+i]
	if !path.closed {
		return c
	}
	m := w.module(name, text[path.begin:path.To-1])
	if m == nil {
		return c
	}
	for _, global := range m.globals() {
		if !strings.HasPrefix(global.Name, "_") && m.loads[global] == (loaded{}) && !hasString(text, tokens[open:], global.Name) {
			c.Items = append(c.Items, m.nameItem(global))
		}
	}
	slices.SortFunc(c.Items, func(a, b Item) int { return cmp.Compare(a.Label, b.Label) })
	return c
}

// globals returns the first places of the names that are known in the whole file, those that it loads too.
func (p *program) globals() []*syntax.Ident {
	var all []*syntax.Ident
	if m := moduleOf(p.file); m != nil {
		for _, b := range slices.Concat(m.Globals, m.Locals) {
			if b.First != nil && (b.Scope == resolve.Global || p.loads[b.First] != (loaded{})) {
				all = append(all, b.First)
			}
		}
	}
	return all
}

// hasString reports whether one of tokens is a string with this content.
func hasString(text string, tokens []token, content string) bool {
	return slices.ContainsFunc(tokens, func(t token) bool {
		return t.kind == 's' && t.closed && text[t.begin:t.To-1] == content
	})
}
