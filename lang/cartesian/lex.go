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
	tokValue                  // everything after the operator, without its quotes
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

// Limits on what a source may hold. Each is far above what real configs have, and is told to the user by name.
const (
	maxNesting = 1000    // nested blocks: all readers of the tree recurse
	maxTokens  = 200_000 // tokens of one line, which are all kept until the line is parsed
	maxErrors  = 1000    // errors of one file, after which the rest is not read
)

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

// lex turns indentation into blocks and lines into tokens, one line at a time as they are asked for. It never fails: bad
// text becomes Bad tokens and entries of errs, and what follows is read as well as possible.
func lex(src *source) *lineLexer {
	return &lineLexer{src: src, levels: []level{{floor: -1}}, skipBelow: -1}
}

// peek returns the next token. It is valid until the one after its line is asked for.
func (x *lineLexer) peek() *lexer.Token {
	if x.next == len(x.list) {
		x.fill()
	}
	return &x.list[x.next]
}

// skip moves after the token that peek has returned; there is nothing after EOF.
func (x *lineLexer) skip() {
	if !x.list[x.next].EOF() {
		x.next++
	}
}

// rest returns the tokens of the line from the one that peek has returned on. The last one ends a statement, or its head.
func (x *lineLexer) rest() []lexer.Token { return x.list[x.next:] }

// Next makes x participle's Lexer.
func (x *lineLexer) Next() (lexer.Token, error) {
	token := *x.peek()
	x.skip()
	return token, nil
}

// all returns all tokens that are left.
func (x *lineLexer) all() []lexer.Token {
	var all []lexer.Token
	for {
		token, _ := x.Next() // never fails
		all = append(all, token)
		if token.EOF() {
			return all
		}
	}
}

// A level is a block that is open.
type level struct {
	floor    int    // the block takes lines that are indented more than this
	line     int    // number of the line that opened it
	opener   string // text of a condition that opened it
	reported bool   // an invalid line in it was reported: one is enough

	set     bool // of variants: takes "-" lines only
	header  int  // set: indent of its "variants" line
	dash    int  // set: indent of its first "-" line
	started bool // set: has a "-" line
}

// A lineLexer reads one source line by line. It keeps the tokens of one line: a statement's head is always in one.
type lineLexer struct {
	src    *source
	errs   diag.List // what was wrong with the text so far
	failed int       // number of errors that the parser has found in the tokens
	levels []level   // the open blocks, outermost first

	list []lexer.Token // of the line being read; of none before the first, with EOF after the last
	next int           // index of the next one

	line      int    // number of the line being read, 0 at the end of the file
	base      int    // column of the first character of the statement being read, from 0
	body      string // the statement being read
	skipBelow int    // lines that are indented more than this belong to a bad one; -1: there is none

	opener, tail string // the first condition of the line, and what follows it
	ended        level  // the outermost set that ended at the line

	// Columns ascend mostly: characters are counted from the last one on.
	counted, countedTo int // number of characters of body before the offset countedTo

	// After the head of a set the language takes nothing for an assignment before the next content of a variant or a
	// condition begins. It shows where a variant ends in a set without variants.
	strict bool
}

// fill reads the next line that has tokens.
func (x *lineLexer) fill() {
	x.list, x.next = x.list[:0], 0
	for len(x.list) == 0 && x.line < len(x.src.lines) {
		text := x.src.lines[x.line]
		x.line++
		at := skipBlanks(text, 0)
		if at == len(text) || text[at] == '#' || strings.HasPrefix(text[at:], "//") {
			continue
		}
		x.begin(0, text)
		x.opener, x.tail, x.ended = "", "", level{}
		indent := x.column(at) - 1
		x.begin(indent, text[at:])
		if len(x.errs)+x.failed >= maxErrors {
			x.bad(0, fmt.Sprintf("more than %d errors: the rest of the file is not read", maxErrors), "")
			x.line = len(x.src.lines)
			return
		}
		x.read(indent)
	}
	if len(x.list) > 0 {
		return
	}
	x.line = 0
	for len(x.levels) > 1 {
		x.close()
	}
	x.emit(lexer.EOF, "", 0)
}

// begin says what the statement being read is, and how many characters stand before it.
func (x *lineLexer) begin(base int, body string) {
	x.base, x.body = base, body
	x.counted, x.countedTo = 0, 0
}

