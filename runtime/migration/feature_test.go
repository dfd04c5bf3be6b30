// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

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

var featureTests = []featureTest{
	{capability: "multifd", params: cartesian.Params{"mig_multifd": "yes"}, silent: "multifd was on, but no memory went through its channels: multifd-bytes is 0"},
	{
		capability: "multifd", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_channels": "5", "mig_multifd_compression": "zstd"},
		set: map[string]any{"multifd-channels": 5.0, "multifd-compression": "zstd"}, silent: "multifd was on, but",
	},
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
				name: "the destination hangs when it is asked", params: f.params, destination: qmptest.Script{StopAt: "query-migrate-capabilities@running"}, fails: true, status: result.Fail,
				want: []string{silent, dstFailed}, at: "-",
			},
		} {
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
	for k, v := range params {
		all[k] = v
	}
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
			name: "a parameter that QEMU lacks", params: cartesian.Params{"mig_zero_page_detection": "legacy"}, fails: true, status: result.Skip,
			want: []string{"host2: this QEMU has no migration parameter zero-page-detection"}, at: "-",
		},
		{
			name: "a parameter that is changed", params: cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "zlib"}, fails: true, status: result.Fail,
			want: []string{srcFailed, "multifd-compression was set to zlib, but vm1@host2 has none"},
			change: func(p *migration.Plan) {
				p.MigrateDst = func(ctx context.Context, s *migration.Side) error {
					err := s.Receive(ctx, s.Migration.VMs())
					if err == nil {
						err = s.Instance("vm1").Execute(ctx, "migrate-set-parameters", map[string]any{"multifd-compression": "none"}, nil)
					}
					return err
				}
			},
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
		{cartesian.Params{"mig_multifd": "yes", "mig_multifd_channels": "4", "parameters": "multifd-channels", "parameters_value": "5"}, "the same as parameters, which sets multifd-channels to 5"},
		{cartesian.Params{"mig_multifd": "yes", "mig_multifd_compression": "rar"}, "one of none, zlib"},
	} {
		_, err := migration.NewTransport("tcp", tt.params)
		if wrong := refused(err, tt.want); wrong != nil {
			t.Errorf("%v: %v", tt.params, wrong)
		}
	}
}

// With QEMU itself.
func TestFeaturesQEMU(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]cartesian.Params{
		"multifd":      {"mig_multifd": "yes", "mig_multifd_channels": "3", "mig_speed": "1M"},
		"multifd zlib": {"mig_multifd": "yes", "mig_multifd_compression": "zlib"},
		"multifd zstd": {"mig_multifd": "yes", "mig_multifd_compression": "zstd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			for key, value := range change {
				params[key] = value
			}
			bed := prepared(t, params)
			if err := runBoth(t.Context(), start(t, bed, plan(bed))); err != nil {
				t.Fatal(err)
			}
		})
	}
}
