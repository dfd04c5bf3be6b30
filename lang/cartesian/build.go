// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
)

// Limits, far above what people write: all that comes later takes memory or stack in proportion.
const (
	maxIncludeDepth = 50        // nested includes
	maxIncludes     = 10_000    // in all
	maxStatements   = 5_000_000 // in all; those of a file count as often as it is included
	maxDepth        = 20_000    // nodes on a way to a variant; each set of variants makes two of them
	maxPattern      = 4096      // bytes of a pattern
)

// A builder makes a config's tree from the files' statements. It collects all errors.
type builder struct {
	files      files
	unfiltered bool                   // filters at the top level are left out
	parsed     map[string]*parsedFile // by path: a file is read once, however often it is included
	labels     *labelTable
	rows       *rowTable
	keys       *keyTable
	patterns   map[string]*pattern // by text
	names      map[string]*namedFile
	filters    []filterUse
	includes   int
	run        run

	// Statements that know keys by their numbers, and how many there are of others.
	sets       []*setKeys
	changes    []*changeKey
	drops      []*dropKey
	decisions  int
	statements int
	tooDeep    bool // is reported

	newSets     slab[setKeys]
	newKeys     slab[keyID]
	newValues   slab[value]
	newPointers slab[*value]
	newSources  slab[*assignment]
	newNodes    slab[node]
	newLabels   slab[nodeLabel]

	errs       diag.List
	lookalikes []place    // assignments that may look like filters
	extraKeys  []extraKey // of assignments in extra statements that may be meant as filters
	oddities   []oddity
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
	top    bool     // in no variant and no condition

	node       *node   // nil in a condition: variants are not allowed there
	child      []*node // node alone, as the child of the variants of a set
	statements *[]statement
}

// A run is assignments that follow each other and take effect together. This matters for operators on patterns only:
// when the text of the pattern is a key of the run, the pattern is tried on the keys of the run alone.
type run struct {
	keys   []keyID // may be reserved ones, which are dropped at its end
	values []string
	from   []*assignment
	places []int // by keyID: the place in keys, plus one; 0 for keys that are not in the run
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
	if b.statements += len(body.Statements); b.statements > maxStatements {
		b.errs = append(b.errs, s.file.src.diagnostic(lexer.Position{Line: 1, Column: 1},
			fmt.Sprintf("more than %d statements, with those of included files", maxStatements), ""))
		return
	}
	var lastSuffix *suffix
	for _, stmt := range body.Statements {
		if _, ok := stmt.(*assignment); !ok {
			b.endRun(s)
		}
		switch stmt := stmt.(type) {
		case *assignment:
			b.assign(stmt, s)
		case *filterStatement:
			b.filter(stmt, s)
		case *include:
			b.include(stmt, s)
		case *del:
			b.drop(stmt, s)
		case *suffix:
			lastSuffix = stmt
		case *condition:
			b.condition(stmt, s)
		case *set:
			b.set(stmt, s)
		}
	}
	b.endRun(s)
	if lastSuffix != nil {
		s.add(&renameKeys{lastSuffix.Name, s.at(lastSuffix.Pos)})
	}
}

func (s *scope) at(pos lexer.Position) place { return place{s.file.src, pos} }

func (s *scope) add(stmt statement) { *s.statements = append(*s.statements, stmt) }

// assign adds an assignment to the run, or ends the run and stands alone.
func (b *builder) assign(a *assignment, s *scope) {
	op := operatorOf[a.Op]
	b.checkAssignment(a, op, s.file.src)
	if mayLookLikeFilter(a.Key, op) {
		b.lookalikes = append(b.lookalikes, s.at(a.Pos))
	}
	if src := s.file.src; src.extra && !src.param && !op.onPattern() {
		b.extraKeys = append(b.extraKeys, extraKey{s.at(a.Pos), a.Key, a.Value})
	}
	if !strings.Contains(a.Value, "$") {
		at := -1
		if key, ok := b.keys.ids[a.Key]; ok {
			at = b.run.find(key)
		}
		switch inRun := at >= 0; {
		case op == opSet:
			b.run.set(b.keys.id(a.Key), a.Value)
			b.run.from = append(b.run.from, a)
			return
		case inRun && op.onPattern():
			if p, err := b.pattern(a, s); err == nil {
				for i, key := range b.run.keys {
					if text := b.keys.keys[key].text; !isReserved(text) && p.matches(text) {
						b.run.values[i] = op.combine(b.run.values[i], a.Value)
					}
				}
				b.run.from = append(b.run.from, a)
				return
			}
		case inRun:
			if op != opLazy {
				b.run.values[at] = op.combine(b.run.values[at], a.Value)
			}
			b.run.from = append(b.run.from, a)
			return
		}
	}
	b.endRun(s)
	change := &changeKey{index: len(b.changes), op: op, value: compileTemplate(a.Value, b.keys), place: s.at(a.Pos)}
	switch {
	case op.onPattern():
		var err error
		if change.pattern, err = b.pattern(a, s); err != nil {
			b.fault(err, s)
			return
		}
	case isReserved(a.Key):
		return
	default:
		change.key = b.keys.id(a.Key)
	}
	b.changes = append(b.changes, change)
	s.add(change)
}

