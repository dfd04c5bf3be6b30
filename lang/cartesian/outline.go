// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// WriteTree writes the variants as an outline of their names: labels that are alone in their place stand on one line,
// what follows them is indented below it, with the number of variants in brackets where there are several. What looks
// the same below several labels is written once; later ones name the place:
//
//	disk
//	  virtio (2)
//	    RHEL
//	    Windows
//	  ide (2, as in virtio)
//
// The place is named from where the two ways part, with "…" before it if that is further out.
// It writes at most limit lines, or all if limit is negative, and returns how many. Errors are as those of
// [Config.Write].
func (c *Config) WriteTree(ctx context.Context, out io.Writer, limit int, o Options) (int, error) {
	t := &outline{out: bufio.NewWriter(out), limit: limit, places: map[*branch]string{}}
	var root *branch
	var err error
	if !c.root.joined && !c.nameless {
		w := c.newNamesWalk(ctx, o)
		w.bounds.known = knownOfNames
		root, err = w.run()
	}
	switch {
	case err != nil:
	case root != nil:
		t.branch(root, "", 0)
	default: // the names are all that is known, or there are none
		err = t.names(c.newNamesWalk(ctx, o))
	}
	return t.written, errors.Join(err, t.out.Flush())
}

// knownOfNames is how many bytes a walk for names may remember.
const knownOfNames = 64 << 20

// newNamesWalk returns a walk for names; or for all, if names depend on the rest.
func (c *Config) newNamesWalk(ctx context.Context, o Options) *walk {
	w := newWalk(ctx, c, o)
	w.dict = newDict(ctx, c)
	w.names = !c.nameless
	return w
}

// An outline is one call of WriteTree.
type outline struct {
	out     *bufio.Writer
	limit   int
	written int
	places  map[*branch]string // of what is written: where
}

// line writes one line, and reports whether more may follow.
func (t *outline) line(depth int, text string) bool {
	if t.written == t.limit {
		return false
	}
	t.written++
	for range depth {
		_, _ = t.out.WriteString("  ") // Flush tells what was wrong
	}
	_, err := fmt.Fprintln(t.out, text)
	return err == nil
}

// branch writes what is left of the tree at b, which is called above from the root.
func (t *outline) branch(b *branch, above string, depth int) bool {
	var row []string
	for {
		if b.node.full != "" {
			row = append(row, b.node.full)
		}
		if len(b.branches) != 1 {
			break
		}
		b = b.branches[0]
	}
	labels := strings.Join(row, ".")
	if len(b.branches) == 0 {
		return t.line(depth, labels)
	}
	place := string(appendLabels([]byte(above), labels))
	if labels == "" {
		place = above
	} else {
		if known, ok := t.places[b]; ok {
			return t.line(depth, fmt.Sprintf("%s (%v, as in %s)", labels, b.count(), seenFrom(above, known)))
		}
		t.places[b] = place
		if !t.line(depth, fmt.Sprintf("%s (%v)", labels, b.count())) {
			return false
		}
		depth++
	}
	for _, below := range b.branches {
		if !t.branch(below, place, depth) {
			return false
		}
	}
	return true
}

// seenFrom shortens the name of a place by what it shares with the place above.
func seenFrom(above, place string) string {
	if rest, ok := strings.CutPrefix(place, above+"."); ok {
		return rest
	}
	parted := 0
	for i := 0; i < min(len(above), len(place)) && above[i] == place[i]; i++ {
		if place[i] == '.' {
			parted = i + 1
		}
	}
	if above == "" || parted == 0 {
		return place
	}
	return "…" + place[parted:]
}

// count returns the number of variants.
func (b *branch) count() *big.Int {
	if b.variants == nil {
		b.variants = new(big.Int)
		if len(b.branches) == 0 {
			b.variants = one
		}
		for _, below := range b.branches {
			b.variants.Add(b.variants, below.count())
		}
	}
	return b.variants
}

// names writes the variants of a walk, whose names are all that is known of its tree.
func (t *outline) names(w *walk) error {
	var last []string
	w.emit = func(d *dict) bool {
		labels := strings.Split(string(d.name), ".")
		same := 0
		for same < min(len(last), len(labels)-1) && labels[same] == last[same] {
			same++
		}
		for depth, label := range labels[same:] {
			if !t.line(same+depth, label) {
				return false
			}
		}
		last = labels
		return true
	}
	_, err := w.run()
	return err
}
