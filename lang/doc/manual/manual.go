// SPDX-License-Identifier: Apache-2.0

// Package manual writes man pages: those of commands, and of what scenarios and configs can use, from what mhmig doc
// knows.
//
//	pages := append(commands, manual.Scenario(index), manual.Config(index))
//	err := manual.Write("man", manual.Source{Version: "v1.2.0", Date: "2026-11-28"}, pages)
//
// Pages are written in the macros of man(7), which all formatters read. The same pages make the same files.
//
// Nothing is shared between calls: any goroutine may make them.
package manual

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mhmig/mhmig/lang/doc"
)

// A Page is one page of the manual.
type Page struct {
	Name     string // "mhmig-exec"
	Number   int    // of the manual's section
	Short    string // one line
	Synopsis string
	Parts    []Part
	See      []string // other pages: "mhmig-list(1)"
}

// A Part is what a page has under one heading: text, entries, or lines that stay as they are.
type Part struct {
	Title   string
	Text    string // paragraphs; lines that begin with a blank are not to be wrapped
	Entries []Entry
	Lines   string
}

// An Entry is a term and what it means.
type Entry struct {
	Term    []Word
	Text    string
	Example string // lines that stay as they are
}

// A Word is a part of a term.
type Word struct {
	Text     string
	Variable bool // stands for what the user writes there
}

// Source is what all pages say of where they come from.
type Source struct {
	Version string // of mhmig
	Date    string // "2026-11-28"; "" if it is not known
}

// Write writes the pages into folders of a folder, as man looks for them: man1/mhmig-exec.1. It makes those that are
// missing, and replaces files of the same names.
func Write(folder string, source Source, pages []Page) error {
	for _, p := range pages {
		section := filepath.Join(folder, fmt.Sprintf("man%d", p.Number))
		if err := os.MkdirAll(section, 0o755); err != nil {
			return err
		}
		name := filepath.Join(section, fmt.Sprintf("%s.%d", p.Name, p.Number))
		if err := os.WriteFile(name, []byte(p.roff(source)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// roff returns the page in the macros of man(7).
func (p Page) roff(source Source) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s %d %s %s %s\n", quoted(strings.ToUpper(p.Name)), p.Number, quoted(source.Date), quoted("mhmig "+source.Version), quoted("mhmig manual"))
	b.WriteString(".SH NAME\n" + line(p.Name+" - ") + escaped(p.Short) + "\n")
	if p.Synopsis != "" {
		b.WriteString(".SH SYNOPSIS\n" + line(p.Synopsis) + "\n")
	}
	for _, part := range p.Parts {
		b.WriteString(".SH " + quoted(strings.ToUpper(part.Title)) + "\n")
		paragraphs(&b, part.Text)
		for _, e := range part.Entries {
			e.roff(&b)
		}
		asIs(&b, part.Lines)
	}
	if len(p.See) > 0 {
		b.WriteString(".SH \"SEE ALSO\"\n" + line(strings.Join(p.See, ", ")) + "\n")
	}
	return b.String()
}

func (e Entry) roff(b *strings.Builder) {
	b.WriteString(".TP\n")
	for _, w := range e.Term {
		font := `\fB`
		if w.Variable {
			font = `\fI`
		}
		b.WriteString(font + escaped(w.Text) + `\fR`)
	}
	b.WriteByte('\n')
	for i, text := range (doc.Topic{Doc: e.Text}).Paragraphs() {
		if i > 0 {
			b.WriteString(".IP\n")
		}
		paragraph(b, text)
	}
	if e.Example != "" {
		b.WriteString(".IP\n")
		asIs(b, e.Example)
	}
}

func paragraphs(b *strings.Builder, text string) {
	for i, p := range (doc.Topic{Doc: text}).Paragraphs() {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		paragraph(b, p)
	}
}

func paragraph(b *strings.Builder, text string) {
	if strings.HasPrefix(text, " ") {
		asIs(b, text)
		return
	}
	b.WriteString(line(text) + "\n")
}

// asIs writes lines that are not to be wrapped.
func asIs(b *strings.Builder, text string) {
	if text = strings.TrimRight(text, "\n"); text == "" {
		return
	}
	b.WriteString(".nf\n")
	for l := range strings.SplitSeq(text, "\n") {
		b.WriteString(line(strings.TrimRight(l, " ")) + "\n")
	}
	b.WriteString(".fi\n")
}

// special are the characters that roff would read as something else.
var special = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`)

func escaped(text string) string { return special.Replace(text) }

// line returns text that begins a line: a dot there would be a request.
func line(text string) string {
	text = escaped(text)
	if strings.HasPrefix(text, ".") {
		return `\&` + text
	}
	return text
}

// quoted returns an argument of a macro.
func quoted(text string) string {
	return `"` + strings.ReplaceAll(escaped(text), `"`, `\(dq`) + `"`
}
