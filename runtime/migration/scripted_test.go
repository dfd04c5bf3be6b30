// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
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

// testCase is a migration between two scripted QEMUs, and its expected result.
type testCase struct {
	name                string
	source, destination qmptest.Script
	params              cartesian.Params
	bed                 cartesian.Params // further ones of the bed
	guest               *bedtest.Guest
	change              func(*migration.Plan)
	concurrent          func(context.Context, *migration.Migration) error // runs during the migration; its error fails the test
	after               func(context.Context, *migration.Migration) error // runs when both sides have ended, likewise
	fails               bool                                              // the migration does
	status              result.Status                                     // of its error
	want                []string                                          // substrings of the error
	log                 string                                            // substring of the variant's log
	at                  string                                            // the guest's host afterwards: "" is host2, - any
}

const (
	srcFailed = "the source failed first (host1)"
	dstFailed = "the destination failed first (host2)"
	silent    = "QEMU does not answer its monitor"
	killed    = "ended by signal 9"
)

// delay makes a state last long enough to be observed.
func delay() { time.Sleep(300 * time.Millisecond) }

// cancelAt cancels in a state.
func cancelAt(state migration.State) func(context.Context, *migration.Migration) error {
	return func(ctx context.Context, m *migration.Migration) error {
		if err := m.Wait(ctx, migration.Condition{Status: state}); err != nil {
			return err
		}
		return m.Cancel(ctx)
	}
}

// cancelByHand cancels in active, as a scenario may by vm.qmp.
func cancelByHand(ctx context.Context, m *migration.Migration) error {
	return cancelBy(ctx, m, "migrate_cancel", nil)
}

// cancelByMonitor does so by the human monitor.
func cancelByMonitor(ctx context.Context, m *migration.Migration) error {
	return cancelBy(ctx, m, "human-monitor-command", map[string]any{"command-line": "migrate_cancel "})
}

func cancelBy(ctx context.Context, m *migration.Migration, command string, arguments map[string]any) error {
	if err := m.Wait(ctx, migration.Condition{Status: "active"}); err != nil {
		return err
	}
	return m.Source.Instance(m.VMs()[0]).Execute(ctx, command, arguments, nil)
}

// sentByHook has a migrate_src that sends by the QMP command migrate, and waits for the end.
func sentByHook(p *migration.Plan) {
	p.MigrateSrc = func(ctx context.Context, s *migration.Side) error {
		return errors.Join(sendByHand(ctx, s), untilTerminal(ctx, s))
	}
}

// cancelledByHook has one that cancels what it has sent.
func cancelledByHook(p *migration.Plan) {
	p.MigrateSrc = func(ctx context.Context, s *migration.Side) error {
		cancel := func() error { return s.Instance("vm1").Execute(ctx, "migrate_cancel", nil, nil) }
		return errors.Join(sendByHand(ctx, s), cancel(), untilTerminal(ctx, s))
	}
}