func (x *lineLexer) top() *level { return &x.levels[len(x.levels)-1] }

// emit adds a token that stands at the byte offset at of the statement.
func (x *lineLexer) emit(typ lexer.TokenType, value string, at int) {
	x.list = append(x.list, lexer.Token{Type: typ, Value: value, Pos: x.pos(at)})
}

func (x *lineLexer) pos(at int) lexer.Position {
	if x.line == 0 {
		return lexer.Position{Filename: x.src.name}
	}
	return lexer.Position{Filename: x.src.name, Line: x.line, Column: x.column(at)}
}

// column returns the column, from 1, of what stands at the byte offset at of the statement.
func (x *lineLexer) column(at int) int {
	if x.src.ascii {
		return x.base + at + 1
	}
	if at < x.countedTo {
		x.counted, x.countedTo = 0, 0
	}
	x.counted += utf8.RuneCountInString(x.body[x.countedTo:at])
	x.countedTo = at
	return x.base + x.counted + 1
}

// bad reports what stands at the byte offset at of the statement, and leaves a Bad token there.
func (x *lineLexer) bad(at int, message, hint string) {
	x.errs = append(x.errs, x.src.diagnostic(x.pos(at), message, hint))
	x.emit(tokBad, "", at)
}

// open begins a block after the byte offset at of the statement.
func (x *lineLexer) open(l level, at int) {
	x.emit(tokOpen, "", at)
	l.line = x.line
	x.levels = append(x.levels, l)
}

func (x *lineLexer) close() {
	x.emit(tokClose, "", 0)
	if top := x.top(); top.set {
		x.ended = *top
	}
	x.levels = x.levels[:len(x.levels)-1]
}

// read takes one line: it ends the blocks that the line does not belong to, and reads the line as a statement.
func (x *lineLexer) read(indent int) {
	if x.skipBelow >= 0 && indent > x.skipBelow {
		return
	}
	x.skipBelow = -1
	for indent <= x.top().floor {
		x.close()
	}
	if top := x.top(); top.set && !top.started && x.body[0] != '-' && indent <= top.header {
		if !top.reported {
			x.bad(0, "the variants set above has no variants", `a variant is a line "- NAME:" below the "variants" line`)
		}
		x.close()
		x.strict = false
	}
	x.statement(indent)
}

