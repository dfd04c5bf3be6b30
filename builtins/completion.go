// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/star"
)

// completion is what can be typed at a prompt, at one moment: it needs no lock.
type completion struct {
	names   []string            // of variables and functions, and the prompt's own words, sorted
	types   map[string]string   // of variables
	members map[string][]string // of variables, and of types
}

// promptWords are what lines at the prompt begin with besides names.
var promptWords = []string{"continue", "def ", "else:", "for ", "help", "if ", "lambda ", "not ", "vars", "while "}

// completion returns what can be typed now.
func (p *promptSession) completion() completion {
	c := completion{types: map[string]string{}, members: map[string][]string{}}
	all := p.names()
	c.names = slices.Concat(promptWords, star.Universe(), slices.Collect(maps.Keys(all)))
	slices.Sort(c.names)
	c.names = slices.Compact(c.names)
	for name, v := range all {
		c.types[name] = v.Type()
		if v, ok := v.(starlark.HasAttrs); ok {
			c.members[name] = v.AttrNames()
		}
	}
	for _, class := range api.Classes() {
		for _, a := range class.Attributes {
			c.members[" "+class.Name] = append(c.members[" "+class.Name], a.Name)
		}
		for _, m := range class.Methods {
			c.members[" "+class.Name] = append(c.members[" "+class.Name], m.Name)
		}
	}
	return c
}

// lastWord is the name, or the chain of names with dots between them, that a line ends with.
var lastWord = regexp.MustCompile(`[A-Za-z_0-9.]*$`)

// candidates returns what may stand in the line from a byte on.
func (c completion) candidates(line string) (from int, names []string) {
	word := lastWord.FindString(line)
	from = len(line) - len(word)
	owners := strings.Split(word, ".")
	begun := owners[len(owners)-1]
	owners = owners[:len(owners)-1]
	from += len(word) - len(begun)
	offered := c.names
	if len(owners) > 0 {
		offered = c.membersOf(owners)
	}
	for _, name := range offered {
		if strings.HasPrefix(name, begun) && (begun != "" || len(owners) > 0) {
			names = append(names, name)
		}
	}
	return from, names
}

// membersOf returns what a variable, or an attribute of one, has; of anything else, such as the result of a call, what
// any value may have.
func (c completion) membersOf(owners []string) []string {
	if len(owners) == 1 && c.members[owners[0]] != nil {
		return c.members[owners[0]]
	}
	kind := c.types[owners[0]]
	for _, name := range owners[1:] {
		kind = attributeType(kind, name)
	}
	if members := c.members[" "+kind]; members != nil {
		return members
	}
	if owners[0] != "" {
		return nil
	}
	var all []string
	for kind, members := range c.members {
		if strings.HasPrefix(kind, " ") {
			all = append(all, members...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// attributeType returns the type of an attribute of a class, "" if it has none of the kind.
func attributeType(class, name string) string {
	for _, c := range api.Classes() {
		for _, a := range c.Attributes {
			if c.Name == class && a.Name == name {
				return strings.TrimSuffix(a.Type, " | None")
			}
		}
	}
	return ""
}
