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

// Failure is a migration that went wrong: which side failed first, and what
// both sides' QEMU and guest had to say. Its verdict is FAIL: the system under
// test is wrong.
type Failure struct {
	Migration int
	VM        string
	First     Role   // the side that failed first
	Host      string // of that side
	Step      string // what that side was doing
	Err       error
	Evidence  []testbed.Evidence // source's, then destination's
}

func (e *Failure) Error() string {
	return fmt.Sprintf("migration %d of %s: the %s failed first (%s): %v", e.Migration, e.VM, e.First, e.Host, e.Err)
}

func (e *Failure) Unwrap() error { return e.Err }

// Status is FAIL.
func (e *Failure) Status() result.Status { return result.Fail }

// Detail is the evidence, for a person.
func (e *Failure) Detail() string { return detail(e.Evidence) }

// fail is a failure whose side is known. When the connection to its host is
// lost, nobody knows whether anything failed: then that is the error.
func fail(ctx context.Context, mv *move, machine *testbed.Machine, role Role, err error) error {
	if errors.Is(err, qmp.ErrGone) {
		err = fmt.Errorf("%w; %s", err, machine.ExitReason(ctx))
	}
	if lost := machine.Host.Err(); lost != nil {
		return fmt.Errorf("%s: %w", machine, lost)
	}
	f := &Failure{Migration: mv.m.Number, VM: mv.vm, First: role, Host: machine.Host.Name(), Err: err}
	for _, side := range []*Side{mv.m.Source, mv.m.Destination} {
		if side.Role == role {
			f.Step = side.Step()
		}
	}
	f.Evidence = mv.m.evidence(ctx, mv.vm)
	return f
}

// evidence asks all instances of the VMs, on both sides, what they know. It
// works on after ctx has ended, for a moment.
func (m *Migration) evidence(ctx context.Context, vms ...string) []testbed.Evidence {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), evidenceTimeout)
	defer cancel()
	var machines []*testbed.Machine
	var roles []Role
	for _, vm := range vms {
		for _, side := range []*Side{m.Source, m.Destination} {
			if machine := side.Machine(vm); machine != nil {
				machines, roles = append(machines, machine), append(roles, side.Role)
			}
		}
	}
	all := make([]testbed.Evidence, len(machines))
	var asking sync.WaitGroup
	for i, machine := range machines {
		asking.Go(func() { all[i] = machine.Evidence(ctx, string(roles[i])) })
	}
	asking.Wait()
	return all
}

// detail is the evidence, for a person: one block per instance.
func detail(evidence []testbed.Evidence) string {
	var b strings.Builder
	for _, e := range evidence {
		b.WriteString(e.String())
	}
	return b.String()
}

// lostPeer are the words with which a destination's QEMU ends when the other
// side is what failed.
var lostPeer = []string{"Input/output error", "Connection reset by peer", "Unable to read from socket", "Broken pipe"}

// judge says which side of a failed move failed first. said is what the source
// reported, "" when its QEMU is gone.
func (mv *move) judge(ctx context.Context, src, dst *testbed.Machine, said string) error {
	if said == "" && src.Monitor().Err() != nil {
		return fail(ctx, mv, src, SourceRole, errors.New(src.ExitReason(ctx)))
	}
	if said == "" {
		said = "QEMU gave no reason"
	}
	select { // a destination that could not go on takes a moment to end
	case <-dst.Exited():
	case <-time.After(peerGrace):
		if !answers(ctx, dst) {
			return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("QEMU does not answer; the source said: %s", said))
		}
		return fail(ctx, mv, src, SourceRole, errors.New(said))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	reason := dst.ExitReason(ctx)
	for _, words := range lostPeer {
		if strings.Contains(reason, words) {
			return fail(ctx, mv, src, SourceRole, fmt.Errorf("%s; then %s", said, reason))
		}
	}
	return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("%s; the source said: %s", reason, said))
}

// answers says whether QEMU answers on its monitor, soon.
func answers(ctx context.Context, machine *testbed.Machine) bool {
	ctx, cancel := context.WithTimeout(ctx, peerGrace)
	defer cancel()
	_, err := machine.Status(ctx)
	return err == nil
}
