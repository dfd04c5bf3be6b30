// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"time"
)

// ClockReading is a reading of a guest's clock (CLOCK_REALTIME).
type ClockReading struct {
	Guest       time.Time
	Host        time.Time     // this machine's clock at the middle of the exchange
	Uncertainty time.Duration // half of what the exchange took: Host may be wrong by so much
}

// clockExchanges is how many exchanges there are, of which the shortest one counts.
const clockExchanges = 8

// clockCommands print the time: a variable of bash and busybox, for which no program
// starts; GNU date; and busybox where it is not the shell.
var clockCommands = []string{`echo "$EPOCHREALTIME"`, `date +%s.%N`, `busybox sh -c 'echo "$EPOCHREALTIME"'`}

// Clock reads the guest's clock several times, and returns the reading with the least
// uncertainty. Timeout limits each exchange.
func (s *Session) Clock(ctx context.Context, timeout time.Duration) (ClockReading, error) {
	for _, command := range clockCommands {
		best, known, err := s.readClock(ctx, command, timeout)
		if err != nil {
			return ClockReading{}, err
		}
		if !known {
			continue
		}
		for range clockExchanges - 1 {
			next, _, err := s.readClock(ctx, command, timeout)
			if err != nil {
				return ClockReading{}, err
			}
			if next.Uncertainty < best.Uncertainty {
				best = next
			}
		}
		return best, nil
	}
	return ClockReading{}, errors.New("the guest has no command that prints the time with fractions of a second: bash, busybox 1.34, or GNU date")
}

// readClock reads the guest's clock once; known says whether the guest knows the command.
func (s *Session) readClock(ctx context.Context, command string, timeout time.Duration) (r ClockReading, known bool, err error) {
	began := time.Now()
	said, err := s.CmdOutput(ctx, command, timeout)
	r.Uncertainty = time.Since(began) / 2
	r.Host = began.Add(r.Uncertainty)
	if err != nil {
		return r, false, err
	}
	r.Guest, known = parseClock(said)
	return r, known, nil
}

// parseClock parses seconds since 1970 with a fraction. Some locales have a comma.
func parseClock(said string) (time.Time, bool) {
	parts := clockFormat.FindStringSubmatch(said)
	if parts == nil {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	nanoseconds, _ := strconv.ParseInt((parts[2] + "00000000")[:9], 10, 64) // digits
	return time.Unix(seconds, nanoseconds), true
}

var clockFormat = regexp.MustCompile(`^(\d+)[.,](\d+)\s*$`)
