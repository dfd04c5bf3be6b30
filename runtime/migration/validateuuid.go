// SPDX-License-Identifier: Apache-2.0

package migration

import "context"

const (
	validateUUIDCapability = "validate-uuid"
	noUUID                 = "00000000-0000-0000-0000-000000000000"
)

// validateUUID is the feature of mig_validate_uuid: the destination refuses a guest that
// has another UUID than its VM.
type validateUUID struct{ switched }

func newValidateUUID(o options, _ Traits) Feature {
	return validateUUID{switched{validateUUIDCapability, o.validateUUID}}
}

// Check checks that both ends have the same UUID, and have one: QEMU compares none
// otherwise.
func (f validateUUID) Check(ctx context.Context, o *Outcome) error {
	if !f.on {
		return nil
	}
	uuids := map[Role]string{}
	for _, role := range []Role{SourceRole, DestinationRole} {
		var reply struct{ UUID string }
		if err := o.Ask(ctx, role, "query-uuid", &reply); err != nil {
			return err
		}
		if reply.UUID == "" || reply.UUID == noUUID {
			return unused("validate-uuid was on, but %s has no UUID that QEMU could compare", o.End(role))
		}
		uuids[role] = reply.UUID
	}
	if src, dst := uuids[SourceRole], uuids[DestinationRole]; src != dst {
		return unused("validate-uuid was on, but a guest with the UUID %s moved to %s, which has %s", src, o.End(DestinationRole), dst)
	}
	o.Used(validateUUIDCapability, "both VMs have the UUID %s", uuids[SourceRole])
	return nil
}
