// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"strings"

	"github.com/mhmig/mhmig/runtime/qmp"
)

const switchoverAckCapability = "switchover-ack"

// switchoverAck is the feature of mig_switchover_ack: the source switches over only when
// the destination has said, on the return path, that its devices are ready for that. VFIO
// devices are the ones that need time.
type switchoverAck struct{ switched }

func newSwitchoverAck(o options, _ Traits) Feature {
	return switchoverAck{switched{switchoverAckCapability, o.switchoverAck}}
}

// What QEMU's log has by its trace events, if its traces go there: at the source, the first
// one when the destination has acknowledged, the second one at the end of each return path.
const (
	ackedTrace      = "source_return_path_thread_switchover_acked"
	returnPathTrace = "source_return_path_thread_end"
)

// Set lets the source's QEMU log the acknowledgement, of which it reports nothing else.
func (f switchoverAck) Set(ctx context.Context, role Role, p Peer) error {
	return f.trace(ctx, role, p, true)
}

// Reset ends that.
func (f switchoverAck) Reset(ctx context.Context, role Role, p Peer) error {
	return f.trace(ctx, role, p, false)
}

func (f switchoverAck) trace(ctx context.Context, role Role, p Peer, on bool) error {
	if !f.on || role != SourceRole {
		return nil
	}
	if supported, err := p.Supports(ctx, "trace-event-set-state"); !supported || err != nil {
		return err
	}
	for _, name := range []string{ackedTrace, returnPathTrace} {
		err := p.Execute(ctx, "trace-event-set-state", map[string]any{"name": name, "enable": on, "ignore-unavailable": true}, nil)
		if _, refused := errors.AsType[*qmp.Error](err); err != nil && !refused { // else it has no such event
			return err
		}
	}
	return nil
}

// acknowledged says what the source's log has of the last return path: whether it traces
// it at all, and whether the destination has acknowledged.
func acknowledged(log []string) (traced, acked bool) {
	ack := false // since the last end
	for _, line := range log {
		switch {
		case strings.Contains(line, ackedTrace):
			ack = true
		case strings.Contains(line, returnPathTrace):
			traced, acked, ack = true, ack, false
		}
	}
	return traced, acked
}

// Check checks that both ends had the return path, without which the source does not wait,
// and that the destination has acknowledged, where QEMU's log says that.
func (f switchoverAck) Check(ctx context.Context, o *Outcome) error {
	if !f.on {
		return nil
	}
	for _, role := range []Role{SourceRole, DestinationRole} {
		var known []capability
		if err := o.Ask(ctx, role, "query-migrate-capabilities", &known); err != nil {
			return err
		}
		for _, c := range known {
			if c.Capability == returnPath && !c.State {
				return unused("switchover-ack was on, but %s had no return-path, on which the destination acknowledges", o.End(role))
			}
		}
	}
	switch traced, acked := acknowledged(o.log(ctx, SourceRole)); {
	case acked:
		o.Used(switchoverAckCapability, "the destination has acknowledged: the source's log has %s", ackedTrace)
		return nil
	case traced:
		return unused("switchover-ack was on, but the destination has not acknowledged: the source's log has %s, and no %s before", returnPathTrace, ackedTrace)
	}
	o.Idle(switchoverAckCapability, "it was on, with return-path, at both ends; only VFIO devices make the source wait, and this QEMU does not log it")
	return nil
}
