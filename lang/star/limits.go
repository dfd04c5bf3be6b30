// SPDX-License-Identifier: Apache-2.0

package star

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

// Limits stop a program that computes without end, while it is loaded and while it runs as a scenario. 0 is no limit.
type Limits struct {
	Steps  uint64 // Starlark steps: of the top level of one file, or of all tasks of a scenario
	Memory uint64 // bytes of memory that mhmig as a whole has in use while the program computes
	// Guard watches Memory. Programs in virtual time, in which no time passes while one computes, need one that was made
	// outside; nil: each program has its own.
	Guard *MemoryGuard
}

// WatchMemory is [MemoryGuard.Add] to Guard, or to a guard of its own, until end.
func (l Limits) WatchMemory(computes func() bool, exceeded func(*LimitError)) (end func()) {
	if l.Guard != nil {
		return l.Guard.Add(computes, exceeded)
	}
	own := GuardMemory(l.Memory)
	own.Add(computes, exceeded)
	return own.Close
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

// A MemoryGuard watches the memory that this process has in use, and stops programs that compute while it is more than a
// limit.
type MemoryGuard struct {
	limit          uint64
	closing, ended chan struct{}

	mu       sync.Mutex // guards what follows
	programs map[*guarded]struct{}
}

// guarded is a program that a guard stops.
type guarded struct {
	computes func() bool
	exceeded func(*LimitError)
}

// GuardMemory returns a guard that watches until Close; for a limit of 0 the nil guard, which watches nothing.
func GuardMemory(limit uint64) *MemoryGuard {
	if limit == 0 {
		return nil
	}
	g := &MemoryGuard{limit: limit, closing: make(chan struct{}), ended: make(chan struct{}), programs: map[*guarded]struct{}{}}
	go g.watch()
	return g
}

// Close ends watching.
func (g *MemoryGuard) Close() {
	if g == nil {
		return
	}
	close(g.closing)
	<-g.ended
}

// Add has the guard call exceeded each time it finds that too much memory is in use while the program computes. Both
// functions are called on the guard's goroutine, and not any more once remove has returned.
func (g *MemoryGuard) Add(computes func() bool, exceeded func(*LimitError)) (remove func()) {
	if g == nil {
		return func() {}
	}
	program := &guarded{computes, exceeded}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.programs[program] = struct{}{}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.programs, program)
	}
}

func (g *MemoryGuard) watch() {
	defer close(g.ended)
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	const cycles, live = "/gc/cycles/total:gc-cycles", "/gc/heap/live:bytes"
	var collected chan struct{} // closed at the end of the collection that the guard runs, nil if it runs none
	last := reading(cycles)
	for {
		select {
		case <-g.closing:
			if collected != nil {
				<-collected
			}
			return
		case <-collected:
			collected = nil
		case <-ticker.C:
			if ended := reading(cycles); ended > last { // whoever ran it
				last = ended
				g.compare(reading(live), g.limit)
			}
			// Garbage does not count, and only a collection tells what is garbage; it is not run for less than some, as a
			// program may use almost the limit for long. Who doubles a string again and again is faster than it.
			all := reading("/memory/classes/heap/objects:bytes")
			g.compare(all, 4*g.limit)
			if collected == nil && all > g.limit+g.limit/8 && g.each(func(*guarded) {}) {
				collected = collect()
			}
		}
	}
}

// collect starts a garbage collection, and returns a channel that is closed at its end.
func collect() chan struct{} {
	done := make(chan struct{})
	go func() { // is waited for by the guard
		defer close(done)
		runtime.GC()
	}()
	return done
}

// compare tells the programs that compute if the memory used is more than the most.
func (g *MemoryGuard) compare(used, most uint64) {
	if used > most {
		g.each(func(p *guarded) { p.exceeded(&LimitError{What: "memory", Limit: g.limit, Used: used}) })
	}
}

// each calls f with the programs that compute, and reports whether there are any.
func (g *MemoryGuard) each(f func(*guarded)) (some bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p := range g.programs {
		if p.computes() {
			some = true
			f(p)
		}
	}
	return some
}

// reading is a number of the Go runtime.
func reading(metric string) uint64 {
	sample := []metrics.Sample{{Name: metric}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
