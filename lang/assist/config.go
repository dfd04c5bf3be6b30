// SPDX-License-Identifier: Apache-2.0

package assist

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/doc"
	"github.com/mhmig/mhmig/lang/library"
)

// A role is what a part of a line of a config is.
type role int

const (
	inNothing   role = iota
	inStatement      // the beginning of a statement: a keyword, a param, a condition
	inFilter         // a label
	inInclude        // its path
	inKey            // whose value is used
	inValue          // of a param
)

// A word is a part of a line.
type word struct {
	role
	Span
	key    string // of a value
	before string // of a label: the one that a dot joins to it, "" for none
}

var (
	assignment = regexp.MustCompile(`^\s*([^\s=+<~?:#]+)\s*(\?\+=|\?<=|\?=|\+=|<=|~=|=)\s*`)
	condition  = regexp.MustCompile(`^\s*!?([^=:#]*):`)
	included   = regexp.MustCompile(`^\s*include\s+`)
	deleted    = regexp.MustCompile(`^\s*del\s+`)
	filtered   = regexp.MustCompile(`^(\s*|.*:\s*)(only|no|join)\s+`)
	dashed     = regexp.MustCompile(`^\s*-\s*@?[^:]*:`)
	reference  = regexp.MustCompile(`\$\{([^}]*)$`)
)

// wordOf returns the part of a line that an offset is in or directly after. Written says that the line ends there as yet:
// what follows is not looked at to tell a label from a param.
func wordOf(text string, at int, written bool) word {
	line := lineOf(text, at)
	before := text[line.From:at]
	trimmed := strings.TrimLeft(before, " \t")
	if strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "//") {
		return word{}
	}
	whole := text[line.From:line.To]
	if m := reference.FindStringSubmatchIndex(before); m != nil {
		w := word{role: inKey, Span: Span{line.From + m[2], at}}
		w.To = labelEnd(text, at)
		return w
	}
	if m := included.FindStringIndex(before); m != nil {
		return word{role: inInclude, Span: Span{line.From + m[1], line.To}}
	}
	if m := deleted.FindStringIndex(before); m != nil {
		return word{role: inKey, Span: Span{line.From + m[1], line.To}}
	}
	if m := filtered.FindStringIndex(before); m != nil {
		return labelAt(text, at)
	}
	if m := dashed.FindStringIndex(before); m != nil {
		return labelAt(text, at)
	}
	if m := assignment.FindStringSubmatchIndex(before); m != nil {
		return word{role: inValue, Span: Span{line.From + m[1], line.To}, key: before[m[2]:m[3]]}
	}
	if strings.HasPrefix(trimmed, "-") || strings.HasPrefix(trimmed, "variants") && len(trimmed) > len("variants") {
		return word{role: inNothing, Span: labelAt(text, at).Span}
	}
	if !written && !assignment.MatchString(whole) && condition.MatchString(whole) {
		return labelAt(text, at)
	}
	if strings.ContainsAny(trimmed, " \t,.(!:") {
		if strings.ContainsAny(trimmed, "=") && !strings.Contains(trimmed, "(") {
			return word{}
		}
		return labelAt(text, at)
	}
	return word{role: inStatement, Span: Span{line.From + len(before) - len(trimmed), labelEnd(text, at)}}
}

// labelAt returns the label that an offset is in.
func labelAt(text string, at int) word {
	from := labelBegin(text, at)
	w := word{role: inFilter, Span: Span{from, labelEnd(text, at)}}
	if from > 0 && text[from-1] == '.' {
		w.before = text[labelBegin(text, from-1) : from-1]
	}
	return w
}

func labelBegin(text string, at int) int {
	for at > 0 && (isWordByte(text[at-1]) || text[at-1] == '-') {
		at--
	}
	return at
}

func labelEnd(text string, at int) int {
	for at < len(text) && (isWordByte(text[at]) || text[at] == '-') {
		at++
	}
	return at
}

// completeConfig returns what can be written at an offset of a config.
func (w *Workspace) completeConfig(name, text string, at int) Completion {
	here := wordOf(text, at, true)
	c := Completion{Span: here.Span}
	switch here.role {
	case inInclude:
		return w.paths(name, text[here.From:here.To], ConfigExtension, here.From)
	case inFilter:
		c.Items = w.labels(name, here.before)
	case inKey:
		c.Items = append(w.keys(name), paramItems()...)
	case inValue:
		c.Items = w.values(here.key)
	case inStatement:
		c.Items = paramItems()
		c.Items = append(c.Items, w.keys(name)...)
		for _, k := range []string{"only", "no", "join", "include", "del", "suffix", "variants"} {
			c.Items = append(c.Items, Item{Label: k, Kind: Keyword})
		}
		c.Items = append(c.Items, w.labels(name, "")...)
	}
	c.Items = unique(c.Items)
	return c
}

