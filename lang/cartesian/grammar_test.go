// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/participle/v2/lexer"
	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/diag"
)

// parseText reads text by hand, and returns the errors of lexer and parser too.
func parseText(tb testing.TB, text string) (*block, diag.List) {
	tb.Helper()
	src, err := newSource("main.cfg", "main.cfg", text)
	if err != nil {
		return new(block), diag.Of(err)
	}
	x := lex(src)
	body, err := parse(x)
	if err != nil {
		tb.Fatal(err)
	}
	if !x.peek().EOF() {
		tb.Errorf("parsing ended at %+v", x.peek())
	}
	errs := x.errs
	for _, e := range body.errors() {
		errs = append(errs, src.diagnostic(e.Pos, e.Message, e.Hint))
	}
	return body, errs
}

// checkGrammar compares what is parsed by hand with what participle makes of the grammar's tags.
func checkGrammar(t *testing.T, text string) {
	t.Helper()
	src, err := newSource("main.cfg", "main.cfg", text)
	if err != nil {
		return
	}
	lx, err := lexer.Upgrade(lex(src))
	if err != nil {
		t.Fatal(err)
	}
	want, err := theGrammar().block.ParseFromLexer(lx)
	got, errs := parseText(t, text)
	if (err != nil) != (errs != nil) {
		t.Fatalf("errors by hand: %v; by the grammar: %v", errs, err)
	}
	if err == nil && !reflect.DeepEqual(want, got) {
		all := cmp.Exporter(func(reflect.Type) bool { return true })
		t.Errorf("statements by the grammar (-) and by hand (+):\n%s", cmp.Diff(want, got, all))
	}
}

func TestGrammar(t *testing.T) {
	t.Parallel()
	for _, text := range append(seeds(t), generated(20)) {
		checkGrammar(t, text)
	}
}

// FuzzGrammar looks for text that the grammar's tags and the parser by hand read differently.
func FuzzGrammar(f *testing.F) {
	smallSeeds(f)
	f.Fuzz(checkGrammar)
}

// TestAllocations holds that a line costs less than an allocation: its tokens and statements come from pieces of memory
// that hold many.
func TestAllocations(t *testing.T) {
	text := generated(200)
	lines := strings.Count(text, "\n")
	allocations := testing.AllocsPerRun(5, func() {
		if _, errs := parseText(t, text); errs != nil {
			t.Fatal(errs)
		}
	})
	if limit := float64(lines) / 4; allocations > limit {
		t.Errorf("%d lines took %v allocations, want at most %v", lines, allocations, limit)
	}
}

// TestLinear parses long text of all kinds that may tempt a parser to look at the same part again and again, for which it
// would need minutes.
func TestLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	const (
		n     = 150_000
		limit = 40 * time.Second // less than a second without the race detector, ten with it on a very busy machine
	)
	deep := func(line string, depth int) string {
		var b strings.Builder
		for i := range depth {
			b.WriteString(strings.Repeat(" ", i) + line)
		}
		return b.String()
	}
	repeat := strings.Repeat
	var variants strings.Builder
	for i := range 499 {
		fmt.Fprintf(&variants, "%svariants:\n%[1]s - a:\n", repeat("  ", i))
	}
	tests := []struct {
		name, text string
		want       string // in the first error; "" for none
	}{
		{"assignments", repeat("k = v\n", n), ""},
		{"long value", "k = '" + repeat("=:", n), ""},
		{"long key", repeat("é<?", n) + "= v", ""},
		{"blanks before an operator", "k" + repeat("\u00a0", n) + "= v", ""},
		{"blank lines", repeat("\r", n) + repeat("\u2028 \t", n), ""},
		{"line of tabs", repeat("\t", n) + "k = 1", ""},
		{"dots", "only a" + repeat(".", n), ""},
		{"dots between labels", "only a" + repeat(".", n) + "b", "150000 dots between two labels"},
		{"words", "only " + repeat("é, ", maxTokens/3-2), ""},
		{"labels in a row", "only a" + repeat(".(a=b)", n/6), ""},
		{"blocks", "join é" + repeat("..é", maxTokens), "more than 200000 tokens in one line"},
		{"brackets", "only " + repeat("(", n), `unexpected "(" in a label`},
		{"operators", "del a" + repeat("+", n) + "=", "is not an operator"},
		{"operators that come to nothing", "del a" + repeat("<", n), ""},
		{"negations", repeat("!", n) + ":", `unexpected "!" in a condition`},
		{"no condition", repeat("a:", 999) + repeat("é", n), "neither an assignment"},
		{"value after conditions", repeat("é:", 999) + "k = " + repeat("é", n), ""},
		{"conditions on one line", repeat("é:", n), "more than 1000 nested blocks"},
		{"conditions on one line, all of them bad", repeat("a b:", n), "two labels without a dot"},
		{"deep conditions", repeat(deep("a:\n", 999), 20), ""},
		{"too deep conditions", deep("a:\n", 3000), "more than 1000 nested blocks"},
		{"deep bad conditions", repeat(deep("a b:\n", 999), 20), "two labels without a dot"},
		{"deep sets", repeat(deep("variants:\n", 499), 20), "only variants are allowed"},
		{"deep variants", repeat(variants.String(), 20), ""},
		{"empty sets", repeat("variants:\n", n), "the variants set above has no variants"},
		{"empty sets in variants", "variants:\n" + repeat(" - a:\n  variants:\n", n/2), ""},
		{"variants", "variants:\n" + repeat(" - é:é\n", n), ""},
		{"a variant's name", "variants:\n- " + repeat("a.", n/2) + ":", ""},
		{"a variant's bad name", "variants:\n- " + repeat("a.", n/2), "a variant without"},
		{"meta data", "variants " + repeat("[a=b]", n/10) + ":\n- x:", ""},
		{"long meta data", "variants [a=" + repeat("b.", n/10) + "]:\n- x:", ""},
		{"bad meta data", "variants " + repeat("[a=b", n/10) + ":\n- x:", `unexpected "["`},
		{"bad lines", repeat("x\n", n), "neither an assignment"},
		{"bad words", repeat("only "+repeat("(", 100)+"\n", n/100), "in a label"},
		{"long bad word", repeat("é", n), "neither an assignment"},
		{"stray variants", repeat("- a:\n", n), "a variant outside"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			_, errs := parseText(t, tt.text)
			if took := time.Since(start); took > limit {
				t.Errorf("%d bytes took %v", len(tt.text), took)
			}
			errs.Sort()
			first := "no error"
			if len(errs) > 0 {
				first = errs[0].Message
			}
			if tt.want == "" && errs != nil || !strings.Contains(first, tt.want) {
				t.Errorf("first error = %.300s, want %q", first, tt.want)
			}
			if len(errs) > 2*maxErrors+maxNesting {
				t.Errorf("%d errors", len(errs))
			}
		})
	}
}

// TestManyErrors looks at the end of what is read.
func TestManyErrors(t *testing.T) {
	t.Parallel()
	_, errs := parseText(t, strings.Repeat("x\nonly a...b\n", maxErrors))
	errs.Sort()
	last := errs[len(errs)-1]
	want := fmt.Sprintf("main.cfg:%d:1: more than 1000 errors: the rest of the file is not read", maxErrors+1)
	if len(errs) != maxErrors+1 || last.Error() != want {
		t.Errorf("%d errors, the last is %q; want %d and %q", len(errs), last.Error(), maxErrors+1, want)
	}
}
