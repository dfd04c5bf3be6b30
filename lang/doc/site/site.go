// SPDX-License-Identifier: Apache-2.0

// Package site writes what mhmig doc knows as a folder of HTML files, which browsers show without a server:
//
//	err := site.Write("doc", index)
//
// The same index makes the same files. A page has the topics of one kind, or a value with its attributes and methods;
// types, and names of other topics in texts, are links. The search is a script with an index of all topics beside it: no
// page asks for anything of the network.
//
// Nothing is shared between calls: any goroutine may make them.
package site

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/mhmig/mhmig/lang/doc"
)

//go:embed page.html style.css search.js
var files embed.FS

// Write writes the site into a folder, which it makes if there is none. Files of the same names are replaced.
func Write(folder string, index *doc.Index) error {
	s := newSite(index)
	layout, err := template.New("page.html").Funcs(template.FuncMap{
		"text": s.text, "type": s.typeLinks, "href": s.href, "id": id, "indented": func(line string) bool { return strings.HasPrefix(line, " ") },
		"after": func(text string) string { _, after, _ := strings.Cut(text, ": "); return after },
	}).ParseFS(files, "page.html")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, p := range s.pages {
		var b bytes.Buffer
		if err := layout.Execute(&b, view{Pages: s.menu(), page: p}); err != nil {
			return fmt.Errorf("%s: %w", p.File, err)
		}
		if err := os.WriteFile(filepath.Join(folder, p.File), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return s.writeAssets(folder)
}

// writeAssets writes the stylesheet and the search.
func (s *site) writeAssets(folder string) error {
	style, err := files.ReadFile("style.css")
	if err != nil {
		return err
	}
	search, err := files.ReadFile("search.js")
	if err != nil {
		return err
	}
	entries, err := json.Marshal(s.entries)
	if err != nil {
		return err
	}
	script := append([]byte("\"use strict\";\nconst topics = "), entries...)
	script = append(append(script, ";\n"...), search...)
	if err := os.WriteFile(filepath.Join(folder, "style.css"), style, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "search.js"), script, 0o644)
}

// A site is the pages of an index.
type site struct {
	pages   []*page
	places  map[string]string // of topics by name, the first of each: "page.html#id"
	classes map[string]string // the pages of values, by name
	entries []entry
}

// A page is one file.
type page struct {
	File  string
	Title string
	Intro string
	Menu  bool // the page is in the menu of all pages
	Lists []list
}

// A list is topics of one kind, under a heading.
type list struct {
	Title  string
	Topics []doc.Topic
	Short  bool // only names and summaries, as links
}

// An entry is what the search knows of a topic.
type entry struct {
	Name    string `json:"n"`
	Kind    string `json:"k"`
	Summary string `json:"s"`
	Place   string `json:"p"`
}

// A view is what the template shows.
type view struct {
	Pages []*page
	*page
}

func newSite(index *doc.Index) *site {
	s := &site{places: map[string]string{}, classes: map[string]string{}}
	home := &page{File: "index.html", Title: "mhmig", Menu: true, Intro: "What scenarios and configs of mhmig can use. " +
		"A scenario is a Starlark file; a config sets the params of its variants."}
	s.pages = append(s.pages, home)
	s.add(&page{File: "functions.html", Title: "Functions", Menu: true, Lists: []list{{Topics: index.Topics(doc.Builtin)}}})
	members := index.Topics(doc.Method)
	for _, m := range index.Topics(doc.Module) {
		s.add(&page{File: "module-" + m.Name + ".html", Title: "Module " + m.Name, Lists: []list{{Topics: []doc.Topic{m}}, {Title: "Functions", Topics: of(m.Name, members)}}})
	}
	attributes := index.Topics(doc.Attribute)
	values := index.Topics(doc.Class)
	for _, c := range values {
		s.classes[c.Name] = "value-" + c.Name + ".html"
		s.add(&page{File: s.classes[c.Name], Title: "Value " + c.Name, Lists: []list{
			{Topics: []doc.Topic{c}}, {Title: "Attributes", Topics: of(c.Name, attributes)}, {Title: "Methods", Topics: of(c.Name, members)},
		}})
	}
	library := &page{File: "libraries.html", Title: "Libraries", Menu: true}
	shared := index.Topics(doc.Shared)
	for _, f := range index.Topics(doc.File) {
		library.Lists = append(library.Lists, list{Topics: append([]doc.Topic{f}, of(f.Name, shared)...)})
	}
	s.add(library)
	s.add(&page{File: "scenarios.html", Title: "Scenarios", Menu: true, Lists: []list{{Topics: index.Topics(doc.Scenario)}}})
	s.add(&page{File: "params.html", Title: "Params", Menu: true, Lists: []list{
		{Topics: index.Topics(doc.Param)}, {Title: "Params of virt-test that are not supported yet", Topics: index.Topics(doc.Missing)},
	}})
	tests := &page{File: "tests.html", Title: "Tests", Menu: true, Intro: "What the tests of scenarios, *_test.star, can use besides what scenarios can."}
	tests.Lists = []list{{Topics: index.Topics(doc.Test)}}
	for _, t := range tests.Lists[0].Topics {
		if isTestValue(t) {
			s.classes[t.Name] = tests.File + "#" + id(t)
		}
	}
	s.add(tests)
	s.add(&page{File: "starlark.html", Title: "Starlark", Menu: true, Lists: []list{{Topics: index.Topics(doc.Starlark)}}})
	home.Lists = []list{
		{Title: "Functions", Topics: index.Topics(doc.Builtin), Short: true},
		{Title: "Modules", Topics: index.Topics(doc.Module), Short: true},
		{Title: "Values", Topics: values, Short: true},
		{Title: "Files of libraries", Topics: index.Topics(doc.File), Short: true},
		{Title: "Scenarios", Topics: index.Topics(doc.Scenario), Short: true},
	}
	return s
}

// of returns the topics that belong to an owner.
func of(owner string, topics []doc.Topic) []doc.Topic {
	var own []doc.Topic
	for _, t := range topics {
		if len(t.See) > 0 && t.See[0] == owner {
			own = append(own, t)
		}
	}
	return own
}

// add adds a page, and notes where its topics are.
func (s *site) add(p *page) {
	s.pages = append(s.pages, p)
	for _, l := range p.Lists {
		for _, t := range l.Topics {
			place := p.File + "#" + id(t)
			if _, known := s.places[t.Name]; !known {
				s.places[t.Name] = place
			}
			s.entries = append(s.entries, entry{t.Name, string(t.Kind), t.Summary(), place})
		}
	}
}

func (s *site) menu() []*page {
	var menu []*page
	for _, p := range s.pages {
		if p.Menu {
			menu = append(menu, p)
		}
	}
	return menu
}

// isTestValue reports whether a topic is a value of tests.
func isTestValue(t doc.Topic) bool {
	return t.Kind == doc.Test && strings.HasPrefix(t.Heading, "value ")
}

// odd is what an id does not have.
var odd = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// id is the topic's anchor in its page: that of a function of a library has the library's file in front, as others may
// have a function of the same name.
func id(t doc.Topic) string {
	name := t.Name
	switch {
	case t.Kind == doc.Shared:
		name = t.See[0] + "." + name
	case isTestValue(t):
		name = "value-" + name // a function of that name returns it
	}
	return strings.Trim(odd.ReplaceAllString(name, "-"), "-")
}

// href is where a topic, or a member of it, is; "" if it has no place.
func (s *site) href(names ...string) string {
	name := strings.Join(names, ".")
	if cut := strings.IndexByte(name, '('); cut >= 0 { // a signature
		name = name[:cut]
	}
	return s.places[name]
}

// word is what may be a name in a text.
var word = regexp.MustCompile(`@?[A-Za-z_][A-Za-z0-9_./@-]*[A-Za-z0-9_]`)

// text returns a line as HTML in which names of topics are links, if they are no words of a sentence: they have a dot, a
// slash or an underscore.
func (s *site) text(line string) template.HTML {
	return s.linked(line, func(name string) string {
		if strings.ContainsAny(name, "._/") {
			return s.places[name]
		}
		return ""
	})
}

// typeLinks returns a type as HTML in which values are links.
func (s *site) typeLinks(kind string) template.HTML {
	return s.linked(kind, func(name string) string { return s.classes[name] })
}

// linked returns a text as HTML in which those words are links that have a place.
func (s *site) linked(text string, place func(name string) string) template.HTML {
	var b strings.Builder
	rest := 0
	for _, at := range word.FindAllStringIndex(text, -1) {
		name := text[at[0]:at[1]]
		if href := place(name); href != "" {
			b.WriteString(template.HTMLEscapeString(text[rest:at[0]]))
			fmt.Fprintf(&b, `<a href="%s">%s</a>`, template.HTMLEscapeString(href), template.HTMLEscapeString(name))
			rest = at[1]
		}
	}
	b.WriteString(template.HTMLEscapeString(text[rest:]))
	return template.HTML(b.String()) //nolint:gosec // all of it is escaped above
}
