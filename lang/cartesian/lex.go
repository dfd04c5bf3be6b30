// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/mhmig/mhmig/lang/diag"
)

// Token types. A statement begins with a type of its own, so the grammar needs no look-ahead; what an indented block
// holds stands between Open and Close.
const (
	tokKey      = -(iota + 2) // of an assignment, followed by Op and Value
	tokOp                     // = += <= ~= ?= ?+= ?<=
	tokValue                  // everything behind the operator, without its quotes
	tokOnly                   // "only", followed by a filter
	tokNo                     // "no"
	tokJoin                   // "join"
	tokInclude                // "include", followed by Path
	tokPath                   // the rest of the line
	tokDel                    // "del"
	tokSuffix                 // "suffix"
	tokIf                     // nothing of the text: begins a condition
	tokUnless                 // "!": begins a negated condition
	tokVariants               // "variants"
	tokDash                   // "-": begins a variant
	tokIdent
	tokDot
	tokColon
	tokComma
	tokAt
	tokEquals
	tokNot
	tokLParen
	tokRParen
	tokLBracket
	tokRBracket
	tokWhite // blanks, where they mean something: in variants' names and in filters
	tokEOL   // end of a line that was read as tokens
	tokOpen
	tokClose
	tokBad // text that is reported already
)

var symbols = map[string]lexer.TokenType{
	"EOF": lexer.EOF, "Key": tokKey, "Op": tokOp, "Value": tokValue, "Only": tokOnly, "No": tokNo, "Join": tokJoin,
	"Include": tokInclude, "Path": tokPath, "Del": tokDel, "Suffix": tokSuffix, "If": tokIf, "Unless": tokUnless,
	"Variants": tokVariants, "Dash": tokDash, "Ident": tokIdent, "Dot": tokDot, "Colon": tokColon, "Comma": tokComma,
	"At": tokAt, "Equals": tokEquals, "Not": tokNot, "LParen": tokLParen, "RParen": tokRParen,
	"LBracket": tokLBracket, "RBracket": tokRBracket, "White": tokWhite, "EOL": tokEOL, "Open": tokOpen,
	"Close": tokClose, "Bad": tokBad,
}

// keywords begin a statement when a blank follows, as do "variants:" and "-".
var keywords = []struct {
	word string
	typ  lexer.TokenType
}{
	{"variants", tokVariants},
	{"only", tokOnly},
	{"no", tokNo},
	{"include", tokInclude},
	{"del", tokDel},
	{"suffix", tokSuffix},
	{"join", tokJoin},
}

// maxDepth limits how deeply blocks may lie in each other: all readers of the tree recurse.
const maxDepth = 1000

// definition makes our lexer known to participle.
type definition struct{}

var _ lexer.Definition = definition{}

func (definition) Symbols() map[string]lexer.TokenType { return symbols }

func (definition) Lex(name string, r io.Reader) (lexer.Lexer, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	src, err := newSource(name, path.Base(name), string(text))
	if err != nil {
		return nil, err
	}
	return lex(src), nil
}

// tokens are all tokens of one source, and what was wrong with its text. They are participle's Lexer.
type tokens struct {
	list []lexer.Token
	next int
	errs diag.List
}

func (t *tokens) Next() (lexer.Token, error) {
	token := t.list[t.next]
	if !token.EOF() {
		t.next++
	}
	return token, nil
}

// all returns all tokens.
func (t *tokens) all() []lexer.Token { return t.list }

// lex turns indentation into blocks and lines into tokens. It never fails: bad text becomes Bad tokens and entries of
// errs, and what follows is read as well as possible.
func lex(src *source) *tokens {
	x := &lineLexer{src: src, levels: []level{{floor: -1}}, skipBelow: -1}
	x.out.list = make([]lexer.Token, 0, 4*len(src.lines)+1)
	for i, text := range src.lines {
		body := strings.TrimLeftFunc(text, isBlank)
		if body == "" || body[0] == '#' || strings.HasPrefix(body, "//") {
			continue
		}
		x.line = i + 1
		x.read(utf8.RuneCountInString(text)-utf8.RuneCountInString(body), body)
	}
	x.line = 0
	for len(x.levels) > 1 {
		x.close()
	}
	x.emit(lexer.EOF, "", 0)
	return &x.out
}

