// SPDX-License-Identifier: Apache-2.0

// Package doc has what mhmig doc prints: a topic for everything that scenarios can use, with an example, and for every
// param.
//
//	index, err := doc.New(libraries)
//	topics := index.Find("mig.join")
//
// The facts are those of lang/api and the docstrings of the libraries' files; only the examples are here. An Index does
// not change: any goroutine may use it.
package doc

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
)

// A Kind is what a topic is about.
type Kind string

// The kinds of topics, in the order of lists.
const (
	Builtin   Kind = "function"
	Module    Kind = "module"
	Class     Kind = "value"
	Method    Kind = "method"
	Attribute Kind = "attribute"
	Shared    Kind = "library function"
	Scenario  Kind = "scenario"
	File      Kind = "library file"
	Param     Kind = "param"
	Missing   Kind = "unsupported param" // of virt-test
	Starlark  Kind = "Starlark's function"
	Test      Kind = "for tests of scenarios"
)

// Kinds are all kinds of topics.
var Kinds = []Kind{Builtin, Module, Class, Method, Attribute, Shared, Scenario, File, Param, Missing, Starlark, Test}

// A Topic is one thing that mhmig doc knows.
type Topic struct {
	Name    string // "migrate", "mig.join", "@std//work.star"
	Kind    Kind
	Heading string // how it is written: a signature, or name and type
	Doc     string // lines; those that are indented are not to be wrapped
	Parts   []Part // parameters, attributes, functions
	Returns string
	Type    string // of an attribute, as in [api.Attribute]
	// ReturnType is the type of what Returns describes.
	ReturnType string
	Example    string // lines of a scenario or a config
	See        []string
}

// A Part is a parameter of a function, or what a value, a module or a file has.
type Part struct {
	Name string
	Type string // as in [api.Parameter]; "" if it has none
	Doc  string
}

// Summary returns the first sentence of what the topic says.
func (t Topic) Summary() string {
	text := strings.Join(strings.Fields(firstParagraph(t.Doc)), " ")
	if end := strings.Index(text, ". "); end >= 0 {
		return text[:end+1]
	}
	return text
}

// Paragraphs returns what the topic says: paragraphs on one line each, and runs of lines that are not to be wrapped, which
// begin with a blank.
func (t Topic) Paragraphs() []string {
	var all []string
	open := false // the next line continues the last paragraph
	for line := range strings.SplitSeq(t.Doc, "\n") {
		indented := strings.HasPrefix(line, " ")
		last := len(all) - 1
		switch {
		case strings.TrimSpace(line) == "":
			open = false
			continue
		case !open || indented != strings.HasPrefix(all[last], " "):
			all = append(all, line)
		case indented:
			all[last] += "\n" + line
		default:
			all[last] += " " + line
		}
		open = true
	}
	return all
}

func firstParagraph(text string) string {
	first, _, _ := strings.Cut(text, "\n\n")
	return first
}

// An Index is all topics.
type Index struct{ topics []Topic }

// New returns the topics of what is built in, and of the .star files of libraries. Errors in these are a [diag.List].
func New(libraries library.Set) (*Index, error) {
	x := new(Index)
	examples := Examples()
	for _, f := range api.Functions() {
		x.function(Builtin, "", f)
	}
	for _, m := range api.Modules() {
		x.module(m)
	}
	for _, c := range api.Classes() {
		x.class(c)
	}
	x.tests(api.TestLanguage())
	for _, name := range libraries.Names() {
		if err := x.library(name, libraries[name]); err != nil {
			return nil, err
		}
	}
	for _, p := range api.All() {
		x.topics = append(x.topics, paramTopic(p))
	}
	for _, u := range api.UnsupportedParams() {
		x.topics = append(x.topics, Topic{
			Name: u.Name, Kind: Missing, Heading: u.Name,
			Doc: "A param of virt-test that mhmig does not support yet. If it did: " + u.Effect,
		})
	}
	for _, f := range universe {
		x.topics = append(x.topics, Topic{Name: f.name, Kind: Starlark, Heading: f.heading, Doc: f.doc, Example: f.example})
	}
	for i, t := range x.topics {
		owner := ""
		if t.Kind == Attribute {
			owner = t.See[0]
		}
		x.topics[i].Example = cmp.Or(t.Example, examples[t.Name], examples[owner])
	}
	return x, nil
}

