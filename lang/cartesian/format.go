// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/mhmig/mhmig/lang/diag"
)

// formatStep is the number of blanks by which Reformat indents a block.
const formatStep = 4

// Reformat returns the text of a config in one form, whatever its author's: blocks are indented by 4 blanks, operators have
// a blank on each side, commas and words of filters one blank between them, there is at most one empty line in a row.
// Only white space changes, and nothing that the language reads: the statements, their order and the values stay, as do
// comments, each in its block. Reformat of its own result returns that.
//
// name is the file's name in errors, which are a [diag.List] of what is wrong in the text. What it includes is not read.
func Reformat(name, text string) (string, error) {
	src, err := newSource(name, path.Base(name), text)
	if err != nil {
		return "", err
	}
	b := new(builder)
	b.parse(src, name)
	if err := onePerLine(b.errs).Err(); err != nil {
		return "", err
	}
	f := formatter{x: lex(src), blocks: []formatBlock{{known: false}}}
	f.file()
	formatted := f.out.String()
	if after, err := newSource(name, src.base, formatted); err != nil || !slices.Equal(readings(src), readings(after)) {
		return "", diag.List{{
			Pos:     diag.Pos{File: name},
			Message: "formatting would change what the config means, and so it is left as it is",
			Hint:    "this is a bug in mhmig: please report it with the file",
		}}
	}
	return formatted, nil
}

// A reading is a token without its place.
type reading struct {
	typ   lexer.TokenType
	value string
}

// readings returns what the parser gets of a text, without the blanks that mean nothing to it: those after a comma and
// those at the end of a line.
func readings(src *source) []reading {
	var all []reading
	for _, t := range lex(src).all() {
		if n := len(all) - 1; n >= 0 && t.Type == tokEOL && all[n].typ == tokWhite {
			all = all[:n]
		} else if n >= 0 && t.Type == tokWhite && all[n].typ == tokComma {
			continue
		}
		all = append(all, reading{t.Type, t.Value})
	}
	return all
}

// A formatter is one call of Reformat.
type formatter struct {
	x      *lineLexer
	out    strings.Builder
	blocks []formatBlock // the open ones, outermost first

	blank    bool // there were empty lines since the last line that was written
	comments []formatComment
}

// A formatBlock is an open block: by how many blanks its lines are indented.
type formatBlock struct {
	from  int  // in the source: of its first line; until that is read, the least that is possible
	to    int  // in the result
	known bool // its first line was read
}

// A formatComment is a line with nothing but a comment, or an empty line.
type formatComment struct {
	indent int
	text   string // "": an empty line
}

func (f *formatter) file() {
	x := f.x
	for read := 0; ; {
		x.next = len(x.list)
		x.fill()
		end := len(x.src.lines) // of the lines without a statement
		if x.line > 0 {
			end = x.line - 1
		}
		for _, line := range x.src.lines[read:end] {
			at := skipBlanks(line, 0)
			f.comments = append(f.comments, formatComment{utf8.RuneCountInString(line[:at]), line[at:]})
		}
		read = end + 1
		before := slices.Clone(f.blocks)
		tokens := x.list
		for len(tokens) > 0 && tokens[0].Type == tokClose {
			f.blocks, tokens = f.blocks[:len(f.blocks)-1], tokens[1:]
		}
		if x.line == 0 {
			f.writeComments(before)
			return
		}
		f.line(before, tokens)
	}
}

// line writes a line with a statement, and the comments before it. The blocks were those of before until then.
func (f *formatter) line(before []formatBlock, tokens []lexer.Token) {
	text := f.x.src.lines[f.x.line-1]
	at := skipBlanks(text, 0)
	block := &f.blocks[len(f.blocks)-1]
	indent := utf8.RuneCountInString(text[:at])
	if !block.known {
		block.from, block.known = indent, true
	}
	to := block.to
	f.writeComments(append(before, formatBlock{from: indent, to: to}))
	f.write(to, f.statement(text, at, tokens))

	// Several conditions can begin in one line. Only the lines of the last one can be indented as they should.
	opened := 0
	for _, t := range tokens {
		if t.Type == tokOpen {
			opened++
		}
	}
	for i := range opened {
		step := i + 1
		if i == opened-1 {
			step = max(step, formatStep)
		}
		f.blocks = append(f.blocks, formatBlock{from: indent + 1, to: to + step})
	}
}

