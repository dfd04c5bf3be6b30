// SPDX-License-Identifier: Apache-2.0

package doc

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/mhmig/mhmig/lang/printable"
)

// The columns of what is below a heading, and of what is below that.
const (
	indent = "    "
	deeper = indent + indent
)

// Write writes topics as text, in lines of width columns where that is possible.
func Write(w io.Writer, topics []Topic, width int) error {
	var b strings.Builder
	for i, t := range topics {
		if i > 0 {
			b.WriteByte('\n')
		}
		t.write(&b, width)
	}
	_, err := io.WriteString(w, printable.Lines(b.String()))
	return err
}

func (t Topic) write(b *strings.Builder, width int) {
	kind := string(t.Kind)
	if len(t.See) > 0 && t.Kind == Shared {
		kind = "function of " + strings.Join(t.See, ", ")
	}
	fmt.Fprintf(b, "%s\n%s[%s]\n\n", t.Heading, indent, kind)
	for line := range strings.Lines(t.Doc + "\n") {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, " ") || line == "" {
			b.WriteString(strings.TrimRight(indent+line, " ") + "\n")
		} else {
			wrap(b, indent, indent, line, width)
		}
	}
	if len(t.Parts) > 0 {
		b.WriteByte('\n')
	}
	for _, p := range t.Parts {
		wrap(b, indent, deeper, p.Name+": "+p.Doc, width)
	}
	if t.Returns != "" {
		b.WriteByte('\n')
		wrap(b, indent, deeper, "returns "+t.Returns, width)
	}
	if t.Example != "" {
		fmt.Fprintf(b, "\n%sexample:\n\n", indent)
		for line := range strings.Lines(strings.TrimRight(t.Example, "\n") + "\n") {
			b.WriteString(strings.TrimRight(deeper+line, " \n") + "\n")
		}
	}
}

// WriteList writes a line for each topic of these kinds: its name, and what it is in short.
func (x *Index) WriteList(w io.Writer, kinds ...Kind) error {
	var b strings.Builder
	for i, kind := range kinds {
		topics := x.Topics(kind)
		names := 0
		for _, t := range topics {
			names = max(names, utf8.RuneCountInString(t.Name))
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:\n", Plural(kind))
		for _, t := range topics {
			b.WriteString(strings.TrimRight(fmt.Sprintf("%s%-*s  %s", indent, names, t.Name, t.Summary()), " ") + "\n")
		}
	}
	_, err := io.WriteString(w, printable.Lines(b.String()))
	return err
}

// Plural returns what a list of topics of a kind is called.
func Plural(kind Kind) string { return plural[kind] }

var plural = map[Kind]string{
	Builtin: "Functions", Module: "Modules", Class: "Values", Method: "Methods", Attribute: "Attributes",
	Shared: "Functions of libraries", Scenario: "Scenarios", File: "Files of libraries", Param: "Params",
	Missing: "Params of virt-test that are not supported yet", Starlark: "Starlark's own functions and values",
}

// wrap writes text in lines of at most width columns, if its words are not longer. The first one begins with first, the
// others with rest.
func wrap(b *strings.Builder, first, rest, text string, width int) {
	line := first
	empty := true
	for word := range strings.FieldsSeq(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			b.WriteString(line + "\n")
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	b.WriteString(line + "\n")
}