// untilTerminal waits until the source's QEMU reports that its migration has ended.
func untilTerminal(ctx context.Context, s *migration.Side) error {
	for {
		var query struct {
			Status qmp.MigrationStatus `json:"status"`
		}
		if err := s.Instance("vm1").Monitor().Execute(ctx, "query-migrate", nil, &query); err != nil || query.Status.Terminal() {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// stillPaused is an error unless the guest is paused on the source.
func stillPaused(ctx context.Context, m *migration.Migration) error {
	if state, err := m.Source.Instance("vm1").Status(ctx); err != nil || state != "paused" {
		return fmt.Errorf("the guest is %s, %w; want that it is still paused", state, err)
	}
	return nil
}

func testCases() []testCase {
	const fail, fails = result.Fail, true
	all := []testCase{
		{name: "success"},
		{name: "mig_offline", params: cartesian.Params{"mig_offline": "yes"}},
		{name: "limits", params: cartesian.Params{"mig_speed": "64M", "mig_downtime": "0.1"}},
		{name: "unix", params: cartesian.Params{"mig_protocol": "unix"}},
		{name: "statistics come late", source: qmptest.Script{TotalsAfter: 5}},
		{name: "statistics never come", source: qmptest.Script{TotalsAfter: 1 << 30}, fails: fails, want: []string{"QEMU reports no final statistics of the migration"}, at: "host2"},
		{name: "post-copy", source: qmptest.Script{Postcopy: true}},

		{name: "completed is lost", source: qmptest.Script{Drop: []string{"MIGRATION:completed"}}},
		{name: "completed comes late", source: qmptest.Script{Delay: []string{"MIGRATION:completed"}}},
		{name: "completed is repeated", source: qmptest.Script{Repeat: []string{"MIGRATION:completed"}}},
		{name: "STOP is lost", source: qmptest.Script{Drop: []string{"STOP"}}},
		{name: "STOP comes late", source: qmptest.Script{Delay: []string{"STOP"}}},
		{name: "STOP is repeated", source: qmptest.Script{Repeat: []string{"STOP"}}},
		{name: "RESUME is lost", destination: qmptest.Script{Drop: []string{"RESUME"}}},
		{name: "RESUME comes late", destination: qmptest.Script{Delay: []string{"RESUME"}}},
		{name: "RESUME is repeated", destination: qmptest.Script{Repeat: []string{"RESUME"}}},
		{name: "the destination's completed is lost", destination: qmptest.Script{Drop: []string{"MIGRATION:completed"}}},
		{name: "the destination's completed comes late", destination: qmptest.Script{Delay: []string{"MIGRATION:completed"}}},
		{name: "the destination's completed is repeated", destination: qmptest.Script{Repeat: []string{"MIGRATION:completed"}}},
		{name: "setup and active are lost", source: qmptest.Script{Drop: []string{"MIGRATION:setup", "MIGRATION:active"}}},
		{name: "active is repeated", source: qmptest.Script{Repeat: []string{"MIGRATION:active", "MIGRATION_PASS"}}},
		{
			name: "the destination sends no events", destination: qmptest.Script{Drop: []string{"RESUME", "MIGRATION:completed"}}, fails: fails, status: fail,
			want: []string{dstFailed, "the source reports completed, but the guest does not run here after"},
		},
		{name: "a status of the future", source: qmptest.Script{Insert: []string{"warp-drive"}}, log: "a migration status that mhmig does not know"},
		{name: "a status of the future at the destination's end", source: qmptest.Script{Insert: []string{"warp-drive", "device", "warp-drive"}}},
		{
			name: "an unknown capability", destination: qmptest.Script{Without: []string{"return-path"}}, fails: fails, status: result.Error,
			want: []string{"migration 1, destination host2, prepare: ", "this QEMU has no migration capability return-path"}, at: "-",
		},

		{
			name: "an unknown parameter", source: qmptest.Script{Without: []string{"downtime-limit"}}, params: cartesian.Params{"mig_downtime": "0.1"}, fails: fails, status: result.Skip,
			want: []string{"migration 1, source host1, migrate: ", "this QEMU has no migration parameter downtime-limit"}, at: "-",
		},
		{name: "an unknown parameter that nobody sets", source: qmptest.Script{Without: []string{"downtime-limit"}}, params: cartesian.Params{"mig_speed": "32M"}},

		{name: "cancel in active, without an end", source: qmptest.Script{Endless: true}, concurrent: cancelAt("active"), at: "host1"},
		{
			name: "cancel before the move", source: qmptest.Script{Endless: true}, at: "host1",
			change: func(p *migration.Plan) {
				p.BeforeMigration = func(ctx context.Context, s *migration.Side) error {
					if s.IsSource() {
						return s.Migration.Cancel(ctx)
					}
					return nil
				}
			},
		},
		{
			name: "cancelled while the scenario has paused the guest", source: qmptest.Script{Endless: true}, at: "host1",
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				if err := m.Wait(ctx, migration.Condition{Status: "active"}); err != nil {
					return err
				}
				return errors.Join(m.Source.Instance("vm1").Stop(ctx), m.Cancel(ctx))
			},
			after: stillPaused,
		},
		{
			name: "mig_offline, cancelled while the scenario has paused the guest", source: qmptest.Script{Endless: true}, params: cartesian.Params{"mig_offline": "yes", "cancel_delay": "1"}, at: "host1",
			change: func(p *migration.Plan) {
				p.BeforeMigration = func(ctx context.Context, s *migration.Side) error {
					if s.IsSource() {
						return s.Instance("vm1").Stop(ctx)
					}
					return nil
				}
			},
			after: stillPaused,
		},
		{
			name: "cancelled while the guest is paused, but not by the scenario", source: qmptest.Script{Endless: true}, at: "host1", fails: fails, status: fail,
			want: []string{srcFailed, "the guest is paused on the source after the migration has ended as cancelled, not running"},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				if err := m.Wait(ctx, migration.Condition{Status: "active"}); err != nil {
					return err
				}
				bedtest.Of(m.Source.Instance("vm1")).Pause()
				return m.Cancel(ctx)
			},
		},
		{name: "cancel_delay", source: qmptest.Script{Endless: true}, params: cartesian.Params{"cancel_delay": "0.05", "mig_speed": "32M"}, at: "host1"},
		{name: "cancelled, then limits again", source: qmptest.Script{Endless: true}, params: cartesian.Params{"cancel_delay": "0.05", "mig_offline": "yes"}, at: "host1"},
		{name: "cancel_delay is too long", params: cartesian.Params{"cancel_delay": "60"}, fails: fails, want: []string{"the migration completed before cancel_delay = 1m0s"}},
		{name: "cancel after the end", concurrent: cancelAt("completed")},
		{
			name: "cancel when the guest runs on the destination", source: qmptest.Script{LateEnd: true, Refuse: []string{"migrate_cancel"}},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				for m.Destination.Instance(m.VMs()[0]) == nil || !m.Destination.Instance(m.VMs()[0]).HasGuest() {
					time.Sleep(time.Millisecond)
				}
				return m.Cancel(ctx)
			},
		},
		{
			name: "cancelled by somebody else when the guest runs on the destination", source: qmptest.Script{LateEnd: true}, fails: fails, status: fail, at: "-",
			want: []string{"split brain: the guest ran on host2 already when the migration ended as cancelled"},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				for m.Destination.Instance(m.VMs()[0]) == nil || !m.Destination.Instance(m.VMs()[0]).HasGuest() {
					time.Sleep(time.Millisecond)
				}
				return m.Source.Instance(m.VMs()[0]).Execute(ctx, "migrate_cancel", nil, nil)
			},
		},
		{
			name: "cancelled while the destination runs the guest unknown to mhmig", source: qmptest.Script{LateEnd: true}, destination: qmptest.Script{Drop: []string{"RESUME", "MIGRATION:completed"}}, fails: fails, status: fail, at: "-",
			want: []string{"split brain: the guest ran on host2 already when the migration ended as cancelled"},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				for m.Destination.Instance(m.VMs()[0]) == nil || m.Source.Instance(m.VMs()[0]).State() == "running" {
					time.Sleep(time.Millisecond)
				}
				time.Sleep(10 * time.Millisecond) // loaded by now; RESUME is sent later still
				return m.Cancel(ctx)
			},
		},
		{name: "cancelled by somebody else", source: qmptest.Script{Endless: true}, fails: fails, want: []string{"was cancelled, but not by mig.cancel"}, at: "host1", concurrent: cancelByHand},
		{name: "cancelled, and reported as failed", source: qmptest.Script{Endless: true, CancelFails: true}, concurrent: cancelAt("active"), at: "host1"},
		{name: "cancelled by the human monitor, and reported as failed", source: qmptest.Script{Endless: true, CancelFails: true}, fails: fails, want: []string{"was cancelled, but not by mig.cancel"}, at: "host1", concurrent: cancelByMonitor},
		{name: "cancelled by somebody else, and reported as failed", source: qmptest.Script{Endless: true, CancelFails: true}, fails: fails, want: []string{"was cancelled, but not by mig.cancel"}, at: "host1", concurrent: cancelByHand},
		{name: "cancel is refused", source: qmptest.Script{Endless: true, Refuse: []string{"migrate_cancel"}}, params: cartesian.Params{"cancel_delay": "0.05"}, fails: fails, want: []string{"the script refuses migrate_cancel"}, at: "host1"},
		{
			name: "overdue", source: qmptest.Script{Endless: true}, params: cartesian.Params{"mig_timeout": "0.6", "mig_speed": "2M"}, fails: fails, status: fail,
			want: []string{"not finished after mig_timeout = 600ms", "over guest memory, 32 MiB of 64 MiB remaining"}, at: "host1",
		},
		{
			name: "overdue, and cannot be cancelled", source: qmptest.Script{Endless: true, Refuse: []string{"migrate_cancel"}}, params: cartesian.Params{"mig_timeout": "0.3"}, fails: fails, status: fail,
			want: []string{"not finished after mig_timeout"}, log: "could not be cancelled",
			at: "host1",
		},
		{
			name: "cut at the switchover", destination: qmptest.Script{DropData: true}, params: cartesian.Params{"mig_timeout": "0.5"}, fails: fails, status: fail,
			want: []string{"not finished after mig_timeout"}, at: "host1",
		},
		{
			name: "the destination cannot load the guest", destination: qmptest.Script{LoadError: "Unknown savevm section"}, fails: fails, status: fail,
			want: []string{dstFailed, "Unknown savevm section", "the source reported: "}, at: "-",
		},
		{
			name: "the destination cannot load the guest, and stays", destination: qmptest.Script{LoadError: "Unknown savevm section"}, params: cartesian.Params{"mig_exit_on_error": "no"}, fails: fails, status: fail,
			want: []string{dstFailed, "it could not load the guest: Unknown savevm section; the source reported: "}, at: "host1",
		},
		{
			name: "the destination cannot load the guest, and ends all the same", destination: qmptest.Script{LoadError: "Unknown savevm section", Unused: []string{"exit-on-error"}}, params: cartesian.Params{"mig_exit_on_error": "no"}, fails: fails, status: fail,
			want: []string{dstFailed, "QEMU was to stay when it cannot load the guest (mig_exit_on_error = no, exit-on-error), but has ended"}, at: "-",
		},
		{
			name: "a destination that was to stay is killed", source: qmptest.Script{Endless: true}, destination: qmptest.Script{StopAt: "MIGRATION:active", Die: true}, params: cartesian.Params{"mig_exit_on_error": "no"}, fails: fails, status: fail,
			want: []string{dstFailed + ": QEMU of vm1 on host2 " + killed}, at: "-",
		},
		{
			name: "a destination that cannot stay", destination: qmptest.Script{Without: []string{"exit-on-error"}}, params: cartesian.Params{"mig_exit_on_error": "no"}, fails: fails, status: result.Skip,
			want: []string{"migrate-incoming of this QEMU has no argument exit-on-error"}, at: "-",
		},
		{
			name: "the source's connection is lost, and the destination stays", source: qmptest.Script{StopAt: "MIGRATION:active", Die: true}, params: cartesian.Params{"mig_exit_on_error": "no"}, fails: fails, status: fail,
			want: []string{srcFailed, killed}, at: "-",
		},
		{
			name: "work fails", fails: fails, want: []string{"migration 1, source host1, start_work: no work"}, at: "host1",
			change: func(p *migration.Plan) {
				p.StartWork = func(context.Context, *migration.Side) error { return errors.New("no work") }
			},
		},
		{
			name: "hooks of all steps", change: func(p *migration.Plan) {
				nothing := func(context.Context, *migration.Side) error { return nil }
				p.StartWork, p.CheckWork, p.CheckSrc, p.CheckDst, p.BeforeMigration, p.PostMigration = nothing, nothing, nothing, nothing, nothing, nothing
			},
		},
		{
			name: "the hook has not migrated", fails: fails, want: []string{"migrate_src has returned, but the migration of", "has not ended: its status is none"}, at: "host1",
			change: func(p *migration.Plan) {
				p.MigrateSrc = func(context.Context, *migration.Side) error { return nil }
			},
		},
		{name: "the hook sends without the settings of the params", params: cartesian.Params{"mig_validate_uuid": "yes", "uuid": vmUUID, "mig_speed": "64M"}, change: sentByHook, log: `settings="max-bandwidth validate-uuid"`},
		{
			name: "a hook, and mig_postcopy_start", source: qmptest.Script{Endless: true}, params: cartesian.Params{"mig_postcopy_start": "active"}, log: "feature=postcopy-ram used=true",
			change: func(p *migration.Plan) {
				p.MigrateSrc = func(ctx context.Context, s *migration.Side) error { return s.Send(ctx, s.Migration.VMs()) }
			},
		},
		{name: "the hook cancels what it has sent", source: qmptest.Script{Endless: true}, at: "host1", change: cancelledByHook},
		{name: "the hook cancels what it has sent, and that is reported as failed", source: qmptest.Script{Endless: true, CancelFails: true}, at: "host1", change: cancelledByHook},
		{
			name: "waits", source: qmptest.Script{Endless: true}, at: "host1",
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				left := int64(60 << 20)
				for _, c := range []migration.Condition{{Status: "active"}, {Event: "MIGRATION_PASS"}, {Passes: 2}, {Remaining: &left}} {
					if err := m.Wait(ctx, c); err != nil {
						return err
					}
				}
				return errors.Join(m.SetSpeed(ctx, 1<<20), m.SetDowntime(ctx, time.Second), m.Cancel(ctx))
			},
		},
		{
			name: "waits for what does not come", source: qmptest.Script{},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				for _, c := range []migration.Condition{{Status: "colo"}, {Passes: 99}} {
					if err := m.Wait(ctx, c); err == nil || !strings.Contains(err.Error(), "but the migration ended first: completed") {
						return fmt.Errorf("wait for %s: got %w, want that the migration has ended", c, err)
					}
				}
				return nil
			},
		},
	}
	all = append(all, featureCases()...)
	all = append(all, mayFailCases()...)
	all = append(all, guestCases()...)
	for _, status := range append(qmp.MigrationStatuses, "warp-drive") {
		s := testCase{name: "cancel in " + string(status), concurrent: cancelAt(status), at: "host1"}
		s.source = qmptest.Script{StopAt: "MIGRATION:" + string(status), Stop: delay}
		switch {
		case !status.Begun(), status.Terminal(): // have their own test cases
			continue
		case status.Postcopy():
			s.at, s.concurrent = "", func(ctx context.Context, m *migration.Migration) error {
				err := cancelAt(status)(ctx, m)
				if err == nil || !strings.Contains(err.Error(), "cancelling now would destroy the guest on both hosts") {
					return fmt.Errorf("got %w, want that it is refused", err)
				}
				return nil
			}
			fallthrough
		case status != qmp.MigrationSetup && status != qmp.MigrationActive:
			s.source.Insert = []string{string(status)}
		}
		all = append(all, s)
	}
	for _, command := range []string{"query-migrate-capabilities", "migrate-set-capabilities", "query-migrate-parameters", "migrate"} {
		all = append(all, testCase{
			name: "the source refuses " + command, source: qmptest.Script{Refuse: []string{command}}, fails: fails, want: []string{"the script refuses " + command}, at: "host1",
		})
	}
	for _, command := range []string{"query-migrate-capabilities", "migrate-set-capabilities", "migrate-incoming", "query-migrate"} {
		all = append(all, testCase{
			name: "the destination refuses " + command, destination: qmptest.Script{Refuse: []string{command}}, fails: fails, want: []string{"destination host2, prepare: ", "the script refuses " + command}, at: "-",
		})
	}
	for _, command := range []string{"query-migrate-capabilities", "query-migrate-parameters", "migrate", "cont"} {
		all = append(all, testCase{
			name: "the source never answers " + command, source: qmptest.Script{Ignore: []string{command}}, fails: fails, want: []string{silent, command}, at: "-",
		})
	}
	for _, command := range []string{"migrate-set-capabilities", "migrate-incoming", "query-migrate"} {
		all = append(all, testCase{
			name: "the destination never answers " + command, destination: qmptest.Script{Ignore: []string{command}}, fails: fails, want: []string{silent, command}, at: "-",
		})
	}
	for _, c := range []struct {
		stopAt string
		side   migration.Role
		status result.Status
	}{
		{"cont", migration.SourceRole, result.Error},
		{"query-migrate-parameters", migration.SourceRole, fail},
		{"migrate", migration.SourceRole, fail},
		{"MIGRATION:setup", migration.SourceRole, fail},
		{"MIGRATION:active", migration.SourceRole, fail},
		{"STOP", migration.SourceRole, fail},
		{"MIGRATION:completed", migration.SourceRole, fail},
		{"query-status@postmigrate", migration.SourceRole, fail},
		{"migrate-set-capabilities", migration.DestinationRole, result.Error},
		{"migrate-incoming", migration.DestinationRole, result.Error},
		{"MIGRATION:setup", migration.DestinationRole, fail},
		{"MIGRATION:active", migration.DestinationRole, fail},
		{"load", migration.DestinationRole, fail},
		{"loaded", migration.DestinationRole, fail},
		{"RESUME", migration.DestinationRole, fail},
		{"query-status@running", migration.DestinationRole, fail},
	} {
		for _, die := range []bool{false, true} {
			s := testCase{name: fmt.Sprintf("the %s freezes at %s", c.side, c.stopAt), fails: fails, status: c.status, want: []string{silent}, at: "-"}
			if die {
				s.name, s.want, s.status = fmt.Sprintf("the %s dies at %s", c.side, c.stopAt), []string{killed}, fail
			}
			script := qmptest.Script{StopAt: c.stopAt, Die: die}
			if c.side == migration.SourceRole {
				s.source = script
			} else {
				s.destination = script
			}
			all = append(all, s)
		}
	}
	return all
}

