// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mhmig/mhmig/runtime/memproof"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Failure is a migration that failed: which side failed first, if either did, and the
// evidence of both sides' QEMU and guest. Its status is FAIL: the system under test
// is wrong. It is an ERROR if the scenario has ended the QEMU of that side.
type Failure struct {
	Migration int
	VM        string
	First     Role   // the side that failed first, "" if neither has: it took too long, or the memory differs
	Host      string // of that side
	Destroyed bool   // the scenario has ended the QEMU of that side
	Step      string // of that side; with First = "" the step of the migration, if it is known
	Err       error
	Evidence  []testbed.Evidence // source's, then destination's
	// Devices is how the devices' state of both QEMUs differs, "" if that was not compared.
	Devices string
}

func (e *Failure) Error() string {
	switch {
	case e.First == "":
		return fmt.Sprintf("migration %d of %s: %v", e.Migration, e.VM, e.Err)
	case e.Destroyed:
		return fmt.Sprintf("migration %d of %s: the scenario has ended its %s (%s): %v", e.Migration, e.VM, e.First, e.Host, e.Err)
	}
	return fmt.Sprintf("migration %d of %s: the %s failed first (%s): %v", e.Migration, e.VM, e.First, e.Host, e.Err)
}

func (e *Failure) Unwrap() error { return e.Err }

// Status is FAIL or ERROR.
func (e *Failure) Status() result.Status {
	if e.Destroyed {
		return result.Error
	}
	return result.Fail
}

// Detail is the evidence as text; of memory that differs, also the first page of it.
func (e *Failure) Detail() string {
	text := detail(e.Evidence) + e.Devices
	if different, ok := errors.AsType[*memproof.DifferenceError](e.Err); ok {
		text = different.Detail() + text
	}
	return text
}

// blame is fail for the errors of a QEMU that has ended or hangs; it returns any
// other error as it is.
func blame(ctx context.Context, mv *move, instance *testbed.Instance, role Role, err error) error {
	if errors.Is(err, qmp.ErrGone) || errors.Is(err, qmp.ErrSilent) {
		return fail(ctx, mv, instance, role, err)
	}
	return err
}

// fail returns the failure of a migration whose failing side is known. When the
// connection to the host is lost, it is unknown whether anything failed: then the
// lost connection is the error. A migration fails once: later calls return the first
// failure.
func fail(ctx context.Context, mv *move, instance *testbed.Instance, role Role, err error) error {
	if ctx.Err() != nil { // it was stopped: the error that stopped it is reported elsewhere
		return err
	}
	mv.m.failing <- struct{}{}
	defer func() { <-mv.m.failing }()
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
			return fmt.Errorf("%w; the state of its process is unknown: %w", err, unknown)
		}
		err = fmt.Errorf("%w; %s", err, state)
	}
	if lost := instance.Host.Err(); lost != nil {
		return fmt.Errorf("%s: %w", instance, lost)
	}
	err = instance.WithKernelFaults(err)
	if short := instance.OutOfMemory(err); short != nil {
		return short
	}
	f := &Failure{Migration: mv.m.Number, VM: mv.vm, First: role, Host: instance.Host.Name(), Destroyed: mv.isDestroyed(instance, err), Err: err}
	for _, side := range []*Side{mv.m.Source, mv.m.Destination} {
		if side.Role == role {
			f.Step = side.Step()
		}
	}
	f.Evidence = mv.m.evidence(ctx, mv.vm)
	if role == DestinationRole && couldNotLoad(err) {
		if src := mv.m.Source.Instance(mv.vm); src != nil {
			f.Devices = testbed.StateDifferences(ctx, src, instance)
		}
	}
	return f
}

// isDestroyed says whether err, of an instance, is that the scenario has ended it: neither
// a QEMU that has ended abnormally, unless that is because it has lost the other one, nor
// what is wrong with a guest that had moved before, or ran on both hosts.
func (mv *move) isDestroyed(instance *testbed.Instance, err error) bool {
	mv.m.mu.Lock()
	completed, postcopied := mv.state == qmp.MigrationCompleted, mv.postcopied
	mv.m.mu.Unlock()
	exit, ended := errors.AsType[*vm.ExitError](err)
	abnormal := ended && (exit.Crashed() || exit.Abnormal() && !exit.LostPeer())
	switch {
	case !instance.Removed() || abnormal:
		return false
	case completed:
		return ended
	}
	early := instance == mv.m.Destination.Instance(mv.vm) && instance.Arrived() && !postcopied
	return !early
}

// stayedError is the error of a destination that stays when it cannot load the guest.
type stayedError struct{ err error }

func (e *stayedError) Error() string { return e.err.Error() }
func (e *stayedError) Unwrap() error { return e.err }

// couldNotLoad says whether a destination's QEMU could not load what the source sends: it
// says so, or has ended by itself, as it does then.
func couldNotLoad(err error) bool {
	if _, stayed := errors.AsType[*stayedError](err); stayed {
		return true
	}
	exit, ended := errors.AsType[*vm.ExitError](err)
	return ended && (exit.Status > 0 && exit.Status < 128 || exit.Status == 128+int(syscall.SIGABRT))
}

