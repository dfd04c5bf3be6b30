// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"errors"
	"fmt"
	"sync"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// This file is the grammar of the config language over the tokens of lex.go. The tags of the structs are its rules in
// participle's notation; block, variantList, assignment and filterText have Parse methods of their own, because they
// recover from errors (the first two), are most of every config (the third), or follow rules that tags cannot say.

// A block is a run of statements of equal standing.
type block struct {
	Statements []any // *assignment *filterStatement *include *del *suffix *condition *set
	Errors     []syntaxError
}

// An assignment is KEY OP VALUE.
type assignment struct {
	Pos            lexer.Position
	Key, Op, Value string
}

// A filterStatement is "only FILTER", "no FILTER" or "join FILTER".
type filterStatement struct {
	Pos     lexer.Position
	Keyword string     `parser:"@(Only | No | Join)"`
	Filter  filterText `parser:"@@ EOL"`
}

// An include is "include PATH".
type include struct {
	Pos  lexer.Position
	Path string `parser:"Include @Path"`
}

// A del is "del NAME".
type del struct {
	Pos  lexer.Position
	Name string `parser:"Del @Ident EOL"`
}

// A suffix is "suffix NAME".
type suffix struct {
	Pos  lexer.Position
	Name string `parser:"Suffix @Ident EOL"`
}

// A condition is "FILTER:" or "!FILTER:" and its content.
type condition struct {
	Pos     lexer.Position
	Negated bool       `parser:"( If | @Unless )"`
	Filter  filterText `parser:"@@ Colon"`
	Body    block      `parser:"Open @@ Close"`
}

// A set is "variants NAME [META]:" and its variants.
type set struct {
	Pos      lexer.Position
	At       bool           `parser:"Variants @At?"`
	Name     string         `parser:"@Ident?"`
	Meta     []meta         `parser:"@@* Colon EOL"`
	Variants variantList    `parser:"Open @@ Close"`
	EndPos   lexer.Position // of what follows the set; line 0 at the end of the file
}

// A meta is "[NAME]" or "[NAME=VALUE]".
type meta struct {
	Pos    lexer.Position
	Name   string   `parser:"LBracket @Ident"`
	Equals bool     `parser:"( @Equals"`
	Value  []string `parser:"( @Ident | Dot | Comma )* )? RBracket"`
}

// A variantList is what stands below a "variants" line.
type variantList struct {
	Variants []*variant
	Errors   []syntaxError
}

// A variant is "- [@]NAME: DEPENDENCIES" and its content.
type variant struct {
	Pos    lexer.Position
	At     bool       `parser:"Dash @At?"`
	Labels []string   `parser:"( @Ident | Dot )* Colon"`
	Dep    filterText `parser:"@@ EOL"`
	Body   block      `parser:"Open @@ Close"`
}

// A filterText is a filter as it is written: any of its words, of which all blocks, of which all labels in a row.
type filterText struct {
	Words [][][]label
}

// A label is NAME, (NAME) or (SET=NAME).
type label struct {
	Pos       lexer.Position
	Set, Name string
}

// grammar holds a parser for each statement that tags describe.
type grammar struct {
	filter    *participle.Parser[filterStatement]
	include   *participle.Parser[include]
	del       *participle.Parser[del]
	suffix    *participle.Parser[suffix]
	condition *participle.Parser[condition]
	set       *participle.Parser[set]
	variant   *participle.Parser[variant]
}

var theGrammar = sync.OnceValue(func() grammar {
	return grammar{
		build[filterStatement](), build[include](), build[del](), build[suffix](), build[condition](), build[set](),
		build[variant](),
	}
})

func build[T any]() *participle.Parser[T] {
	return participle.MustBuild[T](participle.Lexer(definition{}))
}

// parse reads all tokens of a source. Errors are in the blocks.
func parse(t *tokens) (*block, error) {
	lx, err := lexer.Upgrade(t)
	if err != nil {
		return nil, err
	}
	b := new(block)
	err = b.Parse(lx)
	return b, err
}