// statement reads x.body as a statement of the innermost block, with an indent that may differ from its column when it
// stands after a condition on one line.
func (x *lineLexer) statement(indent int) {
	if len(x.levels) > maxNesting {
		x.bad(0, fmt.Sprintf("more than %d nested blocks", maxNesting), "")
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
		if top := x.top(); !top.reported {
			x.bad(0, `only variants are allowed directly below a "variants" line`,
				x.withTabs(`a variant is a line "- NAME:", its content is indented more than the first "-" of the set`))
			top.reported = true
		}
		x.skipBelow = indent
		return
	}
	for _, k := range keywords {
		if x.body[0] != k.word[0] {
			continue
		}
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
	if at, end := findOperator(x.body); end > 0 && (!x.strict || x.setsNothing()) {
		x.assignment(at, end)
		return
	}
	x.condition(indent)
}

func (x *lineLexer) strayDash(indent int) {
	if top := x.top(); !top.reported {
		hint := `variants follow a "variants:" line, all in the column of the first one`
		// Probably meant is one of the sets around, or one that just ended: that whose variants stand nearest.
		nearest := -1
		for _, l := range slices.Backward(append(x.levels, x.ended)) {
			if off := max(l.dash-indent, indent-l.dash); l.started && (nearest < 0 || off < nearest) {
				nearest = off
				hint = fmt.Sprintf("variants of the set in line %d begin in column %d, like its first one", l.line, l.dash+1)
			}
		}
		if diag.Nearest(top.opener, []string{"variants"}) != "" {
			hint = fmt.Sprintf(`did you mean "variants:" instead of %q?`, top.opener+":")
		}
		x.bad(0, "a variant outside of a variants set", x.withTabs(hint))
		top.reported = true
	}
	x.skipBelow = indent
}

// withTabs adds to a hint about columns what tabs mean, when the text has some.
func (x *lineLexer) withTabs(hint string) string {
	if x.src.tabs {
		hint += "; a tab reaches to the next of the columns 9, 17, 25, …"
	}
	return hint
}

// variant reads "- [@]NAME: DEPENDENCIES" and opens its content.
func (x *lineLexer) variant(indent int) {
	set := x.top()
	if !set.started {
		set.started, set.dash, set.floor = true, indent, set.header
	}
	set.reported = false
	floor := set.dash
	x.emit(tokDash, "-", 0)
	x.tokens(skipBlanks(x.body, 1), mode{white: true})
	x.emit(tokEOL, "", len(x.body))
	x.open(level{floor: floor}, len(x.body))
	x.strict = false
}

// set reads "variants NAME [META]:" and opens its variants.
func (x *lineLexer) set(indent int) {
	const word = "variants"
	x.emit(tokVariants, word, 0)
	x.tokens(skipBlanks(x.body, len(word)), mode{})
	x.emit(tokEOL, "", len(x.body))
	// The first variant need only belong to the block around the set.
	x.open(level{floor: x.top().floor, set: true, header: indent}, len(x.body))
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

// findOperator returns where the operator of an assignment begins and ends. end is 0 when body is no assignment: when
// there is no operator, or a colon is before or directly after it.
func findOperator(body string) (at, end int) {
	at, end = leftmostOperator(body)
	if end < len(body) && body[end] == ':' {
		return 0, 0
	}
	return at, end
}

// leftmostOperator returns where the first operator before a colon begins and ends; end is 0 when there is none.
func leftmostOperator(body string) (at, end int) {
	for i := range len(body) {
		switch body[i] {
		case ':':
			return 0, 0
		case '=', '+', '<', '~', '?':
			for _, o := range operators {
				if strings.HasPrefix(body[i:], o) {
					return i, i + len(o)
				}
			}
		}
	}
	return 0, 0
}

// assignment reads "KEY OP VALUE", where the operator stands between the offsets at and end.
func (x *lineLexer) assignment(at, end int) {
	x.emit(tokKey, trimRight(x.body[:at]), 0)
	x.emit(tokOp, x.body[at:end], at)
	start := skipBlanks(x.body, end)
	value := x.body[start:]
	if n := len(value); n > 0 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1:max(1, n-1)]
	}
	x.emit(tokValue, value, start)
}

// condition reads "FILTER:" or "!FILTER:", opens its content, and reads what follows the colon as its first
// statement.
func (x *lineLexer) condition(indent int) {
	begin := 0 // after the characters of an operator that no "=" completes: these mean nothing
	for begin < len(x.body) && strings.IndexByte("+<?~", x.body[begin]) >= 0 {
		begin++
	}
	first, _ := utf8.DecodeRuneInString(x.body[begin:])
	negated := first == '!'
	if !negated && !isLabelRune(first) || strings.IndexByte(x.body, ':') < 0 {
		x.notAStatement()
		return
	}
	if negated {
		x.emit(tokUnless, "!", begin)
		begin++
	} else {
		x.emit(tokIf, "", begin)
	}
	colon := x.tokens(begin, mode{toColon: true})
	if colon < 0 {
		x.emit(tokEOL, "", len(x.body))
		return
	}
	opener := x.body[:colon]
	rest := skipBlanks(x.body, colon+1)
	if x.opener == "" {
		x.opener, x.tail = opener, x.body[rest:]
	}
	x.open(level{floor: indent, opener: opener}, colon+1)
	x.strict = false
	if rest < len(x.body) {
		x.begin(x.column(rest)-1, x.body[rest:])
		x.statement(indent + 1)
	}
}

// setsNothing reports whether the statement is KEY="", the one assignment that reads the same as tokens.
func (x *lineLexer) setsNothing() bool {
	end := skipLabel(x.body, 0)
	return end > 0 && x.body[end:] == `=""`
}