// tests adds what tests of scenarios can use besides.
func (x *Index) tests(l api.Tests) {
	from := len(x.topics)
	for _, f := range l.Functions {
		x.function(Test, "", f)
	}
	for _, m := range l.Modules {
		x.module(m)
	}
	for _, c := range l.Classes {
		x.class(c)
	}
	examples := TestExamples()
	for i := range x.topics[from:] {
		t := &x.topics[from+i]
		t.Kind = Test
		t.Example = examples[t.Name]
		if t.Example == "" && len(t.See) > 0 {
			t.Example = examples[t.See[0]]
		}
	}
}

func (x *Index) module(m api.Module) {
	t := Topic{Name: m.Name, Kind: Module, Heading: "module " + m.Name, Doc: m.Doc}
	for _, f := range m.Functions {
		t.Parts = append(t.Parts, Part{Name: f.Signature(), Doc: Topic{Doc: f.Doc}.Summary()})
		x.function(Method, m.Name, f)
	}
	x.topics = append(x.topics, t)
}

// function adds the topic of a function, which is a method or a module's if owner is not empty.
func (x *Index) function(kind Kind, owner string, f api.Builtin) {
	t := Topic{Name: f.Name, Kind: kind, Heading: f.Signature(), Doc: f.Doc}
	if owner != "" {
		t.Name, t.Heading = owner+"."+f.Name, owner+"."+t.Heading
		t.See = append(t.See, owner)
	}
	for _, p := range f.Params {
		text := p.Doc + " (" + p.Wants
		switch {
		case p.Computed:
			text += "; without it: " + p.Default
		case p.Optional:
			text += "; default " + p.Default
		}
		t.Parts = append(t.Parts, Part{p.Name, p.Type, text + ")"})
	}
	switch f.Returns.Type {
	case "None", "never":
	default:
		t.Returns, t.ReturnType = f.Returns.Type+": "+f.Returns.Doc, f.Returns.Type
	}
	x.topics = append(x.topics, t)
}

func (x *Index) class(c api.Class) {
	t := Topic{Name: c.Name, Kind: Class, Heading: "value " + c.Name, Doc: c.Doc}
	for _, a := range c.Attributes {
		t.Parts = append(t.Parts, Part{a.Name, a.Type, a.Doc + " (" + a.Type + ")"})
	}
	for _, m := range c.Methods {
		t.Parts = append(t.Parts, Part{Name: m.Signature(), Doc: Topic{Doc: m.Doc}.Summary()})
	}
	x.topics = append(x.topics, t)
	for _, a := range c.Attributes {
		x.topics = append(x.topics, Topic{
			Name: c.Name + "." + a.Name, Kind: Attribute, Heading: c.Name + "." + a.Name + ": " + a.Type, Doc: a.Doc, Type: a.Type,
			See: []string{c.Name},
		})
	}
	for _, m := range c.Methods {
		x.function(Method, c.Name, m)
	}
}

// library adds the topics of a library's files.
func (x *Index) library(name string, files fs.FS) error {
	return fs.WalkDir(files, ".", func(inner string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(inner) != star.Extension || strings.HasSuffix(inner, star.TestSuffix) {
			return err
		}
		full := "@" + name + "//" + inner
		source, err := fs.ReadFile(files, inner)
		if err != nil {
			return fmt.Errorf("%s: %w", full, err)
		}
		outline, err := star.Outlined(full, source)
		if err != nil {
			return err
		}
		if outline.Scenario {
			x.topics = append(x.topics, Topic{
				Name: strings.TrimSuffix(path.Base(inner), star.Extension), Kind: Scenario, Heading: full, Doc: outline.Doc,
				Example: "type = " + strings.TrimSuffix(path.Base(inner), star.Extension),
			})
			return nil
		}
		t := Topic{Name: full, Kind: File, Heading: full, Doc: outline.Doc}
		var functions []Topic
		for _, f := range outline.Functions {
			shared := Topic{Name: f.Name, Kind: Shared, Heading: f.Signature, Doc: f.Doc, See: []string{full}}
			t.Parts = append(t.Parts, Part{Name: f.Signature, Doc: shared.Summary()})
			functions = append(functions, shared)
		}
		x.topics = append(append(x.topics, t), functions...)
		return nil
	})
}