// Parse reads statements up to the end of the block. It never fails: errors are kept, and what follows is read on.
func (b *block) Parse(lx *lexer.PeekingLexer) error {
	g := theGrammar()
	for {
		switch lx.Peek().Type {
		case lexer.EOF, tokClose:
			return nil
		case tokKey:
			a := new(assignment)
			a.parse(lx)
			b.Statements = append(b.Statements, a)
		case tokOnly, tokNo, tokJoin:
			parseStatement(b, lx, g.filter)
		case tokInclude:
			parseStatement(b, lx, g.include)
		case tokDel:
			parseStatement(b, lx, g.del)
		case tokSuffix:
			parseStatement(b, lx, g.suffix)
		case tokIf, tokUnless:
			parseStatement(b, lx, g.condition)
		case tokVariants:
			parseStatement(b, lx, g.set)
		default: // left over from a bad line
			lx.Next()
		}
	}
}

func parseStatement[T any](b *block, lx *lexer.PeekingLexer, p *participle.Parser[T]) {
	statement, errs := parseOrSkip(lx, p)
	if errs != nil {
		b.Errors = append(b.Errors, errs...)
		return
	}
	b.Statements = append(b.Statements, statement)
}

// Parse reads variants up to the end of the set. It never fails, like block's.
func (l *variantList) Parse(lx *lexer.PeekingLexer) error {
	g := theGrammar()
	for {
		switch lx.Peek().Type {
		case lexer.EOF, tokClose:
			return nil
		case tokDash:
			v, errs := parseOrSkip(lx, g.variant)
			if errs != nil {
				l.Errors = append(l.Errors, errs...)
				continue
			}
			l.Variants = append(l.Variants, v)
		default:
			lx.Next()
		}
	}
}

func (a *assignment) parse(lx *lexer.PeekingLexer) {
	key := lx.Next()
	a.Pos, a.Key, a.Op, a.Value = key.Pos, key.Value, lx.Next().Value, lx.Next().Value
}

// Parse reads a filter up to the end of the line or the colon of a condition. Between two labels stands one dot or two;
// a comma or a blank ends a word. Dots and commas at the end mean nothing.
func (f *filterText) Parse(lx *lexer.PeekingLexer) error {
	if typ := lx.Peek().Type; typ != tokIdent && typ != tokLParen {
		return nil // no filter at all: whoever reads it says whether something else stands here
	}
	var word [][]label
	endWord := func() {
		if word != nil {
			f.Words = append(f.Words, word)
			word = nil
		}
	}
	const none, row, both = 0, 1, 2 // dots before a label: not yet, the block goes on, a new block begins
	dots := row
	for {
		token := lx.Peek()
		switch token.Type {
		case tokIdent, tokLParen:
			switch {
			case dots == none:
				return syntaxError{Pos: token.Pos, Message: "two labels without a dot or a comma between them"}
			case dots > both:
				return syntaxError{
					Pos: token.Pos, Message: fmt.Sprintf("%d dots between two labels", dots),
					Hint: `"." joins neighbours, ".." joins labels that stand anywhere`,
				}
			case dots == both && word == nil:
				return syntaxError{Pos: token.Pos, Message: "a dot with nothing before it"}
			}
			l, err := parseLabel(lx)
			if err != nil {
				return err
			}
			if dots == both || word == nil {
				word = append(word, nil)
			}
			word[len(word)-1] = append(word[len(word)-1], l)
			dots = none
		case tokDot:
			dots++
			lx.Next()
		case tokComma, tokWhite:
			if dots > none {
				return syntaxError{
					Pos: token.Pos, Message: fmt.Sprintf("a label is missing before %s", describe(*token)),
					Hint: `words of a filter stand with one comma or blanks between them: "a, b" or "a b"`,
				}
			}
			endWord()
			dots = row
			lx.Next()
			if lx.Peek().Type == tokWhite {
				lx.Next()
			}
		default:
			endWord()
			return nil
		}
	}
}

func parseLabel(lx *lexer.PeekingLexer) (label, error) {
	token := lx.Next()
	if token.Type == tokIdent {
		return label{Pos: token.Pos, Name: token.Value}, nil
	}
	l := label{Pos: token.Pos}
	wrong := func(t lexer.Token) error {
		return syntaxError{
			Pos: t.Pos, bad: t.Type == tokBad, Message: fmt.Sprintf("unexpected %s in a label", describe(t)),
			Hint: "a label of a named set is written (SET=NAME)",
		}
	}
	name := *lx.Next()
	if name.Type != tokIdent {
		return l, wrong(name)
	}
	l.Name = name.Value
	end := *lx.Next()
	if end.Type == tokEquals {
		value := *lx.Next()
		if value.Type != tokIdent {
			return l, wrong(value)
		}
		l.Set, l.Name = l.Name, value.Value
		end = *lx.Next()
	}
	if end.Type != tokRParen {
		return l, wrong(end)
	}
	return l, nil
}

