// SPDX-License-Identifier: Apache-2.0

package prediction_test

import (
	"math"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/prediction"
	"github.com/mhmig/mhmig/runtime/result"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// second is what a guest dirties within a second.
func second(bytes float64) []prediction.Dirtied {
	return []prediction.Dirtied{{Within: time.Second, Bytes: bytes}}
}

// What follows from the rates.
func TestPredict(t *testing.T) {
	t.Parallel()
	base := prediction.Conditions{Remaining: gib, Total: gib, Limit: 128 * mib, DowntimeLimit: 300 * time.Millisecond}
	with := func(change func(*prediction.Conditions)) prediction.Conditions {
		c := base
		change(&c)
		return c
	}
	throttle := &prediction.Throttle{Trigger: 50, Initial: 20, Increment: 10, Max: 99}
	for _, tt := range []struct {
		name string
		c    prediction.Conditions
		ms   int64 // 0: it does not converge
		want string
	}{
		{"an idle guest", base, 8000, "will converge in about 8s"},
		// 8 s, 64 MiB dirty: 0.5 s, then 4 MiB are within the downtime limit of 38.4 MiB.
		{"a guest that writes a little", with(func(c *prediction.Conditions) { c.Dirtied = second(8 * mib) }), 8531, "will converge in about 8.5s"},
		// 8 s, 4 s, 2 s, …, until at most 38.4 MiB are left: 16 s in all.
		{"half of the bandwidth", with(func(c *prediction.Conditions) { c.Dirtied = second(64 * mib) }), 15750, "will converge in about 16s"},
		{"as much as the bandwidth", with(func(c *prediction.Conditions) { c.Dirtied = second(128 * mib) }), 0, "will not converge at this bandwidth limit"},
		{"more than the bandwidth", with(func(c *prediction.Conditions) { c.Dirtied = second(500 * mib) }), 0, "will not converge at this bandwidth limit"},
		{"a network that is slower than the limit", with(func(c *prediction.Conditions) { c.Throughput, c.Dirtied = 32*mib, second(64*mib) }), 0, "will not converge at this throughput"},
		{"a network that is faster than the limit", with(func(c *prediction.Conditions) { c.Throughput = 1000 * mib }), 8000, "will converge in about 8s"},
		{"no limit, a measured throughput", with(func(c *prediction.Conditions) { c.Limit, c.Throughput = 0, 64*mib }), 16000, "will converge in about 16s"},
		{"compression to a half", with(func(c *prediction.Conditions) { c.Cost, c.Dirtied = 0.5, second(128*mib) }), 7750, "will converge in about 7.8s"},
		{"a longer downtime limit", with(func(c *prediction.Conditions) { c.Dirtied, c.DowntimeLimit = second(64*mib), 4*time.Second }), 12000, "will converge in about 12s"},
		{"all that it dirties fits into the downtime", with(func(c *prediction.Conditions) {
			c.Dirtied = []prediction.Dirtied{{Within: 100 * time.Millisecond, Bytes: 20 * mib}, {Within: time.Second, Bytes: 20 * mib}}
		}), 8156, "will converge in about 8.2s"},
		{"it dirties the same memory again and again", with(func(c *prediction.Conditions) {
			c.Dirtied = []prediction.Dirtied{{Within: 8 * time.Second, Bytes: 310 * mib}, {Within: 2 * time.Second, Bytes: 290 * mib}}
		}), 0, "will not converge at this bandwidth limit"},
		{"the first pass alone does not show that", with(func(c *prediction.Conditions) {
			c.Dirtied = []prediction.Dirtied{{Within: 8 * time.Second, Bytes: 300 * mib}}
		}), 11231, "will converge in about 11s"},
		{"no more dirty memory than the guest has", with(func(c *prediction.Conditions) { c.Dirtied, c.DowntimeLimit = second(500*mib), 9*time.Second }), 16000, "will converge in about 16s"},
		{"some passes are over", with(func(c *prediction.Conditions) { c.Elapsed, c.Remaining = 20*time.Second, 128*mib }), 21000, "will converge in about 21s"},
		{"auto-converge", with(func(c *prediction.Conditions) { c.Dirtied, c.Throttle = second(160*mib), throttle }), 65840, "will converge in about 1m6s, with the guest throttled by 60 %"},
		{"auto-converge that may throttle too little", with(func(c *prediction.Conditions) {
			c.Dirtied, c.Throttle = second(500*mib), &prediction.Throttle{Trigger: 50, Initial: 20, Increment: 10, Max: 50}
		}), 0, "will not converge at this bandwidth limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := prediction.Predict(tt.c)
			if !ok || got.Converges != (tt.ms > 0) || math.Abs(float64(got.Milliseconds-tt.ms)) > 2 || got.String() != tt.want {
				t.Errorf("got %v, %d ms, %q; want %d ms, %q", got.Converges, got.Milliseconds, got, tt.ms, tt.want)
			}
		})
	}
	if got, ok := prediction.Predict(with(func(c *prediction.Conditions) { c.Limit = 0 })); ok {
		t.Errorf("without any rate: got %+v, want none", got)
	}
	got, _ := prediction.Predict(with(func(c *prediction.Conditions) { c.Dirtied, c.Postcopy = second(500*mib), true }))
	if got.Converges || got.Postcopy != 16000 { // 1 GiB, and once more what is dirty then
		t.Errorf("post-copy: got %+v, want 16000 ms after a switch", got)
	}
}

// How predictions come out.
func TestJudge(t *testing.T) {
	t.Parallel()
	converges := result.Prediction{Converges: true, Milliseconds: 6000}
	diverges := result.Prediction{}
	completed := prediction.Outcome{Completed: true, Total: 4 * time.Second}
	overdue := prediction.Outcome{Overdue: true, Total: 8 * time.Second}
	early := prediction.Outcome{Overdue: true, Total: 2 * time.Second}
	changed := prediction.Outcome{Completed: true, Total: 4 * time.Second, Changed: "its limits were changed"}
	for _, tt := range []struct {
		name    string
		p       result.Prediction
		o       prediction.Outcome
		verdict result.PredictionVerdict
		err     float64
		why     string
	}{
		{"it has converged as predicted", converges, completed, result.RightlyPredicted, 1.5, ""},
		{"it has not converged as predicted", diverges, overdue, result.RightlyPredicted, 0, ""},
		{"it has converged after all", diverges, completed, result.WronglyPredicted, 0, ""},
		{"it has not converged after all", converges, overdue, result.WronglyPredicted, 0, ""},
		{"it had no time", converges, early, result.Unjudged, 0, "mig_timeout ended it before the predicted time"},
		{"it was changed", converges, changed, result.Unjudged, 0, "its limits were changed"},
		{"it was changed, and would not have converged", diverges, changed, result.Unjudged, 0, "its limits were changed"},
		{"it was cancelled", converges, prediction.Outcome{Ended: "cancelled"}, result.Unjudged, 0, "it ended as cancelled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := prediction.Judge(tt.p, tt.o); got.Verdict != tt.verdict || got.Error != tt.err || got.Why != tt.why {
				t.Errorf("got %+v, want %s, %v, %q", got, tt.verdict, tt.err, tt.why)
			}
		})
	}
}
