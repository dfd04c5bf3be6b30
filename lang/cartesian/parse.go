// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// A parser reads the tokens of one source. Its productions give what the grammar's tags say, many times faster: they know
// assignments, includes, filters, and the heads of conditions, variants and sets in the form that nearly all of them have. What
// they do not know they leave to the grammar.
type parser struct {
	lx   *lineLexer
	errs []syntaxError

	// Statements and variants of all blocks that are being read, those of the innermost last.
	statements []clause
	variants   []*variant

	filters filterReader
	names   []string // labels of the variant being read

	// What the tree is made of.
	assignments   slab[assignment]
	filterClauses slab[filterStatement]
	conditions    slab[condition]
	sets          slab[set]
	variantSlab   slab[variant]
	clauseLists   slab[clause]
	variantLists  slab[*variant]
	nameLists     slab[string]
}

// parse reads all tokens of a source. Errors are in the block; there is no other.
func parse(lx *lineLexer) (*block, error) {
	p := &parser{lx: lx}
	b := new(block)
	p.block(b)
	b.found = p.errs
	return b, nil
}

// block reads statements up to the end of the block. It never fails: errors are kept, and what follows is read on.
func (p *parser) block(b *block) {
	outer := len(p.statements)
	for {
		switch p.lx.peek().Type {
		case lexer.EOF, tokClose:
			b.Statements = p.clauseLists.copy(p.statements[outer:])
			p.statements = p.statements[:outer]
			return
		case tokKey:
			add(p, p.assignment())
		case tokOnly, tokNo, tokJoin:
			add(p, p.filterStatement())
		case tokInclude:
			add(p, p.include())
		case tokDel:
			add(p, byGrammar(p, theGrammar().del))
		case tokSuffix:
			add(p, byGrammar(p, theGrammar().suffix))
		case tokIf, tokUnless:
			add(p, p.condition())
		case tokVariants:
			add(p, p.set())
		default: // left over from a bad line
			p.lx.skip()
		}
	}
}

// add adds a statement to the innermost block, unless it is bad and so nil.
func add[T any](p *parser, s *T) {
	if s != nil {
		p.statements = append(p.statements, s)
	}
}

// variantList reads variants up to the end of the set. It never fails, like block.
func (p *parser) variantList(l *variantList) {
	outer := len(p.variants)
	for {
		switch p.lx.peek().Type {
		case lexer.EOF, tokClose:
			l.Variants = p.variantLists.copy(p.variants[outer:])
			p.variants = p.variants[:outer]
			return
		case tokDash:
			if v := p.variant(); v != nil {
				p.variants = append(p.variants, v)
			}
		default:
			p.lx.skip()
		}
	}
}

func (p *parser) assignment() *assignment {
	a := p.assignments.next()
	tokens := p.lx.rest()
	a.Pos, a.Key, a.Op, a.Value = tokens[0].Pos, tokens[0].Value, tokens[1].Value, tokens[2].Value
	p.lx.next += 3
	return a
}

func (p *parser) include() *include {
	tokens := p.lx.rest()
	p.lx.next += 2
	return &include{Pos: tokens[0].Pos, Path: tokens[1].Value}
}

func (p *parser) filterStatement() *filterStatement {
	tokens := p.lx.rest()
	s := p.filterClauses.next()
	s.Pos, s.Keyword = tokens[0].Pos, tokens[0].Value
	n, err := p.filters.read(&s.Filter, tokens[1:])
	if n++; err != nil || tokens[n].Type != tokEOL {
		return byGrammar(p, theGrammar().filter)
	}
	p.lx.next += n + 1
	return s
}

func (p *parser) condition() *condition {
	tokens := p.lx.rest()
	c := p.conditions.next()
	c.Pos, c.Negated = tokens[0].Pos, tokens[0].Type == tokUnless
	n, err := p.filters.read(&c.Filter, tokens[1:])
	if n++; err == nil && tokens[n].Type == tokColon && tokens[n+1].Type == tokOpen {
		p.lx.next += n + 2
	} else if c = byGrammar(p, theGrammar().condition); c == nil {
		return nil
	}
	p.block(&c.Body)
	p.lx.skip() // Close
	return c
}

