// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// enterPostcopy waits until the migration is in post-copy.
func enterPostcopy(ctx context.Context, m *migration.Migration) error {
	return errors.Join(switchToPostcopy(ctx, m), m.Wait(ctx, migration.Condition{Status: qmp.MigrationPostcopyActive}))
}

// deafTwice returns what makes a source accept two resumes and do nothing.
func deafTwice() func(string, json.RawMessage) (any, error, bool) {
	resumes := 0
	return func(command string, arguments json.RawMessage) (any, error, bool) {
		if command != "migrate" || !strings.Contains(string(arguments), `"resume":true`) {
			return nil, nil, false
		}
		resumes++
		return map[string]any{}, nil, resumes <= 2
	}
}

// A migration in post-copy that has lost its connection goes on when both ends are
// connected again.
func TestRecover(t *testing.T) {
	t.Parallel()
	postcopy := cartesian.Params{"mig_postcopy": "yes"}
	endless := qmptest.Script{Endless: true}
	paused := func(then func(context.Context, *migration.Migration) error) func(context.Context, *migration.Migration) error {
		return func(ctx context.Context, m *migration.Migration) error {
			if err := errors.Join(enterPostcopy(ctx, m), m.Pause(ctx)); err != nil {
				return err
			}
			if state := m.State(); state != qmp.MigrationPostcopyPaused {
				return fmt.Errorf("paused: its status is %s", state)
			}
			return then(ctx, m)
		}
	}
	wrong := func(err error, words string) error {
		if _, ok := errors.AsType[*migration.PostcopyError](err); !ok || result.StatusOf(err) != result.Fail {
			return fmt.Errorf("got %w, want a PostcopyError", err)
		}
		return refused(err, words)
	}
	for _, tt := range []testCase{
		{name: "once", params: postcopy, source: endless, concurrent: paused(func(ctx context.Context, m *migration.Migration) error { return m.Recover(ctx) })},
		{name: "over a unix socket", params: and(postcopy, "mig_protocol", "unix"), source: endless, concurrent: paused(func(ctx context.Context, m *migration.Migration) error { return m.Recover(ctx) })},
		{
			name: "after two that cannot connect", params: postcopy, source: qmptest.Script{Endless: true, Execute: deafTwice()},
			concurrent: paused(func(ctx context.Context, m *migration.Migration) error {
				const late = "recover: vm1: waited 20s until the source is in post-copy again; its status is postcopy-paused"
				return errors.Join(wrong(m.Recover(ctx), late), wrong(m.Recover(ctx), late), m.Recover(ctx))
			}),
		},
		{
			name: "a broken connection", params: postcopy, source: endless, concurrent: func(ctx context.Context, m *migration.Migration) error {
				if err := enterPostcopy(ctx, m); err != nil {
					return err
				}
				for !m.Destination.Instance("vm1").HasGuest() { // it is lost before
					time.Sleep(time.Millisecond)
				}
				bedtest.Of(m.Source.Instance("vm1")).BreakMigration()
				return errors.Join(m.Wait(ctx, migration.Condition{Status: qmp.MigrationPostcopyPaused}), m.Recover(ctx))
			},
		},
		{
			name: "a destination that does not notice", params: postcopy, source: endless, destination: qmptest.Script{LateLoss: true}, concurrent: paused(func(ctx context.Context, m *migration.Migration) error { return m.Recover(ctx) }),
			log: "migrate-pause: it has not noticed",
		},
		{
			name: "never", params: and(postcopy, "mig_timeout", "60"), source: endless, fails: true, status: result.Fail, want: []string{"not finished after mig_timeout = 1m0s"}, at: "-",
			concurrent: paused(func(context.Context, *migration.Migration) error { return nil }),
		},
		{
			name: "not in post-copy", params: postcopy, source: endless, at: "host1", concurrent: func(ctx context.Context, m *migration.Migration) error {
				err := m.Wait(ctx, migration.Condition{Status: qmp.MigrationActive})
				return errors.Join(err, refused(m.Pause(ctx), "pause: the migration of vm1 is not in post-copy, its status is active"),
					refused(m.Recover(ctx), "recover: the migration of vm1 is not in post-copy, its status is active"), m.Cancel(ctx))
			},
		},
		{
			name: "not paused", params: postcopy, source: endless, concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(enterPostcopy(ctx, m), refused(m.Recover(ctx), "recover: the migration of vm1 is not paused, its status is postcopy-active"))
			},
		},
		{
			name: "a destination that cannot", params: and(postcopy, "mig_timeout", "60"), source: endless, destination: qmptest.Script{Without: []string{"migrate-recover"}}, at: "-",
			fails: true, concurrent: paused(func(ctx context.Context, m *migration.Migration) error {
				err := m.Recover(ctx)
				if result.StatusOf(err) != result.Skip {
					return fmt.Errorf("got %w, want SKIP", err)
				}
				return refused(err, "host2: this QEMU has no command migrate-recover")
			}),
		},
		{
			name: "a source that ignores the pause", params: postcopy, source: qmptest.Script{Endless: true, Execute: func(command string, _ json.RawMessage) (any, error, bool) {
				return map[string]any{}, nil, command == "migrate-pause"
			}},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(enterPostcopy(ctx, m), refused(m.Pause(ctx), "pause: the migration of vm1 has ended before as completed"))
			},
		},
		{
			name: "a destination that freezes", params: postcopy, source: endless, destination: qmptest.Script{StopAt: "migrate-recover"}, at: "-", fails: true, status: result.Fail, want: []string{dstFailed, silent},
			concurrent: paused(func(ctx context.Context, m *migration.Migration) error { return refused(m.Recover(ctx), silent) }),
		},
		{
			name: "on another port", params: postcopy, source: endless, concurrent: paused(func(ctx context.Context, m *migration.Migration) error {
				before := m.Ports()["vm1"]
				return errors.Join(m.Recover(ctx), listensOn(ctx, m, func(port int) bool { return port != before }))
			}),
		},
		{
			name: "a port that is in use", params: and(postcopy, "mig_port", "4710-4719"), source: endless, destination: qmptest.Script{Execute: inUse(":4710")},
			concurrent: paused(func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(m.Recover(ctx), listensOn(ctx, m, func(port int) bool { return port == 4711 }))
			}),
		},
		{
			name: "ports that are in use", params: and(and(postcopy, "mig_timeout", "60"), "mig_port", "4710-4719"), source: endless, destination: qmptest.Script{Execute: inUse(":47")}, at: "-",
			fails: true, concurrent: paused(func(ctx context.Context, m *migration.Migration) error {
				return refused(m.Recover(ctx), "vm1@host2 does not listen again on port 4710-4719: vm1@host2: migrate-recover: Address already in use")
			}),
		},
		{
			name: "a destination that refuses", params: and(postcopy, "mig_timeout", "60"), source: endless, destination: qmptest.Script{Refuse: []string{"migrate-recover"}}, at: "-",
			fails: true, concurrent: paused(func(ctx context.Context, m *migration.Migration) error {
				err := m.Recover(ctx)
				if err != nil && strings.Contains(err.Error(), "is free") {
					return fmt.Errorf("got %w, want nothing about free ports", err)
				}
				return refused(err, ": vm1@host2: migrate-recover: the script refuses migrate-recover")
			}),
		},
		{
			name: "a destination that is silent", params: and(postcopy, "mig_port", "4710-4719"), source: endless, destination: qmptest.Script{Ignore: []string{"migrate-recover"}}, at: "-", fails: true, status: result.Fail, want: []string{dstFailed, silent},
			concurrent: paused(func(ctx context.Context, m *migration.Migration) error {
				began := time.Now()
				err := m.Recover(ctx)
				if took := time.Since(began); took > 2*qmp.DefaultTimeout {
					return fmt.Errorf("it took %v, want one monitor_timeout", took)
				}
				return refused(err, silent)
			}),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, tt.run)
		})
	}
}

