// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// scripted is a bed of scripted QEMUs in this process, for a test in virtual time, and
// the plan of a migration on it.
func scripted(t *testing.T, source, destination qmptest.Script, change cartesian.Params) (*bedtest.ScriptedBed, migration.Plan) {
	t.Helper()
	params := cartesian.Params{"mig_timeout": "60"}
	maps.Copy(params, change)
	bed := bedtest.NewScriptedBed(t, 1, params)
	bed.QEMUs.Script("vm1", source, destination)
	return bed, plan(bed.Bed)
}

// processes is scripted with processes on the hosts of a lab.
func processes(t *testing.T, change cartesian.Params) (*bedtest.Bed, migration.Plan) {
	t.Helper()
	params := bedtest.Scripted(t, qmptest.Script{}, qmptest.Script{})
	params["mig_timeout"] = "60"
	maps.Copy(params, change)
	bed := prepared(t, params)
	return bed, plan(bed)
}

func start(t *testing.T, bed *bedtest.Bed, p migration.Plan) *migration.Migration {
	t.Helper()
	m, err := migration.New(bed.Bed, 1, p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// statusOf returns the status of the instance's migration.
func statusOf(t *testing.T, instance *testbed.Instance) string {
	t.Helper()
	var query struct{ Status string }
	if err := instance.Monitor().Execute(context.WithoutCancel(t.Context()), "query-migrate", nil, &query); err != nil {
		t.Fatal(err)
	}
	return query.Status
}

// A migration that only takes too long is a failure of neither side: the verdict and
// the log say why it does not finish, and QEMU has cancelled it.
func TestOverdue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, p := scripted(t, qmptest.Script{Endless: true}, qmptest.Script{}, cartesian.Params{"mig_timeout": "3", "mig_speed": "2M"})
		m := start(t, bed.Bed, p)
		err := runBoth(t.Context(), m)
		failure, ok := errors.AsType[*migration.Failure](err)
		if !ok || failure.First != "" || failure.Status() != result.Fail {
			t.Fatalf("got %v, want a failure of neither side", err)
		}
		for _, words := range []string{
			"migration 1 of vm1: not finished after mig_timeout = 3s: it does not converge: ", " passes over guest memory, 32 MiB of 64 MiB remaining: ",
			"dirty rate 32 MiB/s, bandwidth limit 2 MiB/s, throughput 1.9 MiB/s",
		} {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("got %v, want %q in it", err, words)
			}
		}
		if strings.Contains(err.Error(), "failed first") {
			t.Errorf("got %v, want that neither failed first", err)
		}
		if got := statusOf(t, m.Source.Instance("vm1")); got != "cancelled" {
			t.Errorf("the source's migration: got %s, want cancelled", got)
		}
		for _, words := range []string{"the migration does not converge", `dirty="32 MiB/s"`, `limit="2 MiB/s"`, "migration abandoned"} {
			if !strings.Contains(bedLog(t, bed), words) {
				t.Errorf("log: want %q in\n%s", words, bedLog(t, bed))
			}
		}
	})
}

// When the network goes down at the switchover, mig_timeout ends the migration, and
// the verdict says so.
func TestCutAtSwitchover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, p := scripted(t, qmptest.Script{}, qmptest.Script{DropData: true}, cartesian.Params{"mig_timeout": "6"})
		m := start(t, bed.Bed, p)
		err := runBoth(t.Context(), m)
		failure, ok := errors.AsType[*migration.Failure](err)
		if !ok || failure.First != "" || !strings.Contains(err.Error(), "not finished after mig_timeout = 6s: ") ||
			!strings.Contains(err.Error(), ", and nothing was sent for ") || !strings.Contains(err.Error(), "is the network from host1 to host2 down?") {
			t.Errorf("got %v, want that the network is down", err)
		}
		if got := statusOf(t, m.Source.Instance("vm1")); got != "cancelled" {
			t.Errorf("the source's migration: got %s, want cancelled", got)
		}
	})
}

