// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// featureTest is a feature, the params that switch it on, and what it sets.
type featureTest struct {
	capability string
	params     cartesian.Params
	set        map[string]any // parameters of both ends during the move
	silent     string         // of the error when QEMU does not use it
}

// The traces of a source with switchover-ack.
const (
	acked    = "source_return_path_thread_switchover_acked "
	returned = "source_return_path_thread_end "
)

// mapped are the params of mapped-ram.
var mapped = cartesian.Params{"mig_protocol": "file", "mig_mapped_ram": "yes"}

var featureTests = []featureTest{
	{capability: "multifd", params: cartesian.Params{"mig_multifd": "yes"}, silent: "multifd was on, but no memory went through its channels: multifd-bytes is 0"},
	{
		capability: "multifd", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_channels": "5", "mig_multifd_compression": "zstd"},
		set: map[string]any{"multifd-channels": 5.0, "multifd-compression": "zstd"}, silent: "multifd was on, but",
	},
	{
		capability: "xbzrle", params: cartesian.Params{"mig_xbzrle": "yes", "mig_xbzrle_cache": "16M"}, set: map[string]any{"xbzrle-cache-size": 16.0 * (1 << 20)},
		silent: "xbzrle was on, but QEMU reports no xbzrle-cache",
	},
	{capability: "auto-converge", params: cartesian.Params{"mig_auto_converge": "yes"}},
	{capability: "postcopy-ram", params: cartesian.Params{"mig_postcopy": "yes"}},
	{capability: "switchover-ack", params: cartesian.Params{"mig_switchover_ack": "yes"}},
	{
		capability: "pause-before-switchover", params: cartesian.Params{"capabilitys": "auto-converge pause-before-switchover"},
		silent: "pause-before-switchover was on, but the source never had the status pre-switchover",
	},
	{capability: "validate-uuid", params: cartesian.Params{"mig_validate_uuid": "yes"}, silent: "validate-uuid was on, but vm1@host1 has no UUID"},
}

// uncheckedFeatures are the types of features that have no check of their own, and why.
var uncheckedFeatures = map[string]string{
	"migrationEvents": "a move without events is seen by polling, and one that no return path ends by the destination's status",
	"arrivesStopped":  "a guest that runs on the destination before its memory was compared differs",
}

// noFeatures are the params of migrations with a choice that are no features of QEMU, and
// thus no rows of the matrix.
var noFeatures = []string{"mig_prediction", "mig_exit_on_error", "mig_protocol", "mig_exec_program", "mig_channels", "mig_offline", "memory_proof", "not_login_after_mig"}

// limitParams are the params of limits.
var limitParams = []string{"mig_speed", "mig_downtime"}

// featureParams are the params that switch features on, or choose how they work.
func featureParams() []api.Param {
	return slices.DeleteFunc(api.All(), func(p api.Param) bool {
		isFeature := p.Kind == api.Bool || p.Kind == api.Choice || slices.Contains(limitParams, p.Name)
		return p.Reader != "runtime/migration" || !isFeature || slices.Contains(noFeatures, p.Name)
	})
}

// Each feature that is checked has a test in which QEMU accepts it and does not use it, and
// so has each param of features.
func TestEveryFeatureMayBeSilentlyOff(t *testing.T) {
	t.Parallel()
	found := map[string]bool{"holding": true, "limits": true, "settings": true}             // see TestFeatureValues
	params := map[string]bool{"mig_storage": true, "mig_speed": true, "mig_downtime": true} // see TestStorage and TestFeatureValues
	note := func(p cartesian.Params) {
		on, err := migration.FeaturesOn(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range on {
			found[name] = true
		}
		for name := range p {
			params[name] = true
		}
	}
	for _, f := range featureTests {
		if f.silent != "" {
			note(f.params)
		}
	}
	for _, tt := range checkTests() {
		if tt.want != "" {
			note(tt.params)
		}
	}
	for name, checked := range migration.FeatureTypes() {
		_, unchecked := uncheckedFeatures[name]
		switch {
		case checked == unchecked:
			t.Errorf("the feature %s: it is checked: %v; uncheckedFeatures has it: %v", name, checked, unchecked)
		case checked && !found[name]:
			t.Errorf("the feature %s has no test in which QEMU accepts it and does not use it: add a row to checkTests", name)
		}
	}
	for _, p := range featureParams() {
		if !params[p.Name] {
			t.Errorf("the param %s has no test in which QEMU does not use what it switches on: add a row to checkTests", p.Name)
		}
	}
}

// vmUUID is the UUID of a VM that has one.
const vmUUID = "6b1d3c5e-8f40-4c79-9a3e-2f5d0c7b1a86"

// uuid is the answer of a QEMU whose VM has one.
func uuid(command string, _ json.RawMessage) (any, error, bool) { //nolint:revive // as Script.Execute has it
	return map[string]any{"UUID": vmUUID}, nil, command == "query-uuid"
}

// Each feature is set on both ends, by its own params and by capabilitys. If QEMU has not
// it is a SKIP; if QEMU accepts it and does not use it, or drops it, a FAIL.
func TestFeatures(t *testing.T) {
	t.Parallel()
	for _, f := range featureTests {
		by := cartesian.Params{"capabilitys": f.capability}
		with := func(script qmptest.Script, unused, dropped bool) qmptest.Script {
			if unused {
				script.Unused = []string{f.capability}
			}
			if dropped {
				script.Dropped = []string{f.capability}
			}
			return script
		}
		for _, tt := range []testCase{
			{name: "used", params: f.params, concurrent: f.isSet},
			{name: "used, by capabilitys", params: by},
			{name: "unused", params: f.params, source: with(qmptest.Script{}, true, false), fails: true, status: result.Fail, want: []string{srcFailed, f.silent}},
			{name: "unused, by capabilitys", params: by, source: with(qmptest.Script{}, true, false), fails: true, status: result.Fail, want: []string{srcFailed, f.silent}},
			{
				name: "dropped by the source", params: f.params, source: with(qmptest.Script{}, false, true), fails: true, status: result.Fail,
				want: []string{srcFailed, "vm1@host1: " + f.capability + " was switched on for the migration, but QEMU reports it as off after it"},
			},
			{
				name: "dropped by the destination", params: f.params, destination: with(qmptest.Script{}, false, true), fails: true, status: result.Fail,
				want: []string{dstFailed, "vm1@host2: " + f.capability + " was switched on for the migration, but QEMU reports it as off after it"},
			},
			{
				name: "lacking on the destination", params: f.params, destination: qmptest.Script{Without: []string{f.capability}}, fails: true, status: result.Skip,
				want: []string{"destination host2, prepare: ", "this QEMU has no migration capability " + f.capability}, at: "-",
			},
			{name: "cancelled", params: and(f.params, "cancel_delay", "0.05"), source: with(qmptest.Script{Endless: true}, true, false), at: "host1"},
			{
				name: "the destination hangs when it is asked", params: f.params, destination: qmptest.Script{StopAt: "query-migrate-capabilities@begun"}, fails: true, status: result.Fail,
				want: []string{silent, dstFailed}, at: "-",
			},
		} {
			if strings.HasPrefix(tt.name, "unused") && f.silent == "" {
				continue // what it does depends on the guest: see TestCheck
			}
			if f.capability == "validate-uuid" {
				tt.bed = cartesian.Params{"uuid": vmUUID}
			}
			if !strings.HasPrefix(tt.name, "unused") {
				tt.source.Execute, tt.destination.Execute = uuid, uuid
			}
			t.Run(fmt.Sprintf("%s/%v/%s", f.capability, len(f.params), tt.name), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, tt.run)
			})
		}
	}
}

