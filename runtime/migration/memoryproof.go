// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/memproof"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// The memory proof, param memory_proof: when the source has completed, and the
// destination has loaded the guest but does not run it yet, the RAM of both is compared.
// Both guests stand still then, whatever the transport is. The source is compared after
// its end, not at pre-switchover: what its devices wrote into RAM while their state was
// saved must have arrived too.

// proofStep is the step of the comparison.
const proofStep = "memory_proof"

// proves says whether the memory is compared.
func (o options) proves(t Traits) bool { return o.memoryProof && o.unproved(t) == "" }

// unproved is why the memory cannot be compared; "": it can.
func (o options) unproved(t Traits) string {
	switch {
	case o.postcopy.on:
		return "post-copy lets the guest run on the destination before its memory is there"
	case t.SharedRAM:
		return "both ends map the same RAM, of which nothing is sent"
	}
	return ""
}

func (m *Migration) proves() bool { return m.options.proves(m.traits) }

// arrivesStopped is the feature of a migration whose memory is compared: the destination
// does not run the guest when it has loaded it. QMP stop, before anything arrives, has
// the effect of QEMU's option -S; the step check resumes the guest.
type arrivesStopped struct{ enabled bool }

func newArrivesStopped(o options, t Traits) Feature { return arrivesStopped{o.proves(t)} }

func (arrivesStopped) Capabilities(Role) []string { return nil }
func (arrivesStopped) Parameters(Role) []string   { return nil }

func (f arrivesStopped) Set(ctx context.Context, role Role, p Peer) error {
	if !f.enabled || role != DestinationRole {
		return nil
	}
	return p.Execute(ctx, "stop", nil, nil)
}

func (arrivesStopped) Reset(context.Context, Role, Peer) error { return nil }

// memoryEnd is an instance as one end of a comparison.
type memoryEnd struct{ endpoint }

func (e memoryEnd) Run(ctx context.Context, c host.Command) (host.Output, error) {
	return e.Host.Run(ctx, c)
}

// Scratch is below the run's folder, which is removed in any case.
func (e memoryEnd) Scratch() string {
	return path.Join(e.Host.RunDir(), vm.InstanceName(e.Name(), e.ID())+".ram")
}

// proveMemory compares the memory of all VMs with that on the source.
func (s *Side) proveMemory(ctx context.Context) error {
	if err := s.compareMemory(ctx, s.Migration.Plan.VMs...); err != nil {
		return err
	}
	return s.waitForPeer(ctx, "proved", limit{})
}

// compareMemory compares the memory of these VMs.
func (s *Side) compareMemory(ctx context.Context, vms ...string) error {
	o := s.Migration.options
	late := fmt.Errorf("the memory was not compared within %v (mig_timeout)", o.timeout)
	comparing, cancel := context.WithTimeoutCause(ctx, o.timeout, late)
	defer cancel()
	return each(comparing, vms, func(comparing context.Context, vm string) error {
		return s.Migration.moves[vm].proveMemory(ctx, comparing)
	})
}

// proveMemory compares the memory of both ends within the context comparing. A
// difference, or the end of a QEMU, is the migration's failure.
func (mv *move) proveMemory(ctx, comparing context.Context) error {
	src, dst := mv.m.Source.Instance(mv.vm), mv.m.Destination.Instance(mv.vm)
	proof, err := memproof.Compare(comparing, memoryEnd{endpoint{src}}, memoryEnd{endpoint{dst}})
	mv.noteProof(proof)
	if err == nil {
		dst.Log().Info("the memory is equal", "pages", proof.Pages, "allowed", len(proof.Allowed), "moved", proof.Moved, "took", proof.Took)
		return nil
	}
	if e, ok := errors.AsType[*memproof.EndError](err); ok {
		instance, side := src, mv.m.Source
		if e.Side == memproof.Destination {
			instance, side = dst, mv.m.Destination
		}
		if err = blame(ctx, mv, instance, side.Role, err); result.StatusOf(err) == result.Fail || ctx.Err() != nil {
			return err
		}
		return side.stepError(ctx, err)
	}
	if ctx.Err() != nil || comparing.Err() != nil {
		return err
	}
	if e, ok := errors.AsType[*memproof.DifferenceError](err); ok {
		mv.savePage(SourceRole, e.First.Address, e.First.Source)
		mv.savePage(DestinationRole, e.First.Address, e.First.Destination)
	}
	return failWithoutSide(ctx, mv, proofStep, err)
}

// savePage puts the contents of a page that differs into the variant's artifacts.
func (mv *move) savePage(role Role, address uint64, content []byte) {
	name := fmt.Sprintf("memory-proof/migration-%d-%s-page-%x-%s.bin", mv.m.Number, mv.vm, address, role)
	if err := mv.m.bed.SaveArtifact(name, content); err != nil {
		mv.m.log.Warn("the page that differs was not saved", "vm", mv.vm, "error", err)
	}
}

// skipProof notes why the memory of a guest that has moved was not compared.
func (mv *move) skipProof(dst *testbed.Instance, reason string) {
	dst.Log().Warn("memory_proof: the memory is not compared", "reason", reason)
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	mv.proof = &result.MemoryProof{Skipped: reason}
}

func (mv *move) noteProof(p memproof.Result) {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	mv.proof = &result.MemoryProof{Pages: p.Pages, Differ: p.Differ, Allowed: len(p.Allowed), Moved: p.Moved, Milliseconds: p.Took.Milliseconds()}
	for _, span := range p.Runs[:min(len(p.Runs), result.MaxRuns)] {
		mv.proof.Runs = append(mv.proof.Runs, span.String())
	}
}

// proofRecord is the record of the memory proof so far; m.mu is held.
func (mv *move) proofRecord() *result.MemoryProof {
	if m := mv.m; m.options.memoryProof && !m.proves() {
		return &result.MemoryProof{Skipped: m.options.unproved(m.traits)}
	}
	return mv.proof
}

// addMemoryProof adds the memory proof's figures to QEMU's statistics.
func (mv *move) addMemoryProof(stats map[string]any) {
	if p := mv.proof; p != nil && p.Skipped == "" {
		stats["memory_proof_pages"], stats["memory_proof_time"], stats["memory_proof_moved"] = p.Pages, p.Milliseconds, p.Moved
	}
}
