// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

func TestMain(m *testing.M) {
	qmptest.Main()
	goleak.VerifyTestMain(m)
}

func prepared(t *testing.T, params cartesian.Params) *bedtest.Bed {
	t.Helper()
	l := bedtest.NewLab(t, 2)
	bed := bedtest.New(t, l.Connected, l.Params(), params, nil)
	if err := bed.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return bed
}

// plan is the plan of a migration of vm1 from the first host to the second.
func plan(bed *bedtest.Bed) migration.Plan {
	return migration.Plan{VMs: []string{"vm1"}, Source: bed.Hosts()[0], Destination: bed.Hosts()[1], Params: bed.Params()}
}

// runBoth runs both sides, the way that builtins do: the first error ends both.
func runBoth(ctx context.Context, m *migration.Migration) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.Source.Run(ctx) })
	group.Go(func() error { return m.Destination.Run(ctx) })
	return group.Wait()
}

// Invalid plans and params.
func TestNew(t *testing.T) {
	t.Parallel()
	bed := bedtest.NewScriptedBed(t, 2, nil).Bed
	for _, tt := range []struct {
		name   string
		change func(*migration.Plan)
		want   string
	}{
		{"nothing", func(p *migration.Plan) { p.VMs = nil }, "no VM to migrate"},
		{"twice", func(p *migration.Plan) { p.VMs = []string{"vm1", "vm2", "vm1"} }, "vm1 is named twice"},
		{"mig_protocol", func(p *migration.Plan) { p.Params = cartesian.Params{"mig_protocol": "pigeon"} }, "mig_protocol"},
		{"mig_timeout", func(p *migration.Plan) { p.Params = cartesian.Params{"mig_timeout": "x"} }, "mig_timeout"},
		{"login_timeout", func(p *migration.Plan) { p.Params = cartesian.Params{"login_timeout": "x"} }, "login_timeout"},
		{"finish_timeout", func(p *migration.Plan) { p.Params = cartesian.Params{"finish_timeout": "x"} }, "finish_timeout"},
		{"start_migration_timeout", func(p *migration.Plan) { p.Params = cartesian.Params{"start_migration_timeout": "x"} }, "start_migration_timeout"},
		{"cancel_delay", func(p *migration.Plan) { p.Params = cartesian.Params{"cancel_delay": "x"} }, "cancel_delay"},
		{"mig_downtime", func(p *migration.Plan) { p.Params = cartesian.Params{"mig_downtime": "x"} }, "mig_downtime"},
		{"mig_offline", func(p *migration.Plan) { p.Params = cartesian.Params{"mig_offline": "x"} }, "mig_offline"},
		{"not_login_after_mig", func(p *migration.Plan) { p.Params = cartesian.Params{"not_login_after_mig": "x"} }, "not_login_after_mig"},
		{"mig_speed", func(p *migration.Plan) { p.Params = cartesian.Params{"mig_speed": "x"} }, "mig_speed"},
		{"background-snapshot", func(p *migration.Plan) { p.Params = cartesian.Params{"capabilitys": "background-snapshot"} }, "param capabilitys: background-snapshot leaves the guest where it is, and is no migration: use vm.background_snapshot"},
		{"mig_port word", func(p *migration.Plan) { p.Params = cartesian.Params{"mig_port": "any"} }, `param mig_port: got "any", want a TCP port`},
		{"mig_port range", func(p *migration.Plan) { p.Params = cartesian.Params{"mig_port": "2-1"} }, `param mig_port: got "2-1"`},
		{"mig_port 0-5", func(p *migration.Plan) { p.Params = cartesian.Params{"mig_port": "0-5"} }, `param mig_port: got "0-5"`},
		{"mig_port huge", func(p *migration.Plan) { p.Params = cartesian.Params{"mig_port": "65536"} }, `param mig_port: got "65536"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := plan(bed)
			tt.change(&p)
			if _, err := migration.New(bed.Bed, 1, p); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	for _, ports := range []string{"", "0", "5200", "5200-5899", " 5200 - 5201 "} {
		p := plan(bed)
		p.Params = cartesian.Params{"mig_port": ports}
		if _, err := migration.New(bed.Bed, 1, p); err != nil {
			t.Errorf("mig_port = %q: %v", ports, err)
		}
	}
}

// The migration does not begin before the hook of the side that takes longer has returned.
func TestBeforeMigrationOnBothSides(t *testing.T) {
	for _, late := range []migration.Role{migration.SourceRole, migration.DestinationRole} {
		t.Run(string(late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bed := bedtest.NewScriptedBed(t, 1, nil).Bed
				p := plan(bed)
				returned := false
				p.BeforeMigration = func(_ context.Context, s *migration.Side) error {
					if s.Role == late {
						time.Sleep(time.Minute)
						returned = true
					}
					return nil
				}
				begins := func(s *migration.Side) {
					if !returned {
						t.Errorf("the %s migrates while before_migration runs on the %s", s.Role, late)
					}
				}
				p.MigrateSrc = func(ctx context.Context, s *migration.Side) error {
					begins(s)
					return s.Send(ctx, s.Migration.VMs())
				}
				p.MigrateDst = func(ctx context.Context, s *migration.Side) error {
					begins(s)
					return s.Receive(ctx, s.Migration.VMs())
				}
				if err := runBoth(t.Context(), start(t, bed, p)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Both sides run their steps in the order of the package's table, and
// wait for each other at its barriers.
func TestOrder(t *testing.T) {
	t.Parallel()
	bed := prepared(t, bedtest.Blank(t))
	var mu sync.Mutex
	var order []string
	p := plan(bed)
	// A step of one side, or a barrier of both.
	note := func(what string) migration.Hook {
		return func(_ context.Context, s *migration.Side) error {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, what+" on "+s.Host.Name()+" as "+string(s.Role)+" in "+s.Step())
			return nil
		}
	}
	together := func(what string) migration.Hook {
		return func(ctx context.Context, s *migration.Side) error {
			if _, err := s.Migration.Barriers().Sync(ctx, s.Host.Name(), "test "+what, nil, nil); err != nil {
				return err
			}
			if s.IsSource() {
				return note(what)(ctx, s)
			}
			return nil
		}
	}
	p.StartWork, p.CheckWork = note("start_work"), note("check_work")
	p.BeforeMigration, p.PostMigration = together("before"), together("after")
	p.MigrateSrc = func(ctx context.Context, s *migration.Side) error {
		if err := together("move")(ctx, s); err != nil {
			return err
		}
		return s.Send(ctx, s.Migration.VMs())
	}
	p.MigrateDst = func(ctx context.Context, s *migration.Side) error {
		if err := together("move")(ctx, s); err != nil {
			return err
		}
		return s.Receive(ctx, s.Migration.VMs())
	}
	m, err := migration.New(bed.Bed, 7, p)
	if err != nil {
		t.Fatal(err)
	}
	if m.State() != "none" || m.Stats()["vm1"]["status"] != "none" || m.Source.Instance("vm1") != nil {
		t.Errorf("before: got %s, %v, %v", m.State(), m.Stats(), m.Source.Instance("vm1"))
	}
	if err := runBoth(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"start_work on host1 as source in start_work",
		"before on host1 as source in before_migration",
		"move on host1 as source in migrate",
		"check_work on host2 as destination in check_work",
		"after on host1 as source in post_migration",
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order (- want, + got):\n%s", diff)
	}
	r := m.Record()
	if r.Number != 7 || r.Source != "host1" || r.Destination != "host2" || r.Status != "completed" || len(r.VMs) != 1 {
		t.Errorf("record: got %+v", r)
	}
	if m.Stats()["vm1"]["status"] != "completed" {
		t.Errorf("stats: got %v", m.Stats())
	}
	if current := bed.Current("vm1"); current == nil || current.Host != bed.Hosts()[1] || !current.Arrived() {
		t.Errorf("the VM: got %v", current)
	}
	if err := m.Cancel(t.Context()); err != nil {
		t.Errorf("cancel after the end: %v", err)
	}
	if err := m.Wait(t.Context(), migration.Condition{Status: "completed"}); err != nil {
		t.Error(err)
	}
	if err := m.Wait(t.Context(), migration.Condition{Status: "failed"}); err == nil || !strings.Contains(err.Error(), "but the migration ended first: completed") {
		t.Errorf("got %v, want that it ended", err)
	}
}

// The error of a side says in which step it occurred, keeps its cause and status, and
// both sides return the same.
func TestStepError(t *testing.T) {
	t.Parallel()
	bed := prepared(t, bedtest.Blank(t))
	cause := errors.New("the work does not start")
	p := plan(bed)
	p.StartWork = func(context.Context, *migration.Side) error { return result.Skip.Wrap(cause) }
	m, err := migration.New(bed.Bed, 1, p)
	if err != nil {
		t.Fatal(err)
	}
	err = runBoth(t.Context(), m)
	step, ok := errors.AsType[*migration.StepError](err)
	if !ok || !errors.Is(err, cause) {
		t.Fatalf("got %v", err)
	}
	if step.Host != "host1" || step.Side != migration.SourceRole || step.Step != "start_work" || step.Status() != result.Skip {
		t.Errorf("got %+v", step)
	}
	if detail := step.Detail(); !strings.Contains(detail, "source host1 vm1") || !strings.Contains(detail, "destination host2 vm1") {
		t.Errorf("evidence: got\n%s\nwant both sides", detail)
	}
	if n := strings.Count(err.Error(), "migration 1"); n != 1 {
		t.Errorf("the step is named %d times: %v", n, err)
	}
}

// A side whose other side never runs waits until it is stopped.
func TestStopped(t *testing.T) {
	t.Parallel()
	bed := prepared(t, bedtest.Blank(t))
	m, err := migration.New(bed.Bed, 1, plan(bed))
	if err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("stopped")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, stopped)
	defer cancel()
	if err := m.Destination.Run(ctx); !errors.Is(err, stopped) {
		t.Errorf("got %v, want %v", err, stopped)
	}
}

// A status that has passed before the Wait for it is scheduled again was reached; one that
// has passed before the Wait was not.
func TestWaitForPassingStatus(t *testing.T) {
	t.Parallel()
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			bed := bedtest.NewScriptedBed(t, 2, nil)
			m := start(t, bed.Bed, plan(bed.Bed))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			waited := make(chan error, 1)
			go func() { waited <- m.Wait(ctx, migration.Condition{Status: qmp.MigrationActive}) }()
			synctest.Wait()
			m.Pass("vm1", qmp.MigrationActive, qmp.MigrationPreSwitchover)
			if err := <-waited; err != nil {
				t.Fatal(err)
			}
			if err := m.Wait(ctx, migration.Condition{Status: qmp.MigrationActive}); err == nil {
				t.Fatal("a status that has passed before: got no error")
			}
		})
	}
}
