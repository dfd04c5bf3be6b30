// SPDX-License-Identifier: Apache-2.0

package guestclock_test

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/runtime/guestclock"
	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
	"github.com/mhmig/mhmig/runtime/result"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guest stamps a clock that a test can stop.
type guest struct {
	t       *testing.T
	seq     uint64
	began   time.Time
	stopped time.Duration
}

func (g *guest) stamp(port io.Writer, n int, pause time.Duration) {
	g.t.Helper()
	for range n {
		time.Sleep(pause)
		g.seq++
		s := clockwork.Stamp{Life: 7, Seq: g.seq, Time: time.Since(g.began) - g.stopped}
		if _, err := port.Write(s.Append(nil)); err != nil {
			g.t.Fatal(err)
		}
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w guestclock.Watch
		if w.Figures() != nil {
			t.Error("figures without a stamp")
		}
		source, fromSource := net.Pipe()
		destination, fromDestination := net.Pipe()
		w.FromSource(fromSource)
		w.FromDestination(fromDestination)
		defer w.CloseSource()
		defer w.CloseDestination()

		g := &guest{t: t, began: time.Now()}
		g.stamp(source, 30, clockwork.Period)
		<-w.SourceSettled()
		w.Begin()
		g.stamp(source, 1, 70*time.Millisecond) // throttled
		g.seq += 5                              // five that were lost
		g.stamp(source, 1, 6*clockwork.Period)
		_, _ = io.WriteString(source, "garbage\n 7 8 9\nT7 1 1\n") // and one out of order
		if f := w.Figures(); f.Moved || f.Brownout != 60 || f.LongestGap != 60 || f.Silence != 70 {
			t.Errorf("before it has moved: got %+v", *f)
		}
		time.Sleep(300 * time.Millisecond) // the clock stands still
		g.stopped += 300 * time.Millisecond
		g.stamp(destination, 1, 25*time.Millisecond) // and the guest is slow to get going
		w.End()
		g.stamp(destination, 30, clockwork.Period)
		<-w.DestinationSettled()
		f := w.Figures()
		if !f.Moved || f.ClockStop != 300 || f.Downtime != 315 || f.Silence != 325 || f.Brownout != 60 {
			t.Errorf("got %+v", *f)
		}
		across := func(g result.ClockGap) bool { return g.Gap == 15 && g.Silence == 325 }
		if !slices.ContainsFunc(f.Gaps, across) {
			t.Errorf("got gaps %+v, want the downtime in them, 15 ms of it with the clock going on", f.Gaps)
		}
	})
}

// A connection that is no clock's settles, and gives no figures.
func TestNoClock(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing": "", "garbage": "x\ny\n", "no lines": strings.Repeat("x", 1<<20), "flood": strings.Repeat("T1 2\n", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var w guestclock.Watch
			w.FromSource(io.NopCloser(strings.NewReader(text)))
			<-w.SourceSettled()
			w.CloseSource()
			if f := w.Figures(); f != nil {
				t.Errorf("got %+v", *f)
			}
		})
	}
}

// However long a move takes, the series stays short.
func TestSeriesIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w guestclock.Watch
		source, fromSource := net.Pipe()
		w.FromSource(fromSource)
		defer w.CloseSource()
		g := &guest{t: t, began: time.Now()}
		g.stamp(source, 5000, time.Second)
		synctest.Wait()
		gaps := w.Figures().Gaps
		if n := len(gaps); n < 500 || n > 1200 || gaps[n-1].Gap != 990 || gaps[n-1].Silence != 1000 {
			t.Errorf("got %d spans", n)
		}
	})
}