// set reads all sets but those with meta data by hand.
func (p *parser) set() *set {
	tokens := p.lx.rest()
	s := p.sets.next()
	s.Pos = tokens[0].Pos
	n := 1
	if tokens[n].Type == tokAt {
		s.At = true
		n++
	}
	if tokens[n].Type == tokIdent {
		s.Name = tokens[n].Value
		n++
	}
	if tokens[n].Type == tokColon && tokens[n+1].Type == tokEOL && tokens[n+2].Type == tokOpen {
		p.lx.next += n + 3
	} else if s = byGrammar(p, theGrammar().set); s == nil {
		return nil
	}
	p.variantList(&s.Variants)
	p.lx.skip() // Close
	s.EndPos = p.lx.peek().Pos
	return s
}

func (p *parser) variant() *variant {
	tokens := p.lx.rest()
	v := p.variantSlab.next()
	v.Pos = tokens[0].Pos
	n := 1
	if tokens[n].Type == tokAt {
		v.At = true
		n++
	}
	p.names = p.names[:0]
	for ; tokens[n].Type == tokIdent || tokens[n].Type == tokDot; n++ {
		if tokens[n].Type == tokIdent {
			p.names = append(p.names, tokens[n].Value)
		}
	}
	if tokens[n].Type != tokColon || !p.dependencies(v, tokens, n+1) {
		if v = byGrammar(p, theGrammar().variant); v == nil {
			return nil
		}
	}
	p.block(&v.Body)
	p.lx.skip() // Close
	return v
}

// dependencies reads the rest of a variant's head, which begins with tokens[n].
func (p *parser) dependencies(v *variant, tokens []lexer.Token, n int) bool {
	v.Labels = p.nameLists.copy(p.names)
	words, err := p.filters.read(&v.Dep, tokens[n:])
	if n += words; err != nil || tokens[n].Type != tokEOL || tokens[n+1].Type != tokOpen {
		return false
	}
	p.lx.next += n + 2
	return true
}

// byGrammar reads one statement, or its head when it has content, by participle's parser of it. When that fails it
// returns nil, and goes on to the next statement of the block; the content of the failed one is read for its errors.
func byGrammar[T any](p *parser, production *participle.Parser[T]) *T {
	// The content is empty for participle.
	head := p.lx.rest()
	tokens := make(sequence, 0, len(head)+2)
	for _, t := range head {
		tokens = append(tokens, t)
		if t.Type == tokOpen {
			tokens = append(tokens, lexer.Token{Type: tokClose})
			head = head[:len(tokens)-1]
			break
		}
	}
	tokens = append(tokens, lexer.EOFToken(lexer.Position{Filename: p.lx.src.name}))
	rest := tokens
	lx, err := lexer.Upgrade(&rest)
	if err != nil {
		panic(err) // a sequence does not fail
	}
	s, err := production.ParseFromLexer(lx, participle.AllowTrailing(true))
	if err == nil {
		p.lx.next += min(lx.Cursor(), len(head))
		return s
	}
	p.fail(explain(s, err, tokens))
	opener := p.lx.peek().Type
	p.lx.skip()
	for {
		switch p.lx.peek().Type {
		case lexer.EOF, tokClose, tokKey, tokOnly, tokNo, tokJoin, tokInclude, tokDel, tokSuffix, tokIf, tokUnless,
			tokVariants, tokDash:
			return nil
		case tokOpen:
			p.lx.skip()
			if opener == tokVariants {
				p.variantList(new(variantList))
			} else {
				p.block(new(block))
			}
			p.lx.skip() // Close
			return nil
		default:
			p.lx.skip()
		}
	}
}

func (p *parser) fail(err syntaxError) {
	if !err.bad {
		p.errs = append(p.errs, err)
		p.lx.failed++
	}
}

// A sequence is tokens that end with EOF, as a Lexer.
type sequence []lexer.Token

func (s *sequence) Next() (lexer.Token, error) {
	t := (*s)[0]
	if !t.EOF() {
		*s = (*s)[1:]
	}
	return t, nil
}

// A filterReader reads filters. It keeps what it needs for that, and the memory that the next ones are made of.
type filterReader struct {
	labels   []label
	rowEnds  []int // number of labels up to the end of each row
	wordEnds []int // number of rows up to the end of each word

	labelLists slab[label]
	rowLists   slab[[]label]
	wordLists  slab[[][]label]
}