// fault adds an error of those variants that the statement acts on.
func (b *builder) fault(err error, s *scope) { s.add(&fault{b.decision(), err}) }

// decision numbers what decides on the way to a variant.
func (b *builder) decision() int {
	b.decisions++
	return b.decisions - 1
}

func (b *builder) drop(stmt *del, s *scope) {
	drop := &dropKey{name: stmt.Name, key: b.keys.id(stmt.Name), place: s.at(stmt.Pos)}
	b.drops = append(b.drops, drop)
	s.add(drop)
}

// find returns the place of a key in the run, or -1.
func (r *run) find(key keyID) int {
	if int(key) < len(r.places) {
		return r.places[key] - 1
	}
	return -1
}

func (r *run) set(key keyID, value string) {
	if at := r.find(key); at >= 0 {
		r.values[at] = value
		return
	}
	if n := int(key) + 1; n > len(r.places) {
		r.places = append(r.places, make([]int, n-len(r.places))...)
	}
	r.keys, r.values = append(r.keys, key), append(r.values, value)
	r.places[key] = len(r.keys)
}

// endRun adds the run of s as one statement. There is never more than one run: a block ends that of the block around it.
func (b *builder) endRun(s *scope) {
	r := &b.run
	if len(r.keys) == 0 {
		return
	}
	stmt := b.newSets.next()
	*stmt = setKeys{
		src: s.file.src, keys: b.newKeys.cut(len(r.keys))[:0], values: b.newPointers.cut(len(r.keys))[:0],
		run: b.newSources.cut(len(r.from)),
	}
	copy(stmt.run, r.from)
	for i, key := range r.keys {
		r.places[key] = 0
		if isReserved(b.keys.keys[key].text) {
			continue
		}
		v := b.newValues.next()
		v.text = r.values[i]
		stmt.keys, stmt.values = append(stmt.keys, key), append(stmt.values, v)
	}
	r.keys, r.values, r.from = r.keys[:0], r.values[:0], r.from[:0]
	b.sets = append(b.sets, stmt)
	s.add(stmt)
}

// pattern compiles the left side of a "?" operator: anchored at its start, and at the end of its last alternative.
func (b *builder) pattern(a *assignment, s *scope) (*pattern, error) {
	if p, ok := b.patterns[a.Key]; ok {
		return p, nil
	}
	if len(a.Key) > maxPattern {
		return nil, s.file.src.diagnostic(a.Pos, fmt.Sprintf("a pattern of more than %d bytes", maxPattern), "")
	}
	// First alone, so that no ")" of it closes our group.
	_, err := syntax.Parse(a.Key, syntax.Perl)
	text := "^(?:" + a.Key + "$)"
	if err == nil {
		_, err = syntax.Parse(text, syntax.Perl)
	}
	if err != nil {
		reason, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "error parsing regexp: "), ": `")
		return nil, s.file.src.diagnostic(a.Pos, fmt.Sprintf("%q is not a valid pattern: %s", a.Key, reason),
			`the left side of "`+a.Op+`" is a regular expression of RE2's kind, tried on the names of keys: `+
				"lookaround, back references and possessive quantifiers of Python do not exist here")
	}
	p := &pattern{index: len(b.patterns), compiled: sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })}
	b.patterns[a.Key] = p
	return p, nil
}

func (b *builder) use(f filterText, s *scope, demands bool) filter {
	b.filters = append(b.filters, filterUse{s.file.src, f, demands})
	return f.compile(b.labels, b.rows)
}

func (b *builder) filter(stmt *filterStatement, s *scope) {
	if b.unfiltered && s.top && stmt.Keyword != "join" {
		return
	}
	f := b.use(stmt.Filter, s, stmt.Keyword != "no")
	if stmt.Keyword != "join" {
		s.add(&pick{id: b.decision(), filter: f, only: stmt.Keyword == "only", place: s.at(stmt.Pos)})
		return
	}
	if s.node == nil {
		b.fault(s.at(stmt.Pos).diagnostic("a join is not allowed in a condition", "put it into a variant"), s)
		return
	}
	join := &joinWords{nothing: &pick{id: b.decision(), only: true}, place: s.at(stmt.Pos)}
	for i := range f {
		join.factors = append(join.factors, &pick{id: b.decision(), only: true, filter: f[i : i+1 : i+1], place: join.place})
	}
	s.add(join)
}

