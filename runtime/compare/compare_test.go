// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/result"
)

// sampleOf is one outcome of a variant; downtimes are of the moves in it.
type sampleOf struct {
	name       string
	status     result.Status
	downtimes  []float64
	quarantine *result.Quarantine
}

func passes(name string, downtimes ...float64) []sampleOf {
	var all []sampleOf
	for _, d := range downtimes {
		all = append(all, sampleOf{name: name, status: result.Pass, downtimes: []float64{d}})
	}
	return all
}

// folder makes a results folder.
func folder(t *testing.T, outcomes ...[]sampleOf) string {
	t.Helper()
	f, err := result.Create(t.TempDir(), result.Run{}, func(err error) { t.Errorf("results: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range slices.Concat(outcomes...) {
		v, err := f.Start(result.Entry{Name: o.name})
		if err != nil {
			t.Fatal(err)
		}
		for i, downtime := range o.downtimes {
			moved := result.MovedVM{VM: "vm1", Status: "completed", Query: map[string]any{"downtime": downtime}}
			if err := v.Migration(result.Migration{Number: i + 1, VMs: []result.MovedVM{moved}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Finish(result.Outcome{Failure: result.Failure{Status: o.status}, Quarantine: o.quarantine}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Finish(result.Pass); err != nil {
		t.Fatal(err)
	}
	return f.Dir()
}

func compared(t *testing.T, before, after string) *Report {
	t.Helper()
	r, err := Runs(before, after)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// downtime returns the change of a variant's downtime.
func downtime(t *testing.T, r *Report, name string) *Change {
	t.Helper()
	for i := range r.Variants {
		for j := range r.Variants[i].Changes {
			if c := &r.Variants[i].Changes[j]; r.Variants[i].Name == name && c.Name == "downtime_ms" {
				return c
			}
		}
	}
	t.Fatalf("no downtime of %s in %v", name, r)
	return nil
}

// A failure in quarantine, a warning of the run, has not passed.
func TestQuarantined(t *testing.T) {
	t.Parallel()
	quarantined := sampleOf{"v", result.Warn, []float64{1}, &result.Quarantine{Status: result.Fail}}
	r := compared(t, folder(t, passes("v", 100, 101, 102, 103)), folder(t, slices.Repeat([]sampleOf{quarantined}, 4)))
	if v := r.Variants[0]; !v.StatusChanged() || v.New[0] != result.Fail {
		t.Errorf("statuses: got %v -> %v, want FAIL", v.Old, v.New)
	}
	if c := downtime(t, r, "v"); c.Verdict != TooFew || c.New.Count != 0 {
		t.Errorf("downtime: got %s by %d samples, want none", c.Verdict, c.New.Count)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	slow := sampleOf{"v", result.Fail, []float64{1e6}, nil} // does not count
	for _, test := range []struct {
		name          string
		before, after []sampleOf
		want          Verdict
		percent       float64 // nothing: -1
	}{
		{"worse", passes("v", 100, 101, 102, 103), passes("v", 200, 201, 202, 203), Worse, 98},
		{"better", passes("v", 200, 201, 202, 203), append(passes("v", 100, 101, 102, 103), slow), Better, -49},
		{"same", passes("v", 100, 101, 102, 103), passes("v", 100, 101, 102, 104), Same, 0},
		{"all alike", passes("v", 5, 5, 5, 5), passes("v", 5, 5, 5, 5), Same, 0},
		{"from nothing", passes("v", 0, 0, 0, 0), passes("v", 5, 5, 5, 5), Worse, -1},
		{"to nothing", passes("v", 5, 5, 5, 5), passes("v", 0, 0, 0, 0), Better, -100},
		{"few but far", passes("v", 1, 1, 1), passes("v", 900, 900, 900), TooFew, 89900},
		{"failures do not count", append(passes("v", 1, 1, 1), slow), passes("v", 900, 900, 900, 900), TooFew, 89900},
		{"one side", passes("v", 1, 1, 1, 1), []sampleOf{slow, slow, slow, slow}, TooFew, -1},
		{
			"means of moves",
			slices.Repeat([]sampleOf{{"v", result.Pass, []float64{100, 300}, nil}}, 4),
			slices.Repeat([]sampleOf{{"v", result.Warn, []float64{150, 250}, nil}}, 4), Same, 0,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := downtime(t, compared(t, folder(t, test.before), folder(t, test.after)), "v")
			if c.Verdict != test.want {
				t.Errorf("verdict: got %s (%+v), want %s", c.Verdict, c, test.want)
			}
			if (c.Percent == nil) != (test.percent == -1) || c.Percent != nil && (*c.Percent < test.percent-1 || *c.Percent > test.percent+1) {
				t.Errorf("percent: got %s, want about %g", signed(c.Percent), test.percent)
			}
		})
	}
}

func TestTooFew(t *testing.T) {
	t.Parallel()
	r := compared(t, folder(t, passes("v", 1, 2, 3)), folder(t, passes("v", 7, 8)))
	const want = "too few: 3 + 2 runs, want at least 4 each for p<0.05"
	if c := downtime(t, r, "v"); c.Because != want || c.P != nil {
		t.Errorf("3 + 2 runs: got %+v, want %s", c, want)
	}
}

// TestMany: what proves a change in one variant proves none among many.
func TestMany(t *testing.T) {
	t.Parallel()
	before, after := passes("v", 1, 2, 3, 4), passes("v", 5, 6, 7, 8)
	if c := downtime(t, compared(t, folder(t, before), folder(t, after)), "v"); c.Verdict != Worse {
		t.Errorf("alone: got %s, want %s", c.Verdict, Worse)
	}
	for _, name := range []string{"a", "b", "c"} {
		before, after = append(before, passes(name, 1, 2, 3, 4)...), append(after, passes(name, 1, 2, 3, 4)...)
	}
	r := compared(t, folder(t, before), folder(t, after))
	if c := downtime(t, r, "v"); c.Verdict != Same {
		t.Errorf("among four: got %s, want %s", c.Verdict, Same)
	}
	if want := "5 runs each"; !strings.Contains(r.advice(), want) {
		t.Errorf("advice: got %q, want %q", r.advice(), want)
	}
}

// TestOlder: a run of before there was a measure compares with one that has it.
func TestOlder(t *testing.T) {
	t.Parallel()
	before, after := folder(t, passes("v", 40)), folder(t, passes("v", 40))
	const moved = `{"number": 1, "vms": [{"vm": "vm1", "status": "completed", "query": {"downtime": 40}, "guest": {"moved": true, "downtime": 52}}]}`
	if err := os.WriteFile(filepath.Join(after, "001-v", result.MigrationsDir, "1.json"), []byte(moved), 0o644); err != nil {
		t.Fatal(err)
	}
	r := compared(t, before, after)
	if c := downtime(t, r, "v"); c.Old.Count != 1 || c.New.Count != 1 {
		t.Errorf("downtime: got %+v", c)
	}
	i := slices.IndexFunc(r.Variants[0].Changes, func(c Change) bool { return c.Name == "guest_downtime_ms" })
	if i < 0 {
		t.Fatalf("changes: got %+v, want guest_downtime_ms", r.Variants[0].Changes)
	}
	if c := r.Variants[0].Changes[i]; c.Old.Count != 0 || c.New.Count != 1 || *c.New.Median != 52 || c.P != nil {
		t.Errorf("guest_downtime_ms: got %+v", c)
	}
}

func TestRegressed(t *testing.T) {
	t.Parallel()
	r := compared(t, folder(t, passes("v", 100, 101, 102, 103, 104)), folder(t, passes("v", 120, 121, 122, 123, 124)))
	for percent, want := range map[float64]int{0: 1, 15: 1, 25: 0} {
		got := slices.DeleteFunc(r.Regressed(percent), func(s string) bool { return !strings.Contains(s, "downtime") }) // the variant's own seconds are real
		if len(got) != want {
			t.Errorf("Regressed(%g): got %q, want %d", percent, got, want)
		}
	}
}

func TestPairs(t *testing.T) {
	t.Parallel()
	before := folder(t, passes("both", 1), passes("old", 1), []sampleOf{{"fails", result.Pass, nil, nil}})
	after := folder(t, passes("new", 1), passes("both", 1), []sampleOf{{"fails", result.Fail, nil, nil}})
	if err := os.WriteFile(filepath.Join(after, "002-both", result.OutcomeFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := compared(t, before, after)
	if diff := cmp.Diff([]string{"old"}, r.OnlyOld) + cmp.Diff([]string{"new"}, r.OnlyNew); diff != "" {
		t.Errorf("only in one (-want +got):\n%s", diff)
	}
	if len(r.Variants) != 2 || r.Variants[0].StatusChanged() || !r.Variants[1].StatusChanged() {
		t.Errorf("in both: got %+v, want both as it was and fails with a different status", r.Variants)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "002-both") {
		t.Errorf("notes: got %q, want the broken outcome", r.Notes)
	}
	if _, err := Runs(before, t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not a results folder") {
		t.Errorf("no folder: got %v", err)
	}
}

// TestWidth: the text is for 80 columns, and all of the report is JSON, infinite
// changes too.
func TestWidth(t *testing.T) {
	t.Parallel()
	r := compared(t, folder(t, passes("v", 0, 0, 0, 0, 1), passes("w", 1)), folder(t, passes("v", 12345, 99999, 55555, 1e6, 1e7), passes("w", 1)))
	var text strings.Builder
	r.WriteText(&text)
	for line := range strings.Lines(text.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns, want 80: %s", n, line)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}
