// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

const (
	// stallTimeout is how long nothing is sent before that is told as the reason,
	// beside the time that the bandwidth limit explains.
	stallTimeout = 3 * time.Second
	// largestPiece is what QEMU sends at once at the most before it heeds the limit.
	largestPiece = 64 << 10
	// dirtyTime is how long QEMU looks at the guest to measure its dirty rate.
	dirtyTime = time.Second
)

// account says why a move that is not over has taken so long: how far it has
// come, and the guest's dirty rate against what can be sent.
func (mv *move) account(ctx context.Context, src *testbed.Instance) string {
	mv.m.mu.Lock()
	p := result.Sample{Query: mv.query}.Progress()
	idle := time.Since(mv.moved)
	mv.m.mu.Unlock()
	known := p.Passes() >= 2
	if !known && p.Status == "active" {
		p.Dirty, known = measureDirty(ctx, src.Monitor())
	}
	return account(p, known, mv.limits.asked.Bandwidth, idle, mv.m.Source.Host.Name(), mv.m.Destination.Host.Name())
}

// account puts a move's progress into words. known is whether QEMU knows the dirty
// rate, limit is max-bandwidth in bytes per
// second, idle how long nothing has been sent, from and to are the hosts.
func account(p result.Progress, known bool, limit int64, idle time.Duration, from, to string) string {
	if p.Pass == 0 {
		return fmt.Sprintf("the migration is %s and has not begun to send the guest's memory", statusWord(p.Status))
	}
	text := fmt.Sprintf("%s over the guest's memory, %s of %s left", count(p.Passes(), "pass", "passes"), size(float64(p.Remaining)), size(float64(p.Total)))
	explained := stallTimeout
	if limit > 0 {
		explained += time.Duration(float64(largestPiece) / float64(limit) * float64(time.Second))
	}
	if idle > explained {
		return fmt.Sprintf("%s, and nothing was sent for %v: is the way from %s to %s cut?", text, idle.Round(time.Second), from, to)
	}
	dirty := "the guest's dirty rate is not known"
	if known {
		dirty = "the guest changes " + rate(p.Dirty)
	}
	text += fmt.Sprintf(": %s, the limit is %s, %s are sent", dirty, rate(float64(limit)), rate(p.Rate))
	switch {
	case p.Diverges() || known && limit > 0 && p.Dirty >= float64(limit):
		text = "it does not converge: " + text
	case p.Pass == 1 && p.Rate > 0:
		text += fmt.Sprintf("; what is left of the first pass takes %v more at that", time.Duration(float64(p.Remaining)/p.Rate*float64(time.Second)).Round(time.Second))
	}
	return text
}

// measureDirty lets QEMU measure the guest's dirty rate, in bytes per second, if
// it can.
func measureDirty(ctx context.Context, monitor *qmp.Conn) (bytes float64, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*dirtyTime)
	defer cancel()
	if monitor.Execute(ctx, "calc-dirty-rate", map[string]any{"calc-time": int(dirtyTime.Seconds())}, nil) != nil {
		return 0, false // QEMU before 5.2
	}
	for {
		var measured struct {
			Status string  `json:"status"`
			Rate   float64 `json:"dirty-rate"` // MiB per second
		}
		err := monitor.Execute(ctx, "query-dirty-rate", nil, &measured)
		switch {
		case err != nil:
			return 0, false
		case measured.Status == "measured":
			return measured.Rate * (1 << 20), true
		}
		select {
		case <-time.After(dirtyTime / 10):
		case <-ctx.Done():
			return 0, false
		}
	}
}

func statusWord(status string) string {
	if status == "" {
		return "none"
	}
	return status
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// rate is bytes per second for the user.
func rate(bytes float64) string { return size(bytes) + "/s" }

// size is a number of bytes for the user, in the units of the params.
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
