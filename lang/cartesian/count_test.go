// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"context"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// many is 30 sets of 3 variants each, s0.0 to s29.2: more variants than can be gone through.
func many(sets int) string {
	var b strings.Builder
	for i := range sets {
		fmt.Fprintf(&b, "variants:\n    - s%d.0:\n    - s%d.1:\n    - s%d.2:\n", i, i, i)
	}
	return b.String()
}

// power returns 3 to the power of n, times and plus something.
func power(n, times, plus int64) *big.Int {
	p := new(big.Int).Exp(big.NewInt(3), big.NewInt(n), nil)
	return p.Add(p.Mul(p, big.NewInt(times)), big.NewInt(plus))
}

// TestCountOfMany counts configs with statements that once made count go through all their variants.
func TestCountOfMany(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, config string
		want         *big.Int // nil: there is an error
		message      string
		defaults     bool
	}{
		{name: "nothing else", config: many(30), want: power(30, 1, 0)},
		{name: "a limit that meets no number", config: many(30) + "s3.1: a = x\ns4.2: a_max = 3\n", message: `a_max of a: "x" is not a whole number`},
		{name: "they meet nowhere", config: many(30) + "s3.1: a = x\ns3.2: a_max = 3\n", want: power(30, 1, 0)},
		{name: "a filter keeps them apart", config: many(30) + "s3.1: a = x\ns4.2: a_max = 3\nno s3.1..s4.2\n", want: power(28, 8, 0)},
		{name: "what meets is a number again", config: many(30) + "s3.1: a = x\na_max = 3\na = 4M\n", want: power(30, 1, 0)},
		{name: "a condition far from it", config: "s29.1: a = x\ns28.1: a = 3\na_min = 2\n" + many(30) + "no s29.1\n", want: power(29, 2, 0)},
		{name: "and its error", config: "a = 1\ns29.1: a = x\ns28.1: a = 3\na_min = 2\n" + many(30), message: `a_min of a: "x" is not a whole number`},
		{name: "appended", config: many(30) + "a = 1\na += 0\na_max = 3\ns1.1: a += 0\n", want: power(30, 1, 0)},
		{name: "appended what is none", config: many(30) + "a = 1\na_max = 3\ns1.1: a += k7\n", message: `a_max of a: "1k7"`},
		{name: "a value of other values", config: many(30) + "b = 1\ns5.0: b = 7\na = ${b}0\na_max = 40\n", want: power(30, 1, 0)},
		{name: "a value of values that is none", config: many(30) + "b = 1\ns5.0: b = seven\na = ${b}0\na_max = 40\n", message: `"seven0" is not a whole number`},
		{name: "a value of the name", config: many(30) + "a = ${name}\ns7.1: a_max = 40\n", message: "is not a "},
		{name: "a pattern", config: many(30) + "a = 1\na_max = 2\ns9.1: a.* ?= none\n", message: `a_max of a: "none" is not a whole number`},
		{name: "a suffix takes it away", config: "a = x\nvariants:\n    - b:\n        suffix _s\n" + many(30) + "a_max = 3\n", want: power(30, 1, 0)},
		{name: "del takes it away", config: "a = x\n" + many(30) + "a_max = 3\ns1.1, s1.0, s1.2: del a\n", want: power(30, 1, 0)},
		{name: "fixed", config: many(30) + "a = x\ns1.1: a_fixed = y\n", want: power(30, 1, 0)},
		{name: "a fixed name", config: many(30) + "s1.1: name_fixed = y\n", want: power(30, 1, 0)},
		{name: "a name with a limit", config: many(30) + "s1.1: name_max = 3\n", message: "name_max of name"},
		{name: "dep with a limit", config: many(30) + "s1.1: dep_fixed = 3\n", message: "dep is not a text"},
		{name: "large numbers", config: many(30) + "a = 123456789012345678901234567890\na_max = 1T\ns1.1: a = 1e300k\n", want: power(30, 1, 0)},
		{name: "many limits", config: many(30) + limits(30, "1"), want: power(30, 1, 0)},
		{name: "many limits, one of which fails", config: many(30) + limits(30, "1") + "s7.1: k7 = x\n", message: `k7_max of k7: "x"`},
		{name: "many limits that meet nowhere", config: limits(30, "") + many(30), want: power(30, 1, 0)},
		{name: "a statement that cannot act", config: many(30) + "s1.1: (k ?= 3\n", message: "is not a valid pattern"},
		{name: "that never acts", config: many(30) + "s1.1: (k ?= 3\nno s1.1\n", want: power(29, 2, 0)},
		{name: "a join", config: many(30) + "join s0.0 s0.1\n", want: power(58, 1, 0)},
		{name: "a join in a variant", config: many(20) + "variants:\n    - a:\n    - b:\n        join s0.0..s1.1 s0.1\n" + many(0), want: plus(power(20, 1, 0), power(37, 1, 0))},
		{name: "a join of three", config: many(10) + "join s0.0 s0.1 s0.2\n", want: power(18, 1, 0)},
		{name: "a join with itself", config: many(30) + "join s0.0 s1.1\n", message: "are ambiguous"},
		{name: "a join of one", config: many(30) + "join s0.0\n", want: power(29, 1, 0)},
		{name: "a join and a limit", config: many(30) + "s3.1: a = x\na_max = 3\ns3.1: a = 3\njoin s0.0 s0.1\n", want: power(58, 1, 0)},
		{name: "a join and its error", config: many(30) + "s3.1: a = x\na_max = 3\njoin s0.0 s0.1\n", message: `a_max of a: "x"`},
		{name: "a join of hidden variants", config: "variants:\n    - @x:\n    - @y:\n" + many(30) + "join x y\n", message: "are ambiguous"},
		{name: "a filter after a join", config: many(30) + "join s0.0 s0.1\nvariants:\n    - a:\n        no s1.1\n    - b:\n", want: plus(power(56, 4, 0), power(58, 1, 0))},
		{name: "defaults", config: many(60) + "variants:\n    - @a:\n    - b:\n", want: power(60, 1, 0), defaults: true},
		{name: "defaults that filters drop", config: many(30) + "variants:\n    - @a:\n        only s1.1\n    - b:\nno s1.1\n", want: power(29, 2, 0), defaults: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			n, err := parseText(t, tt.config).Count(ctx, cartesian.Options{Defaults: tt.defaults})
			switch {
			case tt.want == nil && (err == nil || !strings.Contains(err.Error(), tt.message)):
				t.Errorf("%v variants, error %v, want %s", n, err, tt.message)
			case tt.want != nil && (err != nil || n.Cmp(tt.want) != 0):
				t.Errorf("%v variants, error %v, want %v", n, err, tt.want)
			}
		})
	}
}

