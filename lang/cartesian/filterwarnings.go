// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/diag"
)

// Warnings tells what in the config has a meaning, but probably not the one that the user had in mind: words of filters
// in extra statements that no variant can match, assignments that look like filters or conditions or have a key that
// cannot be meant, quotes without a partner. They are in order of position.
func (c *Config) Warnings() diag.List {
	warnings := append(c.lookalikeWarnings(false), c.labelKeyWarnings()...)
	for _, o := range c.oddities {
		if o.src.extra || !o.strict {
			warnings = append(warnings, o.warning())
		}
	}
	for _, use := range c.filters {
		if use.src.extra {
			warnings = append(warnings, c.filterWarnings(use.src, use.text)...)
		}
	}
	return onceEach(warnings)
}

// Typos returns warnings about the extra statements that do not select or set what they seem to, and about the words of "only" and "join"
// in them that no variant can match. Each is among the Warnings too. What runs for others should refuse them: a typo must
// not select less than was asked for, nor more.
func (c *Config) Typos() diag.List {
	typos := append(c.lookalikeWarnings(true), c.labelKeyWarnings()...)
	for _, o := range c.oddities {
		if o.src.extra && !o.harmless {
			typos = append(typos, o.warning())
		}
	}
	for _, use := range c.filters {
		if use.demands && use.src.extra {
			typos = append(typos, c.filterWarnings(use.src, use.text)...)
		}
	}
	return onceEach(asErrors(typos))
}

// StrictWarnings are Warnings, the joins that lose combinations, keys such as name_fixed, and the words of "only" and
// "join" in the config's files that no variant can match. Large configs have many of these: words for parts of a config that this one does not include.
func (c *Config) StrictWarnings() diag.List {
	warnings := append(c.Warnings(), c.lossyJoins()...)
	for _, o := range c.oddities {
		if o.strict && !o.src.extra {
			warnings = append(warnings, o.warning())
		}
	}
	for _, use := range c.filters {
		if use.demands && !use.src.extra {
			warnings = append(warnings, c.filterWarnings(use.src, use.text)...)
		}
	}
	return onceEach(warnings)
}

// Strict are the StrictWarnings as errors, for those who want none.
func (c *Config) Strict() diag.List { return asErrors(c.StrictWarnings()) }

func asErrors(l diag.List) diag.List {
	for i := range l {
		l[i].Severity = diag.Error
	}
	return l
}

// onceEach sorts l, and removes what it says again.
func onceEach(l diag.List) diag.List {
	l.Sort()
	var once diag.List
	for _, d := range l {
		if !slices.Contains(once[max(0, len(once)-20):], d) {
			once = append(once, d)
		}
	}
	return once
}

// filterWarnings warns of the words of a filter that no variant can match, whatever statements drop.
func (c *Config) filterWarnings(src *source, f filterText) diag.List {
	var warnings diag.List
	for _, w := range f.Words {
		if !c.possible(lookUpWord(w, c.labels)) {
			warnings = append(warnings, c.wordWarnings(src, w)...)
		}
	}
	for i := range warnings {
		warnings[i].Severity = diag.Warning
	}
	return warnings
}

// wordWarnings returns why no variant can match a word: labels that no variant has, else labels that never follow each other, else
// rows that no variant has together.
func (c *Config) wordWarnings(src *source, w [][]label) diag.List {
	var warnings diag.List
	for _, row := range w {
		for i, l := range row {
			if !c.root.below.has(int(c.labels.lookUp(l))) {
				message := fmt.Sprintf("no variant has the label %q", l.String())
				if l.Set != "" && !slices.Contains(c.setNames(), l.Set) {
					message = "no set is named " + l.Set
				}
				warnings = append(warnings, src.diagnostic(l.Pos, message, c.suggestRow(row, i)))
			}
		}
	}
	if warnings != nil {
		return warnings
	}
	for _, row := range w {
		ids := lookUpWord([][]label{row}, c.labels)
		if c.possible(ids) {
			continue
		}
		at := 1 // the first label that does not follow
		for c.possible(queryWord{ids[0][:at+1]}) {
			at++
		}
		warnings = append(warnings, src.diagnostic(row[at].Pos,
			fmt.Sprintf("%q never directly follows %q", row[at].String(), rowText(row[:at])), c.suggestRow(row, at)))
	}
	if warnings != nil {
		return warnings
	}
	ids := lookUpWord(w, c.labels)
	for i := range w {
		for j := range w[:i] {
			if !c.possible(queryWord{ids[j], ids[i]}) {
				return diag.List{src.diagnostic(w[i][0].Pos,
					fmt.Sprintf("no variant has both %q and %q", rowText(w[j]), rowText(w[i])), "")}
			}
		}
	}
	texts := make([]string, len(w))
	for i, row := range w {
		texts[i] = fmt.Sprintf("%q", rowText(row))
	}
	return diag.List{src.diagnostic(w[0][0].Pos, "no variant has all of "+strings.Join(texts, ", "), "")}
}

// suggestRow is a hint for a row of labels of which the one at wrong cannot be.
func (c *Config) suggestRow(row []label, wrong int) string {
	ids := lookUpWord([][]label{row}, c.labels)[0]
	meant := func(at int, name label) string {
		better := slices.Clone(row)
		better[at] = name
		for n := len(row); n > at; n-- {
			if c.possible(lookUpWord([][]label{better[:n]}, c.labels)) {
				return fmt.Sprintf("did you mean %q?", rowText(better[:n]))
			}
		}
		return ""
	}
	nearest := func(at int, candidates []label) string {
		byText := map[string]label{}
		var texts []string
		for _, l := range candidates {
			byText[l.String()] = l
			texts = append(texts, l.String())
		}
		// Of equally near ones, one with the same letters in another order is most probably meant.
		letters := func(s string) string { return string(slices.Sorted(slices.Values([]rune(s)))) }
		var swapped, others []string
		for _, t := range texts {
			if letters(t) == letters(row[at].String()) {
				swapped = append(swapped, t)
			} else {
				others = append(others, t)
			}
		}
		texts = slices.Concat(swapped, others)
		for range 3 {
			near := diag.Nearest(row[at].String(), texts)
			if near == "" {
				break
			}
			if hint := meant(at, byText[near]); hint != "" {
				return hint
			}
			texts = slices.DeleteFunc(texts, func(t string) bool { return t == near })
		}
		return ""
	}

	var following []label
	if wrong > 0 {
		following = c.followers(ids[:wrong], row[wrong].Set != "")
		if hint := nearest(wrong, following); hint != "" {
			return hint
		}
	}
	known := c.knownLabels(row[wrong].Set != "")
	if wrong == 0 || len(following) == 0 {
		if hint := nearest(wrong, known); hint != "" {
			return hint
		}
	}
	if wrong == 0 {
		return ""
	}
	for i := range row {
		for j := range row[:i] {
			swapped := slices.Clone(row)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			if c.possible(lookUpWord([][]label{swapped}, c.labels)) {
				return fmt.Sprintf("did you mean %q?", rowText(swapped))
			}
		}
	}
	if c.possible(queryWord{ids[:wrong], ids[wrong:]}) {
		return fmt.Sprintf("write %q: \"..\" joins labels that do not follow each other", rowText(row[:wrong])+".."+rowText(row[wrong:]))
	}
	if len(following) == 0 {
		return fmt.Sprintf("nothing follows %q", rowText(row[:wrong]))
	}
	const shown = 8
	names := make([]string, len(following))
	for i, l := range following {
		names[i] = l.String()
	}
	more := ""
	if len(names) > shown {
		more, names = fmt.Sprintf(" and %d more", len(names)-shown), names[:shown]
	}
	return fmt.Sprintf("after %q there are %s%s", rowText(row[:wrong]), strings.Join(names, ", "), more)
}

// knownLabels returns all labels that variants have: bare, or also those in the form "(set=name)".
func (c *Config) knownLabels(named bool) []label {
	var known []label
	for id, text := range c.labels.texts {
		if c.root.below.has(id) {
			if l := splitLabel(text); named || l.Set == "" {
				known = append(known, l)
			}
		}
	}
	return known
}

// setNames returns the names of the config's sets.
func (c *Config) setNames() []string {
	var names []string
	for _, l := range c.knownLabels(true) {
		if l.Set != "" && !slices.Contains(names, l.Set) {
			names = append(names, l.Set)
		}
	}
	return names
}

// splitLabel is the opposite of label.text.
func splitLabel(text string) label {
	inner, ok := strings.CutPrefix(text, "(")
	if !ok {
		return label{Name: text}
	}
	set, name, _ := strings.Cut(strings.TrimSuffix(inner, ")"), "=")
	return label{Set: set, Name: name}
}

// possible reports whether some path of the tree matches a word, whatever statements drop.
func (c *Config) possible(w queryWord) bool {
	dead := map[string]bool{}
	var visit func(n *node, path []nodeLabel) bool
	visit = func(n *node, path []nodeLabel) bool {
		path = append(slices.Clip(path), n.labels...)
		if w.matches(path) {
			return true // all that lies below does
		}
		if !w.mightMatch(path, n.below) {
			return false
		}
		key := binary.AppendUvarint(nil, uint64(n.index))
		for _, row := range w {
			key = appendProgress(key, row, path)
		}
		if dead[string(key)] {
			return false
		}
		for _, child := range n.children {
			if visit(child, path) {
				return true
			}
		}
		dead[string(key)] = true
		return false
	}
	return visit(c.root, nil)
}

// followers returns the labels that directly follow a row somewhere, in order of the tree; with their sets if named.
func (c *Config) followers(row []labelID, named bool) []label {
	var found []label
	seen := map[string]bool{}
	ends := func(path []nodeLabel, n int) bool { return endsWith(path, row[:n]) }
	var visit func(n *node, path []nodeLabel)
	visit = func(n *node, path []nodeLabel) {
		path = append(slices.Clip(path), n.labels...)
		for i := len(path) - len(n.labels); i < len(path); i++ {
			if !ends(path[:i], len(row)) {
				continue
			}
			l := label{Name: c.labels.texts[path[i].name]}
			if named {
				l = splitLabel(c.labels.texts[path[i].full])
			}
			if !slices.Contains(found, l) {
				found = append(found, l)
			}
		}
		key := binary.AppendUvarint(nil, uint64(n.index))
		for length := 1; length <= len(row); length++ {
			if ends(path, length) {
				key = binary.AppendUvarint(key, uint64(length))
			}
		}
		if seen[string(key)] {
			return
		}
		seen[string(key)] = true
		for _, child := range n.children {
			visit(child, path)
		}
	}
	visit(c.root, nil)
	return found
}
