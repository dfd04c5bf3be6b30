// SPDX-License-Identifier: Apache-2.0

package star

import (
	"fmt"
	"runtime/metrics"
	"sync"
	"time"
)

// Limits stop a program that computes without end, while it is loaded and while it runs as a scenario. 0 is no limit.
type Limits struct {
	Steps  uint64 // Starlark steps: of the top level of one file, or of all tasks of a scenario
	Memory uint64 // bytes of memory that mhmig as a whole has in use while the program computes
}

// DefaultLimits are far above what scenarios need: many seconds of pure computation.
var DefaultLimits = Limits{Steps: 1_000_000_000, Memory: 2 << 30}

// A LimitError is the end of a program by its [Limits].
type LimitError struct {
	What  string // "steps" or "memory"
	Limit uint64
	Used  uint64
}

func (e *LimitError) Error() string {
	if e.What == "memory" {
		return fmt.Sprintf("stopped: %d MiB of memory are in use, the limit is %d MiB; does a list or a string grow without end?", e.Used>>20, e.Limit>>20)
	}
	return fmt.Sprintf("stopped after %d Starlark steps without an end; is it an endless loop? mhmig exec --max-steps sets another limit, 0 none", e.Limit)
}

// memoryInterval is how often a MemoryGuard looks. Lists and strings that are doubled again and again need some such
// intervals from the limit to twice that.
const memoryInterval = 20 * time.Millisecond

// A MemoryGuard watches the memory that this process has in use, between Start and Stop. The nil guard watches nothing.
type MemoryGuard struct {
	limit    uint64
	exceeded func(*LimitError)

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	started bool
	looked  bool   // since Start
	cycles  uint64 // of garbage collection, at the first look
}

// NewMemoryGuard returns a guard that calls exceeded, on a goroutine of its own, when more than limit bytes are in use.
func NewMemoryGuard(limit uint64, exceeded func(*LimitError)) *MemoryGuard {
	if limit == 0 {
		return nil
	}
	return &MemoryGuard{limit: limit, exceeded: exceeded}
}

// Start begins to watch.
func (g *MemoryGuard) Start() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.started, g.looked = true, false
	if g.timer == nil {
		g.timer = time.AfterFunc(memoryInterval, g.look)
	} else {
		g.timer.Reset(memoryInterval)
	}
}

// Stop ends watching, until the next Start.
func (g *MemoryGuard) Stop() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.started = false
	g.timer.Stop()
}

func (g *MemoryGuard) look() {
	const (
		cycles = "/gc/cycles/total:gc-cycles"
		live   = "/gc/heap/live:bytes" // what the last of them has found
		all    = "/memory/classes/heap/objects:bytes"
	)
	samples := []metrics.Sample{{Name: cycles}, {Name: live}, {Name: all}}
	metrics.Read(samples)
	g.mu.Lock()
	if !g.looked {
		g.looked, g.cycles = true, samples[0].Value.Uint64()
	}
	// Garbage does not count, but for what the collector has not got to: then it is too late to wait for it.
	used := samples[1].Value.Uint64()
	exceeded := used > g.limit && samples[0].Value.Uint64() > g.cycles
	if all := samples[2].Value.Uint64(); !exceeded && all/4 > g.limit {
		used, exceeded = all, true
	}
	exceeded = exceeded && g.started
	if g.started && !exceeded {
		g.timer.Reset(memoryInterval)
	}
	g.mu.Unlock()
	if exceeded {
		g.exceeded(&LimitError{What: "memory", Limit: g.limit, Used: used})
	}
}