func plus(a, b *big.Int) *big.Int { return a.Add(a, b) }

// limits sets many keys, each to what is no number unless the first is given as their value, and limits them.
func limits(n int, value string) string {
	var b strings.Builder
	for i := range n {
		if value != "" {
			fmt.Fprintf(&b, "k%d = %s\ns%d.1: k%d += 1\ns%d.2: k%d <= 2M\nk%d_max = 5\n", i, value, i, i, i, i, i)
		} else {
			fmt.Fprintf(&b, "s%d.1: k%d = x\ns%d.2: k%d_max = 5\n", i, i, i, i)
		}
	}
	return strings.ReplaceAll(b.String(), "<= 2M", "<= 2")
}

// TestExceeds looks at no more variants than it takes to tell.
func TestExceeds(t *testing.T) {
	t.Parallel()
	rare := many(12) + "only s0.0..s1.0..s2.0..s3.0..s4.0..s5.0..s6.0..s7.0..s8.0..s9.0..s10.0\n"
	for _, tt := range []struct {
		name, config string
		limit        int
		want         bool
	}{
		{"all", many(30), 10_000, true},
		{"a limit that fails far after", many(30) + "a = x\ns0.2..s1.2..s2.2..s3.2..s4.2..s5.2..s6.2..s7.2..s8.2..s9.2..s10.2: a_max = 3\n", 10_000, true},
		{"a join", many(30) + "join s0.0 s0.1\n", 10_000, true},
		{"joins in joins", many(12) + "join s0.0 s0.1\n" + many(0) + "variants:\n    - a:\n        join s1.0 s1.1\n", 100, true},
		{"just so many", rare, 3, false},
		{"one more", rare, 2, true},
		{"none", many(30) + "no s3\n", 10, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if more, err := parseText(t, tt.config).Exceeds(ctx, tt.limit, cartesian.Options{}); err != nil || more != tt.want {
				t.Errorf("%t, error %v, want %t", more, err, tt.want)
			}
		})
	}
}

