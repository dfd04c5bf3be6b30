// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
)

const (
	clockSamples = 3           // the quickest one counts
	maxApart     = time.Second // of two hosts' clocks
)

// reading is how far a host's clock is ahead of this machine's.
type reading struct {
	host   string
	offset time.Duration
	within time.Duration // the uncertainty: half of the round trip
}

// clocksInStep compares the clocks of the hosts.
func clocksInStep(ctx context.Context, c *checker) finding {
	machines := c.reached()
	if len(machines) == 0 {
		return skip("no host is reached")
	}
	readings, errs := make([]reading, len(machines)), make([]error, len(machines))
	var all sync.WaitGroup
	for i, m := range machines {
		all.Go(func() { readings[i], errs[i] = readClock(ctx, m.h) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return failBy(err)
		}
	}
	return judgeClocks(readings)
}

// readClock reads the host's clock several times.
func readClock(ctx context.Context, h *host.Host) (best reading, err error) {
	for i := range clockSamples {
		began := time.Now()
		out, err := h.Run(ctx, host.Command{Script: "date +%s.%N", Timeout: commandTimeout})
		if err != nil {
			return reading{}, err
		}
		took := time.Since(began)
		there, step, err := parseClock(string(out.Stdout))
		if err != nil {
			return reading{}, fmt.Errorf("%s: %w", h.Name(), err)
		}
		middle := began.Add(took / 2)
		r := reading{host: h.Name(), offset: there.Add(step / 2).Sub(middle), within: (took + step) / 2}
		if i == 0 || r.within < best.within {
			best = r
		}
	}
	return best, nil
}

// parseClock parses the output of date +%s.%N. A date without %N prints seconds only: then
// step is one second.
func parseClock(text string) (t time.Time, step time.Duration, err error) {
	whole, fraction, _ := strings.Cut(strings.TrimSpace(text), ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, 0, fmt.Errorf("date: want seconds since 1970, got %q", text)
	}
	nanoseconds, err := strconv.ParseInt(fraction, 10, 64)
	if err != nil || len(fraction) != 9 {
		return time.Unix(seconds, 0), time.Second, nil //nolint:nilerr // seconds are good enough
	}
	return time.Unix(seconds, nanoseconds), 0, nil
}

// judgeClocks warns of clocks that are certainly apart: timelines and logs of two hosts
// are compared by their times.
func judgeClocks(readings []reading) finding {
	var parts []string
	lowest, highest := readings[0], readings[0]
	for _, r := range readings {
		parts = append(parts, fmt.Sprintf("%s %+.2f s (±%.2f)", r.host, r.offset.Seconds(), math.Max(r.within.Seconds(), 0.01)))
		if r.offset+r.within < lowest.offset+lowest.within {
			lowest = r
		}
		if r.offset-r.within > highest.offset-highest.within {
			highest = r
		}
	}
	found := strings.Join(parts, ", ") + " from this machine"
	if (highest.offset-highest.within)-(lowest.offset+lowest.within) > maxApart {
		return warn(found, fmt.Sprintf("set the clocks of %s and %s by NTP: timedatectl set-ntp true", lowest.host, highest.host))
	}
	return ok("%s", found)
}
