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
	"github.com/mhmig/mhmig/runtime/testbed"
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
		{name: "the first completes before it is due", params: cartesian.Params{"mig_postcopy_start": "passes 3"}, switched: []bool{false, true}},
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

// Two VMs in a migration that may fail: the second fails, and the first is, whatever it was
// doing then, where it should be.
func TestSeveralMayFail(t *testing.T) {
	t.Parallel()
	dies := qmptest.Script{StopAt: "MIGRATION:active", Die: true}
	one := func(m *migration.Migration) *testbed.Instance { return m.Destination.Instance("vm1") }
	arrived := func(m *migration.Migration) bool { return one(m) != nil && one(m).HasGuest() }
	killed := func(ctx context.Context, m *migration.Migration) error {
		for !arrived(m) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			time.Sleep(time.Millisecond)
		}
		bedtest.Of(m.Destination.Instance("vm2")).Die()
		return nil
	}
	for _, tt := range []struct {
		name          string
		one, oneThere qmptest.Script
		two, twoThere qmptest.Script
		params        cartesian.Params
		file          bool // the guests are moved in files
		moved         bool // both before, from host2 to host1
		change        func(*migration.Plan)
		concurrent    func(context.Context, *migration.Migration) error
		stays         bool // vm1 on host1
		want          string
	}{
		{name: "it has completed", two: late(qmptest.Script{}), twoThere: dies},
		{name: "it has completed in a file", two: late(qmptest.Script{Refuse: []string{"migrate"}}), file: true},
		{name: "it is about to complete", one: qmptest.Script{LateEnd: true}, two: qmptest.Script{Endless: true}, concurrent: killed},
		{
			name: "it is in post-copy", one: qmptest.Script{Endless: true}, oneThere: qmptest.Script{StopAt: "RESUME", Stop: func() { time.Sleep(3 * time.Second) }},
			two: qmptest.Script{Endless: true}, twoThere: qmptest.Script{StopAt: "load", Die: true}, params: cartesian.Params{"mig_postcopy_start": "active", "mig_timeout": "120"},
		},
		{
			name: "it is in post-copy, which does not end", one: qmptest.Script{Endless: true}, oneThere: qmptest.Script{StopAt: "RESUME"},
			two: qmptest.Script{Endless: true}, twoThere: qmptest.Script{StopAt: "load", Die: true}, params: cartesian.Params{"mig_postcopy_start": "active", "mig_timeout": "20"},
			want: "it has not completed within mig_timeout = 20s after the failure of another VM",
		},
		{name: "it moves", one: qmptest.Script{Endless: true}, two: qmptest.Script{Endless: true}, twoThere: dies, stays: true},
		{
			name: "it has not begun to move, but has arrived by an earlier migration", twoThere: dies, moved: true, stays: true, change: func(p *migration.Plan) {
				p.MigrateSrc = func(ctx context.Context, s *migration.Side) error {
					if err := s.Send(ctx, []string{"vm2"}); err != nil {
						return err
					}
					return s.Send(ctx, []string{"vm1"})
				}
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed := bedtest.NewScriptedBed(t, 2, tt.params)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				p := plan(bed.Bed)
				p.VMs = []string{"vm1", "vm2"}
				if tt.moved {
					p.Source, p.Destination = p.Destination, p.Source
					if err := runBoth(ctx, start(t, bed.Bed, p)); err != nil {
						t.Fatal(err)
					}
					p.Source, p.Destination = p.Destination, p.Source
				}
				bed.QEMUs.Script("vm1", tt.one, tt.oneThere)
				bed.QEMUs.Script("vm2", tt.two, tt.twoThere)
				p.MayFail = true
				if tt.change != nil {
					tt.change(&p)
				}
				m := start(t, bed.Bed, p)
				if tt.file {
					migration.UseFileTransport(m)
				}
				concurrent := beside(ctx, m, tt.concurrent)
				err := errors.Join(runBoth(ctx, m), <-concurrent)
				if tt.want != "" {
					if wrong := refused(err, tt.want); wrong != nil {
						t.Error(wrong)
					}
					return
				}
				if err != nil || m.Tolerated() == nil {
					t.Errorf("got %v, tolerated: %v", err, m.Tolerated())
				}
				want := map[string]string{"vm1": "host2", "vm2": "host1"}
				if tt.stays {
					want["vm1"] = "host1"
				}
				for vm, host := range want {
					if current := bed.Current(vm); current == nil || current.Host.Name() != host || statusOfGuest(t, current) != "running" {
						t.Errorf("%s is in %v, want that it runs on %s", vm, current, host)
					}
				}
				if errs := bed.FinalCheck(ctx); len(errs) > 0 {
					t.Error(errs)
				}
				removeAll(t, bed)
			})
		})
	}
}

// statusOfGuest is the run state of an instance.
func statusOfGuest(t *testing.T, i *testbed.Instance) string {
	t.Helper()
	state, err := i.Status(t.Context())
	if err != nil {
		t.Error(err)
	}
	return state
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