// and returns the params with one more.
func and(params cartesian.Params, key, value string) cartesian.Params {
	all := cartesian.Params{key: value}
	maps.Copy(all, params)
	return all
}

// isSet checks the parameters of both ends while the guest moves.
func (f featureTest) isSet(ctx context.Context, m *migration.Migration) error {
	if err := m.Wait(ctx, migration.Condition{Status: "active"}); err != nil {
		return err
	}
	for _, s := range []*migration.Side{m.Source, m.Destination} {
		got, err := parametersOf(ctx, s)
		if err != nil {
			return err
		}
		for name, want := range f.set {
			if got[name] != want {
				return fmt.Errorf("%s: %s is %v, want %v", s.Role, name, got[name], want)
			}
		}
	}
	return nil
}

// What the features say about values and about QEMUs that lack some.
func TestFeatureValues(t *testing.T) {
	t.Parallel()
	for _, tt := range []testCase{
		{
			name: "a compression that QEMU lacks", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "qatzip"}, fails: true, status: result.Skip,
			want: []string{"host2: the migration parameter multifd-compression of this QEMU has no value qatzip"}, at: "-",
		},
		{
			name: "limits", params: cartesian.Params{"mig_speed": "64M", "mig_downtime": "0.1"},
			after: func(_ context.Context, m *migration.Migration) error {
				want := []result.FeatureUse{
					{Feature: "downtime-limit", Used: true, Seen: "the source has 100"},
					{Feature: "max-bandwidth", Used: true, Seen: "the source has 67108864"},
				}
				return differs(want, m.Record().VMs[0].Features)
			},
		},
		{
			name: "limits that are changed", params: cartesian.Params{"mig_speed": "64M"}, change: func(p *migration.Plan) { p.Hold = true },
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(m.Wait(ctx, migration.Condition{Status: "pre-switchover"}), m.SetSpeed(ctx, 1<<30), m.SetDowntime(ctx, time.Second), m.Release(ctx))
			},
			after: func(_ context.Context, m *migration.Migration) error {
				want := []result.FeatureUse{
					{Feature: "downtime-limit", Used: true, Seen: "the source has 1000"},
					{Feature: "max-bandwidth", Used: true, Seen: "the source has 1073741824"},
				}
				return differs(want, m.Record().VMs[0].Features[:2])
			},
		},
		{
			name: "a limit that the scenario changes by its own command", params: cartesian.Params{"mig_speed": "64M"}, concurrent: setSpeedByHand,
			after: func(_ context.Context, m *migration.Migration) error {
				want := []result.FeatureUse{{Feature: "max-bandwidth", Used: true, Seen: "the source had 67108864, and has 134217728 now: the scenario has changed it by its own command"}}
				return differs(want, m.Record().VMs[0].Features)
			},
		},
		{
			name: "a bandwidth that is dropped", params: cartesian.Params{"mig_speed": "64M"}, source: qmptest.Script{Dropped: []string{"max-bandwidth"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, "max-bandwidth was set to 67108864, but vm1@host1 had 134217728 then"},
		},
		{
			name: "a downtime that is dropped", params: cartesian.Params{"mig_downtime": "0.1"}, source: qmptest.Script{Dropped: []string{"downtime-limit"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, "downtime-limit was set to 100, but vm1@host1 had 300 then"},
		},
		{
			name: "a new bandwidth that is dropped", source: qmptest.Script{Dropped: []string{"max-bandwidth"}}, change: func(p *migration.Plan) { p.Hold = true }, fails: true, status: result.Fail,
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(m.Wait(ctx, migration.Condition{Status: "pre-switchover"}), m.SetSpeed(ctx, 1<<30), m.Release(ctx))
			},
			want: []string{srcFailed, "max-bandwidth was set to 1073741824, but vm1@host1 had 134217728 then"},
		},
		{
			name: "a new downtime that is dropped", source: qmptest.Script{Dropped: []string{"downtime-limit"}}, change: func(p *migration.Plan) { p.Hold = true }, fails: true, status: result.Fail,
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(m.Wait(ctx, migration.Condition{Status: "pre-switchover"}), m.SetDowntime(ctx, time.Second), m.Release(ctx))
			},
			want: []string{srcFailed, "downtime-limit was set to 1000, but vm1@host1 had 300 then"},
		},
		{
			name: "compression that changes nothing", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "zlib"}, source: qmptest.Script{Unused: []string{"multifd-compression"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, "multifd-compression was set to zlib, but the 16777216 bytes of pages were sent as 16781312"},
		},
		{
			name: "no search for zeros", params: cartesian.Params{"mig_zero_page_detection": "none"},
			after: func(_ context.Context, m *migration.Migration) error {
				want := []result.FeatureUse{{Feature: "zero-page-detection", Used: true, Seen: "both ends have none, and no page was found to be zeros (duplicate is 0)"}}
				return differs(want, m.Record().VMs[0].Features)
			},
		},
		{
			name: "zeros that are found all the same", params: cartesian.Params{"mig_zero_page_detection": "none"}, source: qmptest.Script{Unused: []string{"zero-page-detection"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, "zero-page-detection was set to none, but QEMU found 8192 pages of zeros"},
		},
		{
			name: "a parameter that QEMU lacks", params: cartesian.Params{"mig_zero_page_detection": "legacy"}, destination: qmptest.Script{Without: []string{"zero-page-detection"}}, fails: true, status: result.Skip,
			want: []string{"host2: this QEMU has no migration parameter zero-page-detection"}, at: "-",
		},
		{
			name: "a parameter that is changed", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "zlib"}, fails: true, status: result.Fail,
			want: []string{srcFailed, "multifd-compression was set to zlib, but vm1@host2 has none"},
			change: func(p *migration.Plan) {
				p.BeforeMigration = func(ctx context.Context, s *migration.Side) error {
					if s.IsSource() {
						return nil
					}
					return s.Instance("vm1").Execute(ctx, "migrate-set-parameters", map[string]any{"multifd-compression": "none"}, nil)
				}
			},
		},
		{
			name: "zero copy", params: cartesian.Params{"mig_multifd": "yes", "mig_zero_copy": "yes"},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				if err := m.Wait(ctx, migration.Condition{Status: "active"}); err != nil {
					return err
				}
				for s, want := range map[*migration.Side]string{m.Source: "multifd zero-copy-send", m.Destination: "multifd"} {
					var on []string
					var known []struct {
						Capability string
						State      bool
					}
					err := s.Instance("vm1").Execute(ctx, "query-migrate-capabilities", nil, &known)
					for _, k := range known {
						if k.State && (k.Capability == "multifd" || k.Capability == "zero-copy-send") {
							on = append(on, k.Capability)
						}
					}
					if err != nil {
						return err
					}
					if got := strings.Join(on, " "); got != want {
						return fmt.Errorf("%s: %q is on, want %q", s.Role, got, want)
					}
				}
				return nil
			},
		},
		{
			name: "zero copy is dropped", params: cartesian.Params{"mig_multifd": "yes", "mig_zero_copy": "yes"}, source: qmptest.Script{Dropped: []string{"zero-copy-send"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, "zero-copy-send was switched on for the migration, but QEMU reports it as off after it"},
		},
		{
			name: "too little locked memory", params: cartesian.Params{"mig_multifd": "yes", "mig_zero_copy": "yes"}, fails: true, status: result.Skip,
			source: qmptest.Script{Execute: failing("Process can't lock enough memory for using MSG_ZEROCOPY")},
			want:   []string{"zero-copy-send needs more locked memory than the host allows", "can't lock enough memory"}, at: "-",
		},
		{
			name: "no zero copy over unix sockets", params: cartesian.Params{"mig_multifd": "yes", "mig_zero_copy": "yes", "mig_protocol": "unix"}, fails: true, status: result.Skip,
			source: qmptest.Script{Execute: failing("Zero copy send feature not detected in host kernel")},
			want:   []string{"the host's kernel has no zero-copy-send for mig_protocol = unix"}, at: "-",
		},
		{
			name: "post-copy with preempt and blocktime", params: cartesian.Params{"mig_postcopy": "yes", "mig_postcopy_preempt": "yes", "mig_postcopy_blocktime": "yes"},
			source: qmptest.Script{Endless: true}, concurrent: switchToPostcopy,
		},
		{
			name: "post-copy without a time", params: cartesian.Params{"mig_postcopy": "yes", "mig_postcopy_blocktime": "yes"},
			source: qmptest.Script{Endless: true}, destination: qmptest.Script{Unused: []string{"postcopy-blocktime"}}, concurrent: switchToPostcopy, fails: true, status: result.Fail,
			want: []string{srcFailed, "postcopy-blocktime was on, but vm1@host2 reports no postcopy-blocktime"},
		},
		{
			name: "a cache whose size is dropped", params: cartesian.Params{"mig_xbzrle": "yes", "parameters": "xbzrle-cache-size", "parameters_value": "16M"}, source: qmptest.Script{Dropped: []string{"xbzrle-cache-size"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, "xbzrle-cache-size was set to 16777216, but vm1@host1 had 67108864 then"},
		},
		{
			name: "a switch that is dropped", params: cartesian.Params{"parameters": "cpu-throttle-tailslow", "parameters_value": "on"}, destination: qmptest.Script{Dropped: []string{"cpu-throttle-tailslow"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, "cpu-throttle-tailslow was set to true, but vm1@host2 had false then"},
		},
		{
			name: "a cache that the scenario resizes", params: cartesian.Params{"mig_xbzrle": "yes", "mig_xbzrle_cache": "16M"}, source: qmptest.Script{StopAt: "MIGRATION:active", Stop: func() { time.Sleep(time.Second) }}, log: "feature=xbzrle used=",
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				if err := m.Wait(ctx, migration.Condition{Status: "active"}); err != nil {
					return err
				}
				return m.Source.Instance("vm1").Execute(ctx, "migrate-set-parameters", map[string]any{"xbzrle-cache-size": 32 << 20}, nil)
			},
		},
		{
			name: "preempt is dropped", params: cartesian.Params{"mig_postcopy": "yes", "mig_postcopy_preempt": "yes"}, destination: qmptest.Script{Dropped: []string{"postcopy-preempt"}}, fails: true, status: result.Fail,
			want: []string{dstFailed, "postcopy-preempt was switched on for the migration, but QEMU reports it as off after it"},
		},
		{
			name: "paused before the switchover", change: func(p *migration.Plan) { p.Hold = true }, concurrent: releaseWhenHeld,
			after: func(_ context.Context, m *migration.Migration) error {
				want := []result.FeatureUse{{Feature: "pause-before-switchover", Used: true, Seen: "the source stopped with the status pre-switchover"}}
				return differs(want, m.Record().VMs[0].Features)
			},
		},
		{
			name: "paused by capabilitys", params: cartesian.Params{"capabilitys": "pause-before-switchover"},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				return refused(m.Release(ctx), "the migration is not held")
			},
			after: func(_ context.Context, m *migration.Migration) error {
				want := []result.FeatureUse{{Feature: "pause-before-switchover", Used: true, Seen: "the source stopped with the status pre-switchover"}}
				return differs(want, m.Record().VMs[0].Features)
			},
		},
		{
			name: "held, and paused by capabilitys", params: cartesian.Params{"capabilitys": "pause-before-switchover"}, change: func(p *migration.Plan) { p.Hold = true },
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				if err := m.Wait(ctx, migration.Condition{Status: "pre-switchover"}); err != nil {
					return err
				}
				delay()
				if m.State() != "pre-switchover" {
					return fmt.Errorf("got status %s, want that it is held", m.State())
				}
				return m.Release(ctx)
			},
		},
		{
			name: "held, and not released", params: cartesian.Params{"mig_timeout": "5"}, change: func(p *migration.Plan) { p.Hold = true }, fails: true, status: result.Fail, at: "host1",
			want: []string{"not finished after mig_timeout = 5s: the migration is held at the switchover (pre-switchover): mig.release was not called"},
		},
		{
			name: "paused by capabilitys, and migrate-continue is refused", params: cartesian.Params{"capabilitys": "pause-before-switchover", "mig_timeout": "5"}, fails: true, status: result.Fail, at: "host1",
			source: qmptest.Script{Refuse: []string{"migrate-continue"}},
			want:   []string{"not finished after mig_timeout = 5s: the source has stopped before the switchover (pre-switchover), and does not go on although it was told to (migrate-continue)"},
		},
		{
			name: "paused for ever", params: cartesian.Params{"capabilitys": "pause-before-switchover", "mig_timeout": "5"}, fails: true, status: result.Fail, at: "host1",
			source: qmptest.Script{Execute: func(command string, _ json.RawMessage) (any, error, bool) {
				return map[string]any{}, nil, command == "migrate-continue"
			}},
			want: []string{"not finished after mig_timeout = 5s: the source has stopped before the switchover (pre-switchover), and does not go on although it was told to (migrate-continue)"},
		},
		{
			name: "paused by the scenario's own command", params: cartesian.Params{"mig_timeout": "5"}, fails: true, status: result.Fail, at: "host1",
			want: []string{"not finished after mig_timeout = 5s: the source has stopped before the switchover (pre-switchover): the scenario, which has switched pause-before-switchover on, has not sent migrate-continue"},
			change: func(p *migration.Plan) {
				p.BeforeMigration = func(ctx context.Context, s *migration.Side) error {
					if !s.IsSource() {
						return nil
					}
					on := []map[string]any{{"capability": "pause-before-switchover", "state": true}}
					return s.Instance("vm1").Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": on}, nil)
				}
			},
		},
		{
			name: "not paused before the switchover", change: func(p *migration.Plan) { p.Hold = true }, source: qmptest.Script{Unused: []string{"pause-before-switchover"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, "pause-before-switchover was on, but the source never had the status pre-switchover"},
		},
		{
			name: "a capability that no QEMU has", params: cartesian.Params{"capabilitys": "xbzlre"}, fails: true, status: result.Error, at: "-",
			want: []string{"this QEMU has no migration capability xbzlre; did you mean xbzrle?"},
		},
		{
			name: "a parameter that no QEMU has", params: cartesian.Params{"parameters": "max-bandwith", "parameters_value": "1"}, fails: true, status: result.Error, at: "-",
			want: []string{"this QEMU has no migration parameter max-bandwith; did you mean max-bandwidth?"},
		},
		{
			name: "post-copy by capabilitys", params: cartesian.Params{"capabilitys": "postcopy-ram"}, source: qmptest.Script{Endless: true}, concurrent: switchToPostcopy,
		},
		{
			name: "multifd and post-copy", params: cartesian.Params{"mig_multifd": "yes", "mig_postcopy": "yes"}, destination: qmptest.Script{Without: []string{"postcopy-device"}}, fails: true, status: result.Skip,
			want: []string{"host2: not migrated with multifd and postcopy-ram: a QEMU before 11 loses the guest"}, at: "-",
		},
		{
			name: "multifd and post-copy, by capabilitys", params: cartesian.Params{"capabilitys": "postcopy-ram multifd"}, source: qmptest.Script{Without: []string{"postcopy-device"}}, fails: true, status: result.Skip,
			want: []string{"host1: not migrated with multifd and postcopy-ram: a QEMU before 11 loses the guest"}, at: "-",
		},
		{
			name: "announcements", params: cartesian.Params{"mig_announce_initial": "0.1", "mig_announce_step": "0.2", "mig_announce_max_delay": "0.4", "mig_announce_rounds": "4"},
			after: func(_ context.Context, m *migration.Migration) error {
				// 100, 300 and 400 ms apart.
				want := []result.FeatureUse{{Feature: "announce-self", Used: true, Seen: "the destination sent 4 RARP packets to nic1 within 800ms"}}
				return differs(want, m.Record().VMs[0].Features)
			},
		},
		{
			name:        "announcements before the guest runs",
			params:      cartesian.Params{"mig_announce_initial": "0.1", "mig_announce_step": "0.2", "mig_announce_max_delay": "0.4", "mig_announce_rounds": "4"},
			destination: qmptest.Script{LateClock: 150 * time.Millisecond},
		},
		{
			name: "announced too fast before and after the guest runs", params: cartesian.Params{"mig_announce_step": "0.2"}, destination: qmptest.Script{Unused: []string{"announce-step"}, LateClock: 70 * time.Millisecond}, fails: true, status: result.Fail,
			want: []string{srcFailed, "vm1@host2 sent the announcements 3 to 5 within 100ms, not within "},
		},
		{name: "announcements while the guest stands still", params: cartesian.Params{"mig_announce_rounds": "4"}, destination: qmptest.Script{LateClock: time.Hour}},
		{name: "one announcement", params: cartesian.Params{"mig_announce_rounds": "1"}},
		{
			name: "nothing is announced", params: cartesian.Params{"mig_announce_rounds": "3"}, destination: qmptest.Script{Unused: []string{"announce-self"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, "announce-rounds is 3, but vm1@host2 sent 0 announcements (RARP) to nic1"},
		},
		{
			name: "announced too fast", params: cartesian.Params{"mig_announce_step": "0.2"}, destination: qmptest.Script{Unused: []string{"announce-step"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, "vm1@host2 sent the announcements 2 to 5 within 150ms, not within 1.25s"},
		},
		{
			name: "announcements of which the number is dropped", params: cartesian.Params{"mig_announce_rounds": "3"}, destination: qmptest.Script{Dropped: []string{"announce-rounds"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, "announce-rounds was set to 3, but vm1@host2 has 5"},
		},
		{
			name: "a QEMU that announces by no parameters", params: cartesian.Params{"mig_announce_rounds": "3"}, destination: qmptest.Script{Without: []string{"announce-rounds"}}, fails: true, status: result.Skip,
			want: []string{"this QEMU has no migration parameter announce-rounds"}, at: "-",
		},
		{name: "multifd and post-copy in a QEMU where it works", params: cartesian.Params{"mig_multifd": "yes", "mig_postcopy": "yes"}},
		{
			name: "multifd and xbzrle", params: cartesian.Params{"mig_multifd": "yes", "mig_xbzrle": "yes"}, fails: true, status: result.Skip,
			want: []string{"not migrated with multifd and xbzrle: multifd sends all memory as it is"}, at: "-",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, tt.run)
		})
	}
	for _, tt := range []struct {
		params cartesian.Params
		want   string
	}{
		{cartesian.Params{"mig_multifd_channels": "4"}, "mig_multifd"},
		{cartesian.Params{"mig_xbzrle_cache": "16M"}, "param mig_xbzrle_cache: needs mig_xbzrle = yes"},
		{cartesian.Params{"mig_file_offset": "1M"}, "param mig_file_offset: needs a mig_protocol that has a file (file, cpr-reboot, cpr-exec)"},
		{cartesian.Params{"mig_multifd": "yes", "mig_multifd_channels": "4", "parameters": "multifd-channels", "parameters_value": "5"}, "the same as parameters, which sets multifd-channels to 5"},
		{cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "rar"}, "one of none, zlib"},
		{cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "zlib", "mig_mapped_ram": "yes"}, "multifd-compression compresses"},
		{cartesian.Params{"mig_zero_copy": "yes"}, "mig_multifd"},
		{cartesian.Params{"mig_postcopy_preempt": "yes"}, "mig_postcopy"},
		{cartesian.Params{"mig_postcopy_start": "soon"}, "active, passes N, sent SIZE or remaining SIZE"},
		{cartesian.Params{"mig_postcopy_start": "passes 0"}, "active, passes N, sent SIZE or remaining SIZE"},
		{cartesian.Params{"mig_postcopy_start": "sent much"}, "active, passes N, sent SIZE or remaining SIZE"},
	} {
		_, err := migration.NewTransport("tcp", tt.params)
		if wrong := refused(err, tt.want); wrong != nil {
			t.Errorf("%v: %v", tt.params, wrong)
		}
	}
}

