// SPDX-License-Identifier: Apache-2.0

// Package prediction predicts whether a pre-copy migration converges, and when, from how
// fast its guest writes and how fast its memory is sent; and it judges a prediction by
// what has happened.
//
//	p := prediction.Predict(prediction.Conditions{
//		Remaining: 4 << 30, Total: 4 << 30, Limit: 128 << 20, DowntimeLimit: 300 * time.Millisecond,
//		Dirtied: []prediction.Dirtied{{Within: time.Second, Bytes: 20 << 20}},
//	})
//	p.String() // will converge in about 38 s
//
// All of it is arithmetic: it asks nothing of QEMU, and may be called from any goroutine.
package prediction

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/mhmig/mhmig/runtime/result"
)

// Conditions are what a prediction follows from. Sizes are bytes of guest memory, rates
// bytes per second.
type Conditions struct {
	Elapsed   time.Duration // since the migration began
	Passed    time.Duration // since the pass began that is being sent
	Remaining float64       // to be sent in that pass
	Total     float64       // of the guest: it dirties no more; 0: not known

	Limit      float64 // max-bandwidth; 0: none
	Throughput float64 // measured; 0: not known, then it is Limit
	// Cost is how many bytes are sent for a byte of memory, below 1 with compression. 0: 1.
	Cost float64

	// Dirtied is what was measured of the guest's writing, in any order.
	Dirtied []Dirtied

	DowntimeLimit time.Duration // downtime-limit
	Throttle      *Throttle     // of auto-converge; nil: off
	Postcopy      bool          // the migration can be switched to post-copy
}

// Dirtied is how much different memory a guest writes to within a time, which is less
// than it writes when it writes to the same pages again.
type Dirtied struct {
	Within time.Duration
	Bytes  float64
}

// Throttle are auto-converge's parameters, in percent, as QEMU has them by these names.
type Throttle struct {
	Trigger   float64 // throttle-trigger-threshold
	Initial   float64 // cpu-throttle-initial
	Increment float64 // cpu-throttle-increment
	Max       float64 // max-cpu-throttle
}

// maxPasses ends a calculation that neither converges nor diverges: QEMU would need that
// many passes, too.
const maxPasses = 10_000

// throttlePeriod is how often QEMU looks whether it has to throttle the guest.
const throttlePeriod = time.Second

// nearLimit is the part of max-bandwidth from which on it is what limits the throughput.
const nearLimit = 0.8

// Predict predicts a pre-copy migration. Its passes follow each other: each sends what was
// dirtied during the one before, until the rest can be sent within the downtime limit. A
// pass that leaves as much as it has sent shows that it does not converge, if nothing
// throttles the guest. ok is false if the rate is not known: no limit, and nothing sent.
func Predict(c Conditions) (p result.Prediction, ok bool) {
	bandwidth := c.Limit
	if c.Throughput > 0 && (bandwidth == 0 || c.Throughput < bandwidth) {
		bandwidth = c.Throughput
	}
	p.Limited = c.Limit > 0 && bandwidth > c.Limit*nearLimit
	rate := bandwidth / cmp.Or(c.Cost, 1)
	if rate <= 0 {
		return result.Prediction{}, false
	}
	written := newWriting(c.Dirtied, c.Total)
	p.Rate, p.Dirty = rate, written.rate()
	allowed := rate * c.DowntimeLimit.Seconds()
	left, took := c.Remaining, c.Elapsed.Seconds()
	throttle := throttling{Throttle: c.Throttle}
	for pass := range maxPasses {
		if pass > 0 && left <= allowed {
			p.Converges, p.Throttled = true, throttle.percent
			p.Milliseconds = int64((took + left/rate) * 1000)
			return p, true
		}
		seconds := left / rate
		since := seconds // that the guest writes until the pass ends
		if pass == 0 {
			since += c.Passed.Seconds()
		}
		dirtied := written.within(since * (1 - throttle.percent/100))
		took += seconds
		if pass == 0 && c.Postcopy {
			p.Postcopy = int64((took + dirtied/rate) * 1000)
		}
		if throttle.exhausted() && dirtied > allowed && dirtied >= left*almostAll {
			return p, true
		}
		throttle.adapt(seconds, left, dirtied)
		left = dirtied
	}
	return p, true
}

// almostAll is the part of what a pass has sent that, when it is dirty again after the
// pass, shows no progress.
const almostAll = 0.98

// throttling is the state of auto-converge.
type throttling struct {
	*Throttle
	percent float64
	hot     int     // periods in which the guest has dirtied too much
	since   float64 // seconds of the current period
}

// exhausted says whether the guest will not be throttled more.
func (t *throttling) exhausted() bool { return t.Throttle == nil || t.percent >= t.Max }

