// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/cpu"
)

// patience is how long a thread may take for a round, in a guest that gets little
// of its host.
const patience = 30 * time.Second

// processor is the work of cpuwork: threads that compute the same again and again.
type processor struct {
	computations []computation
	load         int           // percent of its time that a thread computes
	patience     time.Duration // for a round
	advanced     chan struct{} // a thread has completed a round, or found a fault
	stop         chan struct{}
	threads      sync.WaitGroup

	mu     sync.Mutex
	rounds []uint64 // guarded by mu; of each thread
	seen   []uint64 // of the last check; belongs to the goroutine that calls serve
	fault  string   // guarded by mu; the first one
}

// newProcessor starts the threads, and waits until each has done one round.
func newProcessor(o options) (work, error) {
	threads := o.threads
	if threads == 0 {
		threads = runtime.NumCPU()
	}
	p := &processor{computations: computations, load: o.load, patience: patience}
	p.start(threads)
	if fault := p.awaitRound(); fault != "" {
		return nil, errors.Join(errors.New(fault), p.Close())
	}
	return p, nil
}

func (p *processor) start(threads int) {
	p.advanced, p.stop = make(chan struct{}, 1), make(chan struct{})
	p.rounds, p.seen = make([]uint64, threads), make([]uint64, threads)
	for thread := range threads {
		p.threads.Go(func() { p.compute(thread) })
	}
}

// Close ends the threads.
func (p *processor) Close() error {
	close(p.stop)
	p.threads.Wait()
	return nil
}

// compute is what a thread does until it is stopped or a result is wrong.
func (p *processor) compute(thread int) {
	runtime.LockOSThread() // the guest's kernel shares out what can run by threads
	for {
		began := time.Now()
		for _, c := range p.computations {
			if got := c.compute(); got != c.want {
				p.advance(thread, fmt.Sprintf("thread %d: %s: got %s, want %s", thread, c.name, got, c.want))
				return
			}
		}
		p.advance(thread, "")
		rest := time.NewTimer(time.Since(began) * time.Duration(wholeProcessor-p.load) / time.Duration(p.load))
		select {
		case <-p.stop:
			rest.Stop()
			return
		case <-rest.C:
		}
	}
}

// advance notes the end of a thread's round.
func (p *processor) advance(thread int, fault string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fault == "" {
		p.rounds[thread]++
	} else if p.fault == "" {
		p.fault = fault
	}
	select {
	case p.advanced <- struct{}{}:
	default: // who waits for it has not seen the last one yet
	}
}

// awaitRound waits until each thread has completed a round since the last call. It
// returns what is wrong, or "".
func (p *processor) awaitRound() string {
	late := time.NewTimer(p.patience)
	defer late.Stop()
	for {
		rounds, fault := p.state()
		if fault != "" {
			return fault
		}
		idle := 0
		for idle < len(rounds) && rounds[idle] > p.seen[idle] {
			idle++
		}
		if idle == len(rounds) {
			p.seen = rounds
			return ""
		}
		select {
		case <-p.advanced:
		case <-late.C:
			return fmt.Sprintf("thread %d has made no progress for %v, nor since the last check", idle, p.patience)
		}
	}
}

func (p *processor) state() (rounds []uint64, fault string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.rounds), p.fault
}

// progress also says which of the extensions that the computations can use the CPU
// had when the work was started.
func (p *processor) progress() string {
	rounds, _ := p.state()
	sum := uint64(0)
	for _, n := range rounds {
		sum += n
	}
	return fmt.Sprintf("%d threads, %d rounds of %d computations; CPU with %s", len(rounds), sum, len(p.computations), extensions())
}

// extensions names what the CPU has of what the computations can use.
func extensions() string {
	all := []struct {
		name string
		has  bool
	}{
		{"SSSE3", cpu.X86.HasSSSE3},
		{"SSE4.1", cpu.X86.HasSSE41},
		{"SSE4.2", cpu.X86.HasSSE42},
		{"POPCNT", cpu.X86.HasPOPCNT},
		{"AES", cpu.X86.HasAES},
		{"PCLMULQDQ", cpu.X86.HasPCLMULQDQ},
		{"AVX", cpu.X86.HasAVX},
		{"AVX2", cpu.X86.HasAVX2},
		{"FMA", cpu.X86.HasFMA},
		{"BMI2", cpu.X86.HasBMI2},
		{"AVX512", cpu.X86.HasAVX512},
	}
	var names []string
	for _, e := range all {
		if e.has {
			names = append(names, e.name)
		}
	}
	if names == nil {
		return "no extension"
	}
	return strings.Join(names, " ")
}

func (p *processor) serve(requests <-chan request) {
	for r := range requests {
		r.reply <- p.answer(r.verb)
		if r.verb == "stop" {
			return
		}
	}
}

func (p *processor) answer(verb string) string {
	_, fault := p.state()
	if verb == "check" {
		fault = p.awaitRound()
	}
	switch {
	case verb == "stop":
		return fmt.Sprintf("%d stopped: %s", statusOK, p.progress())
	case fault != "":
		return fmt.Sprintf("%d FAILED: %s; %s", statusFault, fault, p.progress())
	case verb == "check":
		return fmt.Sprintf("%d OK: every result was right; %s", statusOK, p.progress())
	default:
		return fmt.Sprintf("%d running: %s", statusOK, p.progress())
	}
}