// A syntaxError is a statement that breaks the grammar.
type syntaxError struct {
	Pos           lexer.Position
	Message, Hint string
	bad           bool // the lexer has reported it
}

func (e syntaxError) Error() string { return e.Pos.String() + ": " + e.Message }

// parseOrSkip reads one statement. When that fails it skips to the next one of this block; the content of the failed
// one is read for its own errors, which are returned too.
func parseOrSkip[T any](lx *lexer.PeekingLexer, p *participle.Parser[T]) (*T, []syntaxError) {
	before := lx.MakeCheckpoint()
	x, err := p.ParseFromLexer(lx, participle.AllowTrailing(true))
	if err == nil {
		return x, nil
	}
	errs := []syntaxError{explain(x, err)}
	lx.LoadCheckpoint(before)
	lx.Next()
	for {
		switch lx.Peek().Type {
		case lexer.EOF, tokClose, tokKey, tokOnly, tokNo, tokJoin, tokInclude, tokDel, tokSuffix, tokIf, tokUnless,
			tokVariants, tokDash:
			return nil, errs
		case tokOpen:
			lx.Next()
			if lx.Peek().Type == tokDash {
				var l variantList
				_ = l.Parse(lx) // never fails
				errs = append(errs, l.errors()...)
			} else {
				var b block
				_ = b.Parse(lx)
				errs = append(errs, b.errors()...)
			}
			lx.Next() // Close
			return nil, errs
		default:
			lx.Next()
		}
	}
}

// errors returns the errors of a block and of all blocks in it.
func (b *block) errors() []syntaxError {
	errs := b.Errors
	for _, s := range b.Statements {
		switch s := s.(type) {
		case *condition:
			errs = append(errs, s.Body.errors()...)
		case *set:
			errs = append(errs, s.Variants.errors()...)
		}
	}
	return errs
}

func (l *variantList) errors() []syntaxError {
	errs := l.Errors
	for _, v := range l.Variants {
		errs = append(errs, v.Body.errors()...)
	}
	return errs
}

// explain says in the language's own words what a parser of statement x stumbled over.
func explain(x any, err error) syntaxError {
	if own, ok := errors.AsType[syntaxError](err); ok {
		return own
	}
	where, form := "here", ""
	switch x.(type) {
	case *filterStatement:
		where, form = "in a filter", `a filter is written "a.b..c, (set=d)"`
	case *del:
		where, form = `behind "del"`, `the form is "del KEY", with one whole key`
	case *suffix:
		where, form = `behind "suffix"`, `the form is "suffix NAME", with one name`
	case *condition:
		where, form = "in a condition", `the form is "FILTER:", where only commas separate words`
	case *set:
		where, form = `in a "variants" line`, `the form is "variants [NAME] [META=VALUE]:", and nothing stands behind the colon`
	case *variant:
		where, form = "in the head of a variant", `the form is "- NAME: DEPENDENCIES", with only "." "_" "-" letters and digits in the name`
	}
	if unexpected, ok := errors.AsType[*participle.UnexpectedTokenError](err); ok {
		token := unexpected.Unexpected
		return syntaxError{
			Pos: token.Pos, Hint: form, bad: token.Type == tokBad,
			Message: fmt.Sprintf("unexpected %s %s", describe(token), where),
		}
	}
	if other, ok := errors.AsType[participle.Error](err); ok {
		return syntaxError{Pos: other.Position(), Message: other.Message(), Hint: form}
	}
	return syntaxError{Message: err.Error(), Hint: form}
}

func describe(t lexer.Token) string {
	switch t.Type {
	case lexer.EOF, tokEOL, tokOpen, tokClose:
		return "end of the line"
	case tokWhite:
		return "blank"
	}
	return fmt.Sprintf("%q", t.Value)
}
