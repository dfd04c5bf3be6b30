// SPDX-License-Identifier: Apache-2.0

package testbed

import "time"

// One reboot is several resets, as firmware resets the machine again, and a guest
// that fails in its boot resets without end.
const (
	// resetQuiet is how long nothing is said of a reset, as others may follow.
	resetQuiet = time.Second
	// seriesQuiet is how long after resets that were told of others belong to them.
	seriesQuiet = 30 * time.Second
	// resetPatience is how long resets that do not end are not told of, at first.
	resetPatience = 10 * time.Second
)

// resetFold tells of resets that follow each other in one line, with their number.
// It belongs to one goroutine, which calls due when the timer says so.
type resetFold struct {
	tell  func(times int, reason string)
	timer *time.Timer

	times    int // that are not told of
	since    time.Time
	reason   string // of the last one
	series   bool   // some have been told of just now
	patience time.Duration
}

func newResetFold(tell func(times int, reason string)) *resetFold {
	f := &resetFold{tell: tell, timer: time.NewTimer(seriesQuiet), patience: resetPatience}
	f.timer.Stop()
	return f
}

func (f *resetFold) add(reason string) {
	if f.times == 0 {
		f.since = time.Now()
	}
	f.times++
	f.reason = reason
	quiet := resetQuiet
	if f.series {
		quiet = seriesQuiet
	}
	f.timer.Reset(min(quiet, f.patience-time.Since(f.since)))
}

// due tells of what was not told, or that the series is over.
func (f *resetFold) due() {
	if f.times == 0 {
		f.series, f.patience = false, resetPatience
		return
	}
	f.say()
	f.series = true
	f.patience *= 2
	f.timer.Reset(seriesQuiet)
}

// over ends the series: something else has happened.
func (f *resetFold) over() {
	f.say()
	f.series, f.patience = false, resetPatience
	f.timer.Stop()
}

func (f *resetFold) say() {
	if f.times > 0 {
		f.tell(f.times, f.reason)
	}
	f.times = 0
}
