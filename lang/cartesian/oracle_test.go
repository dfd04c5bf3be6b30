// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The oracle is a second implementation of the language, written from its specification alone and as plainly as it can
// be: every filter and condition is decided at the leaf, a dict is a list, nothing is remembered. It shares no code with
// the package. Where the specification leaves the outcome open, it refuses to say anything.
//
// Its steps stop by panics, of these three types.
type (
	oracleError struct { // what the config's author did wrong
		file string
		line int // 0 when the specification does not say where
		text string
	}
	oracleOpen  string // why the outcome is not defined
	oracleLarge struct{}
)

// Bounds of the oracle's work: visits of nodes, and the length of a value that substitution lets grow.
const (
	oracleVisits = 4_000
	oracleLength = 20_000
	oracleDepth  = 60
)

type oracle struct {
	files    map[string]string
	defaults bool
	open     []string // the files being read, to see that one includes itself
	visits   int
	depth    int
}

// oracleResult is what the oracle says of a config. It says nothing if skip is set.
type oracleResult struct {
	lines []string // canonical JSON
	err   *oracleError
	skip  string
}

// askOracle expands files[name], with the extra strings after it.
func askOracle(files map[string]string, name string, extra []string, defaults bool) (result oracleResult) {
	o := &oracle{files: files, defaults: defaults}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case oracleError:
			result.err = &r
		case oracleOpen:
			result.skip = string(r)
		case oracleLarge:
			result.skip = "too large"
		default:
			panic(r)
		}
	}()
	b := &oBlock{node: &oNode{list: &oList{}, preferred: -1}}
	o.readFile(name, b)
	for _, text := range extra {
		r := &oReader{o: o, file: "<string>", base: "<string>", folder: ".", lines: cutOracleLines(text)}
		r.fileBlock(b)
	}
	o.walk(b.node, oPath{}, func(d *oDict) {
		result.lines = append(result.lines, d.json())
	})
	return result
}

// Lines.

// oBlank is every character that Python calls a blank.
const oBlank = " \t\n\v\f\r\x1c\x1d\x1e\x1f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008" +
	"\u2009\u200a\u2028\u2029\u202f\u205f\u3000"

var oLineEnd = regexp.MustCompile("\r\n|[\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029]")

type oLine struct {
	indent int
	text   string
	number int
}

// cutOracleLines returns the lines that say anything.
func cutOracleLines(text string) (lines []oLine) {
	for i, line := range oLineEnd.Split(text, -1) {
		line = strings.TrimRight(line, oBlank)
		for tab := strings.Index(line, "\t"); tab >= 0; tab = strings.Index(line, "\t") {
			width := 8 - utf8.RuneCountInString(line[:tab])%8
			line = line[:tab] + strings.Repeat(" ", width) + line[tab+1:]
		}
		rest := strings.TrimLeft(line, oBlank)
		if rest == "" || strings.HasPrefix(rest, "#") || strings.HasPrefix(rest, "//") {
			continue
		}
		indent := utf8.RuneCountInString(line) - utf8.RuneCountInString(rest)
		lines = append(lines, oLine{indent, rest, i + 1})
	}
	return lines
}

// oReader reads one file, or one extra string.
type oReader struct {
	o                  *oracle
	file, base, folder string
	lines              []oLine // still to be read
	number             int     // of the line being read
	strict             bool    // section 3, strict leak
}

func (o *oracle) readFile(name string, b *oBlock) {
	if slices.Contains(o.open, name) {
		panic(oracleError{text: "a file includes itself"})
	}
	text := o.files[name]
	if !utf8.ValidString(text) {
		panic(oracleError{text: "not UTF-8"})
	}
	o.open = append(o.open, name)
	r := &oReader{o: o, file: name, base: path.Base(name), folder: path.Dir(name), lines: cutOracleLines(text)}
	r.fileBlock(b)
	o.open = o.open[:len(o.open)-1]
}

func (r *oReader) fail(format string, args ...any) {
	panic(oracleError{r.file, r.number, fmt.Sprintf(format, args...)})
}

// next takes the next line of a block with this floor.
func (r *oReader) next(floor int) (oLine, bool) {
	if len(r.lines) == 0 || r.lines[0].indent <= floor {
		return oLine{}, false
	}
	line := r.lines[0]
	r.lines = r.lines[1:]
	r.number = line.number
	return line, true
}

// Tokens.

// oToken has the kind 'a' for identifiers, ' ' for blanks, '=' for operators, '"' for strings, 0 at the end; every other
// token is its own kind.
type oToken struct {
	kind rune
	text string
}

