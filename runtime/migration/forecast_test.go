// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"encoding/json"
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

// predicted is what a prediction must say.
type predicted struct {
	from      result.PredictedFrom
	converges bool
	verdict   result.PredictionVerdict
	exact     float64 // the error is at most this factor; 0: there is none
}

// differ returns an error unless the predictions of a migration are these.
func differ(m *migration.Migration, want ...predicted) error {
	got := m.Record().VMs[0].Predictions
	wrong := len(got) != len(want)
	for i := 0; !wrong && i < len(want); i++ {
		w, g := want[i], got[i]
		wrong = g.From != w.from || g.Converges != w.converges || g.Verdict != w.verdict || (g.Error > 0) != (w.exact > 0) || g.Error > w.exact || w.exact > 0 && g.Error < 1/w.exact
	}
	if wrong {
		return fmt.Errorf("got the predictions %+v, want %+v", got, want)
	}
	return nil
}

// What is predicted of guests in scripted QEMUs, and how that comes out.
func TestPredictions(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	// A guest whose memory takes 8 s.
	guest := func(dirty, working int64) qmptest.Script {
		return qmptest.Script{Load: func() qmptest.Load {
			return qmptest.Load{RAM: 1024 * mib, Used: 256 * mib, Dirty: float64(dirty), Working: working}
		}}
	}
	const measured, first, second = result.FromMeasurement, result.FromFirstPass, result.FromSecondPass
	const right, wrong, unjudged = result.RightlyPredicted, result.WronglyPredicted, result.Unjudged
	for _, tt := range []struct {
		testCase
		predicted []predicted
		stats     map[string]any
	}{
		{
			testCase{name: "a guest that writes a little", source: guest(8*mib, 0), log: "prediction: the migration will converge in about 11s"},
			[]predicted{{first, true, right, 1.1}, {second, true, right, 1.1}},
			map[string]any{"predicted_from": "second pass", "predicted_convergence": true, "prediction_verdict": "right"},
		},
		{
			testCase{
				name: "a guest that writes too much", source: guest(40*mib, 0), params: cartesian.Params{"mig_timeout": "60"}, fails: true, status: result.Fail, at: "host1",
				want: []string{"not finished after mig_timeout = 1m0s"}, log: "prediction: the migration will not converge at this bandwidth limit",
			},
			[]predicted{{first, false, right, 0}, {second, false, right, 0}},
			map[string]any{"predicted_from": "second pass", "predicted_convergence": false, "prediction_verdict": "right"},
		},
		{
			// Only the second pass shows that it dirties the same memory again.
			testCase{name: "a guest that writes the same again", source: guest(100*mib, 64*mib), params: cartesian.Params{"mig_timeout": "60"}, fails: true, status: result.Fail, at: "host1"},
			[]predicted{{first, true, wrong, 0}, {second, false, right, 0}},
			nil,
		},
		{
			testCase{name: "measured before", source: guest(100*mib, 64*mib), params: cartesian.Params{"mig_timeout": "60", "mig_prediction": "yes"}, fails: true, status: result.Fail, at: "host1"},
			[]predicted{{measured, false, right, 0}, {first, false, right, 0}, {second, false, right, 0}},
			nil,
		},
		{
			// That three quarters of its memory are zeros is not known before.
			testCase{name: "an idle guest, measured before", source: guest(0, 0), params: cartesian.Params{"mig_prediction": "yes"}},
			[]predicted{{measured, true, right, 4.1}},
			nil,
		},
		{
			testCase{
				name: "a network that is slower than the limit", source: func() qmptest.Script { s := guest(20*mib, 0); s.Link = 16 * mib; return s }(), params: cartesian.Params{"mig_timeout": "60"},
				fails: true, status: result.Fail, at: "host1", log: "prediction: the migration will not converge at this throughput",
			},
			[]predicted{{first, false, right, 0}, {second, false, right, 0}},
			nil,
		},
		{
			testCase{name: "auto-converge", source: guest(40*mib, 0), params: cartesian.Params{"mig_auto_converge": "yes"}, log: "with the guest throttled by"},
			[]predicted{{first, true, right, 2}, {second, true, right, 2}},
			nil,
		},
		{
			testCase{name: "auto-converge that does not throttle", source: func() qmptest.Script {
				s := guest(40*mib, 0)
				s.Unused = []string{"auto-converge"}
				return s
			}(), params: cartesian.Params{"mig_auto_converge": "yes", "mig_timeout": "200"}, fails: true, status: result.Fail, at: "host1"},
			[]predicted{{first, true, wrong, 0}, {second, true, wrong, 0}},
			nil,
		},
		{
			testCase{name: "post-copy", source: guest(40*mib, 0), params: cartesian.Params{"mig_postcopy": "yes"}, log: "with_postcopy=", concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(m.Wait(ctx, migration.Condition{Passes: 3}), m.StartPostcopy(ctx))
			}},
			[]predicted{{first, false, unjudged, 0}, {second, false, unjudged, 0}},
			nil,
		},
		{
			testCase{name: "the limit is raised", source: guest(40*mib, 0), concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(m.Wait(ctx, migration.Condition{Passes: 3}), m.SetSpeed(ctx, 512*mib))
			}},
			[]predicted{{first, false, unjudged, 0}, {second, false, unjudged, 0}},
			nil,
		},
		{
			testCase{name: "cancelled", source: guest(8*mib, 0), at: "host1", concurrent: func(ctx context.Context, m *migration.Migration) error {
				return errors.Join(m.Wait(ctx, migration.Condition{Passes: 1}), m.Cancel(ctx))
			}},
			nil, nil,
		},
		{
			testCase{name: "held", source: guest(8*mib, 0), change: func(p *migration.Plan) { p.Hold = true }, concurrent: func(ctx context.Context, m *migration.Migration) error {
				err := m.Wait(ctx, migration.Condition{Status: "pre-switchover"})
				time.Sleep(time.Minute)
				return errors.Join(err, m.Release(ctx))
			}},
			[]predicted{{first, true, unjudged, 0}, {second, true, unjudged, 0}},
			nil,
		},
		{
			testCase{name: "a QEMU that measures no dirty rate", source: func() qmptest.Script {
				s := guest(8*mib, 0)
				s.Without = []string{"calc-dirty-rate"}
				return s
			}(), params: cartesian.Params{"mig_prediction": "yes"}, log: "mig_prediction: the dirty rate was not measured"},
			[]predicted{{first, true, right, 1.1}, {second, true, right, 1.1}},
			nil,
		},
		{
			testCase{name: "a QEMU that never ends measuring", source: func() qmptest.Script {
				s := guest(8*mib, 0)
				s.Execute = func(command string, _ json.RawMessage) (any, error, bool) {
					return map[string]any{"status": "measuring"}, nil, command == "query-dirty-rate"
				}
				return s
			}(), params: cartesian.Params{"mig_prediction": "yes"}, log: "QEMU has not measured the guest's dirty rate 5s after the 1s that it takes: it is measuring"},
			[]predicted{{first, true, right, 1.1}, {second, true, right, 1.1}},
			nil,
		},
		{
			testCase{name: "a QEMU that does not answer", source: func() qmptest.Script {
				s := guest(8*mib, 0)
				s.Ignore = []string{"query-dirty-rate"}
				return s
			}(), params: cartesian.Params{"mig_prediction": "yes"}, fails: true, status: result.Fail, want: []string{silent}, at: "-"},
			nil, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := cartesian.Params{"mig_speed": "32M", "mig_downtime": "0.3"}
			maps.Copy(params, tt.params)
			tt.params = params
			tt.after = func(_ context.Context, m *migration.Migration) error {
				stats := m.Stats()["vm1"]
				for name, want := range tt.stats {
					if stats[name] != want {
						return fmt.Errorf("stats: %s is %v, want %v", name, stats[name], want)
					}
				}
				return differ(m, tt.predicted...)
			}
			synctest.Test(t, tt.run)
		})
	}
}