// wasSwitched is an error unless the migration has used post-copy.
func wasSwitched(_ context.Context, m *migration.Migration) error {
	if all := m.Record().VMs[0].Features; len(all) != 1 || all[0].Feature != "postcopy-ram" || !all[0].Used {
		return fmt.Errorf("got %+v, want that postcopy-ram was used", all)
	}
	return nil
}

// refused is an error unless err has these words.
func refused(err error, words string) error {
	if err == nil || !strings.Contains(err.Error(), words) {
		return fmt.Errorf("got %w, want %q in it", err, words)
	}
	return nil
}

// parametersOf returns the migration parameters of an instance.
func parametersOf(ctx context.Context, s *migration.Side) (map[string]any, error) {
	var all map[string]any
	err := s.Instance("vm1").Monitor().Execute(ctx, "query-migrate-parameters", nil, &all)
	return all, err
}

// featureCases are migrations with capabilities and parameters.
func featureCases() []testCase {
	postcopy := cartesian.Params{"mig_postcopy": "yes"}
	return []testCase{
		{
			name: "hold and release", change: func(p *migration.Plan) { p.Hold = true },
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				if err := m.Wait(ctx, migration.Condition{Status: qmp.MigrationPreSwitchover}); err != nil {
					return err
				}
				time.Sleep(time.Minute)
				if m.State() != qmp.MigrationPreSwitchover {
					return fmt.Errorf("after a minute of hold: got status %s", m.State())
				}
				return errors.Join(refused(m.Hold(), "the migration has begun"), m.Release(ctx))
			},
		},
		{
			name: "released before it is held", change: func(p *migration.Plan) {
				p.Hold = true
				p.StartWork = func(ctx context.Context, s *migration.Side) error { return s.Migration.Release(ctx) }
			},
		},
		{
			name: "held too late", source: qmptest.Script{Endless: true}, at: "host1",
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				err := m.Wait(ctx, migration.Condition{Status: "active"})
				return errors.Join(err, refused(m.Hold(), "use migrate(hold=True)"), refused(m.Release(ctx), "the migration is not held"), m.Cancel(ctx))
			},
		},
		{
			name: "switched to post-copy", source: qmptest.Script{Endless: true}, params: postcopy,
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(m.Wait(ctx, migration.Condition{Passes: 2}), m.StartPostcopy(ctx))
			},
		},
		{
			name: "switched to post-copy by passes", source: qmptest.Script{Endless: true}, params: cartesian.Params{"mig_postcopy_start": "passes 2"},
			log: `condition="2 passes"`, after: wasSwitched,
		},
		{name: "switched to post-copy by status", source: qmptest.Script{Endless: true}, params: cartesian.Params{"mig_postcopy_start": "active"}, after: wasSwitched},
		{name: "switched to post-copy by bytes", source: qmptest.Script{Endless: true}, params: cartesian.Params{"mig_postcopy_start": "sent 24M"}, log: `condition="25165824 bytes sent"`, after: wasSwitched},
		{name: "switched to post-copy by what remains", source: qmptest.Script{Endless: true}, params: cartesian.Params{"mig_postcopy_start": "remaining 40M"}, after: wasSwitched},
		{
			name: "complete before it is switched to post-copy", params: cartesian.Params{"mig_postcopy_start": "passes 99"},
			after: func(_ context.Context, m *migration.Migration) error {
				if all := m.Record().VMs[0].Features; len(all) != 1 || all[0].Used || !strings.Contains(all[0].Seen, "completed before it had 99 passes") {
					return fmt.Errorf("got %+v, want that post-copy was not used", all)
				}
				return nil
			},
		},
		{
			name: "a switch to post-copy that is refused", source: qmptest.Script{Endless: true, Refuse: []string{"migrate-start-postcopy"}}, params: cartesian.Params{"mig_postcopy_start": "passes 2", "mig_timeout": "5"},
			fails: true, want: []string{"the script refuses migrate-start-postcopy"}, at: "-",
		},
		{
			name: "a switch to post-copy that never is due", source: qmptest.Script{Endless: true}, params: cartesian.Params{"mig_postcopy_start": "sent 100G", "mig_timeout": "2"},
			fails: true, status: result.Fail, want: []string{"not finished after mig_timeout"}, at: "host1",
		},
		{
			name: "post-copy too early", params: postcopy, change: func(p *migration.Plan) {
				p.StartWork = func(ctx context.Context, s *migration.Side) error {
					return refused(s.Migration.StartPostcopy(ctx), "vm1 does not move now, its status is none")
				}
			},
		},
		{
			name: "post-copy that is not enabled", change: func(p *migration.Plan) {
				p.StartWork = func(ctx context.Context, s *migration.Side) error {
					return refused(s.Migration.StartPostcopy(ctx), "use migrate(postcopy=True)")
				}
			},
		},
		{
			name: "settings", source: qmptest.Script{Endless: true}, at: "host1",
			params: cartesian.Params{
				"capabilitys": "xbzrle auto-converge", "capabilitys_state": "enable disable",
				"parameters": "xbzrle-cache-size cpu-throttle-tailslow multifd-compression", "parameters_value": "16M on zlib",
			},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				if err := m.Wait(ctx, migration.Condition{Status: "active"}); err != nil {
					return err
				}
				for _, s := range []*migration.Side{m.Source, m.Destination} {
					set, err := parametersOf(ctx, s)
					if err != nil {
						return err
					}
					if set["xbzrle-cache-size"] != 16.0*(1<<20) || set["cpu-throttle-tailslow"] != true || set["multifd-compression"] != "zlib" {
						return fmt.Errorf("%s: got parameters %v", s.Role, set)
					}
				}
				return m.Cancel(ctx)
			},
			after: func(ctx context.Context, m *migration.Migration) error {
				set, err := parametersOf(ctx, m.Source)
				if err == nil && (set["xbzrle-cache-size"] != 64.0*(1<<20) || set["cpu-throttle-tailslow"] != false) {
					err = fmt.Errorf("got parameters %v, want those before", set)
				}
				return err
			},
		},
		{
			name: "switched to post-copy, then cancelled", source: qmptest.Script{Endless: true}, params: postcopy, after: wasSwitched,
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				err := errors.Join(m.Wait(ctx, migration.Condition{Passes: 2}), m.StartPostcopy(ctx))
				return errors.Join(err, refused(m.Cancel(ctx), "cancel: vm1 is switched to post-copy: cancelling now would destroy the guest on both hosts"))
			},
		},
		{
			name: "switched to post-copy by the scenario's own command, then cancelled", params: postcopy,
			source: qmptest.Script{Endless: true, Delay: []string{"MIGRATION:postcopy-active"}}, destination: qmptest.Script{StopAt: "load", Stop: delay},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				if err := m.Wait(ctx, migration.Condition{Passes: 2}); err != nil {
					return err
				}
				source := m.Source.Instance("vm1")
				if err := source.Execute(ctx, "migrate-start-postcopy", nil, nil); err != nil {
					return err
				}
				for {
					var query struct{ Status migration.State }
					if err := source.Execute(ctx, "query-migrate", nil, &query); err != nil {
						return err
					}
					if query.Status.Postcopy() { // its event comes later
						const refusal = "migrate_cancel refused in postcopy-active"
						byMonitor := source.Execute(ctx, "human-monitor-command", map[string]any{"command-line": "migrate_cancel"}, nil)
						return errors.Join(refused(byMonitor, refusal), refused(m.Cancel(ctx), refusal))
					}
					time.Sleep(time.Millisecond)
				}
			},
		},
		{
			name: "cancelled, then switched to post-copy", source: qmptest.Script{Endless: true, Delay: []string{"MIGRATION:cancelled"}}, params: postcopy, at: "host1",
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(m.Wait(ctx, migration.Condition{Passes: 2}), m.Cancel(ctx), refused(m.StartPostcopy(ctx), "start_postcopy: the migration of vm1 was cancelled"))
			},
		},
		{
			name: "a setting that is no number", params: cartesian.Params{"parameters": "xbzrle-cache-size", "parameters_value": "much"}, fails: true, status: result.Error,
			want: []string{"param parameters_value: xbzrle-cache-size = much: want a number"}, at: "-",
		},
		{
			name: "a setting that is no switch", params: cartesian.Params{"parameters": "cpu-throttle-tailslow", "parameters_value": "often"}, fails: true, status: result.Error,
			want: []string{"param parameters_value: cpu-throttle-tailslow = often: want on or off"}, at: "-",
		},
	}
}

