// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/diag"
)

// An Absence tells why no variant matches a filter, or that some do.
//
// A config with joins makes a variant of several paths; then "variant" stands for one of these paths here.
type Absence struct {
	Filter string `json:"filter"`

	// Present are the names of the first variants that match, and Count is how many there are, More that there are
	// still more.
	Present []string `json:"present,omitempty"`
	Count   int      `json:"count"`
	More    bool     `json:"more,omitempty"`

	// Drops are the smallest sets of statements that would have to go before some variant matches, in order of position.
	// Each drops other variants. Others is how many sets of the same size are left out; larger ones are not looked for.
	Drops  []Drop `json:"drops,omitempty"`
	Others int    `json:"others,omitempty"`

	// Impossible is set when nothing matches even without any filter in the config: which labels do not exist, or never
	// stand so.
	Impossible diag.List `json:"-"`
}

// MarshalJSON writes what is impossible as objects with file, line, col, text, message and hint.
func (a *Absence) MarshalJSON() ([]byte, error) {
	type remark struct {
		Location
		Message string `json:"message"`
		Hint    string `json:"hint,omitempty"`
	}
	type plain Absence
	all := struct {
		*plain
		Impossible []remark `json:"impossible,omitempty"`
	}{plain: (*plain)(a)}
	for _, d := range a.Impossible {
		at := Location{File: d.Pos.File, Line: d.Pos.Line, Col: d.Pos.Col, Text: d.Source}
		all.Impossible = append(all.Impossible, remark{at, d.Message, d.Hint})
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(all)
	return b.Bytes(), err
}

// A Drop is a set of statements that together drop some variants, which nothing else drops.
type Drop struct {
	Statements []Culprit `json:"statements"`
	Variant    string    `json:"variant"` // the name of the first such variant
}

// A Culprit is a statement that drops a variant. Of Keyword "default" it is the head of a variant of a set: in defaults
// mode it is the one that is taken.
type Culprit struct {
	Location
	Keyword    string     `json:"keyword"`              // only, no, join, default
	Conditions []Location `json:"conditions,omitempty"` // that let the statement in, outermost first
}

// A Location is a place in the text of a config.
type Location struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"col"`
	Text string `json:"text"` // of the statement there
}

func (l Location) String() string { return fmt.Sprintf("%s:%d", l.File, l.Line) }

func (l Location) compare(m Location) int {
	return cmp.Or(strings.Compare(l.File, m.File), cmp.Compare(l.Line, m.Line), cmp.Compare(l.Col, m.Col),
		strings.Compare(l.Text, m.Text))
}

// location is p with the text from there to the end of the line.
func (p place) location() Location {
	l := Location{File: p.src.name, Line: p.pos.Line, Col: p.pos.Column}
	if 0 < l.Line && l.Line <= len(p.src.lines) {
		if line := []rune(p.src.lines[l.Line-1]); l.Col-1 < len(line) {
			l.Text = string(line[l.Col-1:])
		}
	}
	return l
}

// head is the location of a condition without its content.
func (g *guard) head() Location {
	l := g.place.location()
	head, _, _ := strings.Cut(l.Text, ":")
	l.Text = head + ":"
	return l
}

func heads(within []*guard) []Location {
	var conditions []Location
	for _, g := range within {
		conditions = append(conditions, g.head())
	}
	return conditions
}

// culprit describes a pick. Those that joins stand for begin with "join" in the text.
func culprit(p *pick, within []*guard) *Culprit {
	c := &Culprit{Location: p.place.location(), Conditions: heads(within)}
	c.Keyword, _, _ = strings.Cut(c.Text, " ")
	return c
}

// diagnostic is what message says of the statement.
func (c *Culprit) diagnostic(message, hint string) diag.Diagnostic {
	return diag.Diagnostic{
		Severity: diag.Warning,
		Pos:      diag.Pos{File: c.File, Line: c.Line, Col: c.Col},
		Message:  message, Hint: hint, Source: strings.Repeat(" ", c.Col-1) + c.Text,
	}
}

// Limits of WhyNot: how many sets it returns, how many variants it counts, and how many points it looks at.
const (
	maxDrops     = 5
	maxPresent   = 5
	maxCounted   = 10_000
	maxPoints    = 400_000
	maxFoundSets = 100
)

// WhyNot tells why no variant matches a filter, such as "Fedora.17..tcp": which statements drop those that would, the
// fewest first. An error is that of ctx (its cause), a [diag.List] when the filter is none, or that a join fails.
func (c *Config) WhyNot(ctx context.Context, filter string, o Options) (*Absence, error) {
	text, src, err := parseFilter(filter)
	if err != nil {
		return nil, err
	}
	asked := text.lookUp(c.labels)
	a := &Absence{Filter: filter}
	if asked == nil {
		return nil, diag.List{src.diagnostic(lexerStart, "the filter is empty, and matches nothing", "")}
	}
	for name, err := range c.matching(ctx, asked, o) {
		if err != nil {
			return nil, err
		}
		if a.Count == maxCounted {
			a.More = true
			break
		}
		if a.Count++; len(a.Present) < maxPresent {
			a.Present = append(a.Present, name)
		}
	}
	if a.Count > 0 {
		return a, nil
	}
	drops, err := c.drops(ctx, asked, o)
	if err != nil {
		return nil, err
	}
	if drops == nil {
		if a.Impossible = c.doubts(src, text); a.Impossible == nil {
			a.Impossible = diag.List{src.diagnostic(lexerStart, "no variant matches, and no statement drops one that would", "")}
		}
		return a, nil
	}
	a.Drops = drops[:min(len(drops), maxDrops)]
	a.Others = len(drops) - len(a.Drops)
	return a, nil
}

// matching returns the names of the variants that match a filter.
func (c *Config) matching(ctx context.Context, asked filter, o Options) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for v, err := range c.find(ctx, search{asked: asked}, o) {
			if err != nil {
				yield("", err)
				return
			}
			if !yield(v.name, nil) {
				return
			}
		}
	}
}

// drops returns the smallest sets of statements that drop what is asked for (nil: anything), none when it is
// impossible. An empty set is never among them: then something matches.
func (c *Config) drops(ctx context.Context, asked filter, o Options) ([]Drop, error) {
	s := &dropSearch{
		survey: newSurvey(c, asked), ctx: ctx, defaults: o.Defaults,
		numbers: map[string]int{}, seen: map[string][]numberSet{}, queue: make([][]dropped, 1),
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	var drops []Drop
	for _, f := range s.found {
		d := Drop{Variant: f.name}
		for _, number := range f.set {
			d.Statements = append(d.Statements, *s.all[number])
		}
		slices.SortFunc(d.Statements, func(a, b Culprit) int { return a.compare(b.Location) })
		drops = append(drops, d)
	}
	slices.SortFunc(drops, func(a, b Drop) int {
		return slices.CompareFunc(a.Statements, b.Statements, func(a, b Culprit) int { return a.compare(b.Location) })
	})
	return drops, nil
}

// A dropSearch looks for paths that match what is asked for, those that the fewest statements drop first. It goes on
// from points in order of the number of statements that have dropped them so far. Behind a point it finds nothing new
// when it has gone on from a point of the same key that a part of the same statements has dropped.
type dropSearch struct {
	*survey
	ctx      context.Context //nolint:containedctx // a search lives within one call
	defaults bool
	any      *finder // in defaults mode: tells whether a default has a variant

	all     []*Culprit     // by number
	numbers map[string]int // of culprits, by place
	queue   [][]dropped    // by the size of the set; the last ones are next
	seen    map[string][]numberSet
	found   []foundDrop
	points  int
}

// A numberSet is a sorted set of culprits.
type numberSet []int

func (s numberSet) with(number int) numberSet {
	i, ok := slices.BinarySearch(s, number)
	if ok {
		return s
	}
	return slices.Insert(slices.Clone(s), i, number)
}

func (s numberSet) within(t numberSet) bool {
	for _, number := range s {
		if _, ok := slices.BinarySearch(t, number); !ok {
			return false
		}
	}
	return true
}

// dropped is a point and what has dropped it.
type dropped struct {
	point
	set numberSet
	key string
}

type foundDrop struct {
	set  numberSet
	name string
}

// errTooManyPoints ends a search that finds nothing for too long.
var errTooManyPoints = errors.New("too many ways through the config to find out which statements drop it; ask for more labels")

func (s *dropSearch) run() error {
	s.arriveAt(s.config.root, dropped{})
	for size := 0; size < len(s.queue) && s.found == nil; size++ {
		for len(s.queue[size]) > 0 && len(s.found) < maxFoundSets {
			last := len(s.queue[size]) - 1
			from := s.queue[size][last]
			s.queue[size] = s.queue[size][:last]
			if s.points++; s.points%64 == 0 && s.ctx.Err() != nil {
				return context.Cause(s.ctx)
			}
			if s.points > maxPoints {
				if s.found != nil {
					return nil
				}
				return errTooManyPoints
			}
			if err := s.goOn(from); err != nil {
				return err
			}
		}
		s.queue[size] = nil
	}
	return nil
}

// goOn goes on from a point to the next nodes.
func (s *dropSearch) goOn(from dropped) error {
	if s.isFound(from.set) || s.isSeen(from, true) {
		return nil
	}
	children := from.node.children
	if len(children) == 0 {
		s.found = append(s.found, foundDrop{from.set, s.config.labels.pathName(from.path)})
		return nil
	}
	preferred := -1
	if s.defaults && from.node.preferred >= 0 {
		yields, err := s.yields(children[from.node.preferred], from)
		if err != nil {
			return err
		}
		if yields {
			preferred = from.node.preferred
		}
	}
	// The last one is the first to be looked at.
	for i, child := range slices.Backward(children) {
		next := from
		if preferred >= 0 && i != preferred {
			next.set = next.set.with(s.number(defaultCulprit(children[preferred])))
		}
		s.arriveAt(child, next)
	}
	return nil
}

func (s *dropSearch) arriveAt(n *node, from dropped) {
	p, failed, ok := s.arrive(n, s.own[n.index], from.point)
	if !ok {
		return
	}
	next := dropped{point: p, set: from.set}
	for _, f := range failed {
		next.set = next.set.with(s.number(s.culprits[f]))
	}
	if s.isFound(next.set) {
		return
	}
	next.key = s.key(p)
	if s.isSeen(next, false) {
		return
	}
	s.seen[next.key] = append(s.seen[next.key], next.set)
	for len(s.queue) <= len(next.set) {
		s.queue = append(s.queue, nil)
	}
	s.queue[len(next.set)] = append(s.queue[len(next.set)], next)
}

// isFound tells whether a found set is part of this one.
func (s *dropSearch) isFound(set numberSet) bool {
	return slices.ContainsFunc(s.found, func(f foundDrop) bool { return f.set.within(set) })
}

// isSeen tells whether a part of the set of a point has been seen at its key: a smaller one, or any.
func (s *dropSearch) isSeen(d dropped, smaller bool) bool {
	return slices.ContainsFunc(s.seen[d.key], func(seen numberSet) bool {
		return seen.within(d.set) && !(smaller && len(seen) == len(d.set))
	})
}

// yields tells whether a variant comes of the child n of a point, as far as what has not dropped the point decides.
func (s *dropSearch) yields(n *node, from dropped) (bool, error) {
	if s.any == nil {
		s.any = newFinder(s.ctx, s.config, search{}, Options{})
	}
	return s.any.yields(n, from.path, s.openFor(from, s.any.survey))
}

// openFor returns the open statements of a point as another survey of the same config knows them.
func (s *dropSearch) openFor(from dropped, other *survey) []statement {
	open := make([]statement, 0, len(from.open))
	for _, stmt := range from.open {
		if _, known := other.ids[stmt]; known {
			open = append(open, stmt)
			continue
		}
		p := stmt.(*pick) // stands for the joins of a node; each survey has its own
		for other, c := range other.culprits {
			if c.Location == s.culprits[p].Location {
				open = append(open, other)
				break
			}
		}
	}
	return open
}

func (s *dropSearch) number(c *Culprit) int {
	at := fmt.Sprint(c.Location, c.Col, c.Text)
	number, ok := s.numbers[at]
	if !ok {
		number = len(s.all)
		s.numbers[at] = number
		s.all = append(s.all, c)
	}
	return number
}

func defaultCulprit(n *node) *Culprit {
	return &Culprit{Location: n.place.location(), Keyword: "default"}
}

func (t *labelTable) pathName(path []nodeLabel) string {
	var b strings.Builder
	for i, l := range path {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(t.texts[l.full])
	}
	return b.String()
}