// sendByHand sends vm1 by the QMP command migrate, as a migrate_src may.
func sendByHand(ctx context.Context, s *migration.Side) error {
	var query struct {
		Address []struct{ Port string } `json:"socket-address"`
	}
	dst := s.Migration.Destination.Instance("vm1")
	if err := dst.Monitor().Execute(ctx, "query-migrate", nil, &query); err != nil {
		return err
	}
	uri := "tcp:" + s.Migration.Destination.Host.MigrationAddress() + ":" + query.Address[0].Port
	return s.Instance("vm1").Execute(ctx, "migrate", map[string]any{"uri": uri}, nil)
}

// A migration that an error of the scenario ends early is cancelled too, even if
// migrate_src has started it.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	broken := errors.New("the scenario is broken")
	byHand := func(ctx context.Context, s *migration.Side) error {
		_, err := s.Migration.Barriers().Sync(ctx, s.Host.Name(), "listening", nil, nil)
		if err != nil {
			return err
		}
		if err := sendByHand(ctx, s); err != nil {
			return err
		}
		return broken
	}
	t.Run("by migrate", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			bed, p := scripted(t, qmptest.Script{Endless: true}, qmptest.Script{}, nil)
			m := start(t, bed.Bed, p)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			go func() {
				_ = m.Wait(ctx, migration.Condition{Status: "active"})
				cancel(broken)
			}()
			if err := runBoth(ctx, m); !errors.Is(err, broken) {
				t.Errorf("got %v, want %v", err, broken)
			}
			if got := statusOf(t, m.Source.Instance("vm1")); got != "cancelled" {
				t.Errorf("the source's migration: got %s, want cancelled", got)
			}
		})
	})
	t.Run("by migrate_src", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			bed, p := scripted(t, qmptest.Script{Endless: true}, qmptest.Script{}, nil)
			p.MigrateSrc = byHand
			p.MigrateDst = func(ctx context.Context, s *migration.Side) error {
				if _, err := s.Migration.Barriers().Sync(ctx, s.Host.Name(), "listening", nil, nil); err != nil {
					return err
				}
				return s.Receive(ctx, s.Migration.VMs())
			}
			m := start(t, bed.Bed, p)
			if err := runBoth(t.Context(), m); !errors.Is(err, broken) {
				t.Errorf("got %v, want %v", err, broken)
			}
			if got := statusOf(t, m.Source.Instance("vm1")); got != "cancelled" {
				t.Errorf("the source's migration: got %s, want cancelled", got)
			}
		})
	})
}

// A command of mhmig that QEMU refuses is reported.
func TestRefused(t *testing.T) {
	t.Parallel()
	t.Run("the last one", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			bed, p := scripted(t, qmptest.Script{Endless: true, Refuse: []string{"migrate_cancel"}}, qmptest.Script{}, cartesian.Params{"mig_timeout": "1"})
			err := runBoth(t.Context(), start(t, bed.Bed, p))
			if err == nil || !strings.Contains(err.Error(), "not finished after mig_timeout = 1s") {
				t.Errorf("got %v, want that it is overdue", err)
			}
			if want := "the script refuses migrate_cancel"; !strings.Contains(bedLog(t, bed), want) || !strings.Contains(bedLog(t, bed), "WARN") {
				t.Errorf("log: want a warning with %q in\n%s", want, bedLog(t, bed))
			}
		})
	})
	for _, command := range []string{"query-migrate-capabilities", "migrate-set-capabilities", "query-migrate-parameters", "query-migrate", "migrate"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed, p := scripted(t, qmptest.Script{Endless: true, Refuse: []string{command}}, qmptest.Script{}, nil)
				err := runBoth(t.Context(), start(t, bed.Bed, p))
				if err == nil || !strings.Contains(err.Error(), command+": the script refuses "+command) {
					t.Errorf("got %v, want that %s is refused", err, command)
				}
			})
		})
	}
}