// unique leaves out items whose labels others before them have.
func unique(items []Item) []Item {
	seen := map[string]bool{}
	return slices.DeleteFunc(items, func(i Item) bool {
		again := seen[i.Label]
		seen[i.Label] = true
		return again
	})
}

// paramItems are mhmig's params.
func paramItems() []Item {
	var items []Item
	for _, p := range api.All() {
		name := strings.TrimSuffix(p.Name, "*")
		items = append(items, Item{Label: name, Kind: Param, Detail: paramType(p), Doc: p.Doc})
	}
	return items
}

// paramType describes what values a param can have.
func paramType(p api.Param) string {
	text := string(p.Kind)
	if p.Kind == api.Choice {
		text = strings.Join(p.Choices, " | ")
	}
	if p.Unit != "" {
		text += " in " + p.Unit
	}
	if p.Default != "" {
		text += ", default " + p.Default
	}
	return text
}

// keys are the keys that the configs around a config set.
func (w *Workspace) keys(name string) []Item {
	var items []Item
	for _, c := range w.around(name) {
		for _, a := range c.outline.Assigned {
			items = append(items, Item{Label: a.Key, Kind: Variable, Detail: a.Source})
		}
	}
	for i := range items {
		items[i].Detail = strings.TrimSpace(items[i].Detail)
	}
	return unique(items)
}

// labels are the labels of variants that a filter in a config can name: those below a label first, if it is not "".
func (w *Workspace) labels(name, below string) []Item {
	var first, rest []Item
	for file, c := range w.around(name) {
		for _, s := range c.outline.Symbols {
			item := Item{Label: s.Label, Kind: Label, Detail: fmt.Sprintf("%s:%d", filepath.Base(file), s.Pos.Line)}
			if s.Set != "" {
				item.Detail = s.Set + ", " + item.Detail
			}
			if below != "" && s.Below == below {
				first = append(first, item)
			} else {
				rest = append(rest, item)
			}
		}
	}
	return unique(append(first, rest...))
}

// values are what a param can be set to.
func (w *Workspace) values(name string) []Item {
	p, ok := api.Find(name)
	if !ok {
		return nil
	}
	var items []Item
	add := func(label string) {
		items = append(items, Item{Label: label, Kind: Value})
	}
	switch {
	case p.Name == "type":
		for _, n := range w.libraries.Names() {
			if n == "scenarios" {
				for _, item := range w.paths("", "@scenarios//", ".star", 0).Items {
					add(strings.TrimSuffix(strings.TrimPrefix(item.Label, "@scenarios//"), ".star"))
				}
			}
		}
	case p.Kind == api.Choice:
		for _, choice := range p.Choices {
			add(choice)
		}
	case p.Kind == api.Bool:
		add("yes")
		add("no")
	case p.Default != "":
		add(p.Default)
	}
	return items
}

// maxAround limits how many files of a folder are read to find out who includes a config.
const maxAround = 300

// around returns the configs that can be read together with one, by their full names: those that include it, those that
// these include, and so on.
func (w *Workspace) around(name string) map[string]*config {
	all := w.neighbours(name)
	files := map[string]*config{}
	var add func(name string)
	add = func(name string) {
		if files[name] != nil {
			return
		}
		c := all[name]
		if c == nil {
			text, ok := w.Text(name)
			if !ok {
				return
			}
			c = w.read.config(name, text)
		}
		files[name] = c
		for _, include := range c.outline.Includes {
			add(include)
		}
	}
	add(name)
	for grown := true; grown; {
		grown = false
		for other, c := range all {
			if files[other] == nil && slices.ContainsFunc(c.outline.Includes, func(i string) bool { return files[i] != nil }) {
				add(other)
				grown = true
			}
		}
	}
	return files
}

// isPart reports whether another config beside a config includes it.
func (w *Workspace) isPart(name string) bool {
	for other, c := range w.neighbours(name) {
		if other != name && slices.Contains(c.outline.Includes, name) {
			return true
		}
	}
	return false
}

// neighbours are the configs of a config's folder, by their full names.
func (w *Workspace) neighbours(name string) map[string]*config {
	var names []string
	if w.alone {
		return nil
	}
	if lib, inner, inLibrary := library.Cut(name); !inLibrary {
		names, _ = filepath.Glob(filepath.Join(globbed(filepath.Dir(name)), "*"+ConfigExtension))
	} else if files := w.libraries[lib]; files != nil {
		inners, _ := fs.Glob(files, path.Join(globbed(path.Dir(inner)), "*"+ConfigExtension))
		for _, n := range inners {
			names = append(names, "@"+lib+"//"+n)
		}
	}
	all := map[string]*config{}
	for _, n := range names[:min(len(names), maxAround)] {
		if text, ok := w.Text(n); ok {
			all[n] = w.read.config(n, text)
		}
	}
	for n, text := range w.open {
		if isConfig(n) {
			all[n] = w.read.config(n, text)
		}
	}
	return all
}

