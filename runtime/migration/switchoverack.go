// SPDX-License-Identifier: Apache-2.0

package migration

import "context"

const switchoverAckCapability = "switchover-ack"

// switchoverAck is the feature of mig_switchover_ack: the source switches over only when
// the destination has said, on the return path, that its devices are ready for that. VFIO
// devices are the ones that need time.
type switchoverAck struct{ switched }

func newSwitchoverAck(o options, _ Traits) Feature {
	return switchoverAck{switched{switchoverAckCapability, o.switchoverAck}}
}

// Check checks that both ends had the return path, without which the source does not wait.
// QEMU reports no acknowledgement: that it came shows in that the move has completed.
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
	o.Idle(switchoverAckCapability, "it was on, with return-path, at both ends; only VFIO devices make the source wait, and QEMU does not report it")
	return nil
}
