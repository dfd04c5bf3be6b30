// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, tt.run)
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
