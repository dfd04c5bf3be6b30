// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Failure is a migration that went wrong: which side failed first, if either did,
// and what both sides' QEMU and guest had to say. Its verdict is FAIL: the system
// under test is wrong.
type Failure struct {
	Migration int
	VM        string
	First     Role   // the side that failed first, "" when neither has: it only took too long
	Host      string // of that side
	Step      string // what that side was doing
	Err       error
	Evidence  []testbed.Evidence // source's, then destination's
}

func (e *Failure) Error() string {
	if e.First == "" {
		return fmt.Sprintf("migration %d of %s: %v", e.Migration, e.VM, e.Err)
	}
	return fmt.Sprintf("migration %d of %s: the %s failed first (%s): %v", e.Migration, e.VM, e.First, e.Host, e.Err)
}

func (e *Failure) Unwrap() error { return e.Err }

// Status is FAIL.
func (e *Failure) Status() result.Status { return result.Fail }

// Detail is the evidence, for the user.
func (e *Failure) Detail() string { return detail(e.Evidence) }

// blame is fail for what only a QEMU that has ended or hangs is to blame for; any
// other error stays what it is.
func blame(ctx context.Context, mv *move, instance *testbed.Instance, role Role, err error) error {
	if errors.Is(err, qmp.ErrGone) || errors.Is(err, qmp.ErrSilent) {
		return fail(ctx, mv, instance, role, err)
	}
	return err
}

// fail is a failure whose side is known. When the host is out of reach, nobody
// knows whether anything failed: then that is the error. A migration fails once:
// whoever comes later gets the first failure.
func fail(ctx context.Context, mv *move, instance *testbed.Instance, role Role, err error) error {
	if ctx.Err() != nil { // it was stopped: others know why
		return err
	}
	mv.m.failing.Lock()
	defer mv.m.failing.Unlock()
	if mv.m.verdict != nil {
		return mv.m.verdict
	}
	mv.m.verdict = mv.failure(ctx, instance, role, err)
	return mv.m.verdict
}

func (mv *move) failure(ctx context.Context, instance *testbed.Instance, role Role, err error) error {
	switch {
	case errors.Is(err, qmp.ErrGone):
		err = fmt.Errorf("%w; %w", err, instance.Exit(ctx))
	case errors.Is(err, qmp.ErrSilent):
		state, unknown := instance.ProcessState(ctx)
		if unknown != nil {
			return fmt.Errorf("%w; nor can its host be asked: %w", err, unknown)
		}
		err = fmt.Errorf("%w; %s", err, state)
	}
	if lost := instance.Host.Err(); lost != nil {
		return fmt.Errorf("%s: %w", instance, lost)
	}
	err = instance.WithKernelTrouble(err)
	if short := instance.OutOfMemory(err); short != nil {
		return short
	}
	f := &Failure{Migration: mv.m.Number, VM: mv.vm, First: role, Host: instance.Host.Name(), Err: err}
	for _, side := range []*Side{mv.m.Source, mv.m.Destination} {
		if side.Role == role {
			f.Step = side.Step()
		}
	}
	f.Evidence = mv.m.evidence(ctx, mv.vm)
	return f
}

// overdue is the verdict on a move that mig_timeout has ended: a side whose QEMU
// has ended or hangs has failed; else neither has, and the error says what took so
// long.
func (mv *move) overdue(ctx context.Context, src, dst *testbed.Instance) error {
	late := fmt.Errorf("not finished after mig_timeout = %v", mv.m.options.timeout)
	var srcErr, dstErr error
	var asking sync.WaitGroup
	asking.Go(func() { srcErr = mv.m.checkMonitor(ctx, src) })
	asking.Go(func() { dstErr = mv.m.checkMonitor(ctx, dst) })
	asking.Wait()
	switch {
	case srcErr != nil && dstErr != nil:
		return fail(ctx, mv, src, SourceRole, fmt.Errorf("%w; %w; %w", srcErr, dstErr, late))
	case srcErr != nil:
		return fail(ctx, mv, src, SourceRole, fmt.Errorf("%w; %w", srcErr, late))
	case dstErr != nil:
		return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("%w; %w", dstErr, late))
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	f := &Failure{Migration: mv.m.Number, VM: mv.vm, Err: fmt.Errorf("%w: %s", late, mv.account(ctx, src))}
	f.Evidence = mv.m.evidence(ctx, mv.vm)
	mv.m.failing.Lock()
	defer mv.m.failing.Unlock()
	if mv.m.verdict == nil {
		mv.m.verdict = f
	}
	return mv.m.verdict
}

// evidence asks all instances of the VMs, on both sides, what they know. It
// works on after ctx has ended, for a moment.
func (m *Migration) evidence(ctx context.Context, vms ...string) []testbed.Evidence {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.patience.evidence)
	defer cancel()
	var instances []*testbed.Instance
	var roles []Role
	for _, vm := range vms {
		for _, side := range []*Side{m.Source, m.Destination} {
			if instance := side.Instance(vm); instance != nil {
				instances, roles = append(instances, instance), append(roles, side.Role)
			}
		}
	}
	all := make([]testbed.Evidence, len(instances))
	var asking sync.WaitGroup
	for i, instance := range instances {
		asking.Go(func() { all[i] = instance.Evidence(ctx, string(roles[i])) })
	}
	asking.Wait()
	return all
}

// detail is the evidence, for the user: one block per instance.
func detail(evidence []testbed.Evidence) string {
	var b strings.Builder
	for _, e := range evidence {
		b.WriteString(e.String())
	}
	return b.String()
}

// firstFailure says which side of a failed move failed first. said is what the source
// reported, "" when its QEMU is gone.
func (mv *move) firstFailure(ctx context.Context, src, dst *testbed.Instance, said string) error {
	if said == "" && src.Monitor().Err() != nil {
		return fail(ctx, mv, src, SourceRole, src.Exit(ctx))
	}
	if said == "" {
		said = "QEMU gave no reason"
	}
	select { // a destination that could not go on takes a moment to end
	case <-dst.Exited():
	case <-time.After(mv.m.patience.peerGrace):
		if err := mv.m.checkMonitor(ctx, dst); err != nil {
			return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("%w; the source said: %s", err, said))
		}
		return fail(ctx, mv, src, SourceRole, errors.New(said))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	exit := dst.Exit(ctx)
	if exit.LostPeer() {
		return fail(ctx, mv, src, SourceRole, fmt.Errorf("%s; then %w", said, exit))
	}
	return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("%w; the source said: %s", exit, said))
}

// checkMonitor returns an error when QEMU has ended or does not answer on its monitor,
// soon.
func (m *Migration) checkMonitor(ctx context.Context, instance *testbed.Instance) error {
	soon := fmt.Errorf("%w within %v", qmp.ErrSilent, m.patience.answer)
	ctx, cancel := context.WithTimeoutCause(ctx, m.patience.answer, soon)
	defer cancel()
	_, err := instance.Status(ctx)
	if errors.Is(err, soon) {
		return fmt.Errorf("%s: %w", instance, soon)
	}
	return err
}
