// SPDX-License-Identifier: Apache-2.0

package star

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/bazelbuild/buildtools/build"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
)

// Reformat returns a Starlark file in the form that buildifier, Bazel's formatter, gives it, but in its order: statements
// and names in load are not sorted, and docstrings stay. Comments stay, and the program is the same. Reformat of its own
// result returns that.
//
// name is the file's name in errors, which are a [diag.List] of what is wrong in the file. What it loads is not read.
func Reformat(name string, source []byte) ([]byte, error) {
	if err := checkText(name, source); err != nil {
		return nil, err
	}
	source = bytes.ReplaceAll(source, []byte("\r\n"), []byte("\n"))
	source = bytes.ReplaceAll(source, []byte("\r"), []byte("\n"))
	program, err := Dialect.Parse(name, source, 0)
	if err != nil {
		return nil, new(Loader).diagnostics(source, err, library.Allow{})
	}
	formatted, err := reformat(name, source, program)
	if err != nil {
		return nil, err
	}
	for pass := 1; ; pass++ {
		after, err := Dialect.Parse(name, formatted, 0)
		if err != nil || describe(program) != describe(after) {
			return nil, diag.List{{
				Pos:     diag.Pos{File: name},
				Message: "formatting would change what the program means, and so it is left as it is",
				Hint:    "this is a bug in mhmig: please report it with the file",
			}}
		}
		again, err := reformat(name, formatted, after)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(formatted, again) || pass == maxPasses {
			return formatted, nil
		}
		formatted = again
	}
}

// maxPasses limits how often a program is formatted: the printer lays odd comments out otherwise at the second time.
const maxPasses = 5

// Bazel's Starlark, and so its formatter, has no while and no bytes. For while it gets an if, whose condition begins with
// an expression that is as wide and that no source contains; for bytes a raw string, whose literal is then put back.
const (
	ifInstead    = "if   "                  // of "while", in the source
	whileMark    = "\x00"                   // before the condition
	printedWhile = "if " + whileMark + ": " // becomes "while "
	elseMark     = "#\x00"                  // after an else with nothing but a while, which would become an elif
	printedElse  = "  " + elseMark          // vanishes
)

func reformat(name string, source []byte, program *syntax.File) ([]byte, error) {
	type place struct{ line, col int }
	loops := map[place]bool{}
	bytesPrefixes := map[place]string{} // of literals that are strings for the printer
	lines := bytes.SplitAfter(source, []byte("\n"))
	overwrite := func(at syntax.Position, text string) {
		copied := []rune(string(lines[at.Line-1]))
		copy(copied[at.Col-1:], []rune(text))
		lines[at.Line-1] = []byte(string(copied))
	}
	syntax.Walk(program, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.WhileStmt:
			loops[place{int(n.While.Line), int(n.While.Col)}] = true
			overwrite(n.While, ifInstead)
		case *syntax.Literal:
			if n.Token != syntax.BYTES {
				break
			}
			prefix, _, _ := strings.Cut(n.Raw, n.Raw[len(n.Raw)-1:]) // what is before the quotes
			instead := strings.Repeat(" ", len(prefix)-1) + "r"
			bytesPrefixes[place{int(n.TokenPos.Line), int(n.TokenPos.Col) + len(instead) - 1}] = prefix
			overwrite(n.TokenPos, instead)
		}
		return true
	})
	file, err := build.ParseDefault(name, bytes.Join(lines, nil))
	if err != nil {
		return nil, cannotFormat(name, source, err)
	}
	isLoop := func(x build.Expr) bool {
		s, ok := x.(*build.IfStmt)
		return ok && loops[place{s.If.Line, s.If.LineRune}]
	}
	build.WalkPointers(file, func(x *build.Expr, _ []build.Expr) {
		switch s := (*x).(type) {
		case *build.StringExpr:
			if prefix := bytesPrefixes[place{s.Start.Line, s.Start.LineRune}]; prefix != "" {
				*x = &build.Ident{Comments: s.Comments, NamePos: s.Start, Name: prefix + doubleQuoted(s.Token[1:])}
			} else {
				s.Token = doubleQuoted(s.Token)
			}
		case *build.IfStmt:
			if len(s.False) == 1 && isLoop(s.False[0]) && len(s.ElsePos.Suffix) == 0 {
				s.ElsePos.Suffix = append(s.ElsePos.Suffix, build.Comment{Token: elseMark})
			}
			if isLoop(s) {
				s.Cond = &build.KeyValueExpr{Key: &build.Ident{Name: whileMark}, Value: s.Cond}
			}
		}
	})
	text := build.FormatWithoutRewriting(file)
	text = bytes.ReplaceAll(text, []byte(printedWhile), []byte("while "))
	return bytes.ReplaceAll(text, []byte(printedElse), nil), nil
}