// mayFailCases are migrations that may fail.
func mayFailCases() []testCase {
	mayFail := func(p *migration.Plan) { p.MayFail = true }
	tolerated := func(ctx context.Context, m *migration.Migration) error {
		select {
		case <-m.MoveEnded():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if m.Tolerated() == nil {
			return errors.New("got no failure, want one that is tolerated")
		}
		return nil
	}
	return []testCase{
		{name: "may fail, and does not", change: mayFail},
		{name: "may fail: the destination dies", change: mayFail, destination: qmptest.Script{StopAt: "MIGRATION:active", Die: true}, concurrent: tolerated, at: "host1"},
		{name: "may fail: the source refuses", change: mayFail, source: qmptest.Script{Refuse: []string{"migrate"}}, concurrent: tolerated, at: "host1"},
		{name: "may fail: overdue", change: mayFail, source: qmptest.Script{Endless: true}, params: cartesian.Params{"mig_timeout": "5"}, concurrent: tolerated, at: "host1"},
		{name: "may fail: the network is cut", change: mayFail, destination: qmptest.Script{DropData: true}, params: cartesian.Params{"mig_timeout": "5"}, concurrent: tolerated, at: "host1"},
		{
			name: "may fail, but the source dies", change: mayFail, source: qmptest.Script{StopAt: "MIGRATION:active", Die: true}, fails: true, status: result.Fail,
			want: []string{killed}, at: "-",
		},
		{
			name: "may fail, but the guest has left", change: mayFail, destination: qmptest.Script{StopAt: "query-status@running", Die: true}, fails: true, status: result.Fail,
			want: []string{killed}, at: "-",
		},
	}
}

// guestCases are migrations of a guest that can be logged in to.
func guestCases() []testCase {
	rebooting, resetting := &bedtest.Guest{}, &bedtest.Guest{}
	login := func(ctx context.Context, s *migration.Side) error {
		_, err := s.Instance("vm1").WaitForLogin(ctx, time.Minute)
		return err
	}
	return []testCase{
		{
			name: "a guest with a clock", guest: &bedtest.Guest{}, change: func(p *migration.Plan) {
				p.StartWork, p.CheckWork = login, func(ctx context.Context, s *migration.Side) error {
					stats := s.Migration.Stats()["vm1"]
					if _, has := stats["guest_downtime"]; !has {
						return fmt.Errorf("got %v, want a guest_downtime", stats)
					}
					return login(ctx, s)
				}
			},
		},
		{name: "a guest that sends no clock stamps", guest: &bedtest.Guest{Silent: true}, log: "the guest sends no clock stamps"},
		{name: "a guest that refuses logins", guest: &bedtest.Guest{Password: "secret"}, fails: true, want: []string{"(params username, password)"}, at: "-"},
		{
			name: "a guest that reboots in the move", guest: rebooting, fails: true, status: result.Fail, want: []string{"the guest rebooted after its migration had started: its boot ID was " + bedtest.BootID(1)},
			change: func(p *migration.Plan) {
				p.StartWork = login
				p.CheckSrc = func(context.Context, *migration.Side) error {
					rebooting.Boot()
					return nil
				}
			},
		},
		{
			name: "a guest that is reset in the move", guest: resetting, fails: true, status: result.Fail, want: []string{"the guest was reset on host2 after its migration had started"},
			change: func(p *migration.Plan) {
				p.StartWork = login
				p.CheckWork = func(_ context.Context, s *migration.Side) error {
					bedtest.Of(s.Instance("vm1")).Emit("RESET", map[string]any{"guest": true, "reason": "guest-reset"})
					return nil
				}
			},
		},
	}
}

// needProcesses skips, with -short, a test whose hosts start many processes: those tests
// that are left take a few seconds, and still cover more than 80 % of the package.
func needProcesses(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what starts hundreds of processes")
	}
}