// Of several VMs, each that has lost its connection is connected again, whatever becomes of
// the others.
func TestRecoverSeveral(t *testing.T) {
	t.Parallel()
	until := func(m *migration.Migration, vm int, status qmp.MigrationStatus) error {
		for range 60_000 {
			if m.Record().VMs[vm-1].Status == string(status) {
				return nil
			}
			time.Sleep(time.Millisecond)
		}
		return fmt.Errorf("vm%d is %s, not %s", vm, m.Record().VMs[vm-1].Status, status)
	}
	for _, tt := range []struct {
		name       string
		two        qmptest.Script // the source of vm2
		concurrent func(context.Context, *migration.Migration) error
	}{
		{
			name: "one cannot connect", two: qmptest.Script{Endless: true, Execute: deafTwice()},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(m.Pause(ctx), refused(m.Recover(ctx), "recover: vm2: waited 20s"), until(m, 1, qmp.MigrationCompleted), m.Pause(ctx), refused(m.Recover(ctx), "recover: vm2: waited 20s"), m.Recover(ctx))
			},
		},
		{
			name: "one completes before it is paused", two: qmptest.Script{
				Endless: true,
				Execute: func(command string, _ json.RawMessage) (any, error, bool) {
					if command == "migrate-pause" {
						time.Sleep(8 * time.Second)
					}
					return nil, nil, false
				},
			},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(m.Pause(ctx), until(m, 2, qmp.MigrationCompleted), m.Recover(ctx))
			},
		},
		{
			name: "one has lost it", two: qmptest.Script{Endless: true}, concurrent: func(ctx context.Context, m *migration.Migration) error {
				for !m.Destination.Instance("vm1").HasGuest() {
					time.Sleep(time.Millisecond)
				}
				bedtest.Of(m.Source.Instance("vm1")).BreakMigration()
				return errors.Join(until(m, 1, qmp.MigrationPostcopyPaused), m.Recover(ctx))
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed := bedtest.NewScriptedBed(t, 2, cartesian.Params{"mig_postcopy": "yes"})
				bed.QEMUs.Script("vm1", qmptest.Script{Endless: true}, qmptest.Script{})
				bed.QEMUs.Script("vm2", tt.two, qmptest.Script{})
				p := plan(bed.Bed)
				p.VMs = []string{"vm1", "vm2"}
				m := start(t, bed.Bed, p)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				concurrent := beside(ctx, m, func(ctx context.Context, m *migration.Migration) error {
					return errors.Join(enterPostcopy(ctx, m), tt.concurrent(ctx, m))
				})
				if err := errors.Join(runBoth(ctx, m), <-concurrent); err != nil {
					t.Error(err)
				}
				removeAll(t, bed)
			})
		})
	}
}