// adapt throttles the guest as QEMU does, at the end of a pass: when in two periods it has
// dirtied more than a part of what was sent.
func (t *throttling) adapt(seconds, sent, dirtied float64) {
	if t.Throttle == nil {
		return
	}
	if t.since += seconds; t.since < throttlePeriod.Seconds() {
		return
	}
	t.since = 0
	if dirtied <= sent*t.Trigger/100 {
		return
	}
	if t.hot++; t.hot < 2 {
		return
	}
	t.hot = 0
	if t.percent == 0 {
		t.percent = min(t.Initial, t.Max)
		return
	}
	t.percent = min(t.percent+t.Increment, t.Max)
}

// writing is how much memory a guest dirties within a time: through the measured points,
// straight between them, and on as between the last two. One point is a constant rate.
//
// Within less time than the shortest that was measured, a guest that writes to the same
// memory again dirties more than at a constant rate: as much as a guest that writes to a
// set of pages at random, so that it fits the points.
type writing struct {
	points []Dirtied // from 0, longer times later
	total  float64   // 0: no limit
	set    float64   // bytes that are written to again and again, 0: a constant rate
	often  float64   // how often that is per second
}

func newWriting(measured []Dirtied, total float64) writing {
	w := writing{points: []Dirtied{{}}, total: total}
	sorted := slices.SortedFunc(slices.Values(measured), func(a, b Dirtied) int { return cmp.Compare(a.Within, b.Within) })
	for _, d := range sorted {
		last := len(w.points) - 1
		if d.Within <= 0 {
			continue
		}
		d.Bytes = max(d.Bytes, w.points[last].Bytes) // in a longer time it dirties no less
		if d.Within == w.points[last].Within {
			w.points[last] = d
			continue
		}
		w.points = append(w.points, d)
	}
	w.fit()
	return w
}

const (
	// mostOften is how often per second a set of pages is written to again, at most: then
	// all of it is dirty at once.
	mostOften = 1000
	// mostSimilar is how similar the shortest and the longest time may be to tell how often.
	mostSimilar = 0.7
)

// fit finds the set: within t seconds set * (1 - e^(-often*t)) of it are dirtied.
func (w *writing) fit() {
	if len(w.points) < 3 {
		return
	}
	first, last := w.points[1], w.points[len(w.points)-1]
	wanted, near, far := first.Bytes/max(last.Bytes, 1), first.Within.Seconds(), last.Within.Seconds()
	// It does not write to the same memory again, or times so similar do not tell.
	if wanted <= near/far || near > far*mostSimilar {
		return
	}
	part := func(often, seconds float64) float64 { return -math.Expm1(-often * seconds) }
	low, high := 0.0, float64(mostOften)
	for range 60 {
		if middle := (low + high) / 2; part(middle, near)/part(middle, far) < wanted {
			low = middle
		} else {
			high = middle
		}
	}
	w.often = high
	w.set = first.Bytes / part(w.often, near)
}

// within is how much is dirtied within that many seconds.
func (w writing) within(seconds float64) float64 {
	bytes := 0.0
	for i := 1; i < len(w.points); i++ {
		from, to := w.points[i-1], w.points[i]
		slope := (to.Bytes - from.Bytes) / (to.Within - from.Within).Seconds()
		bytes = from.Bytes + slope*(seconds-from.Within.Seconds())
		if seconds <= to.Within.Seconds() {
			break
		}
	}
	if w.set > 0 && seconds < w.points[1].Within.Seconds() {
		bytes = -w.set * math.Expm1(-w.often*seconds)
	}
	if w.total > 0 {
		bytes = min(bytes, w.total)
	}
	return bytes
}

// rate is how much is dirtied per second within the shortest time that was measured.
func (w writing) rate() float64 {
	if len(w.points) < 2 {
		return 0
	}
	return w.points[1].Bytes / w.points[1].Within.Seconds()
}

// Outcome is what has happened to a migration.
type Outcome struct {
	Completed bool          // in pre-copy
	Overdue   bool          // mig_timeout has ended it
	Total     time.Duration // total-time
	// Changed is what makes a prediction of no use, such as a limit that was changed while
	// the guest moved; "" if nothing does.
	Changed string
	Ended   string // how it ended otherwise: QEMU's status
}

// Judge returns a prediction with its verdict.
func Judge(p result.Prediction, o Outcome) result.Prediction {
	p.Actual, p.Error = 0, 0
	switch {
	case o.Changed != "":
		p.Verdict, p.Why = result.Unjudged, o.Changed
	case o.Completed:
		p.Actual = o.Total.Milliseconds()
		p.Verdict = result.WronglyPredicted
		if p.Converges {
			p.Verdict = result.RightlyPredicted
			if p.Actual > 0 {
				p.Error = float64(p.Milliseconds) / float64(p.Actual)
			}
		}
	case o.Overdue && p.Converges && p.Milliseconds > o.Total.Milliseconds():
		p.Verdict, p.Why = result.Unjudged, "mig_timeout ended it before the predicted time"
	case o.Overdue && p.Converges:
		p.Verdict = result.WronglyPredicted
	case o.Overdue:
		p.Verdict = result.RightlyPredicted
	default:
		p.Verdict, p.Why = result.Unjudged, "it ended as "+o.Ended
	}
	return p
}
