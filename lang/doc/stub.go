// SPDX-License-Identifier: Apache-2.0

package doc

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
)

// WriteStub writes Python type stubs of what scenarios can use, from which editors that know Python complete names and
// show documentation in .star files.
func WriteStub(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# What scenarios of mhmig can use, as Python type stubs: written by mhmig doc --stub.\n")
	b.WriteString("from typing import Any, Callable, NoReturn\n")
	for _, c := range api.Classes() {
		fmt.Fprintf(&b, "\nclass %s:\n    %s\n", c.Name, quoted(c.Doc))
		for _, a := range c.Attributes {
			fmt.Fprintf(&b, "    %s: %q\n    %s\n", a.Name, pythonType(a.Type), quoted(a.Doc))
		}
		for _, m := range c.Methods {
			stub(&b, "    ", "self", m)
		}
	}
	for _, m := range api.Modules() {
		fmt.Fprintf(&b, "\nclass %s:\n    %s\n", m.Name, quoted(m.Doc))
		for _, f := range m.Functions {
			b.WriteString("    @staticmethod\n")
			stub(&b, "    ", "", f)
		}
	}
	b.WriteByte('\n')
	for _, f := range api.Functions() {
		stub(&b, "", "", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// stub writes a function. Its first parameter is self, unless that is empty.
func stub(b *strings.Builder, indent, self string, f api.Builtin) {
	var params []string
	if self != "" {
		params = append(params, self)
	}
	var text strings.Builder
	text.WriteString(f.Doc)
	for _, p := range f.Params {
		param := fmt.Sprintf("%s: %q", p.Name, pythonType(p.Type))
		if p.Optional {
			param += " = ..."
		}
		params = append(params, param)
		text.WriteString("\n\n" + p.Name + ": " + p.Doc)
		if p.Default != "" {
			text.WriteString(" (default: " + p.Default + ")")
		}
	}
	if f.Rest != "" {
		params = append(params, "*"+f.Rest+": Any")
	}
	if f.Fields != "" {
		params = append(params, "**"+f.Fields+": Any")
	}
	fmt.Fprintf(b, "%sdef %s(%s) -> %q:\n%s    %s\n", indent, f.Name, strings.Join(params, ", "), pythonType(f.Returns.Type), indent, quoted(text.String()))
}

var typeWord = regexp.MustCompile(`function\([^)]*\)|[a-z]+`)

// pythonType returns Python's name of a type of the tables.
func pythonType(name string) string {
	return typeWord.ReplaceAllStringFunc(name, func(word string) string {
		word, _, _ = strings.Cut(word, "(")
		return cmp.Or(map[string]string{"string": "str", "any": "Any", "never": "NoReturn", "function": "Callable[..., Any]"}[word], word)
	})
}

// quoted returns a string literal of Python.
func quoted(text string) string {
	return fmt.Sprintf("%q", text) // Go's escapes are Python's too
}