// A level is a block that is open.
type level struct {
	floor  int    // the block takes lines that are indented more than this
	opener string // text of a condition that opened it
	told   bool   // a line that cannot stand in it was reported: one is enough

	set     bool // of variants: takes "-" lines only
	header  int  // set: indent of its "variants" line
	dash    int  // set: indent of its first "-" line
	started bool // set: has a "-" line
}

// A lineLexer reads one source line by line.
type lineLexer struct {
	src    *source
	out    tokens
	levels []level // the open blocks, outermost first

	line      int    // number of the line being read, 0 at the end of the file
	base      int    // column of the first character of the statement being read, from 0
	body      string // the statement being read
	skipBelow int    // lines that are indented more than this belong to a bad one; -1: there is none

	// After the head of a set the language takes nothing for an assignment before the next content of a variant or a
	// condition begins. It shows where a variant ends in a set without variants.
	strict bool
}

func (x *lineLexer) top() *level { return &x.levels[len(x.levels)-1] }

// emit adds a token that stands at the byte offset at of the statement.
func (x *lineLexer) emit(typ lexer.TokenType, value string, at int) {
	x.out.list = append(x.out.list, lexer.Token{Type: typ, Value: value, Pos: x.pos(at)})
}

func (x *lineLexer) pos(at int) lexer.Position {
	if x.line == 0 {
		return lexer.Position{Filename: x.src.name}
	}
	return lexer.Position{Filename: x.src.name, Line: x.line, Column: x.base + utf8.RuneCountInString(x.body[:at]) + 1}
}

// bad reports what stands at the byte offset at of the statement, and leaves a Bad token there.
func (x *lineLexer) bad(at int, message, hint string) {
	x.out.errs = append(x.out.errs, x.src.diagnostic(x.pos(at), message, hint))
	x.emit(tokBad, "", at)
}

func (x *lineLexer) open(l level) {
	x.emit(tokOpen, "", len(x.body))
	x.levels = append(x.levels, l)
}

func (x *lineLexer) close() {
	x.emit(tokClose, "", 0)
	x.levels = x.levels[:len(x.levels)-1]
}

// read takes one line: it ends the blocks that the line does not belong to, and reads the line as a statement.
func (x *lineLexer) read(indent int, body string) {
	x.base, x.body = indent, body
	if x.skipBelow >= 0 && indent > x.skipBelow {
		return
	}
	x.skipBelow = -1
	for indent <= x.top().floor {
		x.close()
	}
	if top := x.top(); top.set && !top.started && body[0] != '-' && indent <= top.header {
		if !top.told {
			x.bad(0, "the variants set above has no variants", `a variant is a line "- NAME:" below the "variants" line`)
		}
		x.close()
		x.strict = false
	}
	x.statement(indent)
}

// statement reads x.body as a statement of the innermost block, with an indent that may differ from its column when it
// stands behind a condition on one line.
func (x *lineLexer) statement(indent int) {
	if len(x.levels) > maxDepth {
		x.bad(0, fmt.Sprintf("more than %d blocks lie in each other", maxDepth), "")
		x.skipBelow = indent
		return
	}
	switch dash := x.body[0] == '-'; {
	case dash && x.top().set:
		x.variant(indent)
		return
	case dash:
		x.strayDash(indent)
		return
	case x.top().set:
		if top := x.top(); !top.told {
			x.bad(0, `only variants can stand directly below a "variants" line`,
				`a variant is a line "- NAME:", its content is indented more than the first "-" of the set`)
			top.told = true
		}
		x.skipBelow = indent
		return
	}
	for _, k := range keywords {
		rest, ok := strings.CutPrefix(x.body, k.word)
		switch {
		case !ok:
		case k.typ == tokVariants && (rest == "" || rest[0] == ':' || rest[0] == ' '):
			x.set(indent)
			return
		case strings.HasPrefix(rest, " "):
			x.keyword(k.word, k.typ)
			return
		}
	}
	if key, op, value := splitAssignment(x.body); op != "" && !x.strict {
		x.assignment(key, op, value)
		return
	}
	x.condition(indent)
}