// The error names the side that has not finished, not the one that waits for it.
func TestHungCheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, p := scripted(t, qmptest.Script{}, qmptest.Script{}, cartesian.Params{"login_timeout": "1", "finish_timeout": "0.5"})
		p.CheckWork = func(ctx context.Context, _ *migration.Side) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		err := runBoth(t.Context(), start(t, bed.Bed, p))
		step, ok := errors.AsType[*migration.StepError](err)
		if !ok || step.Host != "host2" || step.Side != migration.DestinationRole || step.Step != "check_work" {
			t.Fatalf("got %v (%+v), want that host2 is in check_work", err, step)
		}
		if want := "migration 1, destination host2, check_work: not finished after 1.5s (login_timeout + finish_timeout); host1 is waiting at barrier checked"; err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

// A QEMU that dies before the move ends the migration at once, whatever the other
// side is doing.
func TestDeadEarly(t *testing.T) {
	t.Parallel()
	stuck := func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	for _, tt := range []struct {
		name   string
		change func(*migration.Plan)
		status result.Status
		want   string
	}{
		{"the destination's in start_work", func(p *migration.Plan) {
			p.StartWork = func(ctx context.Context, s *migration.Side) error {
				for s.Migration.Destination.Step() != "ports" {
					select {
					case <-time.After(time.Millisecond):
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				}
				bedtest.Of(s.Migration.Destination.Instance("vm1")).Die()
				return stuck(ctx)
			}
		}, result.Fail, "migration 1 of vm1: the destination failed first (host2): QEMU of vm1 on host2 ended by signal 9"},
		{"the source's in start_work", func(p *migration.Plan) {
			p.StartWork = func(ctx context.Context, s *migration.Side) error {
				bedtest.Of(s.Instance("vm1")).Die()
				return stuck(ctx)
			}
		}, result.Fail, "migration 1, source host1, start_work: vm1@host1 is not running any more; QEMU of vm1 on host1 ended by signal 9"},
		{"the source's in before_migration", func(p *migration.Plan) {
			p.BeforeMigration = func(ctx context.Context, s *migration.Side) error {
				if s.IsSource() {
					bedtest.Of(s.Instance("vm1")).Die()
				}
				return stuck(ctx)
			}
		}, result.Fail, "migration 1, source host1, before_migration: vm1@host1 is not running any more; QEMU of vm1 on host1 ended by signal 9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed, p := scripted(t, qmptest.Script{}, qmptest.Script{}, nil)
				tt.change(&p)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				err := runBoth(ctx, start(t, bed.Bed, p))
				if err == nil || result.StatusOf(err) != tt.status || !strings.HasPrefix(err.Error(), tt.want) {
					t.Errorf("got %v: %v\nwant %v: %s", result.StatusOf(err), err, tt.status, tt.want)
				}
				if exit, typed := errors.AsType[*vm.ExitError](err); !typed || exit.Status != 128+9 || exit.VM != "vm1" {
					t.Errorf("the end of QEMU in the error: got %+v, want that of vm1 by signal 9", exit)
				}
				removeAll(t, bed)
			})
		})
	}
}

// A source's QEMU may end when its guest has left it; one that is there still, though its
// monitor is closed, may run the guest a second time.
func TestSourceGoneAfterwards(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		gone func(*testbed.Instance)
		want string
	}{
		{"it has ended", func(i *testbed.Instance) { bedtest.Of(i).End() }, ""},
		{"it was killed", func(i *testbed.Instance) { bedtest.Of(i).Die() }, "QEMU of vm1 on host1 ended by signal 9"},
		{"its monitor is closed", func(i *testbed.Instance) { bedtest.Of(i).CloseMonitors() }, "QEMU of vm1 on host1 still runs, but its monitor is closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed, p := scripted(t, qmptest.Script{}, qmptest.Script{}, nil)
				p.MigrateDst = func(ctx context.Context, s *migration.Side) error {
					if err := s.Receive(ctx, []string{"vm1"}); err != nil {
						return err
					}
					for s.Migration.Source.Step() == "migrate" {
						time.Sleep(time.Millisecond)
					}
					source := s.Migration.Source.Instance("vm1")
					tt.gone(source)
					<-source.Exited()
					return nil
				}
				err := runBoth(t.Context(), start(t, bed.Bed, p))
				switch first := "migration 1 of vm1: the source failed first (host1): QEMU failed after its guest had migrated: "; {
				case tt.want == "" && err != nil:
					t.Errorf("got %v, want that it passes", err)
				case tt.want != "" && (result.StatusOf(err) != result.Fail || !strings.HasPrefix(err.Error(), first) || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("got %v, want %s", err, tt.want)
				}
				removeAll(t, bed)
			})
		})
	}
}

