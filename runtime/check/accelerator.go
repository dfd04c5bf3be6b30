// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"strings"
)

// accelerator runs a guest under KVM with each QEMU of the variants that want it.
func accelerator(ctx context.Context, m *machine) finding {
	tested := 0
	for _, e := range m.needs.emulators {
		if e.accel == "tcg" {
			continue
		}
		if _, err := m.c.vms.Facts(ctx, m.h, e.program); err != nil {
			return skip("%s does not run there", e.program)
		}
		kvm, err := m.c.vms.ProbeKVM(ctx, m.h, e.program)
		switch {
		case err != nil:
			return failBy(err)
		case kvm.Unusable != "" && e.accel == "kvm":
			return fail("KVM does not work: "+kvm.Unusable, kvm.Fix)
		case kvm.Unusable != "":
			return warn("guests run under TCG, many times slower: KVM does not work: "+kvm.Unusable, kvm.Fix)
		}
		tested++
	}
	if tested == 0 {
		return skip("no variant wants KVM")
	}
	return ok("a guest ran under KVM (%s)", strings.Join(m.needs.programNames(), ", "))
}
