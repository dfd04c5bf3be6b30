// SPDX-License-Identifier: Apache-2.0

// Package guestclock measures the blackout and the brownout of a guest during its
// migration, from the stamps of its clock that package clockwork sends.
//
// The guest's clock stops with the guest, so that the stamps alone do not show a
// blackout; and arrival times include the transport's delay. Both together do: a
// stamp's offset is its arrival time minus its own time. The minimum offset of
// many stamps is that of one without delay. The difference of the minimum offsets
// on the destination and the source is how long the clock stopped:
//
//	clock stop = minimum offset after - minimum offset before
//	downtime   = clock stop + first stamp after - last stamp before - period
//
// A gap between two stamps on one host, by the guest's clock, is brownout. Stamps
// that were lost in transit are known by their sequence numbers, and are no gap.
//
// A Watch's methods may be called from any goroutine.
package guestclock

import (
	"bufio"
	"io"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
	"github.com/mhmig/mhmig/runtime/result"
)

const (
	// window is how many stamps a minimum offset is taken from. The clocks' drift in
	// this time is less than the transport's jitter.
	window = 200
	// minStamps is how many stamps of one host a result needs.
	minStamps = 25
	// maxLinesPerSecond is a rate above which the input is not a clock's.
	maxLinesPerSecond = 10_000

	maxGaps  = 1200 // in the series; the spans double when there are more
	gapsSpan = 50 * time.Millisecond
)

// Watch collects the stamps of a guest's clock while its VM migrates. Its zero
// value is ready.
type Watch struct {
	source, destination stream

	mu     sync.Mutex // guards what follows, and the streams' stamps
	began  time.Time
	ended  time.Time
	last   reading // of either host
	sums   result.GuestClock
	series series
}

// reading is a stamp and when it came.
type reading struct {
	clockwork.Stamp
	arrival time.Time
}

// stream is what one host's QEMU passes on of the guest's stamps.
type stream struct {
	conn    io.ReadCloser
	reading sync.WaitGroup
	settled chan struct{} // closed when enough stamps have come, or no more do

	count       int
	first, last reading
	recent      []reading // the source: the last of them; the destination: the first
}

// FromSource begins to read the stamps on the source. The watch owns conn.
func (w *Watch) FromSource(conn io.ReadCloser) { w.listen(&w.source, conn) }

// FromDestination begins to read the stamps on the destination. The watch owns conn.
func (w *Watch) FromDestination(conn io.ReadCloser) { w.listen(&w.destination, conn) }

// CloseSource closes the source's connection and waits for its reader, if any.
func (w *Watch) CloseSource() { w.close(&w.source) }

// CloseDestination is CloseSource for the destination.
func (w *Watch) CloseDestination() { w.close(&w.destination) }

// SourceSettled is closed when the source has sent enough stamps, or has ended. It
// is nil when the source is not read.
func (w *Watch) SourceSettled() <-chan struct{} { return w.settled(&w.source) }

// DestinationSettled is SourceSettled for the destination.
func (w *Watch) DestinationSettled() <-chan struct{} { return w.settled(&w.destination) }

// Begin notes the start of the migration.
func (w *Watch) Begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began = time.Now()
}

// End notes the end of the migration, by QEMU's status.
func (w *Watch) End() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = time.Now()
}

// Figures are the results so far, nil when the guest has not sent a stamp.
func (w *Watch) Figures() *result.GuestClock {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.source.count == 0 {
		return nil
	}
	f := w.sums
	f.Gaps = w.series.gaps()
	before, after := &w.source, &w.destination
	if after.count == 0 || before.last.Life != after.first.Life {
		return &f
	}
	stop := minOffset(after.recent, w.began) - minOffset(before.recent, w.began)
	f.Moved = true
	f.ClockStop = max(stop, 0).Milliseconds()
	f.Downtime = max(stop+after.first.Time-before.last.Time-clockwork.Period, 0).Milliseconds()
	return &f
}

// minOffset is the offset of a stamp without delay; origin is any time.
func minOffset(readings []reading, origin time.Time) time.Duration {
	minimum := readings[0].arrival.Sub(origin) - readings[0].Time
	for _, r := range readings[1:] {
		minimum = min(minimum, r.arrival.Sub(origin)-r.Time)
	}
	return minimum
}

func (w *Watch) settled(s *stream) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return s.settled
}