// differs is an error unless the move has used these features.
func differs(want, got []result.FeatureUse) error {
	if diff := cmp.Diff(want, got); diff != "" {
		return errors.New(diff)
	}
	return nil
}

// setSpeedByHand gives the source QEMU's default bandwidth again, as a scenario may by
// vm.set_speed.
func setSpeedByHand(ctx context.Context, m *migration.Migration) error {
	if err := m.Wait(ctx, migration.Condition{Status: "active"}); err != nil {
		return err
	}
	return m.Source.Instance("vm1").Execute(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": 128 << 20}, nil)
}

// releaseWhenHeld releases the migration when it is held.
func releaseWhenHeld(ctx context.Context, m *migration.Migration) error {
	return errors.Join(m.Wait(ctx, migration.Condition{Status: "pre-switchover"}), m.Release(ctx))
}

// switchToPostcopy switches to post-copy after two passes.
func switchToPostcopy(ctx context.Context, m *migration.Migration) error {
	return errors.Join(m.Wait(ctx, migration.Condition{Passes: 2}), m.StartPostcopy(ctx))
}

// A feature is refused, before anything is started, if the transport cannot do it.
func TestFeaturesOfTransports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, p := scripted(t, qmptest.Script{}, qmptest.Script{}, nil)
		for _, tt := range []struct{ protocol, param, value, want string }{
			{"file", "mig_tls", "psk", "TLS needs a connection between both ends, which mig_protocol = file has not"},
			{"file", "mig_postcopy", "yes", "post-copy needs a return path, which mig_protocol = file has not"},
			{"exec", "mig_multifd", "yes", "multifd needs several connections, which mig_protocol = exec has not"},
			{"file", "mig_multifd", "yes", "multifd needs several connections, which mig_protocol = file has not"},
			{"file", "capabilitys", "mapped-ram multifd", ""},
			{"file", "capabilitys", "mapped-ram multifd zero-copy-send", "mig_zero_copy is yes: that is of sockets"},
			{"fd", "capabilitys", "multifd", "multifd needs several connections, which mig_protocol = fd has not"},
			{"exec", "capabilitys", "postcopy-ram postcopy-preempt", "postcopy-preempt needs two connections, which mig_protocol = exec has not"},
			{"cpr-reboot", "mig_xbzrle", "yes", "XBZRLE needs memory that is sent, which mig_protocol = cpr-reboot has not"},
			{"cpr-reboot", "capabilitys", "auto-converge", "auto-converge needs memory that is sent, which mig_protocol = cpr-reboot has not"},
			{"tcp", "mig_mapped_ram", "yes", "mapped-ram needs a file to which memory is sent, which mig_protocol = tcp has not"},
			{"cpr-reboot", "mig_mapped_ram", "yes", "mapped-ram needs a file to which memory is sent, which mig_protocol = cpr-reboot has not"},
			{"file", "capabilitys", "mapped-ram xbzrle", "mig_mapped_ram"},
			{"file", "mig_mapped_ram", "yes", ""},
			{"cpr-transfer", "mig_postcopy", "yes", "post-copy needs memory that is sent, which mig_protocol = cpr-transfer has not"},
			{"cpr-transfer", "mig_xbzrle", "yes", "XBZRLE needs memory that is sent, which mig_protocol = cpr-transfer has not"},
			{"cpr-transfer", "mig_multifd", "yes", "multifd needs several connections, which mig_protocol = cpr-transfer has not"},
			{"cpr-transfer", "mig_tls", "psk", "TLS needs a connection that carries no file descriptors, which mig_protocol = cpr-transfer has not"},
			{"cpr-transfer", "mig_storage", "nbd", "mig_storage needs a destination that has a monitor before the source sends, which mig_protocol = cpr-transfer has not"},
			{"cpr-transfer", "mig_dirty_bitmaps", "yes", "dirty-bitmaps needs a mode in which QEMU can send them after the switchover, which mig_protocol = cpr-transfer has not"},
			{"cpr-transfer", "mig_ignore_shared", "yes", "mig_ignore_shared needs RAM in a file, which mig_protocol = cpr-transfer has not"},
			{"cpr-reboot", "mig_dirty_bitmaps", "yes", "dirty-bitmaps needs a mode in which QEMU can send them after the switchover, which mig_protocol = cpr-reboot has not"},
			{"cpr-reboot", "mig_zero_page_detection", "none", "zero-page-detection needs memory that is sent, which mig_protocol = cpr-reboot has not"},
			{"cpr-exec", "mig_postcopy", "yes", "post-copy needs a return path, which mig_protocol = cpr-exec has not"},
			{"cpr-exec", "mig_tls", "psk", "TLS needs a connection between both ends, which mig_protocol = cpr-exec has not"},
			{"cpr-exec", "mig_storage", "nbd", "mig_storage needs a destination that runs beside the source, which mig_protocol = cpr-exec has not"},
			{"cpr-exec", "mig_dirty_bitmaps", "yes", "dirty-bitmaps needs a mode in which QEMU can send them after the switchover, which mig_protocol = cpr-exec has not"},
			{"cpr-exec", "mig_ignore_shared", "yes", "mig_ignore_shared needs RAM in a file, which mig_protocol = cpr-exec has not"},
			{"cpr-exec", "mig_validate_uuid", "yes", "validate-uuid needs a source that can be asked for its UUID after the move, which mig_protocol = cpr-exec has not"},
			{"file", "mig_switchover_ack", "yes", "switchover-ack needs a return path, which mig_protocol = file has not"},
			{"rdma", "mig_tls", "psk", "TLS needs memory that is sent as a stream, which mig_protocol = rdma has not"},
			{"x-rdma", "mig_tls", "x509", "TLS needs memory that is sent as a stream, which mig_protocol = x-rdma has not"},
			{"rdma", "capabilitys", "xbzrle", "XBZRLE needs memory that is sent as a stream, which mig_protocol = rdma has not"},
			{"rdma", "mig_zero_page_detection", "none", "zero-page-detection needs memory that is sent as a stream, which mig_protocol = rdma has not"},
			{"rdma", "mig_multifd", "yes", "multifd needs several connections, which mig_protocol = rdma has not"},
			{"rdma", "mig_auto_converge", "yes", ""},
			{"tcp", "mig_ignore_shared", "yes", "migrate from a host to itself"},
			{"unix", "mig_multifd", "yes", ""},
		} {
			p.Params = cartesian.Params{"mig_protocol": tt.protocol, tt.param: tt.value}
			_, err := migration.New(bed.Bed.Bed, 1, p)
			if tt.want == "" {
				if err != nil {
					t.Errorf("%s with %s = %s: got %v, want no error", tt.protocol, tt.param, tt.value, err)
				}
				continue
			}
			if wrong := refused(err, tt.want); wrong != nil {
				t.Errorf("%s with %s: %v", tt.protocol, tt.param, wrong)
			}
		}
	})
}