func isOracleIdent(c rune) bool {
	return c == '_' || c == '-' || unicode.In(c, unicode.L, unicode.N)
}

// tokens cuts text up; comment reports whether it ended in one.
func (r *oReader) tokens(text string) (list []oToken, comment bool) {
	pending, dropped := "", false // of the characters that begin an operator
	take := func(is func(rune) bool) string {
		rest := strings.TrimLeftFunc(text, is)
		taken := text[:len(text)-len(rest)]
		text = rest
		return taken
	}
	for text != "" {
		c, size := utf8.DecodeRuneInString(text)
		if strings.ContainsRune("+<?~", c) {
			pending += string(c)
			text = text[size:]
			continue
		}
		if c == '=' {
			op := pending + "="
			if dropped {
				panic(oracleOpen("an operator after one that nothing completed"))
			}
			if !slices.Contains([]string{"=", "+=", "<=", "~=", "?=", "?+=", "?<="}, op) {
				r.fail("no operator: %s", op)
			}
			list = append(list, oToken{'=', op})
			pending = ""
			text = text[size:]
			continue
		}
		dropped = dropped || pending != ""
		if pending != "" && strings.ContainsRune(oBlank, c) {
			panic(oracleOpen("a blank after an operator that nothing completed"))
		}
		pending = ""
		switch {
		case c == '#':
			return append(list, oToken{}), true
		case isOracleIdent(c):
			list = append(list, oToken{'a', take(isOracleIdent)})
		case strings.ContainsRune(oBlank, c):
			list = append(list, oToken{' ', take(func(c rune) bool { return strings.ContainsRune(oBlank, c) })})
		case strings.ContainsRune(".:@,[]()!", c):
			list = append(list, oToken{c, string(c)})
			text = text[size:]
		case c == '"':
			inner, rest, ok := strings.Cut(text[1:], `"`)
			if !ok {
				panic(oracleError{text: "unterminated string"})
			}
			list = append(list, oToken{'"', inner})
			text = rest
		default:
			r.fail("unexpected character %q", c)
		}
	}
	return append(list, oToken{}), false
}

func skipBlanks(tokens []oToken) []oToken {
	for tokens[0].kind == ' ' {
		tokens = tokens[1:]
	}
	return tokens
}

// Filters.

type oLabel struct{ set, value string }

func (l oLabel) String() string {
	if l.set == "" {
		return l.value
	}
	return "(" + l.set + "=" + l.value + ")"
}

// An oFilter is words of blocks of labels.
type oFilter [][][]oLabel

// filter reads a filter up to the end of tokens.
func (r *oReader) filter(tokens []oToken) oFilter {
	tokens = skipBlanks(tokens)
	if kind := tokens[0].kind; kind != 'a' && kind != '(' && kind != 0 {
		r.fail("a filter begins with %q", tokens[0].text)
	}
	var f oFilter
	var word [][]oLabel
	dots := 1
	for {
		t := tokens[0]
		switch t.kind {
		case 0:
			if dots > 2 || dots == 2 && word == nil {
				panic(oracleOpen("many dots at the end of a filter"))
			}
			if word != nil {
				f = append(f, word)
			}
			return f
		case 'a', '(':
			var l oLabel
			l, tokens = r.label(tokens)
			switch {
			case dots == 1 && word == nil:
				word = [][]oLabel{{l}}
			case dots == 1:
				word[len(word)-1] = append(word[len(word)-1], l)
			case dots == 2 && word == nil:
				panic(oracleError{text: "an empty block"})
			case dots == 2:
				word = append(word, []oLabel{l})
			default:
				r.fail("%d dots before a label", dots)
			}
			dots = 0
		case '.':
			dots++
			tokens = tokens[1:]
		case ',', ' ':
			if dots > 0 {
				r.fail("no label before %q", t.text)
			}
			f = append(f, word)
			word = nil
			tokens = skipBlanks(tokens[1:])
			dots = 1
		default:
			r.fail("unexpected %q in a filter", t.text)
		}
	}
}

// label reads a label, perhaps in brackets.
func (r *oReader) label(tokens []oToken) (oLabel, []oToken) {
	if tokens[0].kind == 'a' {
		return oLabel{value: tokens[0].text}, tokens[1:]
	}
	tokens = skipBlanks(tokens[1:])
	want := func(kind rune) string {
		t := tokens[0]
		if t.kind != kind {
			r.fail("%q in a label", t.text)
		}
		tokens = skipBlanks(tokens[1:])
		return t.text
	}
	l := oLabel{value: want('a')}
	if tokens[0] == (oToken{'=', "="}) {
		want('=')
		l = oLabel{l.value, want('a')}
	}
	if tokens[0].kind != ')' {
		r.fail("%q where a label should end", tokens[0].text)
	}
	return l, tokens[1:]
}

