// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"cmp"
	"math"
	"slices"

	"github.com/aclements/go-moremath/mathx"
	"github.com/aclements/go-moremath/stats"
)

// alpha is the significance level: the maximum probability of a false difference in
// one measure, over all variants together.
const alpha = 0.05

const exactLimit = 50 // values of a sample, as in package stats

// median returns the median of values, NaN if there are none.
func median(values []float64) float64 { return stats.Sample{Xs: values}.Quantile(0.5) }

// uTest returns the probability that two samples of one distribution differ at
// least as much as before and after: the two-sided Mann-Whitney U test. It is
// exact for small samples, else approximated by the normal distribution with a
// correction for ties. Samples that are all one value, or empty, give 1.
func uTest(before, after []float64) float64 {
	test, err := stats.MannWhitneyUTest(before, after, stats.LocationDiffers)
	if err != nil { // one sample is empty, or all values are equal
		return 1
	}
	return min(test.P, 1)
}

// minP is the smallest p that samples of these sizes can give.
func minP(n, m int) float64 {
	if n == 0 || m == 0 {
		return 1
	}
	return min(1, 2/mathx.Choose(n+m, n))
}

// minRepeats is how many repeats both runs need for a p below alpha.
func minRepeats(alpha float64) int {
	n := 1
	for minP(n, n) >= alpha {
		n++
	}
	return n
}

// ratio estimates by which factor values changed, with a confidence interval of
// 1-Alpha: the Hodges-Lehmann estimate and the interval of the U test, on the
// logarithms, so that it estimates factors and not differences. It is the median of
// all after/before, and low and high are two of them. The factor from 0 to 0 is 1,
// from 0 to more it is infinite.
func ratio(before, after []float64) (estimate, low, high float64) {
	ratios := make([]float64, 0, len(before)*len(after))
	for _, b := range before {
		for _, a := range after {
			if a == b {
				ratios = append(ratios, 1)
			} else {
				ratios = append(ratios, a/b)
			}
		}
	}
	slices.Sort(ratios)
	last := len(ratios) - 1
	estimate = ratios[last/2]
	if upper := ratios[(last+1)/2]; upper != estimate { // infinities have no middle
		estimate = (estimate + upper) / 2
	}
	k := confidenceRank(len(before), len(after))
	if k == 0 {
		return estimate, 0, math.Inf(1)
	}
	return estimate, ratios[k-1], ratios[last-k+1]
}

// confidenceRank is the k so that the kth smallest and kth largest of all pairs of
// two samples bound the confidence interval; 0: the samples are too small.
func confidenceRank(n, m int) int {
	if n > exactLimit || m > exactLimit {
		mean, sigma := float64(n*m)/2, math.Sqrt(float64(n*m)*float64(n+m+1)/12)
		return max(0, int(mean-stats.StdNormal.InvCDF(1-alpha/2)*sigma))
	}
	u := stats.UDist{N1: n, N2: m}
	k := 0
	for u.CDF(float64(k)) <= alpha/2 {
		k++
	}
	return k
}

// holm adjusts the p of tests that are made together, by Holm's method: p' of
// the ith smallest is its p times the number of those that are not smaller, and
// never less than that of a smaller one.
func holm(tests []*float64) {
	slices.SortFunc(tests, func(a, b *float64) int { return cmp.Compare(*a, *b) })
	previous := 0.0
	for i, p := range tests {
		previous = min(1, max(previous, *p*float64(len(tests)-i)))
		*p = previous
	}
}
