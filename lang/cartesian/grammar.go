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
// participle's notation, and filterText has a Parse method of its own for what tags cannot say. parse.go reads the forms
// that most of every config consists of by hand, and leaves all others, and all errors, to this grammar.

// A block is a run of statements of equal standing.
type block struct {
	Statements []clause `parser:"@@*"`

	found []syntaxError // of a whole source: what was wrong with its statements
}

// A clause is a statement as it is written: *assignment *filterStatement *include *del *suffix *condition *set.
type clause any

// An assignment is KEY OP VALUE.
type assignment struct {
	Pos   lexer.Position
	Key   string `parser:"@Key"`
	Op    string `parser:"@Op"`
	Value string `parser:"@Value"`
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
	Variants []*variant `parser:"@@*"`
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

// grammar holds a parser for the whole language, and those for its statements.
type grammar struct {
	block     *participle.Parser[block]
	filter    *participle.Parser[filterStatement]
	del       *participle.Parser[del]
	suffix    *participle.Parser[suffix]
	condition *participle.Parser[condition]
	set       *participle.Parser[set]
	variant   *participle.Parser[variant]
}

var theGrammar = sync.OnceValue(func() grammar {
	whole := participle.MustBuild[block](
		participle.Lexer(definition{}),
		participle.Union[clause](
			&assignment{}, &filterStatement{}, &include{}, &del{}, &suffix{}, &condition{}, &set{},
		),
	)
	return grammar{
		whole, production[filterStatement](whole), production[del](whole),
		production[suffix](whole), production[condition](whole), production[set](whole), production[variant](whole),
	}
})

func production[T any](whole *participle.Parser[block]) *participle.Parser[T] {
	p, err := participle.ParserForProduction[T](whole)
	if err != nil {
		panic(err) // T is no part of the grammar
	}
	return p
}

// Parse makes f a production of participle's.
func (f *filterText) Parse(lx *lexer.PeekingLexer) error {
	start := lx.RawCursor()
	scan := *lx
	for {
		if typ := scan.Peek().Type; typ == lexer.EOF || typ == tokEOL || typ == tokColon {
			break
		}
		scan.Next()
	}
	var r filterReader
	n, err := r.read(f, lx.Range(start, scan.RawCursor()+1))
	for range n {
		lx.Next()
	}
	return err
}

// A syntaxError is a statement that breaks the grammar.
type syntaxError struct {
	Pos           lexer.Position
	Message, Hint string
	bad           bool // the lexer has reported it
}

func (e syntaxError) Error() string { return e.Pos.String() + ": " + e.Message }

// errors returns the errors of the block of a whole source.
func (b *block) errors() []syntaxError { return b.found }

// explain says in the language's own words what a parser of statement x, which begins with the given tokens, stumbled
// over.
func explain(x any, err error, tokens []lexer.Token) syntaxError {
	where, form := "here", ""
	switch x.(type) {
	case *filterStatement:
		where, form = "in a filter", `a filter is written "a.b..c, (set=d)"`
	case *del:
		where, form = `after "del"`, `the form is "del KEY", with one whole key`
	case *suffix:
		where, form = `after "suffix"`, `the form is "suffix NAME", with one name`
	case *condition:
		where, form = "in a condition", `the form is "FILTER:" or "!FILTER:", where only commas separate words`
	case *set:
		where, form = `in a "variants" line`, `the form is "variants [NAME] [META=VALUE]:", and nothing follows the colon`
	case *variant:
		where, form = "in the head of a variant", `the form is "- NAME: DEPENDENCIES", with only "." "_" "-" letters and digits in the name`
	}
	if own, ok := errors.AsType[syntaxError](err); ok {
		if own.Hint == "" {
			own.Hint = form
		}
		return own
	}
	if unexpected, ok := errors.AsType[*participle.UnexpectedTokenError](err); ok {
		token := unexpected.Unexpected
		e := syntaxError{
			Pos: token.Pos, Hint: form, bad: token.Type == tokBad,
			Message: fmt.Sprintf("unexpected %s %s", describe(token), where),
		}
		e.guess(x, token, tokens)
		return e
	}
	if other, ok := errors.AsType[participle.Error](err); ok {
		return syntaxError{Pos: other.Position(), Message: other.Message(), Hint: form}
	}
	return syntaxError{Message: err.Error(), Hint: form}
}

// guess makes e clearer where the unexpected token shows what was probably meant.
func (e *syntaxError) guess(x any, token lexer.Token, tokens []lexer.Token) {
	_, isFilter := x.(*filterStatement)
	_, isSet := x.(*set)
	_, isVariant := x.(*variant)
	atEnd := describe(token) == endOfLine
	switch typ := token.Type; {
	case typ == tokRParen:
		e.Message = `")" without "("`
	case isSet && (atEnd || typ == tokColon) && inBrackets(tokens, token.Pos):
		e.Message = `"[" without "]"`
	case isSet && atEnd:
		e.Message = `a "variants" line without ":"`
	case isVariant && atEnd:
		e.Message = `a variant without ":"`
	case isFilter && typ == tokColon:
		e.Hint = fmt.Sprintf("a condition is the filter alone, without %q", tokens[0].Value)
	case isFilter && typ == tokNot:
		e.Hint = `"!" negates conditions only; "no" drops what its filter matches`
	case (typ == tokEquals || typ == tokOp) && tokens[1].Pos == token.Pos:
		e.Hint = fmt.Sprintf("%q is a keyword and cannot be a key", tokens[0].Value)
	}
}

// inBrackets reports whether a "[" is open where pos is.
func inBrackets(tokens []lexer.Token, pos lexer.Position) bool {
	open := false
	for _, t := range tokens {
		switch {
		case t.Pos == pos:
			return open
		case t.Type == tokLBracket:
			open = true
		case t.Type == tokRBracket:
			open = false
		}
	}
	return open
}

const endOfLine = "end of the line"

func describe(t lexer.Token) string {
	switch t.Type {
	case lexer.EOF, tokEOL, tokOpen, tokClose:
		return endOfLine
	case tokWhite:
		return "blank"
	}
	return fmt.Sprintf("%q", t.Value)
}