// matches looks at the whole context of a leaf.
func (f oFilter) matches(context []oLabel) bool {
	return slices.ContainsFunc(f, func(word [][]oLabel) bool {
		for _, row := range word {
			found := false
			for at := 0; at+len(row) <= len(context); at++ {
				found = found || slices.EqualFunc(row, context[at:at+len(row)], func(want, have oLabel) bool {
					return want.value == have.value && (want.set == "" || want.set == have.set)
				})
			}
			if !found {
				return false
			}
		}
		return true
	})
}

// Blocks.

// An oStatement is one that acts on a dict, of this kind: an operator with key and value, or "run" with the assignments
// of a pending run, "only", "no" and "join" with a filter, "if" and "unless" with a filter and a body, "del" and
// "suffix" with a key, "maps" with the labels that a variant in file key contributes.
type oStatement struct {
	kind       string
	key, value string
	run        []oEntry
	filter     oFilter
	body       []oStatement
	labels     []oLabel
}

// oList is a list of statements that several owners change in place (section 13).
type oList struct{ all []oStatement }

type oNode struct {
	list      *oList
	labels    []oLabel
	deps      oFilter
	marked    bool // not in shortname
	children  []*oNode
	preferred int // child that is the default, or -1
}

// An oBlock is the block being read.
type oBlock struct {
	node   *oNode       // current node; nil in a condition
	body   []oStatement // of a condition
	run    *oDict       // pending run, or nil
	suffix string
}

func (b *oBlock) add(s oStatement) {
	b.endRun()
	if b.node == nil {
		b.body = append(b.body, s)
	} else {
		b.node.list.all = append(b.node.list.all, s)
	}
}

func (b *oBlock) endRun() {
	if run := b.run; run != nil {
		b.run = nil
		b.add(oStatement{kind: "run", run: run.entries})
	}
}

func (b *oBlock) assign(op, key, value string) {
	if !strings.Contains(value, "$") {
		if op == "=" && b.run == nil {
			b.run = &oDict{}
		}
		if op == "=" || b.run != nil && b.run.index(key) >= 0 {
			if op[0] == '?' && oraclePattern(key) == nil {
				panic(oracleOpen("a bad pattern in a pending run"))
			}
			b.run.assign(op, key, value)
			return
		}
	}
	b.add(oStatement{kind: op, key: key, value: value})
}

// fileBlock reads a whole file into b, as a block of its own.
func (r *oReader) fileBlock(b *oBlock) {
	b.endRun()
	inner := &oBlock{node: b.node}
	r.block(-1, inner)
	b.node = inner.node
	b.body = append(b.body, inner.body...)
}

var oOperator = regexp.MustCompile(`=|\+=|<=|~=|\?=|\?\+=|\?<=`)

// oEmptyAssignment is the only assignment that can be read as tokens.
var oEmptyAssignment = regexp.MustCompile(`^[\pL\pN_-]+=""$`)

// block reads lines into b until its end.
func (r *oReader) block(floor int, b *oBlock) {
	if r.o.depth++; r.o.depth > oracleDepth {
		panic(oracleLarge{})
	}
	for {
		line, ok := r.next(floor)
		if !ok {
			break
		}
		r.statement(line, floor, b)
	}
	b.endRun()
	if b.suffix != "" {
		b.add(oStatement{kind: "suffix", key: b.suffix})
	}
	r.o.depth--
}