func (w *Watch) listen(s *stream, conn io.ReadCloser) {
	w.mu.Lock()
	s.conn, s.settled = conn, make(chan struct{})
	w.mu.Unlock()
	s.reading.Go(func() { w.read(s) })
}

func (w *Watch) close(s *stream) {
	w.mu.Lock()
	conn := s.conn
	w.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // its other end may have closed it
		s.reading.Wait()
	}
}

// read takes stamps until the connection ends, or the input is not a clock's.
func (w *Watch) read(s *stream) {
	lines := bufio.NewScanner(s.conn)
	lines.Buffer(make([]byte, 4096), 4096) // a longer line is no clock's
	second, inSecond := time.Now(), 0
	for lines.Scan() {
		now := time.Now()
		if now.Sub(second) > time.Second {
			second, inSecond = now, 0
		}
		if inSecond++; inSecond > maxLinesPerSecond {
			break
		}
		if stamp, ok := clockwork.Parse(lines.Bytes()); ok {
			w.take(s, reading{stamp, now})
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.count < minStamps {
		close(s.settled)
	}
}

// take adds a stamp of a host.
func (w *Watch) take(s *stream, r reading) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Life == s.last.Life && (r.Seq <= s.last.Seq || r.Time <= s.last.Time) {
		return // out of order
	}
	if s.count > 0 && r.Life != s.last.Life { // the guest was rebooted
		s.recent = s.recent[:0]
		s.first = r
	}
	if s.count == 0 {
		s.first = r
	}
	if s == &w.source {
		if len(s.recent) == window {
			s.recent = append(s.recent[:0], s.recent[1:]...)
		}
		s.recent = append(s.recent, r)
	} else if len(s.recent) < window {
		s.recent = append(s.recent, r)
	}
	w.record(r, s.last)
	s.last = r
	if s.count++; s.count == minStamps {
		close(s.settled)
	}
}

// record counts the gap before a stamp; before is the previous one of the same host.
func (w *Watch) record(r, before reading) {
	var gap, across, silence time.Duration
	switch r.Life {
	case before.Life:
		gap = max(r.Time-before.Time-time.Duration(r.Seq-before.Seq)*clockwork.Period, 0)
	case w.last.Life: // from one host to the other: the downtime's, not the brownout's
		across = max(r.Time-w.last.Time-clockwork.Period, 0)
	}
	if !w.last.arrival.IsZero() {
		silence = max(r.arrival.Sub(w.last.arrival), 0)
	}
	w.last = r
	w.series.add(r.arrival, gap+across, silence)
	if w.began.IsZero() || r.arrival.Before(w.began) {
		return
	}
	// The end may be seen before the first stamp after it: its silence counts.
	if over := !w.ended.IsZero() && r.arrival.Add(-silence).After(w.ended); over {
		return
	}
	w.sums.Silence = max(w.sums.Silence, silence.Milliseconds())
	if gap > clockwork.Period {
		w.sums.Brownout += gap.Milliseconds()
		w.sums.LongestGap = max(w.sums.LongestGap, gap.Milliseconds())
	}
}

// series is the maximum gap and silence in each span of time.
type series struct {
	start time.Time
	span  time.Duration
	worst []worst
}

type worst struct{ gap, silence time.Duration }

func (s *series) add(at time.Time, gap, silence time.Duration) {
	if s.start.IsZero() {
		s.start, s.span = at, gapsSpan
	}
	i := int(max(at.Sub(s.start), 0) / s.span)
	for ; i >= maxGaps; i /= 2 {
		s.halve()
	}
	for len(s.worst) <= i {
		s.worst = append(s.worst, worst{})
	}
	s.worst[i] = worst{max(s.worst[i].gap, gap), max(s.worst[i].silence, silence)}
}

// halve makes the spans twice as long.
func (s *series) halve() {
	for i, v := range s.worst {
		if i%2 == 1 {
			v = worst{max(s.worst[i/2].gap, v.gap), max(s.worst[i/2].silence, v.silence)}
		}
		s.worst[i/2] = v
	}
	s.worst, s.span = s.worst[:(len(s.worst)+1)/2], 2*s.span
}

func (s *series) gaps() []result.ClockGap {
	gaps := make([]result.ClockGap, len(s.worst))
	for i, v := range s.worst {
		gaps[i] = result.ClockGap{
			Time: s.start.Add(time.Duration(i) * s.span), Gap: v.gap.Milliseconds(), Silence: v.silence.Milliseconds(),
		}
	}
	return gaps
}
