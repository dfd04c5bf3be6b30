// SPDX-License-Identifier: Apache-2.0

package testbed

import "time"

// One reboot may be several resets, as the firmware resets the machine again, and a
// guest that fails to boot resets endlessly.
const (
	// resetQuiet is how long a reset is not logged, as others may follow.
	resetQuiet = time.Second
	// seriesQuiet is how long after logged resets further ones belong to their series.
	seriesQuiet = 30 * time.Second
	// firstDelay is how long endless resets are not logged; it doubles each time.
	firstDelay = 10 * time.Second
)

// resetLog logs consecutive resets in one message, with their number. It is used by
// one goroutine, which calls timeout when the timer fires.
type resetLog struct {
	log   func(times int, reason string)
	timer *time.Timer

	times  int // that are not logged yet
	since  time.Time
	reason string // of the last one
	series bool   // some were logged recently
	delay  time.Duration
}

func newResetLog(log func(times int, reason string)) *resetLog {
	f := &resetLog{log: log, timer: time.NewTimer(seriesQuiet), delay: firstDelay}
	f.timer.Stop()
	return f
}

func (f *resetLog) add(reason string) {
	if f.times == 0 {
		f.since = time.Now()
	}
	f.times++
	f.reason = reason
	quiet := resetQuiet
	if f.series {
		quiet = seriesQuiet
	}
	f.timer.Reset(min(quiet, f.delay-time.Since(f.since)))
}

// timeout logs the resets, or ends the series.
func (f *resetLog) timeout() {
	if f.times == 0 {
		f.series, f.delay = false, firstDelay
		return
	}
	f.flush()
	f.series = true
	f.delay *= 2
	f.timer.Reset(seriesQuiet)
}

// endSeries ends the series, since another event has happened.
func (f *resetLog) endSeries() {
	f.flush()
	f.series, f.delay = false, firstDelay
	f.timer.Stop()
}

func (f *resetLog) flush() {
	if f.times > 0 {
		f.log(f.times, f.reason)
	}
	f.times = 0
}
