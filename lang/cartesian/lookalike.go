// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mhmig/mhmig/lang/diag"
)

// A line such as "(v=x): k = 1" looks like a condition that names a set, and "(v=x)" like a filter, but "=" stands before
// the first colon, and so the language takes them for assignments to the key "(v".

// A lookalike is the filter that the text of an assignment looks like.
type lookalike struct {
	filter      filterText
	isCondition bool // a colon follows it
	negated     bool
	content     string // what follows the colon
}

// readLookalike reports whether the text of an assignment is a filter that names a set, or such a condition.
func readLookalike(text string) (l lookalike, ok bool) {
	head, content, isCondition := strings.Cut(text, ":")
	l.isCondition, l.content = isCondition, strings.TrimLeftFunc(content, isBlank)
	head, l.negated = strings.CutPrefix(head, "!")
	if isCondition {
		head = withoutBlanks(head)
	}
	f, _, err := parseFilter(head)
	if err != nil {
		return l, false
	}
	l.filter = f
	return l, len(f.named()) > 0
}

// named returns the labels of a filter that name their sets.
func (f filterText) named() []label {
	var named []label
	for _, w := range f.Words {
		for _, row := range w {
			for _, l := range row {
				if l.Set != "" {
					named = append(named, l)
				}
			}
		}
	}
	return named
}

// withoutBlanks removes blanks, which mean nothing in a condition, but where they part labels.
func withoutBlanks(head string) string {
	var b strings.Builder
	last := ' '
	for part := range strings.FieldsFuncSeq(head, isBlank) {
		first, _ := utf8.DecodeRuneInString(part)
		if isLabelRune(last) && isLabelRune(first) {
			b.WriteByte(' ')
		}
		b.WriteString(part)
		last, _ = utf8.DecodeLastRuneInString(part)
	}
	return b.String()
}

// lookalikeWarnings warns of assignments that look like filters or conditions: of all, or of those in extra statements.
func (c *Config) lookalikeWarnings(onlyExtra bool) diag.List {
	var warnings diag.List
	for _, at := range c.lookalikes {
		if onlyExtra && !at.src.extra {
			continue
		}
		text := at.location().Text
		l, ok := readLookalike(text)
		if !ok {
			continue
		}
		key, value := splitAssignment(text)
		message := fmt.Sprintf("this sets the key %q to %q; it is not a condition", key, value)
		switch {
		case !l.isCondition:
			message = fmt.Sprintf("this sets the key %q to %q; it selects nothing", key, value)
		case l.content == "":
			message += ", and the statements below it always apply"
		}
		d := at.diagnostic(message, c.insteadOf(l))
		d.Severity = diag.Warning
		warnings = append(warnings, d)
	}
	return warnings
}

// An extraKey is a key that an extra statement sets, and its value.
type extraKey struct {
	place
	key, value string
}

// labelKeyWarnings warns of extra statements that set a key with the labels of a variant as its name, alone or behind
// "only" or "no". A key that a file sets too is meant as one.
func (c *Config) labelKeyWarnings() diag.List {
	var warnings diag.List
	for _, k := range c.extraKeys {
		instead := c.filterOfKey(k.key)
		if instead == "" || slices.Contains(c.KeysInFiles(), k.key) {
			continue
		}
		d := k.diagnostic(fmt.Sprintf("this sets the key %q to %q; it selects nothing", k.key, k.value),
			fmt.Sprintf("write %q; a key of that name is set by --param '%s=%s'", instead, k.key, k.value))
		d.Severity = diag.Warning
		warnings = append(warnings, d)
	}
	return warnings
}

// filterOfKey returns the statement that a key looks like: "only A" for the keys A and onlyA, if a variant has the label
// A. "" if it does not look like one.
func (c *Config) filterOfKey(key string) string {
	for _, keyword := range []string{"", "only", "no"} {
		text, ok := strings.CutPrefix(key, keyword)
		f, _, err := parseFilter(strings.TrimLeftFunc(text, isBlank))
		if !ok || err != nil || len(f.Words) == 0 {
			continue
		}
		if !slices.ContainsFunc(f.Words, func(w [][]label) bool { return !c.possible(lookUpWord(w, c.labels)) }) {
			return cmp.Or(keyword, "only") + " " + f.String()
		}
	}
	return ""
}