// notAStatement reports a line of no known form, with the likeliest reason.
func (x *lineLexer) notAStatement() {
	end := skipLabel(x.body, 0)
	word := x.body[:end]
	words := make([]string, len(keywords))
	for i, k := range keywords {
		words[i] = k.word
	}
	message := "neither an assignment, nor a condition, nor a keyword"
	hint := `write "KEY = VALUE", or "FILTER:" for a condition`
	_, operator := findOperator(x.body)
	switch near := diag.Nearest(word, words); {
	case x.strict && operator > 0:
		message = "an assignment is not allowed here, after a variants set without variants"
		hint = "give that set a variant, or remove it"
	case x.body[0] == '#':
		message = "a comment is not allowed after a condition"
		hint = "put the comment on a separate line"
	case x.body[0] == '!':
		message = `a condition without ":"`
		if x.src.extra && isFilter(x.body[1:]) {
			hint = fmt.Sprintf("to drop variants, write %q", "no "+x.body[1:])
		}
	case x.body[0] == '(':
		hint = `a condition cannot begin with "("; for a label of a named set use "only" or "no"`
	case end == len(x.body) && slices.Contains(words, word):
		message = fmt.Sprintf("nothing follows %q", word)
		hint = ""
	case slices.Contains(words, x.opener):
		hint = fmt.Sprintf("did you mean %q?", x.opener+" "+x.tail)
	case x.opener != "":
		hint = fmt.Sprintf(`":" makes %q a condition; if it is a key, write %q`, x.opener, x.opener+" = "+x.tail)
	case near != "":
		hint = fmt.Sprintf("did you mean %q?", near)
	case x.src.extra && isFilter(x.body):
		hint = fmt.Sprintf("to select variants, write %q", "only "+x.body)
	case x.body[0] == ';' || strings.HasPrefix(x.body, "/*"):
		hint = `comments begin with "#" or "//"`
	case strings.HasPrefix(x.body, "<<<<<<<") || strings.HasPrefix(x.body, ">>>>>>>"):
		hint = "this is a merge conflict marker"
	}
	x.bad(0, message, hint)
}

// A mode says how a part of a line is read as tokens.
type mode struct {
	white   bool // blanks are tokens
	toColon bool // stop after the first colon
}

var punctuation = [utf8.RuneSelf]lexer.TokenType{
	'.': tokDot, ':': tokColon, ',': tokComma, '@': tokAt, '!': tokNot,
	'(': tokLParen, ')': tokRParen, '[': tokLBracket, ']': tokRBracket,
}

// tokens reads the statement from the byte offset at to its end. With toColon it returns the offset of the colon that
// ended it, else and on an error -1.
func (x *lineLexer) tokens(at int, m mode) int {
	var operator []byte // collected characters of one, which only a "=" completes
	parens := 0         // blanks within them never matter
	afterColon := false
	for i := at; i < len(x.body); {
		if len(x.list) >= maxTokens {
			x.bad(i, fmt.Sprintf("more than %d tokens in one line", maxTokens), "")
			return -1
		}
		if end := skipLabel(x.body, i); end > i {
			x.emit(tokIdent, x.body[i:end], i)
			i = end
			continue
		}
		switch c := x.body[i]; c {
		case '.', ':', ',', '@', '!', '(', ')', '[', ']':
			x.emit(punctuation[c], x.body[i:i+1], i)
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
		case '+', '<', '?', '~':
			operator = append(operator, c)
			i++
		case '=':
			operator = append(operator, c)
			switch op := string(operator); {
			case op == "=":
				x.emit(tokEquals, op, i)
			case slices.Contains(operators, op):
				x.emit(tokOp, op, i)
			default:
				x.bad(i, fmt.Sprintf("%q is not an operator", op), "operators are "+strings.Join(operators, " "))
				return -1
			}
			operator = operator[:0]
			i++
		case '#':
			return x.end(m)
		default:
			r, _ := utf8.DecodeRuneInString(x.body[i:])
			if !isBlank(r) {
				x.badCharacter(r, i, afterColon)
				return -1
			}
			if m.white && parens <= 0 {
				x.emit(tokWhite, " ", i)
			}
			i = skipBlanks(x.body, i)
		}
	}
	return x.end(m)
}

// badCharacter reports the character r at the byte offset at, which no token begins with.
func (x *lineLexer) badCharacter(r rune, at int, afterColon bool) {
	hint := ""
	switch {
	case r == '"' || r == '\'':
		hint = "labels are written without quotes"
	case r == '$' && !afterColon:
		hint = "${…} is replaced in values only"
	case r == '*' || r == '|' || r == '^' || r == '\\':
		hint = `patterns are allowed on the left of "?=" only`
	}
	x.bad(at, fmt.Sprintf("the character %q is not allowed here", r), hint)
}

// end is what tokens returns at the end of the line: a condition that has no colon is an error.
func (x *lineLexer) end(m mode) int {
	if m.toColon {
		x.bad(len(x.body), `a condition without ":"`, "")
	}
	return -1
}