// inUse returns what makes a destination refuse to listen again on these ports.
func inUse(ports string) func(string, json.RawMessage) (any, error, bool) {
	return func(command string, arguments json.RawMessage) (any, error, bool) {
		if command != "migrate-recover" || !strings.Contains(string(arguments), ports) {
			return nil, nil, false
		}
		return nil, errors.New("Address already in use"), true
	}
}

// listensOn is an error unless the destination of vm1 listens on a port as wanted, which is
// the migration's.
func listensOn(ctx context.Context, m *migration.Migration, wanted func(port int) bool) error {
	var query struct {
		Address []struct{ Port string } `json:"socket-address"`
	}
	if err := m.Destination.Instance("vm1").Monitor().Execute(ctx, "query-migrate", nil, &query); err != nil {
		return err
	}
	if port := m.Ports()["vm1"]; len(query.Address) != 1 || strconv.Itoa(port) != query.Address[0].Port || !wanted(port) {
		return fmt.Errorf("the migration's port is %d, and QEMU listens on %v", port, query.Address)
	}
	return nil
}

// A move that completes while somebody waits for a state of it in post-copy is no error
// without a cause.
func TestWaitPostcopy(t *testing.T) {
	t.Parallel()
	bed := bedtest.NewScriptedBed(t, 1, nil).Bed
	for range 20 { // two channels are ready: either may be chosen
		m := start(t, bed, plan(bed))
		ended := false
		err := migration.WaitPostcopy(t.Context(), m, "vm1", func(s migration.State) bool {
			if !ended { // when the state was read
				migration.EndMove(m, "vm1")
				ended = true
				return false
			}
			return s == qmp.MigrationCompleted
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The second monitor of a destination is closed when the move has ended, also when that is
// before it was opened; and it is opened once.
func TestSecondMonitor(t *testing.T) {
	t.Parallel()
	var negotiated atomic.Int32
	slow := qmptest.Script{Execute: func(command string, _ json.RawMessage) (any, error, bool) {
		if command == "qmp_capabilities" && negotiated.Add(1) == 2 {
			time.Sleep(3 * time.Second)
		}
		return nil, nil, false
	}}
	for _, tt := range []struct {
		name                string
		source, destination qmptest.Script
		concurrent          func(ctx context.Context, m *migration.Migration) error
	}{
		{"once", qmptest.Script{Endless: true}, qmptest.Script{}, func(ctx context.Context, m *migration.Migration) error { return m.StartPostcopy(ctx) }},
		{"switched twice", qmptest.Script{Endless: true}, qmptest.Script{}, func(ctx context.Context, m *migration.Migration) error {
			return errors.Join(m.StartPostcopy(ctx), m.StartPostcopy(ctx))
		}},
		{"the move ends before", qmptest.Script{}, slow, func(ctx context.Context, m *migration.Migration) error {
			return refused(m.StartPostcopy(ctx), "start_postcopy: vm1 does not move now, its status is completed")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed, p := scripted(t, tt.source, tt.destination, cartesian.Params{"mig_postcopy": "yes"})
				bed.QEMUs.SpareMonitors()
				m := start(t, bed.Bed, p)
				switched := atStatus(t.Context(), m, qmp.MigrationActive, func() error { return tt.concurrent(t.Context(), m) })
				err := runBoth(t.Context(), m)
				if err := errors.Join(err, <-switched); err != nil {
					t.Error(err)
				}
				if log := bedLog(t, bed); strings.Contains(log, "no second monitor for post-copy") {
					t.Errorf("got a warning in\n%s", log)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				destination := m.Destination.Instance("vm1")
				conn, err := destination.Host.Dial(ctx, "unix", destination.Spec().SpareQMP)
				if err != nil {
					t.Fatal(err)
				}
				if monitor, err := qmp.New(ctx, conn, qmp.Options{}); err != nil {
					t.Errorf("the second monitor is not free: %v", err)
				} else {
					_ = monitor.Close()
				}
				removeAll(t, bed)
			})
		})
	}
}

// With QEMU itself: the connection is lost twice.
func TestRecoverQEMU(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"tcp", "unix"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			params["mig_protocol"], params["mig_postcopy"], params["mig_speed"] = protocol, "yes", "100K"
			params["parameters"], params["parameters_value"] = "max-postcopy-bandwidth", "50K"
			bed := prepared(t, params)
			m := start(t, bed, plan(bed))
			ctx := t.Context()
			recovered := make(chan error, 1)
			go func() {
				err := errors.Join(m.Wait(ctx, migration.Condition{Status: qmp.MigrationActive}), m.StartPostcopy(ctx), m.Wait(ctx, migration.Condition{Status: qmp.MigrationPostcopyActive}))
				for range 2 {
					err = errors.Join(err, m.Pause(ctx), m.Recover(ctx))
				}
				recovered <- errors.Join(err, m.Source.Instance("vm1").Execute(ctx, "migrate-set-parameters", map[string]any{"max-postcopy-bandwidth": 0}, nil))
			}()
			if err := errors.Join(runBoth(ctx, m), <-recovered); err != nil {
				t.Fatal(err)
			}
			if current := bed.Current("vm1"); current == nil || current.Host != bed.Hosts()[1] {
				t.Errorf("the VM is in %v, want on the second host", current)
			}
		})
	}
}

// An error besides those of post-copy is not lost.
func TestOnlyPostcopyErrors(t *testing.T) {
	t.Parallel()
	lost, refused := &migration.PostcopyError{Call: "recover", VM: "vm1", Err: errors.New("lost again")}, errors.New("refused")
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{lost, true},
		{fmt.Errorf("so: %w", lost), true},
		{errors.Join(lost, lost), true},
		{refused, false},
		{errors.Join(lost, refused), false},
		{nil, false},
	} {
		if got := migration.OnlyPostcopyErrors(tt.err); got != tt.want {
			t.Errorf("%v: got %t", tt.err, got)
		}
	}
}