// failing returns the answers of a QEMU whose migration fails for this reason.
func failing(reason string) func(string, json.RawMessage) (any, error, bool) {
	began := false
	return func(command string, _ json.RawMessage) (any, error, bool) {
		switch {
		case command == "migrate":
			began = true
			return map[string]any{}, nil, true
		case command == "query-migrate" && began:
			return map[string]any{"status": "failed", "error-desc": reason}, nil, true
		}
		return nil, nil, false
	}
}

// samplesOf are query-migrate's replies, two seconds apart.
func samplesOf(replies ...string) []result.Sample {
	var all []result.Sample
	for i, text := range replies {
		s := result.Sample{Time: time.Unix(int64(2*i), 0)}
		if err := fill(&s.Query, text); err != nil {
			panic(err)
		}
		all = append(all, s)
	}
	return all
}

// checkTest is a move, and what the checks of the features say about it.
type checkTest struct {
	name    string
	params  cartesian.Params
	query   string
	outcome *migration.Outcome // nil: none of post-copy
	samples []result.Sample
	seen    migration.Connections
	answers map[string]string
	replies map[string]string // by command, of both ends, or by one of them and the command
	used    string            // the features that were used, or, with a question mark, had nothing to do
	figures string            // substring of what was seen of them
	want    string            // "": used
	status  result.Status
}