func (x *lineLexer) strayDash(indent int) {
	if top := x.top(); !top.told {
		hint := `variants stand below a "variants:" line, all in one column, and the first one decides where that is`
		if diag.Nearest(top.opener, []string{"variants"}) != "" {
			hint = fmt.Sprintf(`did you mean "variants:" where %q stands?`, top.opener+":")
		}
		x.bad(0, "a variant outside of a variants set", hint)
		top.told = true
	}
	x.skipBelow = indent
}

// variant reads "- [@]NAME: DEPENDENCIES" and opens its content.
func (x *lineLexer) variant(indent int) {
	set := x.top()
	if !set.started {
		set.started, set.dash, set.floor = true, indent, set.header
	}
	set.told = false
	floor := set.dash
	x.emit(tokDash, "-", 0)
	x.tokens(skipBlanks(x.body, 1), mode{white: true})
	x.emit(tokEOL, "", len(x.body))
	x.open(level{floor: floor})
	x.strict = false
}

// set reads "variants NAME [META]:" and opens its variants.
func (x *lineLexer) set(indent int) {
	const word = "variants"
	x.emit(tokVariants, word, 0)
	x.tokens(skipBlanks(x.body, len(word)), mode{})
	x.emit(tokEOL, "", len(x.body))
	// The first variant need only belong to the block around the set.
	x.open(level{floor: x.top().floor, set: true, header: indent})
	x.strict = true
}

// keyword reads the other statements that begin with a word.
func (x *lineLexer) keyword(word string, typ lexer.TokenType) {
	x.emit(typ, word, 0)
	rest := skipBlanks(x.body, len(word))
	switch typ {
	case tokInclude:
		x.emit(tokPath, x.body[rest:], rest)
		return
	case tokDel, tokSuffix:
		x.tokens(rest, mode{})
	default:
		x.tokens(rest, mode{white: true})
	}
	x.emit(tokEOL, "", len(x.body))
}

// operators of assignments; those that begin alike stand longest first.
var operators = []string{"=", "+=", "<=", "~=", "?=", "?+=", "?<="}

// splitAssignment splits body at its leftmost operator. op is "" when body is no assignment: when there is no operator,
// or a colon stands before or directly behind it. op and value are parts of body.
func splitAssignment(body string) (key, op, value string) {
	for i := range len(body) {
		if strings.IndexByte("=+<~?", body[i]) < 0 {
			continue
		}
		for _, o := range operators {
			if !strings.HasPrefix(body[i:], o) {
				continue
			}
			end := i + len(o)
			if colon := strings.IndexByte(body, ':'); 0 <= colon && colon <= end {
				return "", "", ""
			}
			return strings.TrimRightFunc(body[:i], isBlank), body[i:end], strings.TrimLeftFunc(body[end:], isBlank)
		}
	}
	return "", "", ""
}

func (x *lineLexer) assignment(key, op, value string) {
	x.emit(tokKey, key, 0)
	at := len(x.body) - len(value)
	x.emit(tokOp, op, strings.Index(x.body[len(key):], op)+len(key))
	if n := len(value); n > 0 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1:max(1, n-1)]
	}
	x.emit(tokValue, value, at)
}

// condition reads "FILTER:" or "!FILTER:", opens its content, and reads what stands behind the colon as its first
// statement.
func (x *lineLexer) condition(indent int) {
	first, _ := utf8.DecodeRuneInString(x.body)
	negated := first == '!'
	if !negated && !isLabelRune(first) || strings.IndexByte(x.body, ':') < 0 {
		x.notAStatement()
		return
	}
	start := 0
	if negated {
		x.emit(tokUnless, "!", 0)
		start = 1
	} else {
		x.emit(tokIf, "", 0)
	}
	colon := x.tokens(start, mode{toColon: true})
	if colon < 0 {
		x.emit(tokEOL, "", len(x.body))
		return
	}
	opener := x.body[:colon]
	rest := skipBlanks(x.body, colon+1)
	x.open(level{floor: indent, opener: opener})
	x.strict = false
	if rest < len(x.body) {
		x.base += utf8.RuneCountInString(x.body[:rest])
		x.body = x.body[rest:]
		x.statement(indent + 1)
	}
}