// overdue is the verdict of a move that mig_timeout has ended: a side whose QEMU
// has ended or hangs has failed; else neither has, and the error describes the
// progress.
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
	return failWithoutSide(ctx, mv, "", fmt.Errorf("%w: %s", late, mv.describeProgress(ctx, src)))
}

// failWithoutSide is fail for what neither side is known to have caused.
func failWithoutSide(ctx context.Context, mv *move, step string, err error) error {
	return failAs(ctx, mv, &Failure{Step: step, Err: err})
}

// failAs completes the failure of a migration, whose verdict it is if it is the first.
func failAs(ctx context.Context, mv *move, f *Failure) error {
	f.Migration, f.VM = mv.m.Number, mv.vm
	f.Evidence = mv.m.evidence(ctx, mv.vm)
	mv.m.failing <- struct{}{}
	defer func() { <-mv.m.failing }()
	if mv.m.verdict == nil {
		mv.m.verdict = f
	}
	return mv.m.verdict
}

// evidence collects the evidence of all instances of the VMs, on both sides. It also
// runs after ctx has ended, within its own limit.
func (m *Migration) evidence(ctx context.Context, vms ...string) []testbed.Evidence {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.timeouts.evidence)
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

// detail formats the evidence: one block per instance.
func detail(evidence []testbed.Evidence) string {
	var b strings.Builder
	for _, e := range evidence {
		b.WriteString(e.String())
	}
	return b.String()
}

// firstFailure returns the failure of the side that failed first. reported is the
// source's error, "" when its QEMU is gone.
func (mv *move) firstFailure(ctx context.Context, src, dst *testbed.Instance, reported string) error {
	if reported == "" && src.Monitor().Err() != nil {
		return fail(ctx, mv, src, SourceRole, src.Exit(ctx))
	}
	if reported == "" {
		reported = "QEMU reported no reason"
	}
	if dst == nil { // it is not started yet
		return fail(ctx, mv, src, SourceRole, errors.New(reported))
	}
	select { // a destination that failed to load the guest takes a moment to exit
	case <-dst.Exited():
	case <-time.After(mv.m.timeouts.peerGrace):
		if err := mv.loadError(ctx, dst, reported); err != nil {
			return err
		}
		if err := mv.m.checkMonitor(ctx, dst); err != nil {
			return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("%w; the source reported: %s", err, reported))
		}
		if err := mv.programFailure(ctx, src, dst, reported, true); err != nil {
			return err
		}
		return fail(ctx, mv, src, SourceRole, errors.New(reported))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	exit := dst.Exit(ctx)
	if err := mv.programFailure(ctx, src, dst, reported, exit.LostPeer()); err != nil {
		return err
	}
	if !mv.m.options.exitOnError && couldNotLoad(exit) {
		return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("QEMU was to stay when it cannot load the guest (mig_exit_on_error = no, exit-on-error), but has ended: %w; the source reported: %s", exit, reported))
	}
	if exit.LostPeer() && !mv.isDestroyed(dst, exit) {
		return fail(ctx, mv, src, SourceRole, fmt.Errorf("%s; then %w", reported, exit))
	}
	return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("%w; the source reported: %s", exit, reported))
}

// loadError returns the failure of a destination that stays when it cannot load the guest
// (mig_exit_on_error = no): query-migrate there has the reason. nil: it has none, or only
// that the source or the connection was lost.
func (mv *move) loadError(ctx context.Context, dst *testbed.Instance, reported string) error {
	if mv.m.options.exitOnError {
		return nil
	}
	var query struct {
		Status string `json:"status"`
		Desc   string `json:"error-desc"`
	}
	soon, cancel := context.WithTimeout(ctx, mv.m.timeouts.answer)
	defer cancel()
	if err := dst.Monitor().Execute(soon, "query-migrate", nil, &query); err != nil {
		return nil // a monitor that does not answer is found next
	}
	switch {
	case State(query.Status) != qmp.MigrationFailed:
		return nil
	case query.Desc == "":
		return fail(ctx, mv, dst, DestinationRole, &stayedError{fmt.Errorf("it stayed (mig_exit_on_error = no), but query-migrate has no error-desc; the source reported: %s", reported)})
	case vm.SaysLostPeer(query.Desc) && !mv.m.traits.LoadsAfterSource: // else it has read a file, which has no other side
		return nil
	}
	return fail(ctx, mv, dst, DestinationRole, &stayedError{fmt.Errorf("it could not load the guest: %s; the source reported: %s", query.Desc, reported)})
}

// checkMonitor returns an error when QEMU has ended, or does not answer on its
// monitor within a short limit.
func (m *Migration) checkMonitor(ctx context.Context, instance *testbed.Instance) error {
	soon := fmt.Errorf("%w within %v", qmp.ErrSilent, m.timeouts.answer)
	ctx, cancel := context.WithTimeoutCause(ctx, m.timeouts.answer, soon)
	defer cancel()
	_, err := instance.Status(ctx)
	if errors.Is(err, soon) {
		return fmt.Errorf("%s: %w", instance, soon)
	}
	return err
}