func checkTests() []checkTest {
	const (
		idle     = `"ram": {"total": 4096000, "page-size": 4096, "normal": 990, "duplicate": 10, "multifd-bytes": 0}`
		zeros    = `"ram": {"total": 4096000, "page-size": 4096, "normal": 990, "duplicate": 20, "multifd-bytes": 0}`
		again    = `"ram": {"total": 4096000, "page-size": 4096, "normal": 1005, "duplicate": 10, "multifd-bytes": 0}`
		channels = `"ram": {"multifd-bytes": 4096, "dirty-sync-missed-zero-copy": 0}`
		unlike   = `"xbzrle-cache": {"pages": 0, "cache-miss": 0, "overflow": 0}`
	)
	sent := func(pages, bytes int) string { // by multifd, of a guest with 128 MiB
		return fmt.Sprintf(`"ram": {"total": 134217728, "page-size": 4096, "normal": %d, "multifd-bytes": %d}`, pages, bytes)
	}
	searches := func(method string) map[string]string {
		return map[string]string{"query-migrate-parameters": `{"multifd-channels": 2, "zero-page-detection": "` + method + `"}`}
	}
	writing := func(n int) []result.Sample { // too fast, in n passes
		var all []string
		for pass := range n {
			all = append(all, fmt.Sprintf(`{"status": "active", "ram": {"dirty-sync-count": %d, "dirty-pages-rate": 1000, "page-size": 4096, "mbps": 8}}`, pass+3))
		}
		return samplesOf(all...)
	}
	throttle := func(percentages ...int) []result.Sample {
		var all []string
		for _, n := range percentages {
			all = append(all, fmt.Sprintf(`{"status": "active", "cpu-throttle-percentage": %d}`, n))
		}
		return samplesOf(all...)
	}
	switched := &migration.Outcome{Switched: true}
	postcopied := &migration.Outcome{Switched: true, Postcopy: true}
	reboot := cartesian.Params{"mig_protocol": "cpr-reboot"}
	compressed := cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "zlib"}
	twoEnds := cartesian.Params{"mig_postcopy": "yes", "mig_postcopy_preempt": "yes"}
	return []checkTest{
		{name: "multifd", used: "multifd", params: cartesian.Params{"mig_multifd": "yes"}, query: channels, seen: migration.Connections{Most: 3}},
		{name: "multifd, connections unknown", used: "multifd", params: cartesian.Params{"mig_multifd": "yes"}, query: channels},
		{name: "multifd on one connection", params: cartesian.Params{"mig_multifd": "yes"}, query: channels, seen: migration.Connections{Most: 1, Sure: true}, want: "multifd was on with 2 channels, but there were 1 connections to the destination, not 3"},
		{name: "multifd of which not all connections were seen", used: "multifd", params: cartesian.Params{"mig_multifd": "yes"}, query: channels, seen: migration.Connections{Most: 1}},
		{name: "multifd of a QEMU without figures", params: cartesian.Params{"mig_multifd": "yes"}, query: `"status": "completed"`, want: "multifd was on, but QEMU reports no multifd-bytes"},
		{name: "multifd compression that one end has not", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "zstd"}, query: channels, want: "multifd-compression was set to zstd, but vm1@host1 has zlib"},
		{name: "compression", used: "multifd", params: compressed, query: sent(10000, 20000000), figures: "both ends have multifd-compression zlib: their pages take 40960000 bytes uncompressed"},
		{name: "compression that changes nothing", params: compressed, query: sent(10000, 41100000), want: "multifd-compression was set to zlib, but the 40960000 bytes of pages were sent as 41100000 (multifd-bytes)"},
		{name: "compression of few pages", used: "multifd", params: compressed, query: sent(1000, 4200000), figures: "zlib: whether it made the pages smaller is not known: too few were sent"},
		{name: "compression of a guest that writes for long", used: "multifd", params: compressed, query: sent(70000, 287000000), figures: "is not known: the guest wrote so many, which may be of a kind that does not become smaller"},
		{name: "compression in post-copy", used: "postcopy-ram multifd", params: and(compressed, "mig_postcopy", "yes"), outcome: postcopied, query: sent(10000, 20000000), figures: "is not known: post-copy sent others besides"},
		{
			name: "compression of a QEMU that counts before it", used: "multifd", params: compressed, query: sent(10000, 41100000),
			replies: map[string]string{"query-migrate-parameters": `{"multifd-channels": 2, "multifd-compression": "zlib"}`}, figures: "is not known: this QEMU counts their bytes before it compresses them",
		},
		{name: "no search for zeros", used: "zero-page-detection", params: cartesian.Params{"mig_zero_page_detection": "none"}, query: `"ram": {"duplicate": 0}`, replies: searches("none"), figures: "no page was found to be zeros (duplicate is 0)"},
		{name: "no search for zeros, with multifd", used: "multifd zero-page-detection", params: cartesian.Params{"mig_multifd": "yes", "mig_zero_page_detection": "none"}, query: `"ram": {"duplicate": 0, "multifd-bytes": 4096}`, replies: searches("none")},
		{name: "zeros that are found all the same", params: cartesian.Params{"mig_zero_page_detection": "none"}, query: `"ram": {"duplicate": 3}`, replies: searches("none"), want: "zero-page-detection was set to none, but QEMU found 3 pages of zeros (duplicate)"},
		{name: "a search without figures", params: cartesian.Params{"mig_zero_page_detection": "none"}, query: `"ram": {}`, replies: searches("none"), want: "zero-page-detection was set to none, but QEMU does not report how many pages of zeros it found (duplicate)"},
		{name: "a search by the main thread", used: "zero-page-detection", params: cartesian.Params{"mig_zero_page_detection": "legacy"}, query: `"ram": {"duplicate": 3}`, replies: searches("legacy"), figures: "both ends have legacy, and 3 pages were found to be zeros (duplicate); which threads found them is not known"},
		{name: "a search in a guest without zeros", used: "zero-page-detection?", params: cartesian.Params{"mig_zero_page_detection": "legacy"}, query: `"ram": {"duplicate": 0}`, replies: searches("legacy")},
		{name: "xbzrle of an idle guest", used: "xbzrle?", params: cartesian.Params{"mig_xbzrle": "yes"}, query: idle + "," + unlike},
		{name: "xbzrle of a guest that writes a few zeros", used: "xbzrle?", params: cartesian.Params{"mig_xbzrle": "yes"}, query: zeros + "," + unlike},
		{name: "xbzrle that is not asked", params: cartesian.Params{"mig_xbzrle": "yes"}, query: again + "," + unlike, want: "xbzrle was on, but QEMU looked for none of the 15 pages that it sent again in its cache"},
		{name: "xbzrle that misses", used: "xbzrle", params: cartesian.Params{"mig_xbzrle": "yes"}, query: again + `, "xbzrle-cache": {"pages": 0, "cache-miss": 15, "overflow": 0}`},
		{name: "auto-converge of an idle guest", used: "auto-converge?", params: cartesian.Params{"mig_auto_converge": "yes"}},
		{name: "auto-converge", used: "auto-converge", params: cartesian.Params{"mig_auto_converge": "yes"}, samples: throttle(20, 20, 30, 99)},
		{name: "a throttle that falls", params: cartesian.Params{"mig_auto_converge": "yes"}, samples: throttle(20, 30, 20), want: "QEMU lowered the throttle of the guest while it moved: from 30 % to 20 %"},
		{name: "a throttle that is too high", params: cartesian.Params{"mig_auto_converge": "yes"}, samples: throttle(20, 100), want: "QEMU throttled the guest by 100 %, more than max-cpu-throttle = 99"},
		{name: "no throttle yet", used: "auto-converge?", params: cartesian.Params{"mig_auto_converge": "yes"}, samples: writing(4)},
		{name: "no throttle", params: cartesian.Params{"mig_auto_converge": "yes"}, samples: writing(6), want: "auto-converge was on, but QEMU did not throttle the guest, although it wrote faster than its memory was sent for 5 passes"},
		{name: "zero copy", used: "multifd zero-copy-send", params: cartesian.Params{"mig_multifd": "yes", "mig_zero_copy": "yes"}, query: channels, figures: "(dirty-sync-missed-zero-copy is 0), and has no figure of what was sent without a copy"},
		{name: "zero copy that copies", params: cartesian.Params{"mig_multifd": "yes", "mig_zero_copy": "yes"}, query: `"ram": {"multifd-bytes": 1, "dirty-sync-missed-zero-copy": 2}`, want: "vm1@host1: zero-copy-send was on, but the kernel copied the memory in 2 passes", status: result.Skip},
		{name: "zero copy without figures", params: cartesian.Params{"mig_multifd": "yes", "mig_zero_copy": "yes"}, query: `"ram": {"multifd-bytes": 1}`, want: "QEMU reports no dirty-sync-missed-zero-copy"},
		{name: "zero copy that copies, and no bitmap", params: cartesian.Params{"mig_multifd": "yes", "mig_zero_copy": "yes", "mig_dirty_bitmaps": "yes"}, query: `"ram": {"multifd-bytes": 1, "dirty-sync-missed-zero-copy": 2}`, want: "dirty-bitmaps was on, but no disk of vm1@host1 had a bitmap", status: result.Error},
		{name: "post-copy that was not wanted", used: "postcopy-ram?", params: twoEnds, seen: migration.Connections{Most: 1, Sure: true}},
		{name: "post-copy by its bytes", used: "postcopy-ram postcopy-preempt", params: twoEnds, outcome: switched, query: `"ram": {"postcopy-bytes": 1}`, seen: migration.Connections{Most: 2}},
		{name: "preempt of which not all connections were seen", used: "postcopy-ram postcopy-preempt?", params: twoEnds, outcome: postcopied, seen: migration.Connections{Most: 1}},
		{name: "post-copy by its status", used: "postcopy-ram postcopy-preempt?", params: twoEnds, outcome: postcopied},
		{name: "post-copy by a sample", used: "postcopy-ram postcopy-preempt?", params: twoEnds, outcome: switched, samples: samplesOf(`{"status": "active"}`, `{"status": "postcopy-active"}`)},
		{name: "post-copy too late", params: twoEnds, outcome: switched, query: `"ram": {"postcopy-bytes": 0}`, want: "the migration completed before it was in post-copy, although mig.start_postcopy was called", status: result.Error},
		{name: "preempt on one connection", params: twoEnds, outcome: postcopied, seen: migration.Connections{Most: 1, Sure: true}, want: "postcopy-preempt was on, but there was one connection to the destination, not two"},
		{name: "no UUID", params: cartesian.Params{"mig_validate_uuid": "yes"}, answers: map[string]string{"source": "00000000-0000-0000-0000-000000000000"}, want: "validate-uuid was on, but vm1@host1 has no UUID"},
		{name: "the same UUID", used: "validate-uuid", params: cartesian.Params{"mig_validate_uuid": "yes"}, answers: map[string]string{"source": "a", "destination": "a"}},
		{name: "an acknowledged switchover", used: "switchover-ack?", params: cartesian.Params{"mig_switchover_ack": "yes"}, replies: map[string]string{"query-migrate-capabilities": `[{"capability": "return-path", "state": true}]`}},
		{name: "a switchover with a trace of its acknowledgement", used: "switchover-ack", params: cartesian.Params{"mig_switchover_ack": "yes"}, replies: map[string]string{"query-migrate-capabilities": "[]", "log": acked + "\n" + returned}},
		{name: "one after another one", used: "switchover-ack", params: cartesian.Params{"mig_switchover_ack": "yes"}, replies: map[string]string{"query-migrate-capabilities": "[]", "log": strings.Join([]string{returned, acked, returned}, "\n")}},
		{name: "a switchover without", params: cartesian.Params{"mig_switchover_ack": "yes"}, replies: map[string]string{"query-migrate-capabilities": "[]", "log": returned}, want: "switchover-ack was on, but the destination has not acknowledged"},
		{name: "one without after one with", params: cartesian.Params{"mig_switchover_ack": "yes"}, replies: map[string]string{"query-migrate-capabilities": "[]", "log": strings.Join([]string{acked, returned, returned}, "\n")}, want: "switchover-ack was on, but the destination has not acknowledged"},
		{name: "a switchover that nothing acknowledges", params: cartesian.Params{"mig_switchover_ack": "yes"}, replies: map[string]string{"query-migrate-capabilities": `[{"capability": "return-path", "state": false}]`}, want: "switchover-ack was on, but vm1@host1 had no return-path"},
		{name: "RAM that is shared", used: "x-ignore-shared", params: cartesian.Params{"mig_ignore_shared": "yes"}, query: `"ram": {"transferred": 300000}`, replies: map[string]string{"query-memdev": `[{"size": 134217728, "share": true}]`}},
		{name: "RAM that is shared, and sent", params: cartesian.Params{"mig_ignore_shared": "yes"}, query: `"ram": {"transferred": 134217728}`, replies: map[string]string{"query-memdev": `[{"size": 134217728, "share": true}]`}, want: "x-ignore-shared was on, but QEMU sent 134217728 bytes of RAM"},
		{name: "RAM that is not shared", params: cartesian.Params{"mig_ignore_shared": "yes"}, query: `"ram": {"transferred": 300000}`, replies: map[string]string{"query-memdev": `[{"size": 134217728, "share": false}]`}, want: "x-ignore-shared was on, but the RAM of vm1@host1 is not in a shared file", status: result.Error},
		{name: "a file of mapped-ram", used: "mapped-ram", params: mapped, query: `"ram": {"total": 1000, "transferred": 5000}`, outcome: &migration.Outcome{File: migration.SavedFile{Bytes: 64 << 20, Mapped: true}}},
		{name: "a file of another kind", params: mapped, query: `"ram": {"total": 1000}`, outcome: &migration.Outcome{File: migration.SavedFile{Bytes: 900}}, want: "the file that QEMU wrote does not say that it is one of mapped-ram"},
		{name: "a file of mapped-ram that has grown", params: mapped, query: `"ram": {"total": 1000}`, outcome: &migration.Outcome{File: migration.SavedFile{Bytes: 64<<20 + 1001, Mapped: true}}, want: "QEMU wrote a file of 67109865 bytes for 1000 of RAM"},
		{name: "RAM that is handed over", used: "cpr-transfer", params: cartesian.Params{"mig_protocol": "cpr-transfer"}, query: `"ram": {"total": 0, "transferred": 252419}`, replies: map[string]string{"query-migrate-parameters": `{"mode": "cpr-transfer"}`}},
		{name: "RAM that is handed over, and sent", params: cartesian.Params{"mig_protocol": "cpr-transfer"}, query: `"ram": {"total": 0, "normal": 12, "transferred": 252419}`, replies: map[string]string{"query-migrate-parameters": `{"mode": "cpr-transfer"}`}, want: "cpr-transfer was set, but QEMU has sent RAM that was to be handed over: normal is 12"},
		{name: "RAM that is handed over, without figures", params: cartesian.Params{"mig_protocol": "cpr-transfer"}, query: `"status": "completed"`, replies: map[string]string{"query-migrate-parameters": `{"mode": "cpr-transfer"}`}, want: "cpr-transfer was set, but QEMU reports no figures of the RAM"},
		{name: "a mode that was not set", params: cartesian.Params{"mig_protocol": "cpr-transfer"}, replies: map[string]string{"query-migrate-parameters": `{"mode": "normal"}`}, want: "the migration was to have the mode cpr-transfer, but the mode of vm1@host1 is normal"},
		{name: "RAM that stays", used: "cpr-reboot", params: reboot, replies: map[string]string{"query-migrate-parameters": `{"mode": "cpr-reboot"}`}, figures: "the mode of both ends; no RAM is in the file"},
		{name: "RAM that stays, of a source that drops the mode", params: reboot, replies: map[string]string{"source query-migrate-parameters": `{"mode": "normal"}`, "query-migrate-parameters": `{"mode": "cpr-reboot"}`}, want: "the migration was to have the mode cpr-reboot, but the mode of vm1@host1 is normal"},
		{name: "RAM that stays, of a destination that drops the mode", params: reboot, replies: map[string]string{"destination query-migrate-parameters": `{"mode": "normal"}`, "query-migrate-parameters": `{"mode": "cpr-reboot"}`}, want: "the migration was to have the mode cpr-reboot, but the mode of vm1@host2 is normal"},
		{name: "announcements of a VM without a NIC", used: "announce-self?", params: cartesian.Params{"mig_announce_rounds": "3"}, replies: map[string]string{"query-migrate-parameters": `{"announce-rounds": 3}`}},
		{name: "no round of announcements", params: cartesian.Params{"mig_announce_initial": "0.1"}, replies: map[string]string{"query-migrate-parameters": `{"announce-initial": 100}`}, want: "vm1@host2 has announce-rounds <nil>"},
		{name: "announcements at other times", params: cartesian.Params{"mig_announce_initial": "0.1"}, replies: map[string]string{"query-migrate-parameters": `{"announce-initial": 50}`}, want: "announce-initial was set to 100, but vm1@host2 has 50"},
		{name: "TLS without credentials", params: cartesian.Params{"mig_tls": "psk"}, want: `TLS (psk) was on, but vm1@host2 has the credentials "<nil>"`},
		{name: "the search for zeros that one end has not", params: cartesian.Params{"mig_zero_page_detection": "legacy"}, want: "zero-page-detection was set to legacy, but vm1@host1 has multifd"},
		{name: "post-copy without a time", params: cartesian.Params{"mig_postcopy": "yes", "mig_postcopy_blocktime": "yes"}, outcome: postcopied, want: "postcopy-blocktime was on, but vm1@host2 reports no postcopy-blocktime"},
		{name: "no bitmap", params: cartesian.Params{"mig_dirty_bitmaps": "yes"}, want: "dirty-bitmaps was on, but no disk of vm1@host1 had a bitmap"}, // others: TestDirtyBitmaps
		{name: "two UUIDs", params: cartesian.Params{"mig_validate_uuid": "yes"}, answers: map[string]string{"source": "a", "destination": "b"}, want: "a guest with the UUID a moved to vm1@host2, which has b"},
	}
}