// doubleQuoted returns a string literal with double quotes, if nothing else in it must change for that: the printer would
// write other characters than ASCII as escapes, in a way that is an error in Starlark.
func doubleQuoted(literal string) string {
	const one, three = "'", "'''"
	if !strings.HasPrefix(literal, one) || strings.Contains(literal, `"`) {
		return literal
	}
	if inner, ok := strings.CutPrefix(literal, three); ok && len(literal) >= 2*len(three) {
		return `"""` + strings.TrimSuffix(inner, three) + `"""`
	}
	return `"` + literal[1:len(literal)-1] + `"`
}

// cannotFormat is the error of a program that is valid here, but not for Bazel's parser.
func cannotFormat(name string, source []byte, err error) error {
	d := diag.Diagnostic{Pos: diag.Pos{File: name}, Message: err.Error()}
	if place, ok := errors.AsType[build.ParseError](err); ok {
		d.Pos.Line, d.Pos.Col = place.Pos.Line, place.Pos.LineRune
		d.Message, d.Source = place.Message, line(source, place.Pos.Line)
	}
	d.Message = "cannot be formatted: " + d.Message
	return diag.List{d}
}

// describe returns all about a program but how it is laid out.
func describe(program *syntax.File) string {
	var b strings.Builder
	var ends []string // of the nodes that are open
	syntax.Walk(program, func(n syntax.Node) bool {
		if n == nil {
			b.WriteString(ends[len(ends)-1])
			ends = ends[:len(ends)-1]
			return true
		}
		if _, ok := n.(*syntax.ParenExpr); ok { // means nothing beyond the tree's form
			ends = append(ends, "")
			return true
		}
		ends = append(ends, ")")
		fmt.Fprintf(&b, "(%T", n)
		switch n := n.(type) {
		case *syntax.Ident:
			fmt.Fprintf(&b, "%s", n.Name)
		case *syntax.Literal:
			fmt.Fprintf(&b, "%v%q", n.Token, fmt.Sprint(n.Value))
		case *syntax.BinaryExpr:
			fmt.Fprintf(&b, "%v", n.Op)
		case *syntax.UnaryExpr:
			fmt.Fprintf(&b, "%v%v", n.Op, n.X != nil)
		case *syntax.AssignStmt:
			fmt.Fprintf(&b, "%v", n.Op)
		case *syntax.BranchStmt:
			fmt.Fprintf(&b, "%v", n.Token)
		case *syntax.IfStmt:
			fmt.Fprintf(&b, "%d,%d", len(n.True), len(n.False))
		case *syntax.SliceExpr:
			fmt.Fprintf(&b, "%v,%v,%v", n.Lo != nil, n.Hi != nil, n.Step != nil)
		case *syntax.DefStmt:
			fmt.Fprintf(&b, "%d", len(n.Params))
		case *syntax.LambdaExpr:
			fmt.Fprintf(&b, "%d", len(n.Params))
		case *syntax.CallExpr:
			fmt.Fprintf(&b, "%d", len(n.Args))
		case *syntax.Comprehension:
			fmt.Fprintf(&b, "%v,%d", n.Curly, len(n.Clauses))
		}
		return true
	})
	return b.String()
}