func (b *builder) condition(stmt *condition, s *scope) {
	if src := s.file.src; src.extra && len(stmt.Body.Statements) == 0 {
		b.warn(src, stmt.Pos, insteadOfEmpty(stmt), "a condition with nothing after its colon does nothing")
	}
	g := &guard{id: b.decision(), filter: b.use(stmt.Filter, s, false), negated: stmt.Negated, place: s.at(stmt.Pos)}
	b.block(&stmt.Body, &scope{file: s.file, within: s.within, statements: &g.body})
	for _, inner := range g.body {
		if decides(inner) {
			g.decisions = append(g.decisions, inner)
		}
	}
	s.add(g)
}

func (b *builder) include(stmt *include, s *scope) {
	path, err := b.files.resolve(s.file.path, stmt.Path)
	switch b.includes++; {
	case err != nil:
		b.fail(s, stmt.Pos, "", "include %s: %v", stmt.Path, err)
		return
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
			b.fail(s, stmt.Pos, b.hintAtFile(stmt.Path, path, err), "include %s: %v", stmt.Path, err)
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

// hintAtFile says what was probably meant by an include that failed.
func (b *builder) hintAtFile(include, path string, err error) string {
	_, _, inLibrary := library.Cut(path)
	switch near := b.files.nearest(path); {
	case strings.ContainsAny(include, `"'#`):
		return "quotes and comments after include are part of the file's name"
	case near != "" && errors.Is(err, fs.ErrNotExist):
		if !inLibrary { // as it is written here
			near = include[:strings.LastIndexByte(include, '/')+1] + filepath.Base(near)
		}
		return fmt.Sprintf("did you mean %s?", near)
	case strings.HasPrefix(include, "@") && !inLibrary:
		return "the form of a library's file is @LIBRARY//FOLDER/FILE, such as @std//cfg/base.cfg"
	}
	return ""
}

// set puts a node for each variant above what s has so far, and a new one above them all.
func (b *builder) set(stmt *set, s *scope) {
	if s.node == nil {
		b.fail(s, stmt.Pos, "put the condition into the variants instead", "variants are not allowed in a condition")
		return
	}
	name := stmt.Name
	if stmt.At && name != "" {
		name = "@" // as the language has it
	}
	defaults := b.defaults(stmt, s)
	if len(stmt.Variants.Variants) > 0 {
		s.child = []*node{s.node}
	}
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
	s.node = b.newNodes.next()
	*s.node = node{children: variants, preferred: preferred}
	for _, v := range variants {
		s.node.depth = max(s.node.depth, v.depth+1)
	}
	if s.node.depth > maxDepth && !b.tooDeep {
		b.tooDeep = true
		b.fail(s, stmt.Pos, "", "more than %d variants sets on the way to a variant", maxDepth/2)
	}
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

// agree reports whether two names are equal as far as both go.
func agree(a, b []string) bool {
	n := min(len(a), len(b))
	return slices.Equal(a[:n], b[:n])
}

// variant returns the topmost node of a variant's block, with what s has so far below it.
func (b *builder) variant(v *variant, setName string, marked bool, s *scope) *node {
	bottom := b.newNodes.next()
	*bottom = node{children: s.child, preferred: -1, depth: s.node.depth + 1, closes: true}
	inner := scope{file: s.file, within: s.within, node: bottom, statements: &bottom.statements}
	if setName != "" {
		b.run.set(b.keys.id(setName), strings.Join(v.Labels, "."))
		b.run.from = append(b.run.from, &assignment{Pos: v.Pos, Key: setName, Value: strings.Join(v.Labels, ".")})
	}
	b.block(&v.Body, &inner)

	top := inner.node
	top.isChoice, top.hidden, top.place = true, marked, s.at(v.Pos)
	top.short = strings.Join(v.Labels, ".")
	top.full = top.short
	top.labels = b.newLabels.cut(len(v.Labels))
	for i, name := range v.Labels {
		id := b.labels.id(name)
		top.labels[i] = nodeLabel{id, id}
	}
	if setName != "" {
		full := make([]string, len(v.Labels))
		for i, name := range v.Labels {
			l := label{Set: setName, Name: name}
			top.labels[i].full, full[i] = b.labels.filterID(l), l.String()
		}
		top.full = strings.Join(full, ".")
	}
	for _, word := range v.Dep.Words {
		for _, row := range word {
			labels := make([]string, len(row))
			for i, l := range row {
				labels[i] = l.String()
			}
			top.deps = append(top.deps, strings.Join(labels, "."))
		}
	}
	inner.add(&nameFile{b.namedFile(s.file.src.base), top.full, top.short})
	return top
}

func (b *builder) namedFile(base string) *namedFile {
	f, ok := b.names[base]
	if !ok {
		f = &namedFile{base: base, json: string(append(appendString(nil, base), ':'))}
		b.names[base] = f
	}
	return f
}

// suggest is the hint "did you mean", or "" when nothing is near.
func suggest(word string, candidates []string) string {
	if near := diag.Nearest(word, candidates); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}
