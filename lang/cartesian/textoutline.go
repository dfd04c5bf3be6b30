// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"path"
	"strings"

	"github.com/mhmig/mhmig/lang/diag"
)

// Outline is what a config's text says by itself, without what it includes.
type Outline struct {
	Assigned []Assigned // the assignments to keys, not to patterns of keys, in order; those of named sets too
	Includes []string   // the files that it includes, by their full names, in order
	Used     []string   // the keys whose values it uses, as ${KEY}
	Symbols  []Symbol   // the labels of its variants, in order
}

// An Assigned is where a config's text gives a key a value.
type Assigned struct {
	Key    string
	Values []string // the one value, or of a named set the names of its variants
	Set    bool     // the key is the name of a set
	Pos    diag.Pos
	Source string // the line
}

// Outlined returns the outline of a text; of one with errors, that of what can still be read. name is the file's name.
func Outlined(name, text string) Outline {
	src, err := newSource(name, path.Base(name), text)
	if err != nil {
		return Outline{}
	}
	var o Outline
	keys := newKeyTable()
	var walk func(b *block, below string)
	walk = func(b *block, below string) {
		for _, s := range b.Statements {
			switch s := s.(type) {
			case *assignment:
				for _, ref := range compileTemplate(s.Value, keys).refs {
					o.Used = append(o.Used, ref.name)
				}
				if s.Op[0] != '?' {
					d := src.diagnostic(s.Pos, "", "")
					o.Assigned = append(o.Assigned, Assigned{s.Key, []string{s.Value}, false, d.Pos, d.Source})
				}
			case *include:
				if full, err := (namedFiles{}).resolve(name, s.Path); err == nil {
					o.Includes = append(o.Includes, full)
				}
			case *condition:
				walk(&s.Body, below)
			case *set:
				if s.Name != "" {
					var names []string
					for _, v := range s.Variants.Variants {
						names = append(names, strings.Join(v.Labels, "."))
					}
					d := src.diagnostic(s.Pos, "", "")
					o.Assigned = append(o.Assigned, Assigned{s.Name, names, true, d.Pos, d.Source})
				}
				for _, v := range s.Variants.Variants {
					inner := below
					for _, label := range v.Labels {
						pos := src.diagnostic(src.find(label, v.Pos), "", "").Pos
						o.Symbols = append(o.Symbols, Symbol{Label: label, Set: s.Name, Below: inner, Pos: pos})
						inner = label
					}
					walk(&v.Body, inner)
				}
			}
		}
	}
	walk(new(builder).parse(src, name).body, "")
	return o
}
