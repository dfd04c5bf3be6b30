// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/mhmig/mhmig/lang/diag"
)

// Limits on includes: how deeply they may lie in each other, and how many a config may have in all.
const (
	maxIncludeDepth = 50
	maxIncludes     = 10_000
)

// A builder makes a config's tree from the files' statements. It collects all errors.
type builder struct {
	files    files
	parsed   map[string]*parsedFile // by path: a file is read once, however often it is included
	labels   *labelTable
	keys     *keyTable
	patterns map[string]*pattern // by text
	filters  []filterUse
	includes int
	errs     diag.List

	lookalikes []place // assignments that may look like conditions
}

// A parsedFile is a source and its statements.
type parsedFile struct {
	src  *source
	path string // "" for text that is in no file
	body *block
}

// A filterUse is a filter of the text, for finding labels in it that no variant has.
type filterUse struct {
	src     *source
	text    filterText
	demands bool // "only" or "join": nothing is left without its labels
}

// A scope is what the statements of a block act on.
type scope struct {
	file   *parsedFile
	within []string // paths of the files that include this one, directly or not, and its own

	node       *node // nil in a condition: no variants can stand there
	statements *[]statement
	run        run
}

// A run is assignments that follow each other and take effect together. This matters for operators on patterns only:
// when the text of the pattern is a key of the run, the pattern is tried on the keys of the run alone.
type run struct {
	keys   []string // may be reserved ones, which are dropped at its end
	values map[string]string
	from   []*assignment
}

// parse cuts and parses text, and keeps its errors.
func (b *builder) parse(src *source, path string) *parsedFile {
	tokens := lex(src)
	body, err := parse(tokens)
	b.errs = append(b.errs, tokens.errs...)
	if err != nil { // neither our lexer nor block.Parse fails
		b.errs = append(b.errs, src.diagnostic(lexer.Position{}, err.Error(), ""))
	}
	for _, e := range body.errors() {
		if !e.bad {
			b.errs = append(b.errs, src.diagnostic(e.Pos, e.Message, e.Hint))
		}
	}
	return &parsedFile{src: src, path: path, body: body}
}

func (b *builder) fail(s *scope, pos lexer.Position, hint, format string, args ...any) {
	b.errs = append(b.errs, s.file.src.diagnostic(pos, fmt.Sprintf(format, args...), hint))
}

// block adds the statements of a block to what s stands for.
func (b *builder) block(body *block, s *scope) {
	var lastSuffix *suffix
	for _, stmt := range body.Statements {
		if _, ok := stmt.(*assignment); !ok {
			s.endRun(b.keys)
		}
		switch stmt := stmt.(type) {
		case *assignment:
			b.assign(stmt, s)
		case *filterStatement:
			b.filter(stmt, s)
		case *include:
			b.include(stmt, s)
		case *del:
			s.add(&dropKey{stmt.Name, s.at(stmt.Pos)})
		case *suffix:
			lastSuffix = stmt
		case *condition:
			b.condition(stmt, s)
		case *set:
			b.set(stmt, s)
		}
	}
	s.endRun(b.keys)
	if lastSuffix != nil {
		s.add(&renameKeys{lastSuffix.Name, s.at(lastSuffix.Pos)})
	}
}

func (s *scope) at(pos lexer.Position) place { return place{s.file.src, pos} }

func (s *scope) add(stmt statement) { *s.statements = append(*s.statements, stmt) }

