// SPDX-License-Identifier: Apache-2.0

package report

// NewUpdaterBy is NewUpdater with a write of the test's own.
var NewUpdaterBy = newUpdater

// The names of what a test looks into.
var (
	ThinnedLength = func(values []float64, n int) (kept int, most float64) {
		pass := make([]int, len(values))
		s := series{Time: values, Remaining: values, Rate: values, Dirty: values, Pass: pass}.thinned(n)
		for _, v := range s.Remaining {
			most = max(most, v)
		}
		return len(s.Time), most
	}
	Tail = tail
)
