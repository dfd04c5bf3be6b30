// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"testing"

	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// A VM with a port for clock stamps, whose guest sends none, is migrated, and there is
// no guest_downtime.
func TestNoStamps(t *testing.T) {
	t.Parallel()
	params := bedtest.Blank(t)
	params["guest_clock"] = "yes"
	bed := prepared(t, params)
	m, err := migration.New(bed.Bed, 1, plan(bed))
	if err != nil {
		t.Fatal(err)
	}
	if err := runBoth(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if instance := bed.Current("vm1"); instance == nil || instance.Spec().Clock == "" {
		t.Errorf("the VM: got %v, want one with a port for the clock", instance)
	}
	if r := m.Record(); r.Status != "completed" || r.VMs[0].Guest != nil {
		t.Errorf("record: got %s, %+v, want completed, without a guest's clock", r.Status, r.VMs[0].Guest)
	}
	if downtime, ok := m.Stats()["vm1"]["guest_downtime"]; ok {
		t.Errorf("got guest_downtime %v, want none", downtime)
	}
}