// assign adds an assignment to the run, or ends the run and stands alone.
func (b *builder) assign(a *assignment, s *scope) {
	op := operatorOf[a.Op]
	if mayLookLikeCondition(a.Key, a.Op, a.Value) {
		b.lookalikes = append(b.lookalikes, s.at(a.Pos))
	}
	if !strings.Contains(a.Value, "$") {
		old, inRun := s.run.values[a.Key]
		switch {
		case op == opSet:
			s.run.set(a.Key, a.Value)
			s.run.from = append(s.run.from, a)
			return
		case inRun && op.onPattern():
			if p, err := b.pattern(a, s); err == nil {
				for _, key := range s.run.keys {
					if !isReserved(key) && p.re.MatchString(key) {
						s.run.values[key] = op.combine(s.run.values[key], a.Value)
					}
				}
				s.run.from = append(s.run.from, a)
				return
			}
		case inRun:
			if op != opLazy {
				s.run.set(a.Key, op.combine(old, a.Value))
			}
			s.run.from = append(s.run.from, a)
			return
		}
	}
	s.endRun(b.keys)
	change := &changeKey{op: op, value: compileTemplate(a.Value, b.keys), place: s.at(a.Pos)}
	switch {
	case op.onPattern():
		change.pattern, change.err = b.pattern(a, s)
	case isReserved(a.Key):
		return
	default:
		change.key = b.keys.id(a.Key)
	}
	s.add(change)
}

func (r *run) set(key, value string) {
	if r.values == nil {
		r.values = map[string]string{}
	}
	if _, ok := r.values[key]; !ok {
		r.keys = append(r.keys, key)
	}
	r.values[key] = value
}

func (s *scope) endRun(keys *keyTable) {
	if len(s.run.keys) == 0 {
		return
	}
	stmt := &setKeys{src: s.file.src, run: s.run.from}
	for _, key := range s.run.keys {
		if !isReserved(key) {
			stmt.keys = append(stmt.keys, keys.id(key))
			stmt.values = append(stmt.values, s.run.values[key])
		}
	}
	s.run = run{}
	s.add(stmt)
}

// pattern compiles the left side of a "?" operator: anchored at its start, and at the end of its last alternative.
func (b *builder) pattern(a *assignment, s *scope) (*pattern, error) {
	if p, ok := b.patterns[a.Key]; ok {
		return p, nil
	}
	// First alone, so that no ")" of it closes our group.
	_, err := syntax.Parse(a.Key, syntax.Perl)
	var re *regexp.Regexp
	if err == nil {
		re, err = regexp.Compile("^(?:" + a.Key + "$)")
	}
	if err != nil {
		reason, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "error parsing regexp: "), ": `")
		return nil, s.file.src.diagnostic(a.Pos, fmt.Sprintf("%q is no valid pattern: %s", a.Key, reason),
			`the left side of "`+a.Op+`" is a regular expression of RE2's kind, tried on the names of keys`)
	}
	p := &pattern{index: len(b.patterns), re: re}
	b.patterns[a.Key] = p
	return p, nil
}

func (b *builder) use(f filterText, s *scope, demands bool) filter {
	b.filters = append(b.filters, filterUse{s.file.src, f, demands})
	return f.compile(b.labels)
}

func (b *builder) filter(stmt *filterStatement, s *scope) {
	f := b.use(stmt.Filter, s, stmt.Keyword != "no")
	if stmt.Keyword == "join" {
		s.add(&joinWords{f, s.at(stmt.Pos)})
		return
	}
	s.add(&pick{filter: f, only: stmt.Keyword == "only", owner: s.node, place: s.at(stmt.Pos)})
}

func (b *builder) condition(stmt *condition, s *scope) {
	g := &guard{filter: b.use(stmt.Filter, s, false), negated: stmt.Negated, place: s.at(stmt.Pos)}
	b.block(&stmt.Body, &scope{file: s.file, within: s.within, statements: &g.body})
	s.add(g)
}

func (b *builder) include(stmt *include, s *scope) {
	path := b.files.resolve(s.file.path, stmt.Path)
	switch b.includes++; {
	case slices.Contains(s.within, path):
		b.fail(s, stmt.Pos, "", "include %s: the file includes itself", stmt.Path)
		return
	case len(s.within) > maxIncludeDepth:
		b.fail(s, stmt.Pos, "", "include %s: more than %d files include each other", stmt.Path, maxIncludeDepth)
		return
	case b.includes == maxIncludes+1:
		b.fail(s, stmt.Pos, "", "more than %d includes", maxIncludes)
		return
	case b.includes > maxIncludes:
		return
	}
	file, ok := b.parsed[path]
	if !ok {
		src, err := b.files.read(path)
		if list, ok := errors.AsType[diag.List](err); ok {
			b.errs = append(b.errs, list...)
		} else if err != nil {
			hint := ""
			if strings.ContainsAny(stmt.Path, `"'#`) {
				hint = "quotes and comments behind include are part of the file's name"
			}
			b.fail(s, stmt.Pos, hint, "include %s: %v", stmt.Path, err)
		} else {
			file = b.parse(src, path)
		}
		b.parsed[path] = file
	}
	if file == nil {
		return
	}
	inner := *s
	inner.file, inner.within = file, append(slices.Clip(s.within), path)
	b.block(file.body, &inner)
	s.node, s.statements = inner.node, inner.statements
}

