// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"maps"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
)

// The file says whether mapped-ram was used: a QEMU that accepts it and writes another
// file is found, as is one that drops it; one that lacks it is a SKIP.
func TestMappedRAM(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	const capability = "mapped-ram"
	for _, tt := range []struct {
		name                string
		by                  cartesian.Params
		source, destination qmptest.Script
		status              result.Status // 0: it passes
		want                string
	}{
		{name: "used"},
		{name: "used, by capabilitys", by: cartesian.Params{"capabilitys": capability}},
		{name: "unused", source: qmptest.Script{Unused: []string{capability}}, status: result.Fail, want: "mapped-ram was on, but the file that QEMU wrote does not say that it is one of mapped-ram"},
		{name: "dropped", source: qmptest.Script{Dropped: []string{capability}}, status: result.Fail, want: "vm1@host1: mapped-ram was switched on for the migration, but QEMU reports it as off after it"},
		{name: "dropped by the destination", destination: qmptest.Script{Dropped: []string{capability}}, status: result.Fail, want: "vm1@host2: mapped-ram was switched on for the migration, but QEMU reports it as off after it"},
		{name: "lacking", destination: qmptest.Script{Without: []string{capability}}, status: result.Skip, want: "this QEMU has no migration capability mapped-ram"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bed, p := scripted(t, tt.source, tt.destination, nil)
			params := mapped
			if tt.by != nil {
				params = cartesian.Params{"mig_protocol": "file"}
				maps.Copy(params, tt.by)
			}
			p.Params = maps.Clone(bed.Params())
			maps.Copy(p.Params, params)
			m := start(t, bed.Bed, p)
			err := runBoth(t.Context(), m)
			if tt.status == 0 {
				if all := m.Record().VMs[0].Features; err != nil || len(all) != 1 || all[0].Feature != capability || !all[0].Used {
					t.Errorf("got %+v, %v, want that it was used", all, err)
				}
				return
			}
			if wrong := refused(err, tt.want); wrong != nil || result.StatusOf(err) != tt.status {
				t.Errorf("got %v, want %v: %v", result.StatusOf(err), tt.status, wrong)
			}
		})
	}
}
