// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
)

// A guest whose RAM is handed over moves to a destination that is started when the source
// sends; or why it does not is found, and who has failed.
func TestCPRTransfer(t *testing.T) {
	t.Parallel()
	const fail, fails = result.Fail, true
	started := func(m *migration.Migration) bool { return m.Destination.Instance("vm1") != nil }
	for _, tt := range []testCase{
		{
			name: "success", log: "both ends map the same RAM, of which nothing is sent", params: cartesian.Params{"memory_proof": "yes"},
			change: func(p *migration.Plan) {
				p.BeforeMigration = func(_ context.Context, s *migration.Side) error {
					if started(s.Migration) {
						return errors.New("the destination was started before the source sends")
					}
					return nil
				}
			},
			after: func(_ context.Context, m *migration.Migration) error {
				if all := m.Record().VMs[0].Features; len(all) != 1 || all[0].Feature != "cpr-transfer" || !all[0].Used {
					return fmt.Errorf("got %+v, want that cpr-transfer was used", all)
				}
				return nil
			},
		},
		{name: "mig_offline", params: cartesian.Params{"mig_offline": "yes"}},
		{name: "mig_channels", params: cartesian.Params{"mig_channels": "yes"}, fails: fails, status: result.Skip, want: []string{"has no argument channels"}, at: "-"},
		{
			name: "the source sends the RAM", source: qmptest.Script{Unused: []string{"cpr-transfer"}}, fails: fails, status: fail, at: "host2",
			want: []string{"cpr-transfer was set, but QEMU has sent RAM that was to be handed over: total is "},
		},
		{
			name: "the destination drops the mode", destination: qmptest.Script{Dropped: []string{"mode"}}, fails: fails, status: fail, at: "host2",
			want: []string{"the migration was to have the mode cpr-transfer, but the mode of vm1@host2 is normal"},
		},
		{
			name: "the source lacks the mode", source: qmptest.Script{Without: []string{"cpr-transfer"}}, fails: fails, status: result.Skip, at: "-",
			want: []string{"vm1@host1: the migration parameter mode of this QEMU has no value cpr-transfer"},
		},
		{
			name: "the destination lacks the mode", destination: qmptest.Script{Without: []string{"cpr-transfer"}}, fails: fails, status: result.Skip, at: "-",
			want: []string{"destination host2, migrate: vm1@host2: the migration parameter mode of this QEMU has no value cpr-transfer"},
		},
		{
			name: "the destination dies with the descriptors", destination: qmptest.Script{StopAt: "handover", Die: true}, fails: fails, status: fail, at: "-",
			want: []string{dstFailed, killed},
		},
		{
			name: "the destination freezes with the descriptors", destination: qmptest.Script{StopAt: "handover"}, fails: fails, status: fail, at: "-",
			want: []string{dstFailed, silent, "it has no monitor after 30s"},
		},
		{name: "the destination dies before it listens", destination: qmptest.Script{StopAt: "migrate-incoming", Die: true}, fails: fails, status: fail, want: []string{dstFailed, killed}, at: "-"},
		{name: "the destination never listens", destination: qmptest.Script{Ignore: []string{"migrate-incoming"}}, fails: fails, status: fail, want: []string{dstFailed, silent, "migrate-incoming"}, at: "-"},
		{
			name: "the destination's answer is too late", destination: qmptest.Script{Ignore: []string{"migrate-incoming"}}, params: cartesian.Params{"mig_timeout": "2"}, fails: fails, status: fail, at: "-",
			want: []string{"not finished after mig_timeout = 2s: the destination's QEMU has got no monitor, or does not listen"},
		},
		{name: "the destination refuses to listen", destination: qmptest.Script{Refuse: []string{"migrate-incoming"}}, fails: fails, want: []string{"destination host2, migrate: ", "the script refuses migrate-incoming"}, at: "-"},
		{name: "the source refuses", source: qmptest.Script{Refuse: []string{"migrate"}}, fails: fails, status: fail, want: []string{srcFailed, "the script refuses migrate"}, at: "host1"},
		{name: "the source dies when it sends", source: qmptest.Script{StopAt: "migrate", Die: true}, fails: fails, status: fail, want: []string{srcFailed, killed}, at: "-"},
		{name: "the source freezes when it sends", source: qmptest.Script{StopAt: "migrate"}, fails: fails, status: fail, want: []string{srcFailed, silent}, at: "-"},
		{
			name: "the source dies when it has handed over", source: qmptest.Script{StopAt: "MIGRATION:setup", Die: true}, fails: fails, status: fail, at: "-",
			want: []string{killed},
		},
		{
			name: "may fail: the destination dies with the descriptors", change: func(p *migration.Plan) { p.MayFail = true }, destination: qmptest.Script{StopAt: "handover", Die: true}, at: "host1",
		},
		{
			name: "may fail: the destination dies", change: func(p *migration.Plan) { p.MayFail = true }, destination: qmptest.Script{StopAt: "MIGRATION:active", Die: true}, at: "host1",
		},
		{
			name: "cancel before the move", at: "host1",
			change: func(p *migration.Plan) {
				p.BeforeMigration = func(ctx context.Context, s *migration.Side) error {
					if s.IsSource() {
						return s.Migration.Cancel(ctx)
					}
					return nil
				}
			},
		},
		{name: "cancel when it has handed over", destination: qmptest.Script{StopAt: "migrate-incoming", Stop: func() { time.Sleep(time.Second) }}, concurrent: cancelAt("setup"), at: "host1"},
		{name: "cancel in active", source: qmptest.Script{Endless: true}, concurrent: cancelAt("active"), at: "host1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := cartesian.Params{"mig_protocol": "cpr-transfer"}
			maps.Copy(params, tt.params)
			tt.params = params
			synctest.Test(t, tt.run)
		})
	}
}
