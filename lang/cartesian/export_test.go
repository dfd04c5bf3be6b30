// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/big"
)

// WriteTogether is Write by several walks however few variants there are, which remember next to nothing.
func (c *Config) WriteTogether(ctx context.Context, out io.Writer, format Format, limit int, o Options, unit, known int) (int, error) {
	l := &listing{
		config: c, options: o, format: format, out: out, limit: limit,
		bounds: bounds{unit: unit, known: known, delegated: 4 * unit},
	}
	return l.run(ctx, 3)
}

// DumpStatements describes the statements of a text: everything about them but their places.
func DumpStatements(text string) []byte {
	src, err := newSource("x.cfg", "x.cfg", text)
	if err != nil {
		return nil
	}
	body, _ := parse(lex(src))
	var b bytes.Buffer
	dumpBlock(&b, body)
	return b.Bytes()
}

func dumpBlock(b *bytes.Buffer, body *block) {
	b.WriteByte('{')
	for _, s := range body.Statements {
		switch s := s.(type) {
		case *assignment:
			fmt.Fprintf(b, "%q%q%q ", s.Key, s.Op, s.Value)
		case *filterStatement:
			b.WriteString(s.Keyword)
			dumpFilter(b, s.Filter)
		case *include:
			fmt.Fprintf(b, "include%q ", s.Path)
		case *del:
			fmt.Fprintf(b, "del%q ", s.Name)
		case *suffix:
			fmt.Fprintf(b, "suffix%q ", s.Name)
		case *condition:
			fmt.Fprintf(b, "if%v", !s.Negated)
			dumpFilter(b, s.Filter)
			dumpBlock(b, &s.Body)
		case *set:
			fmt.Fprintf(b, "set%v%q%d", s.At, s.Name, len(s.Meta))
			for _, m := range s.Meta {
				fmt.Fprintf(b, "[%q%v%q]", m.Name, m.Equals, m.Value)
			}
			for _, v := range s.Variants.Variants {
				fmt.Fprintf(b, "-%v%q", v.At, v.Labels)
				dumpFilter(b, v.Dep)
				dumpBlock(b, &v.Body)
			}
		default:
			panic(fmt.Sprintf("a statement of an unknown kind: %T", s))
		}
	}
	b.WriteByte('}')
}

func dumpFilter(b *bytes.Buffer, f filterText) {
	for _, word := range f.Words {
		for _, row := range word {
			for _, l := range row {
				fmt.Fprintf(b, "%q=%q.", l.Set, l.Name)
			}
			b.WriteByte('&')
		}
		b.WriteByte('|')
	}
}

// CountWithoutMaking is Count, but known is false where that would make variants one by one.
func (c *Config) CountWithoutMaking(ctx context.Context, o Options) (n *big.Int, known bool, err error) {
	t := newCounter(ctx, c, o)
	n, wrong := t.count()
	if wrong != nil {
		err = wrong.err(ctx, c)
	}
	return n, !t.unknown && (wrong == nil || err != nil), err
}
