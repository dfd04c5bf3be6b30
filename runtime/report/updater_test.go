// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/runtime/report"
	"github.com/mhmig/mhmig/runtime/result"
)

func TestUpdater(t *testing.T) {
	t.Parallel()
	f, err := result.Create(t.TempDir(), result.Run{Scenario: "a.star"}, func(err error) { t.Error(err) })
	check(t, err)
	k := report.NewUpdater(f.Dir(), func(err error) { t.Error(err) })
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			v, err := f.Start(result.Entry{Name: fmt.Sprint("v", i)})
			check(t, err)
			k.Changed()
			check(t, v.Finish(result.Outcome{Failure: result.Failure{Status: result.Pass}}))
			k.Changed()
		})
	}
	all.Wait()
	check(t, f.Finish(result.Pass))
	k.Close()
	k.Close()
	k.Changed() // too late, and no harm
	for name, format := range map[string]report.Format{report.JUnitFile: report.JUnit, report.JSONFile: report.JSON} {
		got, err := os.ReadFile(filepath.Join(f.Dir(), name))
		check(t, err)
		if want := write(t, format, f.Dir()); string(got) != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
	if page, err := os.ReadFile(filepath.Join(f.Dir(), report.HTMLFile)); err != nil || strings.Count(string(page), `class="row"`) != 20 {
		t.Errorf("%s: got %d bytes, %v, want 20 variants", report.HTMLFile, len(page), err)
	}
	left, err := filepath.Glob(filepath.Join(f.Dir(), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestUpdaterKeepsWhole: an error is told once, and the reports of before stay.
func TestUpdaterKeepsWhole(t *testing.T) {
	t.Parallel()
	dir := makeRun(t, false)
	report.NewUpdater(dir, func(err error) { t.Error(err) }).Close()
	before, err := os.ReadFile(filepath.Join(dir, report.JUnitFile))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, result.RunFile), []byte("{"), 0o644))
	var told []error
	k := report.NewUpdater(dir, func(err error) { told = append(told, err) })
	k.Changed()
	k.Close()
	after, err := os.ReadFile(filepath.Join(dir, report.JUnitFile))
	if len(told) != 1 || !strings.Contains(told[0].Error(), "reports are not up to date") || err != nil || string(after) != string(before) {
		t.Errorf("told %v; report changed: %v, %v", told, string(after) != string(before), err)
	}
}

// TestUpdaterRests: however often there is news, writing takes a twentieth of
// the time.
func TestUpdaterRests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const long = 10 * time.Millisecond
		var writes atomic.Int32
		k := report.NewUpdaterBy(func() error {
			writes.Add(1)
			time.Sleep(long)
			return nil
		}, func(err error) { t.Error(err) })
		begun := time.Now()
		for time.Since(begun) < 21*time.Second {
			k.Changed()
			time.Sleep(time.Millisecond)
		}
		if n := writes.Load(); n < 99 || n > 101 {
			t.Errorf("got %d writes of %v in 21 s, want 100", n, long)
		}
		pause := time.Now()
		k.Close()
		if took := time.Since(pause); took > 2*long {
			t.Errorf("Close took %v, want no longer than two writes", took)
		}
		if n := writes.Load(); n > 102 {
			t.Errorf("got %d writes, want one at the end", n)
		}
	})
}

func BenchmarkReports(b *testing.B) {
	const variants = 1000
	dir := makeLargeRun(b, variants)
	for name, format := range formats {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				check(b, format(io.Discard, dir))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/variants, "µs/variant")
		})
	}
}