// What each feature's check says about QEMU's figures.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range checkTests() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := &migration.Outcome{}
			if tt.outcome != nil {
				*o = *tt.outcome
			}
			o.Samples, o.Connections = tt.samples, tt.seen
			if err := fill(&o.Query, "{"+tt.query+"}"); err != nil {
				t.Fatal(err)
			}
			err := migration.CheckFeatures(t.Context(), tt.params, o, func(role migration.Role, command string) string {
				if command == "query-uuid" {
					return `{"UUID": "` + tt.answers[string(role)] + `"}`
				}
				for _, asked := range []string{string(role) + " " + command, command} {
					if reply, has := tt.replies[asked]; has {
						return reply
					}
				}
				return `{"multifd-channels": 2, "multifd-compression": "zlib", "max-cpu-throttle": 99, "zero-page-detection": "multifd", "avail-switchover-bandwidth": 0}`
			})
			var used []string
			var seen strings.Builder
			for _, f := range o.Features {
				fmt.Fprintf(&seen, "%s: %s\n", f.Feature, f.Seen)
				name := f.Feature
				if !f.Used {
					name += "?"
				}
				used = append(used, name)
			}
			if got := strings.Join(used, " "); tt.want == "" && got != tt.used {
				t.Errorf("used: got %q, want %q", got, tt.used)
			}
			if !strings.Contains(seen.String(), tt.figures) {
				t.Errorf("seen: got\n%swant %q in it", seen.String(), tt.figures)
			}
			if tt.want == "" && err != nil {
				t.Errorf("got %v, want that it was used", err)
			}
			if tt.want != "" {
				if wrong := refused(err, tt.want); wrong != nil {
					t.Error(wrong)
				}
			}
			if tt.status != 0 && result.StatusOf(err) != tt.status {
				t.Errorf("got %v, want %v", result.StatusOf(err), tt.status)
			}
		})
	}
}