// globbed returns a path as a pattern that only it matches.
func globbed(path string) string {
	return regexp.MustCompile(`[*?\[\\]`).ReplaceAllString(path, `\$0`)
}

// hoverConfig returns what is meant at an offset of a config.
func (w *Workspace) hoverConfig(name, text string, at int) Hover {
	here := wordOf(text, at, false)
	written := text[here.From:here.To]
	if here.role == inValue {
		here.role, written = inKey, here.key
	}
	switch here.role {
	case inStatement, inKey:
		return Hover{here.Span, w.describeKey(name, written)}
	case inFilter:
		return Hover{here.Span, w.describeLabel(name, written)}
	case inInclude:
		if full, ok := w.resolve(name, written); ok {
			if _, ok := w.Text(full); ok {
				return Hover{here.Span, code(full, "")}
			}
		}
	}
	return Hover{}
}

// describeKey returns what a param is for, and where the configs around a config set it.
func (w *Workspace) describeKey(name, key string) string {
	text := ""
	if p, ok := api.Find(key); ok {
		text = markdown(topic(p.Name, doc.Param))
	} else if u, ok := api.FindUnsupported(key); ok {
		text = markdown(topic(u.Name, doc.Missing))
	}
	set := 0
	around := w.around(name)
	for _, file := range slices.Sorted(maps.Keys(around)) {
		for _, a := range around[file].outline.Assigned {
			if a.Key != key {
				continue
			}
			if set++; set == 1 {
				text += "\n\nSet in:\n"
			}
			if set <= maxShown {
				text += fmt.Sprintf("- %s:%d: `%s`\n", filepath.Base(file), a.Pos.Line, strings.TrimSpace(a.Source))
			}
		}
	}
	if set > maxShown {
		text += fmt.Sprintf("- and %d more places\n", set-maxShown)
	}
	return strings.TrimSpace(text)
}

// maxShown is how many places a hover shows.
const maxShown = 8

// describeLabel returns where a label of variants is defined.
func (w *Workspace) describeLabel(name, label string) string {
	var b strings.Builder
	around := w.around(name)
	places := 0
	for _, file := range slices.Sorted(maps.Keys(around)) {
		for _, s := range around[file].outline.Symbols {
			if s.Label != label {
				continue
			}
			if places++; places > maxShown {
				continue
			}
			fmt.Fprintf(&b, "- %s:%d", filepath.Base(file), s.Pos.Line)
			if s.Set != "" {
				fmt.Fprintf(&b, ", of the set %s", s.Set)
			}
			if s.Below != "" {
				fmt.Fprintf(&b, ", below %s", s.Below)
			}
			b.WriteByte('\n')
		}
	}
	if places == 0 {
		return ""
	}
	if places > maxShown {
		fmt.Fprintf(&b, "- and %d more places\n", places-maxShown)
	}
	return fmt.Sprintf("Variants `%s`:\n\n%s", label, b.String())
}

// defineConfig returns where what is meant at an offset of a config is defined.
func (w *Workspace) defineConfig(name, text string, at int) []Place {
	here := wordOf(text, at, false)
	written := text[here.From:here.To]
	var places []Place
	around := w.around(name)
	switch here.role {
	case inInclude:
		if full, ok := w.resolve(name, expandHome(written)); ok {
			if text, ok := w.Text(full); ok {
				places = append(places, Place{full, text, Span{}})
			}
		}
	case inFilter:
		for _, file := range slices.Sorted(maps.Keys(around)) {
			c := around[file]
			for _, s := range c.outline.Symbols {
				if s.Label == written {
					from := cartesian.Offset(c.text, s.Pos)
					places = append(places, Place{file, c.text, Span{from, from + len(written)}})
				}
			}
		}
	case inStatement, inKey:
		for _, file := range slices.Sorted(maps.Keys(around)) {
			c := around[file]
			for _, a := range c.outline.Assigned {
				if a.Key == written {
					from := cartesian.Offset(c.text, a.Pos)
					places = append(places, Place{file, c.text, Span{from, from + len(written)}})
				}
			}
		}
	}
	return places
}

// expandHome replaces "~" before a path of the operating system by the user's home folder.
func expandHome(path string) string {
	if home, err := os.UserHomeDir(); err == nil && strings.HasPrefix(path, "~/") {
		return home + path[1:]
	}
	return path
}