func paramTopic(p api.Param) Topic {
	t := Topic{Name: p.Name, Kind: Param, Heading: p.Name + " = " + strings.ToUpper(string(p.Kind)), Doc: p.Doc}
	value := cmp.Or(p.Default, values[p.Kind])
	if p.Kind == api.Choice {
		t.Heading = p.Name + " = " + strings.Join(p.Choices, " | ")
		value = cmp.Or(p.Default, p.Choices[0])
	}
	if p.Kind == api.Number {
		value = cmp.Or(p.Default, fmt.Sprint(max(1, p.Min)))
	}
	if p.Longest > 0 {
		value = "1" // within the limits of each
	}
	name := strings.TrimSuffix(p.Name, "_*")
	if name != p.Name {
		name += "_1"
	}
	t.Example = name + " = " + value
	if object := suffixes[p.Object]; object != "" {
		t.Example += "\n" + name + "_" + object + " = " + value
		t.Parts = append(t.Parts, Part{Name: "for each", Doc: string(p.Object) + ", by a suffix with its name, such as _" + object})
	}
	if p.Unit != "" {
		t.Parts = append(t.Parts, Part{Name: "unit", Doc: p.Unit})
	}
	if limits := p.Limits(); limits != "" {
		t.Parts = append(t.Parts, Part{Name: "values", Doc: limits})
	}
	if p.Default != "" {
		t.Parts = append(t.Parts, Part{Name: "default", Doc: p.Default})
	}
	for _, spelling := range slices.Sorted(maps.Keys(p.Spellings)) {
		t.Parts = append(t.Parts, Part{Name: spelling, Doc: "virt-test's word for " + p.Spellings[spelling]})
	}
	return t
}

// suffixes are names of objects for which a param can be set.
var suffixes = map[api.Object]string{
	api.Host: "host2", api.VM: "vm1", api.Image: "image1", api.NIC: "nic1", api.CDROM: "cd1", api.Floppy: "fl1",
	api.USB: "usb1", api.USBDev: "tablet1",
}

// values are examples of params' values.
var values = map[api.Kind]string{
	api.Text: "text", api.Word: "word", api.Names: "first second", api.Bool: "yes", api.Seconds: "1m30s", api.Size: "512M",
	api.Port: "5200", api.Ports: "5200-5899", api.Pattern: `^\d+$`,
}

// Topics returns all topics of a kind, in the order of the references.
func (x *Index) Topics(kind Kind) []Topic {
	return slices.DeleteFunc(slices.Clone(x.topics), func(t Topic) bool { return t.Kind != kind })
}

// Find returns the topics of a name: "mig.join", "join" of whatever has it, "mem_vm1" as the param mem, with or without
// "()". None: there is nothing of that name, and nearest is a similar name, or "".
func (x *Index) Find(name string) (topics []Topic, nearest string) {
	name = strings.TrimSuffix(name, "()")
	short := func(t Topic) string { return t.Name[strings.LastIndexByte(t.Name, '.')+1:] }
	for _, same := range []func(Topic) bool{
		func(t Topic) bool { return t.Name == name },
		func(t Topic) bool { return short(t) == name && t.Kind != File },
	} {
		for _, t := range x.topics {
			if same(t) {
				topics = append(topics, t)
			}
		}
		if topics != nil {
			return topics, ""
		}
	}
	if p, ok := api.Find(name); ok {
		return []Topic{paramTopic(p)}, ""
	}
	var names []string
	for _, t := range x.topics {
		names = append(names, t.Name)
		if t.Kind != File {
			names = append(names, short(t))
		}
	}
	return nil, diag.Nearest(name, names)
}
