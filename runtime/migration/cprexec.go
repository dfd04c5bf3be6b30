// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"maps"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// cprExec replaces a guest's QEMU by another one, such as a new version, in the same
// process: when the devices' state is in a file, the source executes the destination's
// command line, and the RAM stays where it is (checkpoint and restart, mode=cpr-exec). QEMU
// 10.2 or later has it.
type cprExec struct {
	*cprReboot
	offered
}

// execCommand is the migration parameter with what the source executes.
const execCommand = "cpr-exec-command"

func newCPRExec(o options) Transport {
	return &cprExec{cprReboot: &cprReboot{mode: vm.ExecMode, file: &file{form: o.form(), offset: o.fileOffset}}}
}

// Traits are those of cpr-reboot, and that the source becomes the destination.
func (t *cprExec) Traits() Traits {
	traits := t.cprReboot.Traits()
	traits.Exec = true
	return traits
}

func (*cprExec) Launch(Role) vm.Launch { return vm.Launch{Descriptors: vm.ExecMode} }

// Send tells the source what to execute when it has completed.
func (t *cprExec) Send(ctx context.Context, source, destination Peer) error {
	command := map[string]any{execCommand: []string{"/bin/sh", t.destination.Script}}
	if err := source.Execute(ctx, "migrate-set-parameters", command, nil); err != nil {
		return err
	}
	return t.cprReboot.Send(ctx, source, destination)
}

// noteExecuted completes the statistics of a source that cannot be asked any more: they are
// those of the last sample.
func (mv *move) noteExecuted() {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	last := map[string]any{}
	maps.Copy(last, mv.query)
	last["status"] = string(qmp.MigrationCompleted)
	mv.query = last
}

// executed says, when the source's monitor is closed because of cause, how the move has
// ended: completed if the source has become the destination, whose monitor it waits for.
// QEMU executes the destination's command line when it has completed, whether its monitor
// had time to say so or not.
func (mv *move) executed(ctx context.Context, src *testbed.Instance, cause error) (State, *testbed.Instance, error) {
	if exit := src.Exit(ctx); exit.Status != 0 || exit.Abnormal() || src.Removed() {
		return "", nil, cause
	}
	select {
	case <-mv.handover.finished:
		mv.noteExecuted()
		return qmp.MigrationCompleted, mv.m.Destination.Instance(mv.vm), nil
	case <-time.After(waitTimeout): // a destination that was executed has less
		return "", nil, cause
	case <-ctx.Done():
		return "", nil, context.Cause(ctx)
	}
}
