// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"path"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/mhmig/mhmig/lang/diag"
)

// Outline is what a config's text says by itself, without what it includes.
type Outline struct {
	Assigned []Assigned // the assignments to keys, not to patterns of keys, in order; those of named sets too
	Includes []string   // the files that it includes, by their full names, in order
}

// An Assigned is where a config's text gives a key a value.
type Assigned struct {
	Key    string
	Pos    diag.Pos
	Source string // the line
}

// Outlined returns the outline of a text, the zero one for text with errors. name is the file's name.
func Outlined(name, text string) Outline {
	src, err := newSource(name, path.Base(name), text)
	if err != nil {
		return Outline{}
	}
	var o Outline
	var walk func(b *block)
	add := func(key string, pos lexer.Position) {
		d := src.diagnostic(pos, "", "")
		o.Assigned = append(o.Assigned, Assigned{key, d.Pos, d.Source})
	}
	walk = func(b *block) {
		for _, s := range b.Statements {
			switch s := s.(type) {
			case *assignment:
				if s.Op[0] != '?' {
					add(s.Key, s.Pos)
				}
			case *include:
				if full, err := (namedFiles{}).resolve(name, s.Path); err == nil {
					o.Includes = append(o.Includes, full)
				}
			case *condition:
				walk(&s.Body)
			case *set:
				if s.Name != "" {
					add(s.Name, s.Pos)
				}
				for _, v := range s.Variants.Variants {
					walk(&v.Body)
				}
			}
		}
	}
	walk(new(builder).parse(src, name).body)
	return o
}