// statement reads one statement of a block with this floor, which begins in line.
func (r *oReader) statement(line oLine, floor int, b *oBlock) {
	keyword, rest := "", line.text
	for _, k := range []string{"variants:", "variants ", "-", "only ", "no ", "include ", "del ", "suffix ", "join "} {
		if after, ok := strings.CutPrefix(line.text, k); ok {
			keyword, rest = strings.TrimSpace(k), after
			break
		}
	}
	switch keyword {
	case "variants", "variants:":
		r.set(line, floor, b)
	case "-":
		r.fail("a variant outside of a set")
	case "only", "no", "join":
		tokens, _ := r.tokens(rest)
		f := r.filter(tokens)
		if keyword == "join" && f == nil {
			panic(oracleOpen("a join of nothing"))
		}
		b.add(oStatement{kind: keyword, filter: f})
	case "include":
		r.include(rest, b)
	case "del", "suffix":
		tokens, _ := r.tokens(rest)
		tokens = skipBlanks(tokens)
		if tokens[0].kind != 'a' {
			r.fail("%s: no identifier", keyword)
		}
		if keyword == "suffix" && tokens[1].kind == ' ' && tokens[2].kind == 0 {
			panic(oracleOpen("a comment after a suffix"))
		}
		if skipBlanks(tokens[1:])[0].kind != 0 {
			r.fail("%s: more than an identifier", keyword)
		}
		if keyword == "del" {
			b.add(oStatement{kind: "del", key: tokens[0].text})
		} else {
			b.endRun()
			b.suffix = tokens[0].text
		}
	default:
		colon := strings.Index(line.text, ":")
		op := oOperator.FindStringIndex(line.text)
		if !r.strict && op != nil && (colon < 0 || colon > op[1]) {
			key := strings.TrimRight(line.text[:op[0]], oBlank)
			value := strings.TrimLeft(line.text[op[1]:], oBlank)
			for _, quote := range []string{`"`, "'"} {
				if strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote) {
					value = value[1:max(1, len(value)-1)]
					break
				}
			}
			b.assign(line.text[op[0]:op[1]], key, value)
			return
		}
		if r.strict && strings.Contains(line.text, `""`) {
			if !oEmptyAssignment.MatchString(line.text) {
				panic(oracleOpen("an empty string among tokens"))
			}
			b.assign("=", strings.TrimSuffix(line.text, `=""`), "")
			return
		}
		r.condition(line, colon, b)
	}
}

func (r *oReader) condition(line oLine, colon int, b *oBlock) {
	if colon < 0 {
		r.fail("neither assignment nor condition")
	}
	tokens, comment := r.tokens(line.text[:colon])
	if comment {
		r.fail("a comment before the colon")
	}
	tokens = slices.DeleteFunc(tokens, func(t oToken) bool { return t.kind == ' ' })
	if len(tokens) == 0 {
		r.fail("a condition without a filter")
	}
	kind := "if"
	switch tokens[0].kind {
	case '!':
		kind, tokens = "unless", tokens[1:]
	case 'a':
	default:
		r.fail("a condition begins with %q", tokens[0].text)
	}
	f := r.filter(tokens)
	if rest := strings.Trim(line.text[colon+1:], oBlank); rest != "" {
		r.lines = slices.Concat([]oLine{{line.indent + 1, rest, line.number}}, r.lines)
	}
	r.strict = false
	inner := &oBlock{}
	r.block(line.indent, inner)
	b.add(oStatement{kind: kind, filter: f, body: inner.body})
}

func (r *oReader) include(rest string, b *oBlock) {
	name := strings.Trim(rest, oBlank)
	if strings.HasPrefix(name, "~") || path.IsAbs(name) {
		panic(oracleOpen("a file outside of the file system"))
	}
	name = path.Join(r.folder, name)
	if _, ok := r.o.files[name]; !ok {
		r.fail("no such file")
	}
	b.endRun()
	r.o.readFile(name, b)
}

// Sets.

// set reads a set whose header is line, in a block with this floor.
func (r *oReader) set(line oLine, floor int, b *oBlock) {
	if b.node == nil {
		r.fail("variants in a condition")
	}
	b.endRun()
	name, defaults := r.header(strings.TrimPrefix(line.text, "variants"))
	r.strict = true
	first, ok := r.next(floor)
	if !ok {
		if len(defaults) > 0 {
			panic(oracleOpen("an empty set with a default"))
		}
		return
	}
	above := &oNode{list: &oList{}, preferred: -1}
	for dash := first; ok; dash, ok = r.next(line.indent) {
		if !strings.HasPrefix(dash.text, "-") {
			r.fail("a set of something else than variants")
		}
		v := &oNode{list: &oList{}, children: []*oNode{b.node}, preferred: -1}
		marked, parts, rest := r.variantName(dash.text[1:])
		deps := r.filter(rest)
		var values, single []string // single is parts without the dots that mean nothing
		for _, p := range parts {
			if p == "." {
				continue
			}
			if values != nil {
				single = append(single, ".")
			}
			single = append(single, p)
			values = append(values, p)
		}
		inner := &oBlock{node: v}
		if name != "" && !isOracleReserved(name) {
			inner.assign("=", name, strings.Join(values, "."))
		}
		defaults = slices.DeleteFunc(defaults, func(want []string) bool {
			agrees := oracleAgree(want, parts)
			if agrees != oracleAgree(want, single) {
				panic(oracleOpen("a default among names with many dots"))
			}
			marked = marked || agrees
			return agrees
		})
		r.strict = false
		r.block(first.indent, inner)
		top := inner.node
		for _, value := range values {
			top.labels = append(top.labels, oLabel{name, value})
		}
		top.deps, top.marked = deps, marked
		top.list.all = append(top.list.all, oStatement{kind: "maps", key: r.base, labels: top.labels})
		if marked && above.preferred < 0 {
			above.preferred = len(above.children)
		}
		above.children = append(above.children, top)
	}
	if len(defaults) > 0 {
		if len(r.lines) == 0 {
			panic(oracleError{text: "no such default"})
		}
		r.number = r.lines[0].number
		r.fail("no such default")
	}
	b.node = above
}

