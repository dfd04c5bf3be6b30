// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/doc"
)

// A Command is what the page of a command says.
type Command struct {
	Path    string // "mhmig exec"
	Short   string
	Use     string // the whole line
	Long    string
	Example string
	Flags   []Flag
	See     []string // paths of other commands
}

// A Flag is an option of a command.
type Flag struct {
	Name, Shorthand string
	Value           string // what is to be given; "" for nothing
	Usage           string
	Default         string // "" for none
}

// Page returns the page of the command.
func (c Command) Page() Page {
	p := Page{Name: pageName(c.Path), Number: 1, Short: c.Short, Synopsis: c.Use}
	p.Parts = append(p.Parts, Part{Title: "Description", Text: c.Long})
	if len(c.Flags) > 0 {
		options := Part{Title: "Options"}
		for _, f := range c.Flags {
			options.Entries = append(options.Entries, f.entry())
		}
		p.Parts = append(p.Parts, options)
	}
	if c.Example != "" {
		p.Parts = append(p.Parts, Part{Title: "Examples", Lines: c.Example})
	}
	for _, path := range c.See {
		p.See = append(p.See, pageName(path)+"(1)")
	}
	p.See = append(p.See, "mhmig-scenario(7)", "mhmig-config(5)")
	return p
}

func pageName(path string) string { return strings.ReplaceAll(path, " ", "-") }

func (f Flag) entry() Entry {
	var e Entry
	if f.Shorthand != "" {
		e.Term = append(e.Term, Word{Text: "-" + f.Shorthand + ", "})
	}
	e.Term = append(e.Term, Word{Text: "--" + f.Name})
	if f.Value != "" {
		e.Term = append(e.Term, Word{Text: " "}, Word{f.Value, true})
	}
	e.Text = f.Usage
	if f.Default != "" {
		e.Text += " (default: " + f.Default + ")"
	}
	return e
}

// Scenario returns the page of what scenarios can use.
func Scenario(index *doc.Index) Page {
	return Page{
		Name: "mhmig-scenario", Number: 7, Short: "scenarios of mhmig, and what they can use",
		Parts: slices.Concat([]Part{{Title: "Description", Text: scenarioText}},
			parts(index, doc.Builtin, doc.Module, doc.Class, doc.Attribute, doc.Method, doc.File, doc.Shared, doc.Scenario, doc.Test, doc.Starlark)),
		See: []string{"mhmig-exec(1)", "mhmig-doc(1)", "mhmig-config(5)"},
	}
}

const scenarioText = `A scenario is a file NAME.star in Starlark, a language like Python, with while, sets, and statements at the top level. It defines

    def migration_scenario(env):
        migrate_wait(["vm1"], env.hosts[0], env.hosts[1])

which mhmig exec calls once for each variant of a config. It may load functions of other files:

    load("@std//work.star", "start_memory_work")
    load("beside.star", "my_check")

A name with @ is a file of a library, any other one is relative to the file. The globals hosts_needed and guest_start say how many hosts it needs, and with "cold" that its guests boot.`

// Config returns the page of the config language and the params.
func Config(index *doc.Index) Page {
	return Page{
		Name: "mhmig-config", Number: 5, Short: "configs of mhmig: variants and their params",
		Parts: slices.Concat([]Part{{Title: "Description", Text: configText}, {Title: "Statements", Entries: statements}},
			parts(index, doc.Param, doc.Missing)),
		See: []string{"mhmig-list(1)", "mhmig-explain(1)", "mhmig-doc(1)", "mhmig-scenario(7)"},
	}
}

const configText = `A config is a file NAME.cfg in the Cartesian config language of virt-test. It expands into variants, one for each way through its sets of variants that no filter drops, each with its params: texts by name. mhmig list shows them, mhmig explain tells where a param comes from.

Indentation makes blocks; # begins a comment. A filter is words with commas between them, of which one must match: labels joined by ".." must all be in a variant's name, labels joined by "." one right after the other; (SET=LABEL) is a label of a named set.`

// statements are those of the config language.
var statements = []Entry{
	statement("Sets a param. += appends to its value, <= puts something before it, ~= sets it if it has no value; ?=, ?+= and ?<= are for all params whose names match a regular expression. ${NAME} is the value of another param.", "KEY", " = ", "VALUE"),
	statement("Begins a set of variants, which stand indented below it, and follow each other as: - LABEL: and statements. A named set makes a param of that name.", "", "variants ", "NAME", ":"),
	statement("Keeps only the variants that the filter matches.", "", "only ", "FILTER"),
	statement("Drops the variants that the filter matches.", "", "no ", "FILTER"),
	statement("Makes one variant of those that each word of the filter matches.", "", "join ", "FILTER"),
	statement("Its block is for variants that the filter matches; with ! before it for those that it does not match.", "FILTER", ":"),
	statement("Reads another file in this place.", "", "include ", "FILE"),
	statement("Removes a param.", "", "del ", "KEY"),
	statement("Appends something to the names of the params of the block.", "", "suffix ", "NAME"),
}

// statement is the entry of a statement: variables and fixed text in turn.
func statement(text string, words ...string) Entry {
	e := Entry{Text: text}
	for i, w := range words {
		if w != "" {
			e.Term = append(e.Term, Word{w, (i%2 == 0) == (words[0] != "")})
		}
	}
	return e
}

// parts returns a part for each kind of topics.
func parts(index *doc.Index, kinds ...doc.Kind) []Part {
	var all []Part
	for _, kind := range kinds {
		part := Part{Title: doc.Plural(kind)}
		for _, t := range index.Topics(kind) {
			part.Entries = append(part.Entries, entry(t))
		}
		if len(part.Entries) > 0 {
			all = append(all, part)
		}
	}
	return all
}

func entry(t doc.Topic) Entry {
	var text strings.Builder
	text.WriteString(t.Doc)
	for _, p := range t.Parts {
		fmt.Fprintf(&text, "\n\n%s: %s", p.Name, p.Doc)
	}
	if t.Returns != "" {
		text.WriteString("\n\nreturns " + t.Returns)
	}
	return Entry{Term: []Word{{Text: t.Heading}}, Text: text.String(), Example: t.Example}
}
