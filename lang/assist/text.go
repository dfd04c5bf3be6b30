// SPDX-License-Identifier: Apache-2.0

package assist

import (
	"strings"
	"unicode/utf8"
)

// A source is a text with its lines, as Starlark counts them.
type source struct {
	text   string
	starts []int // the offsets of lines
}

func newSource(text string) source {
	s := source{text, []int{0}}
	for i := 0; i < len(text); i++ {
		if text[i] == '\n' || text[i] == '\r' && (i+1 == len(text) || text[i+1] != '\n') {
			s.starts = append(s.starts, i+1)
		}
	}
	return s
}

// offset returns the offset of a line and a column, both from 1; columns are characters. What is beyond a line is its end.
func (s source) offset(line, col int) int {
	if line < 1 {
		return 0
	}
	if line > len(s.starts) {
		return len(s.text)
	}
	at := s.starts[line-1]
	for ; col > 1 && at < len(s.text) && strings.IndexByte("\r\n", s.text[at]) < 0; col-- {
		_, size := utf8.DecodeRuneInString(s.text[at:])
		at += size
	}
	return at
}

// A token is a part of a Starlark text that means something: a name (kind 'n'), a number ('0'), a string ('s'), a comment
// ('#'), the end of a line ('\n'), or a character of an operator, as its kind.
type token struct {
	kind byte
	Span
	begin  int // of a string: the offset of what is between its quotes
	closed bool
}

// in returns the token's text.
func (t token) in(text string) string { return text[t.From:t.To] }

// scan cuts any text into tokens: strings that are not closed end at their line, or with the text.
func scan(text string) []token {
	var tokens []token
	for i := 0; i < len(text); {
		from := i
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\r' && i+1 < len(text) && text[i+1] == '\n':
			i++
			continue
		case c == '\\' && i+1 < len(text) && (text[i+1] == '\n' || text[i+1] == '\r'):
			i += 2
			continue
		case c == '\n' || c == '\r':
			i++
			tokens = append(tokens, token{kind: '\n', Span: Span{from, i}})
		case c == '#':
			for i < len(text) && text[i] != '\n' && text[i] != '\r' {
				i++
			}
			tokens = append(tokens, token{kind: '#', Span: Span{from, i}})
		case c >= '0' && c <= '9':
			for i < len(text) && (isWordByte(text[i]) || text[i] == '.') {
				i++
			}
			tokens = append(tokens, token{kind: '0', Span: Span{from, i}})
		case isWordByte(c):
			for i < len(text) && isWordByte(text[i]) {
				i++
			}
			if prefix := text[from:i]; i < len(text) && (text[i] == '"' || text[i] == '\'') && (prefix == "r" || prefix == "b" || prefix == "rb" || prefix == "br") {
				t := scanString(text, i)
				t.From, i = from, t.To
				tokens = append(tokens, t)
				continue
			}
			tokens = append(tokens, token{kind: 'n', Span: Span{from, i}})
		case c == '"' || c == '\'':
			t := scanString(text, i)
			i = t.To
			tokens = append(tokens, t)
		default:
			i++
			tokens = append(tokens, token{kind: c, Span: Span{from, i}})
		}
	}
	return tokens
}

// scanString returns the string whose quotes begin at an offset.
func scanString(text string, from int) token {
	quotes := text[from : from+1]
	if triple := strings.Repeat(quotes, 3); strings.HasPrefix(text[from:], triple) {
		quotes = triple
	}
	t := token{kind: 's', begin: from + len(quotes)}
	i := t.begin
	for i < len(text) {
		switch {
		case strings.HasPrefix(text[i:], quotes):
			t.Span, t.closed = Span{from, i + len(quotes)}, true
			return t
		case text[i] == '\\':
			i += min(2, len(text)-i)
		case len(quotes) == 1 && (text[i] == '\n' || text[i] == '\r'):
			t.Span = Span{from, i}
			return t
		default:
			i++
		}
	}
	t.Span = Span{from, len(text)}
	return t
}

// closers are closing brackets with their opening ones.
var closers = map[byte]byte{')': '(', ']': '[', '}': '{'}

// isOpener reports whether a kind of a token is an opening bracket.
func isOpener(kind byte) bool { return kind == '(' || kind == '[' || kind == '{' }

// opener returns the index of the bracket that tokens[closer] closes, -1 if there is none.
func opener(tokens []token, closer int) int {
	depth := 0
	for i := closer; i >= 0; i-- {
		if closers[tokens[i].kind] != 0 {
			depth++
		} else if isOpener(tokens[i].kind) {
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// enclosing returns the index of the innermost bracket that is open after all tokens, -1 if there is none.
func enclosing(text string, tokens []token) int {
	depth := 0
	for i := len(tokens) - 1; i >= 0; i-- {
		switch kind := tokens[i].kind; {
		case closers[kind] != 0:
			depth++
		case isOpener(kind):
			if depth == 0 {
				return i
			}
			depth--
		case kind == 'n' && (i == 0 || tokens[i-1].kind == '\n') && beginsStatement[tokens[i].in(text)]:
			return -1 // no bracket goes on over statements
		}
	}
	return -1
}

// beginsStatement are the keywords that cannot begin a line within brackets.
var beginsStatement = map[string]bool{"def": true, "return": true, "load": true, "while": true, "pass": true, "break": true, "continue": true}

// operand returns the index of the first token of the operand that ends with tokens[end], such as a.b(c)[d]; -1 if that is
// none.
func operand(text string, tokens []token, end int) int {
	i := end
	for i >= 0 {
		switch tokens[i].kind {
		case ')', ']', '}':
			i = opener(tokens, i)
			if i < 0 {
				return -1
			}
			if i > 0 && tokens[i].kind != '{' {
				if before := tokens[i-1]; before.kind == ')' || before.kind == ']' || before.kind == 'n' && !isKeyword(before.in(text)) {
					i--
					continue
				}
			}
		case 'n':
			if isKeyword(tokens[i].in(text)) {
				return -1
			}
		case 's':
		default:
			return -1
		}
		if i < 2 || tokens[i-1].kind != '.' {
			return i
		}
		i -= 2
	}
	return -1
}

// lineOf returns the line that an offset is in, without its end.
func lineOf(text string, at int) Span {
	from := strings.LastIndexAny(text[:at], "\r\n") + 1
	to := at
	if end := strings.IndexAny(text[at:], "\r\n"); end >= 0 {
		to += end
	} else {
		to = len(text)
	}
	return Span{from, to}
}

// indentOf returns the blanks that a text begins with.
func indentOf(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }
