// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"fmt"
	"slices"

	"github.com/mhmig/mhmig/lang/diag"
)

// Unselected warns of what stands in the config called name as a variant and cannot be selected as one: it has the name
// of another variant of its set, or what is inside the config drops it everywhere. Filters at the top level of files are
// left aside: these select some of many on purpose. What an "only" drops that nothing can match is left to
// [Config.Strict], which says why.
//
// In a config with joins, and in one that would take long, it finds only equal names. An error is what is wrong with the
// config, or that of ctx, its cause.
func (r Reader) Unselected(ctx context.Context, name string) (diag.List, error) {
	c, err := buildConfig(namedFiles{r.Libraries, r.Texts}, name, nil, true)
	if err != nil {
		return nil, err
	}
	never, err := c.neverSelected(ctx)
	return onceEach(append(c.equallyNamed(), never...)), err
}

// equallyNamed warns of the variants that have the name of one before them in their set.
func (c *Config) equallyNamed() (warnings diag.List) {
	for _, n := range c.allNodes() {
		firsts := map[string]place{}
		for _, v := range n.children {
			if !v.isChoice {
				continue
			}
			first, again := firsts[v.full]
			if !again {
				firsts[v.full] = v.place
				continue
			}
			d := v.place.diagnostic(fmt.Sprintf("the set has a variant %q already, in line %d: no filter can select only one of them", v.short, first.pos.Line), "")
			d.Severity, d.Rule = diag.Warning, "equal-variants"
			warnings = append(warnings, d)
		}
	}
	return warnings
}

// stepsToSelected limits the search for what is never selected, to about half a second.
const stepsToSelected = 500_000

// neverSelected warns of the variants that are part of no variant of the config, the outer ones of nested ones.
func (c *Config) neverSelected(ctx context.Context) (warnings diag.List, err error) {
	if c.root.joined || c.nameless {
		return nil, nil
	}
	w := c.newNamesWalk(ctx, Options{})
	w.bounds.known = knownOfNames
	w.mostSteps = stepsToSelected
	root, err := w.run()
	if err != nil || root == nil || w.ended {
		return nil, err // without one it takes too long to find out, or the config has no variants at all
	}
	selected := map[place]bool{}
	seen := map[*branch]bool{}
	var visit func(b *branch)
	visit = func(b *branch) {
		if seen[b] {
			return
		}
		seen[b] = true
		selected[b.node.place] = true
		for _, below := range b.branches {
			visit(below)
		}
	}
	visit(root)

	inside := map[place]bool{} // of others that are never selected
	var never []*node
	for _, n := range c.allNodes() {
		if n.isChoice && !selected[n.place] {
			never = append(never, n)
			n.addInside(inside)
		}
	}
	for _, n := range never {
		if inside[n.place] || c.asksForNothing(n) {
			continue
		}
		d := n.place.diagnostic(fmt.Sprintf("the variant %q is never selected: filters in the config drop it wherever it could be", n.short),
			"mhmig explain CONFIG --why-not FILTER shows which ones")
		d.Severity, d.Rule = diag.Warning, "never-selected"
		warnings = append(warnings, d)
	}
	return warnings, nil
}

// addInside adds the places of the variants in the block of the variant n.
func (n *node) addInside(places map[place]bool) {
	type visited struct {
		node  *node
		depth int
	}
	seen := map[visited]bool{}
	var visit func(n *node, depth int) // of blocks that are open
	visit = func(n *node, depth int) {
		if n.closes {
			depth--
		}
		if depth == 0 || seen[visited{n, depth}] {
			return
		}
		seen[visited{n, depth}] = true
		for _, child := range n.children {
			if child.isChoice {
				places[child.place] = true
				visit(child, depth+1)
			} else {
				visit(child, depth)
			}
		}
	}
	visit(n, 1)
}

// asksForNothing reports whether the block of a variant begins with an "only" of words that no variant can match.
func (c *Config) asksForNothing(n *node) bool {
	for {
		for _, s := range n.statements {
			if p, ok := s.(*pick); ok && p.only && c.matchesNothing(p) {
				return true
			}
		}
		if n.closes || len(n.children) == 0 {
			return false
		}
		// What stands before the set that n ends with is below all of its variants.
		next := n.children[0]
		for depth := 1; depth > 0; {
			if next.closes {
				depth--
			}
			if len(next.children) == 0 {
				return false
			}
			if next = next.children[0]; next.isChoice {
				depth++
			}
		}
		n = next
	}
}

func (c *Config) matchesNothing(p *pick) bool {
	return !slices.ContainsFunc(c.rows.query(p.filter), c.possible)
}