// oracleAgree compares as far as both go.
func oracleAgree(a, b []string) bool {
	n := min(len(a), len(b))
	return slices.Equal(a[:n], b[:n])
}

// header reads the line of a set, without the keyword.
func (r *oReader) header(text string) (name string, defaults [][]string) {
	tokens, _ := r.tokens(text)
	tokens = skipBlanks(tokens)
	switch tokens[0].kind {
	case '@':
		tokens = skipBlanks(tokens[1:])
		if tokens[0].kind == 'a' {
			name = "@"
			tokens = tokens[1:]
		}
	case 'a':
		name = tokens[0].text
		tokens = tokens[1:]
	}
	if name == "" && strings.ContainsRune(`.,()!]"@`, tokens[0].kind) && tokens[0].kind != 0 {
		panic(oracleOpen("odd tokens before the name of a set"))
	}
	for {
		tokens = skipBlanks(tokens)
		if tokens[0].kind != '[' {
			break
		}
		var value []string
		var key string
		key, value, tokens = r.meta(tokens[1:])
		if key == "default" {
			defaults = append(defaults, value)
		}
		if skipBlanks(tokens)[0].kind == 'a' {
			panic(oracleOpen("the name of a set after its meta data"))
		}
	}
	if tokens[0].kind != ':' {
		r.fail("%q in the header of a set", tokens[0].text)
	}
	if skipBlanks(tokens[1:])[0].kind != 0 {
		r.fail("text after the header of a set")
	}
	return name, defaults
}

// meta reads what follows "[".
func (r *oReader) meta(tokens []oToken) (key string, value []string, rest []oToken) {
	end := slices.IndexFunc(tokens, func(t oToken) bool { return t.kind == ']' })
	if end < 0 {
		r.fail("no ]")
	}
	rest, tokens = tokens[end+1:], append(slices.Clone(tokens[:end]), oToken{})
	tokens = skipBlanks(tokens)
	if tokens[0].kind != 'a' {
		panic(oracleOpen("odd meta data"))
	}
	key = tokens[0].text
	tokens = skipBlanks(tokens[1:])
	switch tokens[0] {
	case oToken{}:
		if key == "default" {
			r.fail("a default without a name")
		}
		return key, nil, rest
	case oToken{'=', "="}:
	default:
		panic(oracleOpen("odd meta data"))
	}
	for tokens = skipBlanks(tokens[1:]); tokens[0].kind != 0; tokens = tokens[1:] {
		switch t := tokens[0]; {
		case key == "default" && t.kind == '.' && (value == nil || value[len(value)-1] == "."):
			panic(oracleOpen("a default with many dots"))
		case t.kind == 'a' || t.kind == '.':
			value = append(value, t.text)
		case t.kind == ' ' && (tokens[1].kind == 0 || key != "default"):
		default:
			panic(oracleOpen("odd meta data"))
		}
	}
	return key, value, rest
}

// variantName reads up to the colon: parts are the identifiers and the dots of the name.
func (r *oReader) variantName(text string) (marked bool, parts []string, rest []oToken) {
	tokens, _ := r.tokens(text)
	tokens = skipBlanks(tokens)
	if tokens[0].kind == '@' {
		marked = true
		tokens = tokens[1:]
	}
	for ; tokens[0].kind != ':'; tokens = tokens[1:] {
		switch tokens[0].kind {
		case 'a', '.':
			parts = append(parts, tokens[0].text)
		case '@':
			panic(oracleOpen("@ in a name"))
		default:
			r.fail("%q in the name of a variant", tokens[0].text)
		}
	}
	if !marked && !slices.ContainsFunc(parts, func(p string) bool { return p != "." }) {
		panic(oracleOpen("a variant without a name"))
	}
	return marked, parts, tokens[1:]
}