// insteadOf says what to write for a lookalike, or why there can be nothing. Conditions can only ask for bare labels,
// which other sets may have too.
func (c *Config) insteadOf(like lookalike) string {
	f, negated, content := like.filter, like.negated, like.content
	for _, l := range f.named() {
		if sets := c.setNames(); !slices.Contains(sets, l.Set) {
			return "no set is named " + l.Set + c.nearestLabel(l)
		}
		if !c.root.below.has(int(c.labels.lookUp(l))) {
			return fmt.Sprintf("the set %s has no variant %s%s", l.Set, l.Name, c.nearestLabel(l))
		}
	}
	if !like.isCondition {
		keyword := "only"
		if negated {
			keyword = "no"
		}
		return fmt.Sprintf("write %q", keyword+" "+f.String())
	}
	var words []string
	shared := ""
	for _, w := range f.Words {
		var rows []string
		for _, row := range w {
			bare := make([]label, len(row))
			for i, l := range row {
				bare[i] = label{Name: l.Name}
				if l.Set != "" && c.isInOtherSets(l) {
					shared = l.Name
				}
			}
			rows = append(rows, rowText(bare))
		}
		words = append(words, strings.Join(rows, ".."))
	}
	head := strings.Join(words, ", ") + ":"
	if negated {
		head = "!" + head
	}
	if content != "" {
		head += " " + content
	}
	if shared != "" {
		return fmt.Sprintf("write %q, but %q is also a label outside of that set; or put the content into the variant itself", head, shared)
	}
	return fmt.Sprintf("write %q", head)
}

// nearestLabel ends a message about a label of a named set that no variant has.
func (c *Config) nearestLabel(l label) string {
	var sets, names []string
	for _, known := range c.knownLabels(true) {
		if known.Set == "" {
			continue
		}
		sets = append(sets, known.Set)
		if known.Set == l.Set {
			names = append(names, known.Name)
		}
	}
	near := label{Set: l.Set, Name: diag.Nearest(l.Name, names)}
	if len(names) == 0 {
		near = label{Set: diag.Nearest(l.Set, sets), Name: l.Name}
	}
	if near.Set == "" || near.Name == "" || !c.root.below.has(int(c.labels.lookUp(near))) {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", near.String())
}

// isInOtherSets reports whether variants have the label by its name alone, or in another set.
func (c *Config) isInOtherSets(l label) bool {
	for id, text := range c.labels.texts {
		if other := splitLabel(text); other.Name == l.Name && other.Set != "" && other.Set != l.Set && c.root.below.has(id) {
			return true
		}
	}
	found := false
	bare := c.labels.lookUp(label{Name: l.Name})
	for _, n := range c.allNodes() {
		for _, own := range n.labels {
			found = found || own.name == bare && own.full == bare
		}
	}
	return found
}

// splitAssignment returns what stands on the left and on the right of the operator of an assignment.
func splitAssignment(text string) (key, value string) {
	at, end := findOperator(text)
	return strings.TrimRightFunc(text[:at], isBlank), strings.TrimLeftFunc(text[end:], isBlank)
}

// allNodes returns each node of the config once.
func (c *Config) allNodes() []*node {
	nodes := make([]*node, 0, c.nodes)
	seen := make([]bool, c.nodes)
	var visit func(n *node)
	visit = func(n *node) {
		if !seen[n.index] {
			seen[n.index] = true
			nodes = append(nodes, n)
			for _, child := range n.children {
				visit(child)
			}
		}
	}
	visit(c.root)
	return nodes
}

// mayLookLikeFilter is a quick test that lets all pass that do.
func mayLookLikeFilter(key string, op operator) bool {
	return op == opSet && strings.Contains(key, "(")
}
