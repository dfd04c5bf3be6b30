// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// The samples of a move of more than an hour are limited, and still show all of it: its beginning and
// end, the time between, and the stop before the switchover, which is sampled as it was.
func TestSamplesOfLongMove(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	synctest.Test(t, func(t *testing.T) {
		const mib = 1 << 20
		bed := bedtest.NewScriptedBed(t, 1, nil)
		guest := qmptest.Load{RAM: 8 * 1024 * mib, Used: 8 * 1024 * mib, Dirty: mib / 16}
		bed.QEMUs.Script("vm1", qmptest.Script{Load: func() qmptest.Load { return guest }}, qmptest.Script{})
		p := plan(bed.Bed)
		p.Hold = true
		p.Params = maps.Clone(bed.Params())
		maps.Copy(p.Params, cartesian.Params{"mig_timeout": "100000", "mig_speed": "4M"})
		m := start(t, bed.Bed, p)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Hour)
		defer cancel()
		const held = 30 * time.Minute
		released := beside(ctx, m, func(ctx context.Context, m *migration.Migration) error {
			if err := m.Wait(ctx, migration.Condition{Status: "pre-switchover"}); err != nil {
				return err
			}
			time.Sleep(held)
			return m.Release(ctx)
		})
		began := time.Now()
		if err := runBoth(ctx, m); err != nil {
			t.Fatal(err)
		}
		if err := <-released; err != nil {
			t.Fatal(err)
		}
		ended := time.Now()
		took := ended.Sub(began)
		if took < 2*held {
			t.Fatalf("it took %v, too short for the test", took)
		}

		samples := m.Record().VMs[0].Samples
		if n := len(samples); n < 1000 || n > 2001 {
			t.Errorf("in %v: got %d samples, want 1000 to 2001", took, n)
		}
		const near = 2 * time.Second
		if first, last := samples[0].Time.Sub(began), ended.Sub(samples[len(samples)-1].Time); first > near || last > near {
			t.Errorf("the first sample is %v after the start, the last %v before the end, want at most %v", first, last, near)
		}
		var stopped time.Duration // between the samples around the stop
		for i, s := range samples[1:] {
			before := samples[i]
			apart := s.Time.Sub(before.Time)
			if apart <= 0 || apart > took/250 {
				t.Errorf("sample %d is %v after the one before", i+1, apart)
			}
			if sent, earlier := s.Progress().Transferred, before.Progress().Transferred; sent < earlier {
				t.Errorf("sample %d: %d bytes sent, after %d", i+1, sent, earlier)
			}
			if before.Progress().Status == "active" && s.Progress().Status == "pre-switchover" {
				stopped = apart
			}
		}
		if stopped == 0 || stopped > time.Second {
			t.Errorf("the samples around the stop before the switchover are %v apart, want those that were taken", stopped)
		}
		removeAll(t, bed)
	})
}
