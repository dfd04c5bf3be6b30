// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
		{name: "by several threads", by: cartesian.Params{"capabilitys": capability + " multifd"}},
		{name: "by several threads, unused", by: cartesian.Params{"capabilitys": capability + " multifd"}, source: qmptest.Script{Unused: []string{"multifd"}}, status: result.Fail, want: "multifd was on, but no memory went through its channels"},
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
				var used []string
				for _, f := range m.Record().VMs[0].Features {
					if f.Used {
						used = append(used, f.Feature)
					}
				}
				want := []string{capability}
				if tt.by != nil {
					want = strings.Fields(tt.by["capabilitys"])
				}
				if diff := cmp.Diff(want, used, cmpopts.SortSlices(strings.Compare)); err != nil || diff != "" {
					t.Errorf("used features (-want +got), error %v:\n%s", err, diff)
				}
				return
			}
			if wrong := refused(err, tt.want); wrong != nil || result.StatusOf(err) != tt.status {
				t.Errorf("got %v, want %v: %v", result.StatusOf(err), tt.status, wrong)
			}
		})
	}
}
