// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

const (
	// stallTimeout is how long nothing is sent before that is reported as the reason,
	// not counting the time that the bandwidth limit explains.
	stallTimeout = 3 * time.Second
	// largestBurst is the most that QEMU sends at once before it applies the limit.
	largestBurst = 64 << 10
	// dirtyTime is how long QEMU measures the guest's dirty rate.
	dirtyTime = time.Second
)

// describeProgress says why a move has not finished yet: how far it is, and the
// guest's dirty rate against the throughput.
func (mv *move) describeProgress(ctx context.Context, src *testbed.Instance) string {
	mv.m.mu.Lock()
	p := result.Sample{Query: mv.query}.Progress()
	idle, limit := time.Since(mv.moved), mv.forecast.limits.Bandwidth
	mv.m.mu.Unlock()
	if p.Status == string(qmp.MigrationPreSwitchover) {
		return mv.describePause()
	}
	known := p.Passes() >= 2
	if !known && p.Status == "active" {
		dirty, err := src.Monitor().DirtyRate(ctx, dirtyTime)
		p.Dirty, known = dirty, err == nil
	}
	return describeProgress(p, known, limit, idle, mv.m.Source.Host.Name(), mv.m.Destination.Host.Name())
}

// describeProgress describes a move's progress. known is whether QEMU knows the dirty
// rate, limit is max-bandwidth in bytes per second, idle how long nothing has been
// sent, from and to are the hosts.
func describeProgress(p result.Progress, known bool, limit int64, idle time.Duration, from, to string) string {
	if p.Pass == 0 {
		return fmt.Sprintf("the migration has status %s and has not started to send guest memory", cmp.Or(p.Status, "none"))
	}
	text := fmt.Sprintf("%s over guest memory, %s of %s remaining", count(p.Passes(), "pass", "passes"), size(float64(p.Remaining)), size(float64(p.Total)))
	if State(p.Status) == qmp.MigrationPostcopyPaused {
		return text + ": it is paused in post-copy, and nothing has recovered it"
	}
	explained := stallTimeout
	if limit > 0 {
		explained += time.Duration(float64(largestBurst) / float64(limit) * float64(time.Second))
	}
	if idle > explained {
		return fmt.Sprintf("%s, and nothing was sent for %v: is the network from %s to %s down?", text, idle.Round(time.Second), from, to)
	}
	dirty := "dirty rate unknown"
	if known {
		dirty = "dirty rate " + rate(p.Dirty)
	}
	text += fmt.Sprintf(": %s, bandwidth limit %s, throughput %s", dirty, rate(float64(limit)), rate(p.Rate))
	switch {
	case p.Diverges() || known && limit > 0 && p.Dirty >= float64(limit):
		text = "it does not converge: " + text
	case p.Pass == 1 && p.Rate > 0:
		text += fmt.Sprintf("; at this throughput the first pass takes %v more", time.Duration(float64(p.Remaining)/p.Rate*float64(time.Second)).Round(time.Second))
	}
	return text
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// rate formats bytes per second.
func rate(bytes float64) string { return size(bytes) + "/s" }

// size formats a number of bytes in the units of the params.
func size(bytes float64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	for bytes >= 1000 && len(units) > 1 {
		bytes, units = bytes/1024, units[1:]
	}
	if bytes < 10 && bytes != float64(int64(bytes)) {
		return fmt.Sprintf("%.1f %s", bytes, units[0])
	}
	return fmt.Sprintf("%.0f %s", bytes, units[0])
}
