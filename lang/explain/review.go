// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/printable"
)

// A DiffSummary collects differences for printing: the same change in many variants is
// printed once.
type DiffSummary struct {
	added, removed namesOf
	changed        int
	keys           map[string]*keySummary
}

// namesOf counts variants, and keeps the names of the first ones.
type namesOf struct {
	count int
	first []string
}

// A keySummary is the changes of one param.
type keySummary struct {
	changes []*paramChange // the first ones
	others  int            // variants in which it changed in other ways
	all     int
}

type paramChange struct {
	before, after string // "" unless had, has
	had, has      bool
	in            namesOf
}

// How much of a review is shown.
const (
	shownVariants = 10
	shownNames    = 3
	shownChanges  = 10 // of one param
)

func (n *namesOf) add(name string, shown int) {
	if n.count++; len(n.first) < shown {
		n.first = append(n.first, name)
	}
}

// Add adds a difference.
func (r *DiffSummary) Add(d *cartesian.Difference) {
	switch d.Kind {
	case cartesian.Added:
		r.added.add(d.Name, shownVariants)
		return
	case cartesian.Removed:
		r.removed.add(d.Name, shownVariants)
		return
	}
	r.changed++
	if r.keys == nil {
		r.keys = map[string]*keySummary{}
	}
	for _, p := range d.Params {
		key := r.keys[p.Key]
		if key == nil {
			key = &keySummary{}
			r.keys[p.Key] = key
		}
		key.all++
		change := paramChange{had: p.Old != nil, has: p.New != nil}
		if change.had {
			change.before = *p.Old
		}
		if change.has {
			change.after = *p.New
		}
		same := slices.IndexFunc(key.changes, func(c *paramChange) bool {
			return c.before == change.before && c.after == change.after && c.had == change.had && c.has == change.has
		})
		switch {
		case same >= 0:
			key.changes[same].in.add(d.Name, shownNames)
		case len(key.changes) < shownChanges:
			change.in.add(d.Name, shownNames)
			key.changes = append(key.changes, &change)
		default:
			key.others++
		}
	}
}

// Write writes the summary; alike is the number of variants without a difference.
func (r *DiffSummary) Write(w io.Writer, alike int) {
	writeNames := func(title string, n namesOf) {
		if n.count == 0 {
			return
		}
		fmt.Fprintf(w, "%s\n", counted(n.count, "variant "+title, "variants "+title))
		for _, name := range n.first {
			fmt.Fprintf(w, "  %s\n", printable.Line(name))
		}
		if more := n.count - len(n.first); more > 0 {
			fmt.Fprintf(w, "  and %d more\n", more)
		}
		fmt.Fprintln(w)
	}
	writeNames("added", r.added)
	writeNames("removed", r.removed)
	if r.changed > 0 {
		fmt.Fprintf(w, "%s\n", counted(r.changed, "variant changed", "variants changed"))
	}
	keys := make([]string, 0, len(r.keys))
	for key := range r.keys {
		keys = append(keys, key)
	}
	// Params that changed in most variants first.
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(r.keys[b].all, r.keys[a].all), strings.Compare(a, b))
	})
	for _, name := range keys {
		key := r.keys[name]
		slices.SortStableFunc(key.changes, func(a, b *paramChange) int { return cmp.Compare(b.in.count, a.in.count) })
		for _, c := range key.changes {
			before, after := showChange(c)
			if line := fmt.Sprintf("  %s: %s -> %s", printable.Line(name), before, after); len([]rune(line)) <= pageWidth {
				fmt.Fprintln(w, line)
			} else {
				fmt.Fprintf(w, "  %s:\n       %s\n    -> %s\n", printable.Line(name), before, after)
			}
			fmt.Fprintf(w, "    in %s, such as\n", counted(c.in.count, "variant", "variants"))
			for _, variant := range c.in.first {
				fmt.Fprintf(w, "      %s\n", printable.Line(variant))
			}
		}
		if key.others > 0 {
			fmt.Fprintf(w, "  %s: in other ways in %s (--format jsonl shows all)\n", printable.Line(name), counted(key.others, "variant", "variants"))
		}
	}
	if r.changed > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%d added, %d removed, %d changed, %d alike\n", r.added.count, r.removed.count, r.changed, alike)
}

// showChange formats two values so that the difference is visible.
func showChange(c *paramChange) (before, after string) {
	const columns = pageWidth - 8
	const context = 20 // characters before the first difference
	before, after = "(none)", "(none)"
	a, b := []rune(c.before), []rune(c.after)
	skipped := ""
	if c.had && c.has && max(len(a), len(b)) > columns {
		same := 0
		for same < min(len(a), len(b)) && a[same] == b[same] {
			same++
		}
		if same > context {
			a, b, skipped = a[same-context:], b[same-context:], "..."
		}
	}
	if c.had {
		before = skipped + showValue(string(a), columns-len(skipped))
	}
	if c.has {
		after = skipped + showValue(string(b), columns-len(skipped))
	}
	return before, after
}