// read reads a filter up to the end of the line or the colon of a condition, and returns the number of its tokens, which
// another one follows. Between two labels stands one dot or two; a comma or a blank ends a word. Dots and commas at the
// end mean nothing.
func (r *filterReader) read(f *filterText, tokens []lexer.Token) (n int, err error) {
	if typ := tokens[0].Type; typ != tokIdent && typ != tokLParen {
		return 0, nil // no filter at all: whoever reads it reports whether something else stands here
	}
	r.labels, r.rowEnds, r.wordEnds = r.labels[:0], r.rowEnds[:0], r.wordEnds[:0]
	const none, row, both = 0, 1, 2 // dots before a label: not yet, the block goes on, a new block begins
	dots, inWord := row, false
	for {
		token := &tokens[n]
		switch token.Type {
		case tokIdent, tokLParen:
			switch {
			case dots == none:
				return n, syntaxError{Pos: token.Pos, Message: "two labels without a dot or a comma between them"}
			case dots > both:
				return n, syntaxError{
					Pos: token.Pos, Message: fmt.Sprintf("%d dots between two labels", dots),
					Hint: `"." joins adjacent labels, ".." joins labels in any place`,
				}
			case dots == both && !inWord:
				return n, syntaxError{Pos: token.Pos, Message: "a dot with nothing before it"}
			}
			if dots == both {
				r.rowEnds = append(r.rowEnds, len(r.labels))
			}
			l, size, err := readLabel(tokens[n:])
			if n += size; err != nil {
				return n, err
			}
			r.labels = append(r.labels, l)
			dots, inWord = none, true
		case tokDot:
			dots++
			n++
		case tokComma, tokWhite:
			if dots > none {
				return n, syntaxError{
					Pos: token.Pos, Message: fmt.Sprintf("a label is missing before %s", describe(*token)),
					Hint: `words of a filter are separated by one comma or blanks: "a, b" or "a b"`,
				}
			}
			r.endWord()
			dots, inWord = row, false
			n++
			if tokens[n].Type == tokWhite {
				n++
			}
		default:
			if inWord {
				r.endWord()
			}
			f.Words = r.words()
			return n, nil
		}
	}
}

func (r *filterReader) endWord() {
	r.rowEnds = append(r.rowEnds, len(r.labels))
	r.wordEnds = append(r.wordEnds, len(r.rowEnds))
}

// words returns what was read.
func (r *filterReader) words() [][][]label {
	labels := r.labelLists.copy(r.labels)
	rows := r.rowLists.cut(len(r.rowEnds))
	start := 0
	for i, end := range r.rowEnds {
		rows[i] = labels[start:end:end]
		start = end
	}
	words := r.wordLists.cut(len(r.wordEnds))
	start = 0
	for i, end := range r.wordEnds {
		words[i] = rows[start:end:end]
		start = end
	}
	return words
}

// readLabel reads the label that tokens begin with, and returns the number of its tokens.
func readLabel(tokens []lexer.Token) (l label, n int, err error) {
	l.Pos, l.Name = tokens[0].Pos, tokens[0].Value
	if tokens[0].Type == tokIdent {
		return l, 1, nil
	}
	form := []lexer.TokenType{tokLParen, tokIdent, tokRParen}
	if tokens[1].Type == tokIdent && tokens[2].Type == tokEquals {
		form = []lexer.TokenType{tokLParen, tokIdent, tokEquals, tokIdent, tokRParen}
	}
	for i, typ := range form {
		if t := tokens[i]; t.Type != typ {
			e := syntaxError{
				Pos: t.Pos, bad: t.Type == tokBad, Message: fmt.Sprintf("unexpected %s in a label", describe(t)),
				Hint: "the form of a label of a named set is (SET=NAME)",
			}
			if t.Type == tokEOL {
				e.Message = `"(" without ")"`
			}
			return l, i, e
		}
	}
	l.Name = tokens[len(form)-2].Value
	if len(form) > 3 {
		l.Set = tokens[1].Value
	}
	return l, len(form), nil
}

// A slab hands out values of a tree that is never changed and dropped as a whole, many from one piece of memory.
type slab[T any] struct {
	free []T
	size int // of the last piece
}

// Sizes of the pieces: small ones come first, so that one statement costs little.
const (
	minSlab = 8
	maxSlab = 256
)

// cut returns n zero values, or nil when n is 0.
func (s *slab[T]) cut(n int) []T {
	switch {
	case n == 0:
		return nil
	case n <= len(s.free):
	case n > maxSlab/4:
		return make([]T, n)
	default:
		s.size = max(minSlab, min(2*s.size, maxSlab), n)
		s.free = make([]T, s.size)
	}
	part := s.free[:n:n]
	s.free = s.free[n:]
	return part
}

func (s *slab[T]) next() *T { return &s.cut(1)[0] }

// copy returns a copy of list, or nil when it is empty.
func (s *slab[T]) copy(list []T) []T {
	part := s.cut(len(list))
	copy(part, list)
	return part
}
