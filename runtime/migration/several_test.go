// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// late makes a source take seconds until it is set up for its move.
func late(script qmptest.Script) qmptest.Script {
	script.Execute = func(command string, _ json.RawMessage) (any, error, bool) {
		if command == "query-migrate-parameters" {
			time.Sleep(5 * time.Second)
		}
		return nil, nil, false
	}
	return script
}

// statuses is an error unless vm1 and vm2 have these.
func statuses(m *migration.Migration, one, two qmp.MigrationStatus) error {
	all := m.Record().VMs
	if all[0].Status != string(one) || all[1].Status != string(two) {
		return fmt.Errorf("vm1 is %s, vm2 is %s; want %s and %s", all[0].Status, all[1].Status, one, two)
	}
	return nil
}

// Two VMs of which the second begins to move late: the migration has the status that both
// have reached, and is switched to post-copy when both can be.
func TestSeveralVMs(t *testing.T) {
	t.Parallel()
	endless := qmptest.Script{Endless: true}
	whenActive := func(ctx context.Context, m *migration.Migration) error {
		return errors.Join(m.Wait(ctx, migration.Condition{Status: qmp.MigrationActive}), m.StartPostcopy(ctx))
	}
	for _, tt := range []struct {
		name       string
		one        qmptest.Script
		params     cartesian.Params
		hold       bool
		concurrent func(context.Context, *migration.Migration) error
		switched   []bool // vm1 and vm2, to post-copy
	}{
		{name: "switched by mig_postcopy_start", one: endless, params: cartesian.Params{"mig_postcopy_start": "active"}, switched: []bool{true, true}},
		{name: "switched when active", one: endless, params: cartesian.Params{"mig_postcopy": "yes"}, concurrent: whenActive, switched: []bool{true, true}},
		{name: "the first completes before", params: cartesian.Params{"mig_postcopy_start": "active"}, switched: []bool{false, true}},
		{name: "the first completes before it is switched", params: cartesian.Params{"mig_postcopy": "yes"}, concurrent: whenActive, switched: []bool{false, true}},
		{
			name: "switched too early", one: endless, params: cartesian.Params{"mig_postcopy": "yes"}, switched: []bool{true, true},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				err := errors.Join(m.WaitMoving(ctx), m.Wait(ctx, migration.Condition{Event: "MIGRATION_PASS"}),
					refused(m.StartPostcopy(ctx), "start_postcopy: vm2 does not move now, its status is none"))
				time.Sleep(time.Second)
				return errors.Join(err, statuses(m, qmp.MigrationActive, qmp.MigrationNone), whenActive(ctx, m))
			},
		},
		{
			name: "held", hold: true, concurrent: func(ctx context.Context, m *migration.Migration) error {
				err := m.Wait(ctx, migration.Condition{Status: qmp.MigrationPreSwitchover})
				return errors.Join(err, statuses(m, qmp.MigrationPreSwitchover, qmp.MigrationPreSwitchover), m.Release(ctx))
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed := bedtest.NewScriptedBed(t, 2, tt.params)
				bed.QEMUs.Script("vm1", tt.one, qmptest.Script{})
				bed.QEMUs.Script("vm2", late(qmptest.Script{Endless: tt.switched != nil}), qmptest.Script{})
				p := plan(bed.Bed)
				p.VMs, p.Hold = []string{"vm1", "vm2"}, tt.hold
				m := start(t, bed.Bed, p)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				concurrent := beside(ctx, m, tt.concurrent)
				err := runBoth(ctx, m)
				if err := errors.Join(err, <-concurrent); err != nil {
					t.Error(err)
				}
				for i, want := range tt.switched {
					if all := m.Record().VMs[i].Features; len(all) != 1 || all[0].Feature != "postcopy-ram" || all[0].Used != want {
						t.Errorf("vm%d: got %+v, want switched to post-copy: %t", i+1, all, want)
					}
				}
				removeAll(t, bed)
			})
		})
	}
}

// The state of several VMs is that of the one that is furthest from success, in whichever
// order they come.
func TestLeastAdvanced(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ one, two, want qmp.MigrationStatus }{
		{"none", "active", "none"},
		{"none", "completed", "none"},
		{"setup", "active", "setup"},
		{"active", "pre-switchover", "active"},
		{"active", "warp-drive", "active"},
		{"active", "postcopy-active", "active"},
		{"pre-switchover", "device", "pre-switchover"},
		{"device", "completed", "device"},
		{"postcopy-active", "postcopy-paused", "postcopy-active"},
		{"postcopy-paused", "postcopy-recover", "postcopy-paused"},
		{"warp-drive", "completed", "warp-drive"},
		{"cancelled", "none", "cancelled"},
		{"cancelled", "completed", "cancelled"},
		{"cancelling", "cancelled", "cancelling"},
		{"failed", "cancelled", "failed"},
	} {
		for _, states := range [][]qmp.MigrationStatus{{tt.one, tt.two}, {tt.two, tt.one}} {
			if got := migration.LeastAdvanced(states); got != tt.want {
				t.Errorf("%v: got %s, want %s", states, got, tt.want)
			}
		}
	}
	for _, one := range qmp.MigrationStatuses { // each has a place of its own
		for _, two := range qmp.MigrationStatuses {
			there, back := migration.LeastAdvanced([]migration.State{one, two}), migration.LeastAdvanced([]migration.State{two, one})
			if there != back {
				t.Errorf("%s and %s: got %s, the other way round %s", one, two, there, back)
			}
		}
	}
}
