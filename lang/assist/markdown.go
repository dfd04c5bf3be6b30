// SPDX-License-Identifier: Apache-2.0

package assist

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mhmig/mhmig/lang/doc"
)

// topics are those of mhmig doc, without those of libraries, which are read as they are in the workspace.
var topics = sync.OnceValue(func() *doc.Index {
	index, err := doc.New(nil)
	if err != nil { // only libraries have errors
		panic(err)
	}
	return index
})

// topic returns what mhmig doc says about a builtin, "CLASS.METHOD", a param or a function of Starlark's own; the zero
// topic if that is nothing.
func topic(name string, kinds ...doc.Kind) doc.Topic {
	found, _ := topics().Find(name)
	for _, t := range found {
		if len(kinds) == 0 || slices.Contains(kinds, t.Kind) {
			return t
		}
	}
	return doc.Topic{}
}

// markdown returns a topic as Markdown.
func markdown(t doc.Topic) string {
	if t.Name == "" {
		return ""
	}
	var b strings.Builder
	language := "python"
	if t.Kind == doc.Param || t.Kind == doc.Missing {
		language = "ini"
	}
	fence(&b, language, t.Heading)
	b.WriteString(t.Doc + "\n")
	if len(t.Parts) > 0 {
		b.WriteByte('\n')
	}
	for _, p := range t.Parts {
		fmt.Fprintf(&b, "- `%s`: %s\n", p.Name, p.Doc)
	}
	if t.Returns != "" {
		fmt.Fprintf(&b, "\nReturns %s\n", t.Returns)
	}
	if t.Example != "" {
		b.WriteByte('\n')
		fence(&b, language, t.Example)
	}
	return strings.TrimRight(b.String(), "\n")
}

// fence writes a block of code.
func fence(b *strings.Builder, language, code string) {
	fmt.Fprintf(b, "```%s\n%s\n```\n", language, strings.TrimRight(code, "\n"))
}

// code returns Markdown of code, and what is to be said about it.
func code(text, doc string) string {
	var b strings.Builder
	fence(&b, "python", text)
	b.WriteString(doc)
	return strings.TrimRight(b.String(), "\n")
}
