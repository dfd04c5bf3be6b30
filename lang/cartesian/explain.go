// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/diag"
)

// An Explanation tells where the params of one variant come from.
type Explanation struct {
	Name      string `json:"name"`
	ShortName string `json:"shortname"`

	// Duplicate is set when other variants have the same name; this is the first one.
	Duplicate bool `json:"twin,omitempty"`

	// Params are sorted by key. Params that were removed on the way are among them.
	Params []ParamHistory `json:"params"`
}

// A ParamHistory is a param and the statements that made it.
type ParamHistory struct {
	Key      string `json:"key"`
	Value    string `json:"value"`
	Removed  bool   `json:"removed,omitempty"`  // in the end the variant does not have it
	Reserved bool   `json:"reserved,omitempty"` // the language makes it, no statement can
	Steps    []Step `json:"steps"`              // in the order in which they acted
}

// A Step is what one statement did to a param.
type Step struct {
	Location

	// Op is an operator of assignments, or "del", "suffix", "join"; "variants" where the head of a variant sets the key
	// of its set or makes a part of its name; "dep" where it adds dependencies; "_min", "_max" or "_fixed" where a param
	// with that ending corrects this one.
	Op      string `json:"op"`
	Pattern string `json:"pattern,omitempty"` // of the operators on patterns: their left side
	Operand string `json:"operand"`           // the value of the statement
	Written string `json:"written,omitempty"` // the same as it is written, if substitution changed it

	Before *string `json:"before"` // the param's value; nil: it had none
	After  *string `json:"after"`

	// Kept is set when the statement might have set the param, and did not. Note then says why.
	Kept bool   `json:"kept,omitempty"`
	Note string `json:"note,omitempty"`

	Variants   []Location `json:"variants,omitempty"`   // heads of the variants that the statement stands in, outermost first
	Conditions []Location `json:"conditions,omitempty"` // that let the statement in, outermost first
	Factor     int        `json:"factor,omitempty"`     // of a join: the number of the factor that it belongs to, from 1
}

// Param returns the history of one param, or nil when nothing ever set it. Nearest is the key that was probably meant
// then, or "".
func (e *Explanation) Param(key string) (history *ParamHistory, nearest string) {
	keys := make([]string, len(e.Params))
	for i := range e.Params {
		if e.Params[i].Key == key {
			return &e.Params[i], ""
		}
		keys[i] = e.Params[i].Key
	}
	return nil, diag.Nearest(key, keys)
}

// A SeveralError says that more than one variant is what should be explained.
type SeveralError struct {
	Filter string
	Names  []string // some of them
	More   bool     // that there are others
	Hint   string   // a filter that would leave fewer; "" if no label tells them apart
}

func (e *SeveralError) Error() string {
	count := fmt.Sprint(len(e.Names))
	if e.More {
		count = "more than " + count
	}
	return fmt.Sprintf("%s matches %s variants, want one", e.Filter, count)
}

// A NoneError says that no variant is what should be explained, and why.
type NoneError struct{ Absence *Absence }

func (e *NoneError) Error() string { return fmt.Sprintf("no variant matches %s", e.Absence.Filter) }

// maxNamed is how many variants a SeveralError names.
const maxNamed = 5

// Explain tells where the params of a variant come from. The variant is given by its name, its short name, or any
// filter that only it matches; what it matches in defaults mode is as if "only" stood before it.
//
// An error is a [*SeveralError], a [*NoneError], a [diag.List] when variant is no filter, that of ctx (its cause), or
// what is wrong with the variant.
func (c *Config) Explain(ctx context.Context, variant string, o Options) (*Explanation, error) {
	v, duplicate, err := c.findOne(ctx, variant, o)
	if err != nil {
		return nil, err
	}
	t, err := c.trace(ctx, v)
	if err != nil {
		return nil, err
	}
	return &Explanation{Name: t.name, ShortName: t.shortName, Duplicate: duplicate, Params: t.histories()}, nil
}

// findOne finds the variant that is called so, or the only one that a filter matches. Duplicate reports whether others have
// the same name.
func (c *Config) findOne(ctx context.Context, variant string, o Options) (v *origin, duplicate bool, err error) {
	text, src, notFilter := parseFilter(variant)
	searches := []search{{by: byName, name: variant}, {by: byShortName, name: variant}}
	if asked := text.lookUp(c.labels); asked != nil {
		searches = append(searches, search{asked: asked})
	}
	for _, wanted := range searches {
		var found []*origin
		for v, err := range c.find(ctx, wanted, o) {
			if err != nil {
				return nil, false, err
			}
			if found = append(found, v); len(found) > maxNamed {
				break
			}
		}
		switch {
		case len(found) == 0:
		case len(found) == 1 || wanted.by == byName:
			return found[0], len(found) > 1, nil
		default:
			return nil, false, several(variant, found)
		}
	}
	if v, err := c.findRenamed(ctx, variant, o); v != nil || err != nil {
		return v, false, err
	}
	if notFilter != nil {
		return nil, false, notFilter
	}
	if len(text.Words) == 0 {
		return nil, false, diag.List{src.diagnostic(lexerStart, "no variant has an empty name", "mhmig list shows all names")}
	}
	absence, err := c.WhyNot(ctx, variant, o)
	if err != nil {
		return nil, false, err
	}
	return nil, false, &NoneError{absence}
}

// findRenamed finds a variant whose name is not made of its labels: keys such as name_fixed change it.
func (c *Config) findRenamed(ctx context.Context, name string, o Options) (*origin, error) {
	if !c.nameless {
		return nil, nil
	}
	at := 0
	for v, err := range c.Variants(ctx, o) {
		if err != nil {
			return nil, err
		}
		if v.Name == name || v.ShortName == name {
			break
		}
		at++
	}
	for v, err := range c.find(ctx, search{}, o) {
		if at == 0 || err != nil {
			return v, err
		}
		at--
	}
	return nil, nil
}

func several(variant string, found []*origin) error {
	e := &SeveralError{Filter: variant}
	for _, v := range found[:min(len(found), maxNamed)] {
		e.Names = append(e.Names, v.name)
	}
	e.More = len(found) > maxNamed
	// A label that the first has and the second has not leaves the first.
	second := strings.Split(found[1].name, ".")
	for l := range strings.SplitSeq(found[0].name, ".") {
		if !slices.Contains(second, l) {
			e.Hint = variant + ".." + l
			break
		}
	}
	return e
}
