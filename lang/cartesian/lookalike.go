// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mhmig/mhmig/lang/diag"
)

// A line such as "(v=x): k = 1" looks like a condition that names a set, but "=" stands before the first colon, and so
// the language takes it for an assignment to the key "(v".

// looksLikeCondition tells whether the text of an assignment is a filter that names a set, with a colon behind it. It
// returns the filter and what follows the colon.
func looksLikeCondition(text string) (f filterText, negated bool, content string, ok bool) {
	head, content, ok := strings.Cut(text, ":")
	if !ok {
		return f, false, "", false
	}
	head, negated = strings.CutPrefix(head, "!")
	head = withoutBlanks(head)
	f, _, err := parseFilter(head)
	if err != nil {
		return f, false, "", false
	}
	named := false
	for _, w := range f.Words {
		for _, row := range w {
			for _, l := range row {
				named = named || l.Set != ""
			}
		}
	}
	return f, negated, strings.TrimLeftFunc(content, isBlank), named
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

// conditionLookalikes warns of assignments that look like conditions.
func (c *Config) conditionLookalikes() diag.List {
	var warnings diag.List
	for _, at := range c.lookalikes {
		text := at.location().Text
		f, negated, content, ok := looksLikeCondition(text)
		if !ok {
			continue
		}
		key, value := splitAssignment(text)
		message := fmt.Sprintf("this sets the key %q to %q; it is no condition", key, value)
		if content == "" {
			message += ", and what stands below it always acts"
		}
		d := at.diagnostic(message, c.insteadOf(f, negated, content))
		d.Severity = diag.Warning
		warnings = append(warnings, d)
	}
	return warnings
}

// insteadOf says what to write for a condition that names a set. Conditions can only ask for bare labels, which other
// sets may have too.
func (c *Config) insteadOf(f filterText, negated bool, content string) string {
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

// isInOtherSets tells whether variants have the label by its name alone, or in another set.
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

// mayLookLikeCondition is a quick test that lets all pass that do.
func mayLookLikeCondition(key, op, value string) bool {
	return op == "=" && strings.Contains(key, "(") && strings.Contains(value, ":")
}