// writeComments writes the comments before a line, each indented as the one of blocks that it is in: the deepest that
// begins not right of it.
func (f *formatter) writeComments(blocks []formatBlock) {
	for _, c := range f.comments {
		if c.text == "" {
			f.blank = true
			continue
		}
		from, to := -1, 0
		for _, b := range blocks {
			if b.from <= c.indent && b.from >= from {
				from, to = b.from, b.to
			}
		}
		f.write(to, c.text)
	}
	f.comments = f.comments[:0]
}

func (f *formatter) write(indent int, text string) {
	if f.blank && f.out.Len() > 0 {
		f.out.WriteByte('\n')
	}
	f.blank = false
	f.out.WriteString(strings.Repeat(" ", indent))
	f.out.WriteString(text)
	f.out.WriteByte('\n')
}

// statement returns the statement that begins at the byte offset at of text, whose tokens are these.
func (f *formatter) statement(text string, at int, tokens []lexer.Token) string {
	from := func(t lexer.Token) string { return afterRunes(text, t.Pos.Column-1) }
	var b strings.Builder
	for len(tokens) > 0 {
		switch first := tokens[0]; first.Type {
		case tokKey:
			b.WriteString(f.assignment(first.Value, tokens[1].Value, from(tokens[2]), from(first)))
			tokens = nil
		case tokInclude:
			b.WriteString("include " + tokens[1].Value)
			tokens = nil
		case tokIf, tokUnless:
			end := slices.IndexFunc(tokens, func(t lexer.Token) bool { return t.Type == tokOpen })
			b.WriteString(joinTokens(tokens[:end]))
			if tokens = tokens[end+1:]; len(tokens) > 0 {
				b.WriteByte(' ')
			}
		default:
			end := slices.IndexFunc(tokens, func(t lexer.Token) bool { return t.Type == tokEOL })
			b.WriteString(joinTokens(tokens[:end]))
			if line := from(first); strings.Contains(line, "#") {
				b.WriteString("  " + line[strings.IndexByte(line, '#'):])
			}
			tokens = nil
		}
	}
	// What the language does not read, such as an operator in a condition, must not vanish.
	if statement := b.String(); sameButBlanks(statement, text[at:]) {
		return statement
	}
	return text[at:]
}

// assignment returns an assignment; it is whole in the source.
func (f *formatter) assignment(key, op, value, whole string) string {
	isKeyword := key == "" && op[0] == '-' // no operator does
	for _, k := range keywords {
		isKeyword = isKeyword || key == k.word
	}
	if f.x.strict || isKeyword {
		return whole // "only=1" is an assignment, "only = 1" is not
	}
	return strings.TrimSpace(key+" "+op) + strings.TrimRight(" "+value, " ")
}

// joinTokens returns the text of a line's tokens.
func joinTokens(tokens []lexer.Token) string {
	var b strings.Builder
	for i, t := range tokens {
		var last lexer.TokenType
		if i > 0 {
			last = tokens[i-1].Type
		}
		switch {
		case i == 0 || t.Type == tokColon || t.Type == tokWhite: // White stands between others, which need none then
		case last == tokComma, last == tokIdent && t.Type == tokIdent, t.Type == tokLBracket, last == tokColon, last == tokWhite:
			b.WriteByte(' ')
		case i == 1 && tokens[0].Type != tokIf && tokens[0].Type != tokUnless: // behind a keyword, or "-"
			b.WriteByte(' ')
		}
		if t.Type != tokWhite {
			b.WriteString(t.Value)
		}
	}
	return b.String()
}

// afterRunes returns s without its first n characters.
func afterRunes(s string, n int) string {
	for ; n > 0; n-- {
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
	}
	return s
}

// sameButBlanks reports whether a and b differ in blanks only.
func sameButBlanks(a, b string) bool {
	withoutBlanks := func(s string) string {
		return strings.Map(func(r rune) rune {
			if isBlank(r) {
				return -1
			}
			return r
		}, s)
	}
	return withoutBlanks(a) == withoutBlanks(b)
}
