// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// tick is how often a worker with a rate writes its share.
const tick = 10 * time.Millisecond

// pages is the work of memwork and diskwork: it sweeps and answers. All of it
// happens in the goroutine that calls serve, so a check sees the pages as they are
// between two rewrites.
type pages struct {
	sweep *sweep
	rate  int64 // bytes per second, or 0
	err   error // of the medium; nothing is written any more
}

// pagesOn is the work on a medium.
func pagesOn(newMedium func(options) (medium, error)) func(options) (work, error) {
	return func(o options) (work, error) {
		m, err := newMedium(o)
		if err != nil {
			return nil, err
		}
		s, err := newSweep(m, rand.Uint64())
		if err != nil {
			m.Close()
			return nil, err
		}
		return &pages{sweep: s, rate: int64(o.rate)}, nil
	}
}

func (w *pages) progress() string { return w.sweep.progress() }
func (w *pages) Close() error     { return w.sweep.medium.Close() }

// serve rewrites pages at the rate until it is asked to stop.
func (w *pages) serve(requests <-chan request) {
	var due <-chan time.Time
	share := int64(chunk * pageSize) // bytes
	if w.rate > 0 {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		due, share = ticker.C, w.rate*int64(tick)/int64(time.Second)
	} else {
		always := make(chan time.Time)
		close(always)
		due = always
	}
	owed := int64(0) // bytes
	for {
		if w.err != nil || w.sweep.fault != nil {
			due = nil // the damage is kept as it was found
		}
		select {
		case <-due:
			owed += share
			w.err = w.sweep.advance(int(owed / pageSize))
			owed %= pageSize
		case r := <-requests:
			r.reply <- w.answer(r.verb)
			if r.verb == "stop" {
				return
			}
		}
	}
}

// answer returns the exit status for the client and a line for people.
func (w *pages) answer(verb string) string {
	damaged := 0
	if verb == "check" && w.err == nil {
		damaged, w.err = w.sweep.check()
	}
	switch {
	case verb == "stop":
		return fmt.Sprintf("%d stopped: %s", statusOK, w.sweep.progress())
	case w.err != nil:
		return fmt.Sprintf("%d FAILED: %v; %s", statusFault, w.err, w.sweep.progress())
	case damaged > 0:
		return fmt.Sprintf("%d FAILED: %d damaged pages, first found %v; %s", statusFault, damaged, w.sweep.fault, w.sweep.progress())
	case w.sweep.fault != nil:
		return fmt.Sprintf("%d FAILED: %v; %s", statusFault, w.sweep.fault, w.sweep.progress())
	case verb == "check":
		return fmt.Sprintf("%d OK: every page verified; %s", statusOK, w.sweep.progress())
	default:
		return fmt.Sprintf("%d running: %s", statusOK, w.sweep.progress())
	}
}
