// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestUTest compares with published values.
func TestUTest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		before, after []float64
		want          float64
	}{
		// R's help of wilcox.test: the permeability of membranes, two-sided.
		{"membranes", []float64{.80, .83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, .73, 1.46}, []float64{1.15, .88, .90, .74, 1.21}, 0.2544},
		// The tortoises and hares of Mann and Whitney: U = 11 of 36.
		{"tortoises", []float64{1, 7, 8, 9, 10, 11}, []float64{2, 3, 4, 5, 6, 12}, 0.3095},
		// SciPy's help of mannwhitneyu: age at the diagnosis of diabetes; exact.
		{"diabetes", []float64{19, 22, 16, 29, 24}, []float64{20, 11, 17, 12}, 0.1111},
		{"apart 3+3", []float64{1, 2, 3}, []float64{4, 5, 6}, 0.1},
		{"apart 4+4", []float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, 2.0 / 70},
		{"equal", []float64{3, 3, 3, 3}, []float64{3, 3, 3, 3}, 1},
		{"ties", []float64{1, 1, 1, 1}, []float64{2, 2, 2, 2}, 2.0 / 70},
		{"empty", nil, []float64{1}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, got := range []float64{uTest(test.before, test.after), uTest(test.after, test.before)} {
				if math.Abs(got-test.want) > 0.0001 {
					t.Errorf("UTest(%v, %v): got %.4f, want %.4f", test.before, test.after, got, test.want)
				}
			}
		})
	}
}

func TestRatio(t *testing.T) {
	t.Parallel()
	inf := math.Inf(1)
	for _, test := range []struct {
		name                string
		before, after       []float64
		estimate, low, high float64
	}{
		{"twice", []float64{1, 1, 1, 1}, []float64{2, 2, 2, 2}, 2, 2, 2},
		{"too few", []float64{1, 2}, []float64{2, 4}, 2, 0, inf},
		// The critical U of 4 + 4 is 0: the interval is all pairs.
		{"4 + 4", []float64{1, 2, 4, 8}, []float64{1, 2, 4, 8}, 1, 1. / 8, 8},
		{"from zero", []float64{0, 0, 0, 0}, []float64{0, 5, 5, 5}, inf, 1, inf},
		{"to zero", []float64{5, 5, 5, 5}, []float64{0, 0, 0, 0}, 0, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			estimate, low, high := ratio(test.before, test.after)
			if estimate != test.estimate || low != test.low || high != test.high {
				t.Errorf("ratio(%v, %v): got %g [%g, %g], want %g [%g, %g]",
					test.before, test.after, estimate, low, high, test.estimate, test.low, test.high)
			}
		})
	}
}

// TestOutside knows the tables of critical values, which say k-1.
func TestOutside(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ n, m, want int }{
		{3, 3, 0}, {4, 4, 1}, {5, 5, 3}, {8, 8, 14}, {10, 10, 24}, {20, 20, 128}, {5, 3, 1}, {9, 6, 11},
	} {
		if got := confidenceRank(test.n, test.m); got != test.want {
			t.Errorf("outside(%d, %d): got %d, want %d", test.n, test.m, got, test.want)
		}
	}
	exact, approximate := confidenceRank(50, 50), confidenceRank(51, 51)
	if approximate < exact || approximate > exact+80 {
		t.Errorf("outside(51, 51): got %d, want somewhat more than the exact %d of 50", approximate, exact)
	}
}

func TestWanted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		alpha float64
		want  int
	}{{0.05, 4}, {0.005, 6}, {0.001, 7}} {
		if got := minRepeats(test.alpha); got != test.want {
			t.Errorf("wanted(%g): got %d, want %d", test.alpha, got, test.want)
		}
	}
}

func TestHolm(t *testing.T) {
	t.Parallel()
	p := []float64{0.01, 0.04, 0.03, 0.005} // the usual example: p.adjust of R
	want := []float64{0.03, 0.06, 0.06, 0.02}
	var tests []*float64
	for i := range p {
		tests = append(tests, &p[i])
	}
	holm(tests)
	for i := range p {
		if math.Abs(p[i]-want[i]) > 1e-9 {
			t.Errorf("holm: p%d: got %g, want %g", i, p[i], want[i])
		}
	}
}

// TestIntervalAgrees: what the test calls a change, the interval of the same
// change excludes "no change", and the other way round (without ties, where both
// are exact).
func TestIntervalAgrees(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfNDistinct(rapid.IntRange(1, 10000), 8, 24, rapid.ID[int]).Draw(t, "values")
		cut := rapid.IntRange(4, len(values)-4).Draw(t, "cut")
		var samples [2][]float64
		for i, v := range values {
			side := 0
			if i >= cut {
				side = 1
			}
			samples[side] = append(samples[side], float64(v))
		}
		p := uTest(samples[0], samples[1])
		_, low, high := ratio(samples[0], samples[1])
		if (p <= alpha) != (low > 1 || high < 1) {
			t.Fatalf("p %g, but the interval is [%g, %g]", p, low, high)
		}
	})
}