// TestCountOfRealTrees counts configs of today, each whole.
func TestCountOfRealTrees(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	folder := filepath.Join(largeCorpus(t), "qemu", "cfg")
	for _, tt := range []struct {
		file, filter string
		defaults     bool
		want         int64
	}{
		{"tests.cfg", "", false, 744_671_738},
		{"tests.cfg", "only JeOS.27..boot", true, 3752}, // as many as names are listed
		{"multi-host-tests.cfg", "", false, 10_928_107_535_184},
	} {
		t.Run(tt.file, func(t *testing.T) {
			ctx := t.Context()
			c := parseFile(t, filepath.Join(folder, tt.file), tt.filter)
			o := cartesian.Options{Defaults: tt.defaults}
			n, err := c.Count(ctx, o)
			if err != nil || n.Cmp(big.NewInt(tt.want)) != 0 {
				t.Errorf("%v variants, error %v, want %d", n, err, tt.want)
			}
			var after runtime.MemStats
			runtime.ReadMemStats(&after)
			if after.HeapInuse > 200<<20 {
				t.Errorf("the heap has %d MiB", after.HeapInuse>>20)
			}
			more, err := c.Exceeds(ctx, 100, o)
			if !more || err != nil {
				t.Errorf("more than 100: %t, error %v", more, err)
			}
		})
	}
}

// TestCountOfRealTreesIsThatOfNames compares it with a list of names, of parts that are small enough.
func TestCountOfRealTreesIsThatOfNames(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(largeCorpus(t), "qemu", "cfg")
	for _, filter := range []string{"only JeOS.27..boot"} {
		c := parseFile(t, filepath.Join(folder, "tests.cfg"), filter)
		n, err := c.Count(t.Context(), cartesian.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var names lineCounter
		listed, err := c.Write(t.Context(), &names, cartesian.Names, -1, cartesian.Options{})
		if err != nil || n.Int64() != int64(listed) || listed == 0 {
			t.Errorf("%s: counted %v, listed %d, error %v", filter, n, listed, err)
		}
	}
}

type lineCounter struct{ n int }

func (c *lineCounter) Write(p []byte) (int, error) {
	c.n += strings.Count(string(p), "\n")
	return len(p), nil
}

// leaf is a leaf of the corpus's huge config.
const leaf = "    - boot: install setup image_copy unattended_install.cdrom\n"

// hugeWith is the corpus's huge config with more text in one of its leaves.
func hugeWith(tb testing.TB, more string) fstest.MapFS {
	tb.Helper()
	folder := filepath.Join(largeCorpus(tb), "huge")
	files, err := filepath.Glob(filepath.Join(folder, "*.cfg"))
	if err != nil {
		tb.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		if filepath.Base(file) == "subtests.cfg" {
			if !strings.Contains(string(text), leaf) {
				tb.Fatalf("%s has no leaf that begins with %q", file, leaf)
			}
			text = []byte(strings.Replace(string(text), leaf, leaf+more, 1))
		}
		fsys[filepath.Base(file)] = &fstest.MapFile{Data: text}
	}
	return fsys
}

// hugeLeaves are texts in a leaf of the huge config that once made count go through all its variants.
var hugeLeaves = []struct{ name, text, message string }{
	{"key", "        a = x\n        a_max = 3\n", "a_max of a"},
	{"key that fails nowhere", "        a = 1\n        a_max = 3\n        a = x\n        del a\n", ""},
	{"join", "        variants:\n            - left:\n            - right:\n        join left right\n", ""},
}

func TestCountOfHugeWithOddLeaf(t *testing.T) {
	t.Parallel()
	for _, tt := range hugeLeaves {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := cartesian.ParseFS(hugeWith(t, tt.text), "tests.cfg")
		if err != nil {
			t.Fatal(err)
		}
		n, err := c.Count(ctx, cartesian.Options{})
		switch {
		case tt.message != "" && (err == nil || !strings.Contains(err.Error(), tt.message)):
			t.Errorf("%s: %v variants, error %v, want %s", tt.name, n, err, tt.message)
		case tt.message == "" && (err != nil || n.Int64() != 133_179_864): // the join makes one of two variants
			t.Errorf("%s: %v variants, error %v", tt.name, n, err)
		}
	}
}

// BenchmarkCountOfHuge tells how much longer it takes to count the corpus's huge config with such a leaf.
func BenchmarkCountOfHuge(b *testing.B) {
	count := func(text string) time.Duration {
		c, err := cartesian.ParseFS(hugeWith(b, text), "tests.cfg")
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		n, err := c.Count(b.Context(), cartesian.Options{})
		if err == nil && n.Int64() != 133_179_864 {
			b.Fatalf("%v variants", n)
		}
		return time.Since(began)
	}
	for _, tt := range hugeLeaves {
		b.Run(strings.ReplaceAll(tt.name, " ", "-"), func(b *testing.B) {
			var with, without time.Duration
			for b.Loop() {
				without += count("")
				with += count(tt.text)
			}
			b.ReportMetric(float64(with)/float64(without), "xwithout")
			b.ReportMetric(with.Seconds()/float64(b.N), "s/count")
		})
	}
}
