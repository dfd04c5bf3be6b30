// SPDX-License-Identifier: Apache-2.0

package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mhmig/mhmig/runtime/result"
)

// tester is what testing.T and rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Errorf(format string, args ...any)
}

// run makes a results folder: a variant of each name=STATUS.
func run(t tester, base string, downtime float64, outcomes ...string) *result.Folder {
	t.Helper()
	f, err := result.Create(base, result.Run{Scenario: "a.star"}, func(err error) { t.Errorf("results: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		variant(t, f, o, downtime)
	}
	return f
}

func variant(t tester, f *result.Folder, outcome string, downtime float64) {
	t.Helper()
	name, text, _ := strings.Cut(outcome, "=")
	var status result.Status
	if err := status.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	v, err := f.Start(result.Entry{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	err = v.Migration(result.Migration{Number: 1, Status: "completed", VMs: []result.MovedVM{
		{VM: "vm1", Status: "completed", Query: map[string]any{"total-time": 2000, "downtime": downtime}},
	}})
	if err == nil && status != result.Running {
		err = v.Finish(result.Outcome{Failure: result.Failure{Status: status}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func finish(t tester, f *result.Folder) string {
	t.Helper()
	if err := f.Finish(result.Pass); err != nil {
		t.Fatal(err)
	}
	return f.Dir()
}

// at gives a finished results folder another time: names order runs, and some
// made within one second would be in any order.
func at(t tester, dir string, minute int) string {
	t.Helper()
	moved := filepath.Join(filepath.Dir(dir), fmt.Sprintf("20260102T03%02d00Z-00000%d", minute, minute%10))
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	return moved
}

// notices gathers what a function says.
type notices struct{ all []string }

func (n *notices) add(err error) { n.all = append(n.all, err.Error()) }

func (n *notices) want(t *testing.T, parts ...string) {
	t.Helper()
	if len(n.all) != len(parts) {
		t.Fatalf("notices: got %q, want one with each of %q", n.all, parts)
	}
	for i, part := range parts {
		if !strings.Contains(n.all[i], part) {
			t.Errorf("notice %d: got %q, want something with %q", i, n.all[i], part)
		}
	}
	n.all = nil
}

// dump returns all that a database holds.
func dump(t tester, ctx context.Context, h *History) []string { //nolint:revive // t first, as in all helpers
	t.Helper()
	var all []string
	for _, table := range []string{"runs", "variants", "migrations"} {
		rows, err := collect(ctx, h.db, func(rows *sql.Rows) (string, error) {
			columns, err := rows.Columns()
			if err != nil {
				return "", err
			}
			cells, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range cells {
				into[i] = &cells[i]
			}
			err = rows.Scan(into...)
			return fmt.Sprint(table, cells), err
		}, "SELECT * FROM "+table)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rows...)
	}
	return all
}

func opened(t *testing.T, base string, n *notices) *History {
	t.Helper()
	h, err := Open(t.Context(), base, n.add)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func variants(t *testing.T, h *History, q Query) []Variant {
	t.Helper()
	all, err := h.Variants(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestVariants(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for i, statuses := range []string{
		"steady=PASS flaky=PASS broken=PASS mended=FAIL never=FAIL skipped=SKIP twice=PASS twice=FAIL",
		"steady=WARN flaky=FAIL broken=PASS mended=FAIL never=ERROR skipped=SKIP",
		"steady=PASS flaky=PASS broken=ERROR mended=PASS never=FAIL skipped=CANCEL",
		"steady=PASS flaky=FAIL broken=FAIL mended=PASS never=FAIL skipped=running",
	} {
		at(t, finish(t, run(t, base, 100, strings.Fields(statuses)...)), i)
	}
	var n notices
	type row struct {
		Name, Strip    string
		Passed, Judged int
		Flaky          bool
		Good, Bad      string
	}
	var got []row
	h := opened(t, base, &n)
	for _, v := range variants(t, h, Query{}) {
		r := row{Name: v.Name, Passed: v.Passed, Judged: v.Decided, Flaky: v.Flaky}
		for _, s := range v.Statuses {
			r.Strip += s.String()[:1]
		}
		if v.LastGood != nil {
			r.Good = v.LastGood.ID[9:13]
		}
		if v.FirstBad != nil {
			r.Bad = v.FirstBad.ID[9:13]
		}
		got = append(got, r)
	}
	want := []row{
		{"steady", "PWPP", 4, 4, false, "0303", ""},
		{"flaky", "PFPF", 2, 4, true, "0302", "0303"},
		{"broken", "PPEF", 2, 4, false, "0301", "0302"},
		{"mended", "FFPP", 2, 4, false, "0303", ""},
		{"never", "FEFF", 0, 4, false, "", "0300"},
		{"skipped", "SSCr", 0, 0, false, "", ""},
		{"twice", "PF", 1, 2, true, "", "0300"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variants (-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		q    Query
		want int
	}{{Query{Pattern: "e"}, 6}, {Query{Pattern: "*ed"}, 2}, {Query{Pattern: "%"}, 0}, {Query{Last: 3}, 6}, {Query{Pattern: "twice", Last: 3}, 0}} {
		if got := variants(t, h, test.q); len(got) != test.want {
			t.Errorf("Variants(%v): got %d, want %d", test.q, len(got), test.want)
		}
	}
	runs, err := h.Runs(t.Context(), Query{Last: 1})
	if err != nil || len(runs) != 1 || runs[0].ID[9:13] != "0303" || runs[0].Outcomes["FAIL"] != 3 {
		t.Errorf("Runs: got %v, %v, want the newest with 3 FAIL", runs, err)
	}
	n.want(t)
}

// Runs that began in one second are in the order of their beginning, whatever their IDs.
func TestOrderWithinASecond(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for _, o := range []struct{ id, outcome string }{{"c", "old=FAIL"}, {"b", "new=PASS"}, {"a", "new=FAIL"}} {
		dir := finish(t, run(t, base, 100, o.outcome))
		if err := os.Rename(dir, filepath.Join(base, "20260102T030405Z-"+strings.Repeat(o.id, 6))); err != nil {
			t.Fatal(err)
		}
	}
	h := opened(t, base, &notices{})
	runs, err := h.Runs(t.Context(), Query{Last: 2})
	if err != nil || len(runs) != 2 || !strings.HasSuffix(runs[0].ID, "aaaaaa") || !strings.HasSuffix(runs[1].ID, "bbbbbb") {
		t.Errorf("runs: got %v, %v, want aaaaaa and bbbbbb, the newest first", runs, err)
	}
	all := variants(t, h, Query{})
	if len(all) != 2 || all[0].Name != "new" || all[0].Statuses[0] != result.Pass || all[0].FirstBad == nil {
		t.Errorf("variants: got %+v, want new first, which has failed last", all)
	}
}

// A failure in quarantine, a warning of the run, has not passed.
func TestQuarantined(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	at(t, finish(t, run(t, base, 100, "v=PASS")), 0)
	f := run(t, base, 100)
	v, err := f.Start(result.Entry{Name: "v"})
	if err == nil {
		err = v.Finish(result.Outcome{Failure: result.Failure{Status: result.Warn}, Quarantine: &result.Quarantine{Status: result.Fail}})
	}
	if err != nil {
		t.Fatal(err)
	}
	at(t, finish(t, f), 1)
	h := opened(t, base, &notices{})
	got := variants(t, h, Query{})[0]
	if got.Passed != 1 || got.Decided != 2 || got.Statuses[1] != result.Fail || got.FirstBad == nil {
		t.Errorf("got %+v, want that the second run has failed", got)
	}
	if runs, err := h.Runs(t.Context(), Query{Last: 1}); err != nil || runs[0].Outcomes["WARN"] != 1 {
		t.Errorf("runs: got %v, %v, want the status of the run, WARN", runs, err)
	}
}

func TestTrend(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for i := range 10 {
		downtime := 100. + float64(i%5)
		if i >= 5 {
			downtime *= 2
		}
		at(t, finish(t, run(t, base, downtime, "v=PASS")), i)
	}
	at(t, finish(t, run(t, base, 1e6, "v=FAIL")), 10) // does not count
	v := variants(t, opened(t, base, &notices{}), Query{})[0]
	total, downtime := v.Trends[0], v.Trends[1]
	if total.Percent != nil || total.Median != 2000 || total.Count != 10 {
		t.Errorf("total time: got %v, want 10 of 2000 without a change", total)
	}
	if downtime.Percent == nil || *downtime.Percent != 100 {
		t.Errorf("downtime: got %v, want +100%%", downtime)
	}
}

// TestLost: whatever happens to the database, the history is as before.
func TestLost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		harm   func(file string) error
		notice string
	}{
		{"lost", os.Remove, ""},
		{"no database", func(file string) error { return os.WriteFile(file, []byte(strings.Repeat("no database", 500)), 0o644) }, "rebuilt"},
		{"empty", func(file string) error { return os.Truncate(file, 0) }, ""},
		{"cut off", func(file string) error { return os.Truncate(file, 5000) }, "rebuilt"},
		{"overwritten inside", func(file string) error {
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(make([]byte, 12000), 4096)
			return errors.Join(err, f.Close())
		}, "rebuilt"},
		{"older schema", change("PRAGMA user_version = -1; ALTER TABLE runs RENAME TO old_runs"), "of an older mhmig"},
		{"other tables", change("DROP TABLE variants; CREATE TABLE more (x); PRAGMA user_version = 0"), ""},
		{"newer schema", change("PRAGMA user_version = 1000; DROP TABLE variants"), "newer mhmig; the history is kept in memory"},
		{"cannot be opened", func(file string) error {
			return errors.Join(os.Remove(file), os.Symlink("/nonexistent/history.db", file))
		}, "the history is kept in memory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			for i := range 3 {
				at(t, finish(t, run(t, base, 100, "a=PASS", "b=FAIL")), i)
			}
			var n notices
			if err := Sync(t.Context(), base, n.add); err != nil {
				t.Fatal(err)
			}
			before := dump(t, t.Context(), opened(t, base, &n))
			if len(before) != 3+6+18 {
				t.Fatalf("rows before: got %d, want 27", len(before))
			}
			if err := test.harm(filepath.Join(base, databaseFile)); err != nil {
				t.Fatal(err)
			}
			after := dump(t, t.Context(), opened(t, base, &n))
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("history (-before +after):\n%s", diff)
			}
			if test.notice == "" {
				n.want(t)
			} else {
				n.want(t, test.notice)
			}
		})
	}
}

// change returns a function that runs statements in a database.
func change(statements string) func(string) error {
	return func(file string) error {
		db, err := sql.Open("sqlite", file)
		if err != nil {
			return err
		}
		_, err = db.Exec(statements)
		return errors.Join(err, db.Close())
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root writes to read-only folders")
	}
	base := t.TempDir()
	finish(t, run(t, base, 100, "a=PASS"))
	if err := os.Chmod(base, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(base, 0o755) }) // for TempDir to remove it
	var n notices
	if got := variants(t, opened(t, base, &n), Query{}); len(got) != 1 {
		t.Errorf("variants: got %v, want one", got)
	}
	n.want(t, "the history is kept in memory")
}

func TestBrokenFolders(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	good := at(t, finish(t, run(t, base, 100, "a=PASS")), 1)
	bad := at(t, finish(t, run(t, base, 100, "a=FAIL")), 2)
	var n notices
	if got := variants(t, opened(t, base, &n), Query{})[0].Statuses; len(got) != 2 {
		t.Fatalf("statuses: got %v, want two", got)
	}
	if err := os.WriteFile(filepath.Join(bad, result.RunFile), []byte(`{"id": "`), 0o644); err != nil {
		t.Fatal(err)
	}
	h := opened(t, base, &n)
	if got := variants(t, h, Query{})[0].Statuses; len(got) != 1 || got[0] != result.Pass {
		t.Errorf("statuses with a broken folder: got %v, want PASS", got)
	}
	n.want(t, "results folder skipped: "+bad)
	if err := os.RemoveAll(good); err != nil {
		t.Fatal(err)
	}
	if got := variants(t, opened(t, base, &n), Query{}); len(got) != 0 {
		t.Errorf("variants without folders: got %v, want none", got)
	}
	n.want(t, bad)
}

// TestUnchanged: what has not changed is not read again.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir := finish(t, run(t, base, 100, "a=PASS"))
	var n notices
	before := dump(t, t.Context(), opened(t, base, &n))
	outcome := filepath.Join(dir, "001-a", result.OutcomeFile)
	if err := os.WriteFile(outcome, []byte("broken, if it were read"), 0o644); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, dump(t, t.Context(), opened(t, base, &n))); diff != "" {
		t.Errorf("history (-before +after):\n%s", diff)
	}
	n.want(t)
	if err := Rebuild(t.Context(), base, n.add); err != nil {
		t.Fatal(err)
	}
	dump(t, t.Context(), opened(t, base, &n))
	n.want(t, outcome)
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for i := range 9 {
		at(t, finish(t, run(t, base, 100, "a=PASS", "b=PASS")), i)
	}
	if err := os.WriteFile(filepath.Join(base, databaseFile), []byte(strings.Repeat("no database", 500)), 0o644); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 { // each as another process: with a connection of its own
		wg.Go(func() {
			for range 5 {
				if err := Sync(t.Context(), base, func(error) {}); err != nil {
					t.Error(err)
				}
				if i == 0 {
					if err := Rebuild(t.Context(), base, func(error) {}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	var n notices
	if got := len(dump(t, t.Context(), opened(t, base, &n))); got != 9+18+54 {
		t.Errorf("rows: got %d, want 81", got)
	}
	n.want(t)
}

// TestIncremental: a database that saw each change is like one that is made of
// what is there in the end.
func TestIncremental(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		base, err := os.MkdirTemp("", "history-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(base)
		var running []*result.Folder
		var dirs []string
		statuses := rapid.SampledFrom([]string{"a=PASS", "b=FAIL", "a=ERROR", "c=running", "c=SKIP"})
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				f := run(t, base, 100, statuses.Draw(t, "outcome"))
				running, dirs = append(running, f), append(dirs, f.Dir())
			},
			"go on": func(t *rapid.T) {
				if len(running) > 0 {
					variant(t, running[0], statuses.Draw(t, "outcome"), 50)
				}
			},
			"end": func(t *rapid.T) {
				if len(running) > 0 {
					finish(t, running[0])
					running = running[1:]
				}
			},
			"delete": func(t *rapid.T) {
				if len(dirs) > len(running) { // the oldest has ended
					if err := os.RemoveAll(dirs[0]); err != nil {
						t.Fatal(err)
					}
					dirs = dirs[1:]
				}
			},
			"sync": func(t *rapid.T) {
				if err := Sync(ctx, base, func(err error) { t.Errorf("notice: %v", err) }); err != nil {
					t.Fatal(err)
				}
			},
		})
		for _, f := range running {
			finish(t, f)
		}
		var all [2][]string
		for i := range all {
			h, err := Open(ctx, base, func(err error) { t.Errorf("notice: %v", err) })
			if err != nil {
				t.Fatal(err)
			}
			all[i] = dump(t, ctx, h)
			if err := errors.Join(h.Close(), remove(filepath.Join(base, databaseFile))); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(all[1], all[0]); diff != "" {
			t.Fatalf("history (-made anew +kept):\n%s", diff)
		}
	})
}

// BenchmarkSync: one more run must not cost what all of them did.
func BenchmarkSync(b *testing.B) {
	base := b.TempDir()
	for range 300 {
		finish(b, run(b, base, 100, "a=PASS"))
	}
	synced := func(b *testing.B) {
		if err := Sync(b.Context(), base, func(err error) { b.Error(err) }); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("all of 300", func(b *testing.B) {
		for b.Loop() {
			if err := remove(filepath.Join(base, databaseFile)); err != nil {
				b.Fatal(err)
			}
			synced(b)
		}
	})
	b.Run("one more", func(b *testing.B) {
		for b.Loop() {
			finish(b, run(b, base, 100, "a=PASS"))
			synced(b)
		}
	})
}