// set puts a node for each variant above what s has so far, and a new one above them all.
func (b *builder) set(stmt *set, s *scope) {
	if s.node == nil {
		b.fail(s, stmt.Pos, "put the condition into the variants instead", "variants cannot stand in a condition")
		return
	}
	name := stmt.Name
	if stmt.At && name != "" {
		name = "@" // as the language has it
	}
	defaults := b.defaults(stmt, s)
	var variants []*node
	preferred := -1
	for i, v := range stmt.Variants.Variants {
		marked := v.At
		defaults = slices.DeleteFunc(defaults, func(m meta) bool {
			agrees := agree(m.Value, v.Labels)
			marked = marked || agrees
			return agrees
		})
		if marked && preferred < 0 {
			preferred = i
		}
		variants = append(variants, b.variant(v, name, marked, s))
	}
	for _, m := range defaults {
		end := "where the file ends"
		if stmt.EndPos.Line > 0 {
			end = "before line " + strconv.Itoa(stmt.EndPos.Line)
		}
		var names []string
		for _, v := range stmt.Variants.Variants {
			names = append(names, strings.Join(v.Labels, "."))
		}
		wanted := strings.Join(m.Value, ".")
		b.fail(s, m.Pos, suggest(wanted, names), "no variant of the set, which ends %s, is called %q", end, wanted)
	}
	if len(variants) == 0 {
		return
	}
	s.node = &node{children: variants, preferred: preferred}
	s.statements = &s.node.statements
}

// defaults returns the [default=NAME] entries of a set.
func (b *builder) defaults(stmt *set, s *scope) []meta {
	var defaults []meta
	for _, m := range stmt.Meta {
		switch {
		case m.Name != "default":
		case !m.Equals:
			b.fail(s, m.Pos, "the form is [default=NAME]", "[default] does not say which variant")
		default:
			defaults = append(defaults, m)
		}
	}
	return defaults
}

// agree tells whether two names are equal as far as both go.
func agree(a, b []string) bool {
	n := min(len(a), len(b))
	return slices.Equal(a[:n], b[:n])
}

// variant returns the topmost node of a variant's block, with what s has so far below it.
func (b *builder) variant(v *variant, setName string, marked bool, s *scope) *node {
	bottom := &node{children: []*node{s.node}, preferred: -1, closes: true}
	inner := scope{file: s.file, within: s.within, node: bottom, statements: &bottom.statements}
	if setName != "" {
		inner.run.set(setName, strings.Join(v.Labels, "."))
		inner.run.from = []*assignment{{Pos: v.Pos, Key: setName, Value: strings.Join(v.Labels, ".")}}
	}
	b.block(&v.Body, &inner)

	top := inner.node
	top.isChoice, top.hidden, top.place = true, marked, s.at(v.Pos)
	var full []string
	for _, name := range v.Labels {
		l := nodeLabel{name: b.labels.id(name)}
		l.full = l.name
		if setName != "" {
			l.full = b.labels.filterID(label{Set: setName, Name: name})
		}
		top.labels = append(top.labels, l)
		full = append(full, b.labels.texts[l.full])
	}
	top.deps = v.Dep.compile(b.labels)
	inner.add(&nameFile{s.file.src.base, strings.Join(full, "."), strings.Join(v.Labels, ".")})
	return top
}

// suggest is the hint "did you mean", or "" when nothing is near.
func suggest(word string, candidates []string) string {
	if near := diag.Nearest(word, candidates); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}