// The results of migrations between scripted QEMUs in this process.
func TestScripted(t *testing.T) {
	t.Parallel()
	for _, tt := range testCases() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, tt.run)
		})
	}
}

// run runs the migration, in virtual time.
func (tt testCase) run(t *testing.T) {
	params := cartesian.Params{}
	if tt.guest != nil {
		params = cartesian.Params{"nics": "nic1", "not_login_after_mig": "no", "guest_clock": "yes", "start_migration_timeout": "0"}
	}
	maps.Copy(params, tt.bed)
	bed := bedtest.NewScriptedBed(t, 1, params)
	bed.QEMUs.Script("vm1", tt.source, tt.destination)
	if tt.guest != nil {
		bed.QEMUs.Guest("vm1", tt.guest)
	}
	p := plan(bed.Bed)
	p.Params = maps.Clone(bed.Params())
	maps.Copy(p.Params, tt.params)
	if tt.change != nil {
		tt.change(&p)
	}
	m := start(t, bed.Bed, p)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	concurrent := beside(ctx, m, tt.concurrent)
	err := runBoth(ctx, m)
	if err := <-concurrent; err != nil {
		t.Errorf("concurrently: %v", err)
	}
	if tt.after != nil {
		if err := tt.after(ctx, m); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
	if ctx.Err() != nil {
		t.Fatalf("it does not end: %v", err)
	}
	if !tt.fails && err != nil {
		t.Fatalf("got %v, want success", err)
	}
	if tt.fails {
		if err == nil || tt.status != 0 && result.StatusOf(err) != tt.status {
			t.Errorf("got %v: %v, want %v", result.StatusOf(err), err, tt.status)
		}
		for _, words := range tt.want {
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("got %v, want %q in it", err, words)
			}
		}
	}
	if tt.log != "" && !strings.Contains(bedLog(t, bed), tt.log) {
		t.Errorf("log: want %q in it", tt.log)
	}
	if at := "host2"; tt.at != "-" {
		if tt.at != "" {
			at = tt.at
		}
		if current := bed.Current("vm1"); current == nil || current.Host.Name() != at {
			t.Errorf("the guest is in %v, want on %s", current, at)
		}
	}
	removeAll(t, bed)
}

func bedLog(t *testing.T, bed *bedtest.ScriptedBed) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(bed.Results.Dir(), result.LogFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// beside calls do, if there is one, while the migration runs.
func beside(ctx context.Context, m *migration.Migration, do func(context.Context, *migration.Migration) error) <-chan error {
	done := make(chan error, 1)
	go func() {
		if do == nil {
			done <- nil
			return
		}
		done <- do(ctx, m)
	}()
	return done
}