// removeAll removes the VMs of a bed: one that has died is an error at the bed's end.
func removeAll(t *testing.T, bed *bedtest.ScriptedBed) {
	t.Helper()
	for _, instance := range bed.Instances() {
		_ = bed.Remove(context.WithoutCancel(t.Context()), instance)
	}
}

// Only complete passes count.
func TestWaitPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, p := scripted(t, qmptest.Script{Endless: true}, qmptest.Script{}, nil)
		m := start(t, bed.Bed, p)
		waited := make(chan error, 1)
		var passes int
		go func() {
			err := m.Wait(t.Context(), migration.Condition{Passes: 3})
			if err == nil {
				var query map[string]any
				err = m.Source.Instance("vm1").Monitor().Execute(t.Context(), "query-migrate", nil, &query)
				passes = result.Sample{Query: query}.Progress().Pass
			}
			waited <- errors.Join(err, m.Cancel(t.Context()))
		}()
		if err := runBoth(t.Context(), m); err != nil {
			t.Error(err)
		}
		if err := <-waited; err != nil || passes < 4 {
			t.Errorf("after three passes: in pass %d, %v; want the fourth at least", passes, err)
		}
	})
}

// The devices of both QEMUs are compared if the destination could not load the guest,
// whether it ends then or stays and says so; not if something else has failed.
func TestDevicesOfFailure(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	unloadable := qmptest.Script{LoadError: "Unknown savevm section"}
	late := unloadable
	late.Execute = func(command string, _ json.RawMessage) (any, error, bool) {
		if command == "query-migrate" || command == "query-status" {
			time.Sleep(2500 * time.Millisecond)
		}
		return nil, nil, false
	}
	for _, tt := range []struct {
		name                string
		source, destination qmptest.Script
		params              cartesian.Params
		compared            bool
	}{
		{"it ends", qmptest.Script{}, unloadable, nil, true},
		{"it stays", qmptest.Script{}, unloadable, cartesian.Params{"mig_exit_on_error": "no"}, true},
		{"it stays, and answers late", qmptest.Script{}, late, cartesian.Params{"mig_exit_on_error": "no"}, true},
		{"it stays when the source dies", qmptest.Script{StopAt: "MIGRATION:active", Die: true}, qmptest.Script{}, cartesian.Params{"mig_exit_on_error": "no"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed := bedtest.NewScriptedBed(t, 1, cartesian.Params{"extra_params_host1": "-device virtio-rng-pci"})
				bed.QEMUs.Script("vm1", tt.source, tt.destination)
				p := plan(bed.Bed)
				p.Params = bed.Params()
				maps.Copy(p.Params, tt.params)
				failure, failed := errors.AsType[*migration.Failure](runBoth(t.Context(), start(t, bed.Bed, p)))
				// a scripted QEMU that is started again for that saves none
				if !failed || strings.Contains(failure.Detail(), "state of the devices: not compared: vm1 on host1: ") != tt.compared ||
					strings.Contains(failure.Detail(), "it has saved no state") != tt.compared {
					t.Errorf("got %v with the detail\n%s\nwant that the devices were compared: %v", failure, failure.Detail(), tt.compared)
				}
				removeAll(t, bed)
			})
		})
	}
}