// With QEMU itself.
func TestFeaturesQEMU(t *testing.T) {
	t.Parallel()
	const id = "6b1d3c5e-8f40-4c79-9a3e-2f5d0c7b1a86"
	for _, tt := range []struct {
		name     string
		params   cartesian.Params
		postcopy bool
		log      string        // that is in the variant's log
		held     bool          // the migration, before the switchover until the log has it
		status   result.Status // 0: it passes
		want     string        // of the error
	}{
		{name: "multifd", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_channels": "3"}, log: "connections to the destination count=4", held: true},
		{name: "multifd zlib", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "zlib"}},
		{name: "multifd zstd", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "zstd"}},
		{name: "multifd, proved", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "zlib", "memory_proof": "yes"}},
		{name: "xbzrle and TLS, proved", params: cartesian.Params{"mig_xbzrle": "yes", "mig_tls": "x509", "memory_proof": "yes"}},
		{name: "a compression that it lacks", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "qatzip"}, status: result.Skip, want: "the migration parameter multifd-compression of this QEMU has no value qatzip"},
		{name: "xbzrle", params: cartesian.Params{"mig_xbzrle": "yes", "mig_xbzrle_cache": "16M"}},
		{name: "auto-converge", params: cartesian.Params{"mig_auto_converge": "yes"}},
		{name: "announcements", params: cartesian.Params{"nics": "nic1", "mig_announce_rounds": "3", "mig_announce_initial": "0.1"}, log: "the destination sent 3 RARP packets to nic1 within"},
		{name: "zero copy", params: cartesian.Params{"mig_multifd": "yes", "mig_zero_copy": "yes"}, status: result.Skip, want: "zero-copy-send"}, // a lab has only loopback
		{
			name: "zero copy over a unix socket", params: cartesian.Params{"mig_multifd": "yes", "mig_zero_copy": "yes", "mig_protocol": "unix"},
			status: result.Skip, want: "the host's kernel has no zero-copy-send for mig_protocol = unix",
		},
		{name: "validate-uuid", params: cartesian.Params{"mig_validate_uuid": "yes", "uuid": id}},
		{
			name: "validate-uuid of another VM", params: cartesian.Params{"mig_validate_uuid": "yes", "extra_params_host1": "-uuid " + id, "extra_params_host2": "-uuid " + strings.Replace(id, "6", "7", 1)},
			status: result.Fail, want: "UUID received is",
		},
		{
			name: "post-copy", params: cartesian.Params{"mig_postcopy": "yes", "mig_postcopy_preempt": "yes", "mig_postcopy_blocktime": "yes", "mig_speed": "100K", "parameters": "max-postcopy-bandwidth", "parameters_value": "100K"}, postcopy: true,
			log: "connections to the destination count=2",
		},
		{
			name: "post-copy over a unix socket", params: cartesian.Params{"mig_protocol": "unix", "mig_postcopy": "yes", "mig_postcopy_preempt": "yes", "mig_speed": "100K", "parameters": "max-postcopy-bandwidth", "parameters_value": "100K"}, postcopy: true,
			log: "connections to the destination count=2",
		},
		{name: "multifd over a unix socket", params: cartesian.Params{"mig_protocol": "unix", "mig_multifd": "yes", "mig_multifd_channels": "3"}, log: "connections to the destination count=4", held: true},
		{name: "multifd and post-copy", params: cartesian.Params{"mig_multifd": "yes", "mig_postcopy": "yes"}, status: result.Skip, want: "a QEMU before 11 loses the guest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			maps.Copy(params, tt.params)
			bed := prepared(t, params)
			p := plan(bed)
			p.Hold = tt.held
			m := start(t, bed, p)
			logFile := filepath.Join(bed.Results.Dir(), result.LogFile)
			beside := make(chan error, 1)
			go func() {
				err := error(nil)
				switch {
				case tt.postcopy:
					err = errors.Join(m.Wait(t.Context(), migration.Condition{Status: "active"}), m.StartPostcopy(t.Context()))
				case tt.held:
					err = m.Wait(t.Context(), migration.Condition{Status: "pre-switchover"})
					for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
						if log, _ := os.ReadFile(logFile); strings.Contains(string(log), tt.log) {
							break
						}
					}
					err = errors.Join(err, m.Release(t.Context()))
				}
				beside <- err
			}()
			err := errors.Join(runBoth(t.Context(), m), <-beside)
			if tt.status == 0 && err != nil {
				t.Fatal(err)
			}
			if tt.status != 0 {
				if wrong := refused(err, tt.want); wrong != nil || result.StatusOf(err) != tt.status {
					t.Errorf("got %v, want %v: %v", result.StatusOf(err), tt.status, wrong)
				}
			}
			log, err := os.ReadFile(logFile)
			if err != nil || !strings.Contains(string(log), tt.log) {
				t.Errorf("log: want %s in it (%v):\n%s", tt.log, err, log)
			}
		})
	}
}
