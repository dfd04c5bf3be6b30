// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestWhyNotAgainstAllPaths compares the sets of statements that WhyNot finds in random configs with what looking at
// each path gives.
func TestWhyNotAgainstAllPaths(t *testing.T) {
	t.Parallel()
	dropped, present, impossible, several := 0, 0, 0, 0
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 7))
		text := randomConfig(r)
		c, err := parseConfig(fsFiles{fstest.MapFS{"main.cfg": {Data: []byte(text)}}}, "main.cfg", nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		query := randomFilter(r)
		filter, _, err := parseFilter(query)
		if err != nil {
			t.Fatal(err)
		}
		want := smallestSets(c, filter.lookUp(c.labels))
		a, err := c.WhyNot(t.Context(), query, Options{})
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case len(want) == 0:
			impossible++
			if a.Impossible == nil || a.Drops != nil || a.Count > 0 {
				t.Errorf("seed %d: WhyNot(%s) = %+v, want impossible\n%s", seed, query, a, text)
			}
			continue
		case want[0] == "":
			present++
			if a.Count == 0 || a.Drops != nil {
				t.Errorf("seed %d: WhyNot(%s) = %+v, want that it is there\n%s", seed, query, a, text)
			}
			continue
		}
		dropped++
		var got []string
		for _, d := range a.Drops {
			var lines []string
			for _, s := range d.Statements {
				lines = append(lines, fmt.Sprint(s.Line))
			}
			if len(lines) > 1 {
				several++
			}
			got = append(got, strings.Join(lines, " "))
		}
		if len(want) != len(got)+a.Others {
			t.Errorf("seed %d: WhyNot(%s) found %d sets (%+v), want %q\n%s", seed, query, len(got)+a.Others, a, want, text)
		}
		for _, set := range got {
			if !slices.Contains(want, set) {
				t.Errorf("seed %d: WhyNot(%s): the statements in lines %s do not drop a path alone, want one of %q\n%s", seed, query, set, want, text)
			}
		}
	}
	t.Logf("%d dropped (%d sets of several statements), %d present, %d impossible", dropped, several, present, impossible)
	if dropped < 100 || present < 100 || impossible < 20 || several < 20 {
		t.Errorf("got %d dropped (%d sets of several statements), %d present, %d impossible; want more of each", dropped, several, present, impossible)
	}
}

// TestWhyNotInDefaultsMode compares what WhyNot says is there with the variants of random configs, and when it says that
// only a default is in the way, with the variants without defaults.
func TestWhyNotInDefaultsMode(t *testing.T) {
	t.Parallel()
	present, byDefault := 0, 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 8))
		text := randomConfig(r)
		c, err := parseConfig(fsFiles{fstest.MapFS{"main.cfg": {Data: []byte(text)}}}, "main.cfg", nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		query := randomFilter(r)
		filter, _, err := parseFilter(query)
		if err != nil {
			t.Fatal(err)
		}
		asked := filter.lookUp(c.labels)
		count := func(o Options) (n int) {
			for v, err := range c.Variants(t.Context(), o) {
				if err != nil {
					t.Fatal(err)
				}
				var path []nodeLabel
				for l := range strings.FieldsFuncSeq(v.Name, func(r rune) bool { return r == '.' }) {
					id := c.labels.lookUp(label{Name: l})
					path = append(path, nodeLabel{id, id})
				}
				if asked.matches(path) {
					n++
				}
			}
			return n
		}
		a, err := c.WhyNot(t.Context(), query, Options{Defaults: true})
		if err != nil {
			t.Fatal(err)
		}
		want := count(Options{Defaults: true})
		if a.Count != want || (want > 0) != (a.Drops == nil && a.Impossible == nil) {
			t.Errorf("seed %d: WhyNot(%s) = %+v, want %d variants\n%s", seed, query, a, want, text)
		}
		if want > 0 {
			present++
		}
		for _, d := range a.Drops {
			if !slices.ContainsFunc(d.Statements, func(s Culprit) bool { return s.Keyword != "default" }) {
				byDefault++
				if count(Options{}) == 0 {
					t.Errorf("seed %d: WhyNot(%s): %+v drop something, but without defaults it is not there\n%s", seed, query, d, text)
				}
			}
		}
	}
	t.Logf("%d present, %d sets of defaults alone", present, byDefault)
	if present < 100 || byDefault < 20 {
		t.Errorf("got %d present, %d sets of defaults alone; want more", present, byDefault)
	}
}

// randomConfig has sets in sets, with filters and conditions that hold filters.
func randomConfig(r *rand.Rand) string {
	var b strings.Builder
	var block func(indent string, depth int)
	block = func(indent string, depth int) {
		for range 1 + r.IntN(3) {
			switch n := r.IntN(8); {
			case n < 2:
				fmt.Fprintf(&b, "%sonly %s\n", indent, randomFilter(r))
			case n < 4:
				fmt.Fprintf(&b, "%sno %s\n", indent, randomFilter(r))
			case n == 4:
				negation := []string{"", "!"}[r.IntN(2)]
				fmt.Fprintf(&b, "%s%s%s:\n%s  no %s\n", indent, negation, randomLabel(r), indent, randomFilter(r))
			case depth < 3:
				fmt.Fprintf(&b, "%svariants:\n", indent)
				for range 1 + r.IntN(3) {
					mark := ""
					if r.IntN(5) == 0 {
						mark = "@"
					}
					fmt.Fprintf(&b, "%s  - %s%s:\n", indent, mark, randomLabel(r))
					if r.IntN(2) == 0 {
						block(indent+"      ", depth+1)
					}
				}
			}
		}
	}
	block("", 0)
	return b.String()
}

func randomLabel(r *rand.Rand) string { return string(rune('a' + r.IntN(6))) }

func randomFilter(r *rand.Rand) string {
	var f strings.Builder
	f.WriteString(randomLabel(r))
	for r.IntN(2) == 0 {
		f.WriteString([]string{".", "..", ", "}[r.IntN(3)] + randomLabel(r))
	}
	return f.String()
}

// smallestSets looks at each path that matches what is asked for, and returns the smallest sets of lines of statements
// that drop one; "" when nothing drops one.
func smallestSets(c *Config, asked query) []string {
	sets := map[string]int{}
	var visit func(n *node, path []nodeLabel, above []statement)
	visit = func(n *node, path []nodeLabel, above []statement) {
		path = append(slices.Clip(path), n.labels...)
		above = append(slices.Clip(above), n.statements...)
		if len(n.children) == 0 {
			if asked.matches(path) {
				whole := newLabelPath(c.rows)
				whole.extend(path)
				lines := failing(above, whole)
				slices.Sort(lines)
				lines = slices.Compact(lines)
				sets[strings.Trim(fmt.Sprint(lines), "[]")] = len(lines)
			}
			return
		}
		for _, child := range n.children {
			visit(child, path, above)
		}
	}
	visit(c.root, nil, nil)
	smallest := slices.Min(append(slices.Collect(maps.Values(sets)), 1000))
	maps.DeleteFunc(sets, func(_ string, size int) bool { return size > smallest })
	return slices.Sorted(maps.Keys(sets))
}

func failing(statements []statement, path *labelPath) []int {
	var lines []int
	for _, s := range statements {
		switch s := s.(type) {
		case *pick:
			if s.filter.matches(path) != s.only {
				lines = append(lines, s.place.pos.Line)
			}
		case *guard:
			if s.filter.matches(path) != s.negated {
				lines = append(lines, failing(s.body, path)...)
			}
		}
	}
	return lines
}
