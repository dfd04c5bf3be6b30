// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNoDirtyRate is the error of a QEMU that cannot measure a guest's dirty rate: it has
// no calc-dirty-rate, which QEMU 5.2 introduced.
var ErrNoDirtyRate = errors.New("this QEMU cannot measure the guest's dirty rate: it has no calc-dirty-rate")

const (
	// samplePages is how many pages of each GiB QEMU compares to measure the dirty rate: the
	// most that it accepts. Its default, 512, is 48 pages of a guest with 96 MiB, which can
	// miss all that the guest writes.
	samplePages = 4096
	// dirtyRateGrace is how long the result may come after the period.
	dirtyRateGrace = 5 * time.Second
)

// DirtyRate makes QEMU measure how much different memory the guest writes to within a
// period of whole seconds, 1 to 60, in bytes per second: calc-dirty-rate in the mode
// page-sampling, which compares hashes of sampled pages and slows the guest down no more
// than that. It blocks for the period. The error is [ErrNoDirtyRate] for a QEMU without.
func (c *Conn) DirtyRate(ctx context.Context, period time.Duration) (bytesPerSecond float64, err error) {
	has, err := c.Supports(ctx, "calc-dirty-rate")
	if err != nil {
		return 0, err
	}
	if !has {
		return 0, ErrNoDirtyRate
	}
	arguments := map[string]any{"calc-time": int(period.Seconds())}
	if adjustable, err := c.Supports(ctx, "calc-dirty-rate/sample-pages"); err != nil {
		return 0, err
	} else if adjustable { // QEMU 6.1
		arguments["sample-pages"] = samplePages
	}
	if err := c.Execute(ctx, "calc-dirty-rate", arguments, nil); err != nil {
		return 0, err
	}
	late := time.After(period + dirtyRateGrace)
	for {
		var measured struct {
			Status string   `json:"status"`
			Rate   *float64 `json:"dirty-rate"` // MiB per second
		}
		if err := c.Execute(ctx, "query-dirty-rate", nil, &measured); err != nil {
			return 0, err
		}
		if measured.Status == "measured" && measured.Rate != nil {
			return *measured.Rate * (1 << 20), nil
		}
		select {
		case <-time.After(period / 10):
		case <-late:
			return 0, fmt.Errorf("QEMU has not measured the guest's dirty rate %v after the %v that it takes: it is %s", dirtyRateGrace, period, measured.Status)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}
