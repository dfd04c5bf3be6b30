// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// A joinGenerator writes small configs whose joins multiply what other joins make.
type joinGenerator struct {
	*rand.Rand
	out  strings.Builder
	sets [][]string // labels of the sets so far
}

func generateJoins(seed uint64) string {
	g := &joinGenerator{Rand: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // to be repeated
	for range 2 {
		g.set("", 0, 2+g.IntN(2))
	}
	for range 2 + g.IntN(3) {
		g.set("", 1, 1+g.IntN(3))
		if g.IntN(6) == 0 {
			fmt.Fprintln(&g.out, g.join())
		}
	}
	return g.out.String()
}

// set writes a set of so many variants. Above the first ones, most variants join what stands below them.
func (g *joinGenerator) set(indent string, joins, variants int) {
	name := ""
	if g.IntN(6) == 0 {
		name = fmt.Sprintf(" v%d", len(g.sets))
	}
	fmt.Fprintf(&g.out, "%svariants%s:\n", indent, name)
	at := len(g.sets)
	g.sets = append(g.sets, nil)
	for i := range variants {
		label := fmt.Sprintf("%c%d", 'a'+i, at)
		hidden := ""
		if g.IntN(12) == 0 {
			hidden = "@"
		}
		fmt.Fprintf(&g.out, "%s    - %s%s:\n", indent, hidden, label)
		inside := indent + "        "
		if len(indent) < 16 && g.IntN(6) == 0 {
			g.set(inside, joins, 2)
		}
		switch {
		case joins > 0 && g.IntN(2) == 0:
			fmt.Fprintln(&g.out, inside+g.join())
		case at > 0 && g.IntN(4) == 0:
			fmt.Fprintf(&g.out, "%s%s %s\n", inside, []string{"only", "no"}[g.IntN(2)], strings.Join(g.words(g.IntN(at), 2), ", "))
		}
		g.sets[at] = append(g.sets[at], label)
	}
}

// join takes words of one set mostly, which are of different variants.
func (g *joinGenerator) join() string {
	words := g.words(g.IntN(len(g.sets)), 2+g.IntN(2))
	for i := range words {
		if g.IntN(5) == 0 {
			words[i] += ".." + g.words(g.IntN(len(g.sets)), 1)[0]
		}
	}
	if g.IntN(8) == 0 {
		words = append(words, g.words(g.IntN(len(g.sets)), 1)...)
	}
	return "join " + strings.Join(words, " ")
}

func (g *joinGenerator) words(set, most int) []string {
	labels := g.sets[set]
	if len(labels) == 0 {
		return []string{"a0"}
	}
	var words []string
	for _, i := range g.Perm(len(labels))[:min(most, len(labels))] {
		words = append(words, labels[i])
	}
	return words
}

// TestJoinsInJoins compares numbers that are counted, and names that are written with scouts ahead, with those of variants
// that are made one by one.
func TestJoinsInJoins(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	const most = 2000
	told := map[string]int{}
	for seed := range uint64(600) {
		config := generateJoins(seed)
		for _, defaults := range []bool{false, true} {
			o := cartesian.Options{Defaults: defaults}
			c := parseText(t, config)
			names, made, err := makeAll(t.Context(), c, o, most)
			if made == most {
				told["too many"]++
				continue
			}
			var written strings.Builder
			_, writeErr := c.WriteTogether(t.Context(), &written, cartesian.Names, -1, o, 1, 500)
			if (writeErr == nil) != (err == nil) || err == nil && written.String() != names {
				t.Fatalf("seed %d, defaults %t: written, error %v:\n%s\nmade, error %v:\n%s\n%s", seed, defaults, writeErr, written.String(), err, names, config)
			}
			n, known, countErr := c.CountWithoutMaking(t.Context(), o)
			switch {
			case !known:
				told["unknown"]++
			case err != nil && countErr != nil:
				told["an error"]++
			case err != nil || countErr != nil || n.Int64() != int64(made):
				t.Fatalf("seed %d, defaults %t: counted %v, error %v; made %d, error %v\n%s", seed, defaults, n, countErr, made, err, config)
			default:
				told["counted"]++
			}
		}
	}
	t.Log(told)
	if told["counted"] < 800 || told["an error"] < 5 {
		t.Errorf("not enough of each kind: %v", told)
	}
}

// makeAll returns the names of the variants, up to so many.
func makeAll(ctx context.Context, c *cartesian.Config, o cartesian.Options, most int) (names string, made int, err error) {
	var b strings.Builder
	for v, e := range c.Variants(ctx, o) {
		if e != nil {
			return b.String(), made, e
		}
		b.WriteString(v.Name + "\n")
		if made++; made == most {
			break
		}
	}
	return b.String(), made, nil
}

// setsWithJoins is sets that have a variant each with a join of such words.
func setsWithJoins(joins ...string) string {
	var b strings.Builder
	for i, words := range joins {
		fmt.Fprintf(&b, "variants:\n    - j%d:\n        join %s\n    - n%d:\n", i, words, i)
	}
	return b.String()
}

// TestJoinsInARow finds the first variants, and counts all, of joins in joins; of some, the first ones make nothing.
func TestJoinsInARow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, config string
		want         *big.Int
	}{
		{"two", many(30) + setsWithJoins("s0.0 s0.1", "s1.0 s1.1"), plus(power(84, 7, 0), plus(power(58, 2, 0), power(30, 1, 0)))},
		{"the second one makes nothing", many(30) + setsWithJoins("s0.0 s0.1", "s1.0 s1.0..s1.1"), plus(power(58, 1, 0), power(30, 1, 0))},
		{"below a filter", many(30) + setsWithJoins("s0.0 s0.1", "s1.0 s1.1") + "variants:\n    - f:\n        only s1.0\n        only j1\n    - g:\n        only n1..n0\n", power(30, 1, 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkJoinsInARow(t, parseText(t, tt.config), tt.want)
		})
	}
}

func checkJoinsInARow(t *testing.T, c *cartesian.Config, want *big.Int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if n, err := c.Count(ctx, cartesian.Options{}); err != nil || n.Cmp(want) != 0 {
		t.Errorf("%v variants, error %v, want %v", n, err, want)
	}
	if more, err := c.Exceeds(ctx, 100, cartesian.Options{}); !more || err != nil {
		t.Errorf("more than 100: %t, error %v", more, err)
	}
	if _, n, err := makeAll(ctx, c, cartesian.Options{}, 100); n != 100 || err != nil {
		t.Errorf("the first variants: %d, error %v", n, err)
	}
}

// TestJoinsInARowOfHuge does so in the corpus's huge config, where nothing has huge pages.
func TestJoinsInARowOfHuge(t *testing.T) {
	t.Parallel()
	checkJoinsInARow(t, parseFile(t, filepath.Join(largeCorpus(t), "huge", "tests.cfg"), setsWithJoins("ide virtio_blk", "smallpages hugepages")),
		big.NewInt(263_661_220_478_424))
}
