// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
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
	// Each drops other variants. Others is how many sets of the same size are left out, Partial that the search for them
	// took too long and ended before its time. Larger ones are not looked for.
	Drops   []Drop `json:"drops,omitempty"`
	Others  int    `json:"others,omitempty"`
	Partial bool   `json:"partial,omitempty"`

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

// Limits of WhyNot: how many sets it returns, and how many variants it names and counts.
const (
	maxDrops   = 5
	maxPresent = 5
	maxCounted = 10_000
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
	drops, partial, err := c.drops(ctx, asked, o)
	if err != nil {
		return nil, err
	}
	if drops == nil {
		if a.Impossible = c.filterWarnings(src, text); a.Impossible == nil {
			a.Impossible = diag.List{src.diagnostic(lexerStart, "no variant matches, and no statement drops one that would", "")}
		}
		return a, nil
	}
	a.Drops = drops[:min(len(drops), maxDrops)]
	a.Others, a.Partial = len(drops)-len(a.Drops), partial
	return a, nil
}

// matching returns the names of the variants that match a filter.
func (c *Config) matching(ctx context.Context, asked query, o Options) iter.Seq2[string, error] {
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