// notAStatement reports a line of no known form, with the likeliest reason.
func (x *lineLexer) notAStatement() {
	end := strings.IndexFunc(x.body, func(r rune) bool { return !isLabelRune(r) })
	if end < 0 {
		end = len(x.body)
	}
	word := x.body[:end]
	words := make([]string, len(keywords))
	for i, k := range keywords {
		words[i] = k.word
	}
	message := "neither an assignment, nor a condition, nor a keyword"
	hint := `write "KEY = VALUE", or "FILTER:" for a condition`
	_, op, _ := splitAssignment(x.body)
	switch near := diag.Nearest(word, words); {
	case x.strict && op != "":
		message = "no assignment can stand here, behind a variants set without variants"
		hint = "give that set a variant, or remove it"
	case x.body[0] == '#':
		message = "no comment can stand behind a condition"
		hint = "put the comment on a line of its own"
	case x.body[0] == '!':
		message = `a condition without ":"`
	case x.body[0] == '(':
		hint = `a condition cannot begin with "("; for a label of a named set use "only" or "no"`
	case end == len(x.body) && slices.Contains(words, word):
		message = fmt.Sprintf("nothing stands behind %q", word)
		hint = ""
	case near != "":
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	x.bad(0, message, hint)
}

// A mode says how a part of a line is read as tokens.
type mode struct {
	white   bool // blanks are tokens
	toColon bool // stop behind the first colon
}

var punctuation = map[byte]lexer.TokenType{
	'.': tokDot, ':': tokColon, ',': tokComma, '@': tokAt, '!': tokNot,
	'(': tokLParen, ')': tokRParen, '[': tokLBracket, ']': tokRBracket,
}

// tokens reads the statement from the byte offset at to its end. With toColon it returns the offset of the colon that
// ended it, else and on an error -1.
func (x *lineLexer) tokens(at int, m mode) int {
	operator := "" // collected characters of one, which only a "=" completes
	parens := 0    // blanks within them never matter
	afterColon := false
	for i := at; i < len(x.body); {
		c := x.body[i]
		if typ, ok := punctuation[c]; ok {
			x.emit(typ, x.body[i:i+1], i)
			i++
			switch c {
			case '(':
				parens++
			case ')':
				parens--
			case ':':
				if m.toColon {
					return i - 1
				}
				afterColon = true
				i = skipBlanks(x.body, i)
			}
			continue
		}
		switch c {
		case '+', '<', '?', '~':
			operator += string(c)
			i++
			continue
		case '=':
			switch operator += "="; {
			case operator == "=":
				x.emit(tokEquals, "=", i)
			case slices.Contains(operators, operator):
				x.emit(tokOp, operator, i)
			default:
				x.bad(i, fmt.Sprintf("%q is no operator", operator), "operators are "+strings.Join(operators, " "))
				return -1
			}
			operator = ""
			i++
			continue
		case '#':
			return x.end(m)
		}
		if r, _ := utf8.DecodeRuneInString(x.body[i:]); isBlank(r) {
			if m.white && parens <= 0 {
				x.emit(tokWhite, " ", i)
			}
			i = skipBlanks(x.body, i)
			continue
		} else if !isLabelRune(r) {
			hint := ""
			switch {
			case c == '"' || c == '\'':
				hint = "labels stand without quotes"
			case c == '$' && !afterColon:
				hint = "${…} is replaced in values only"
			case c == '*' || c == '|' || c == '^' || c == '\\':
				hint = `patterns stand on the left of "?=" only`
			}
			x.bad(i, fmt.Sprintf("the character %q cannot stand here", r), hint)
			return -1
		}
		start := i
		for i < len(x.body) {
			r, size := utf8.DecodeRuneInString(x.body[i:])
			if !isLabelRune(r) {
				break
			}
			i += size
		}
		x.emit(tokIdent, x.body[start:i], start)
	}
	return x.end(m)
}

// end is what tokens returns at the end of the line: a condition that has no colon is an error.
func (x *lineLexer) end(m mode) int {
	if m.toColon {
		x.bad(len(x.body), `a condition without ":"`, "")
	}
	return -1
}

func skipBlanks(s string, at int) int {
	return len(s) - len(strings.TrimLeftFunc(s[at:], isBlank))
}
