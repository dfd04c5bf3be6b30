// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// sequence returns variants of "NAME", "NAME DEPENDENCY" and "NAME HOSTS".
func sequence(base cartesian.Params, specs ...string) run.Sequence {
	return func(yield func(*cartesian.Variant, error) bool) {
		for _, spec := range specs {
			name, dependency, _ := strings.Cut(spec, ": ")
			name, hosts, _ := strings.Cut(name, " ")
			p := maps.Clone(base)
			if p == nil {
				p = cartesian.Params{}
			}
			p["shortname"] = name
			if hosts != "" {
				p["hosts_needed"] = hosts
			}
			v := &cartesian.Variant{Name: "all." + name, ShortName: name, Params: p}
			if dependency != "" {
				v.Dep = []string{dependency}
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// names returns the short names of a sequence.
func names(t testing.TB, s run.Sequence) []string {
	t.Helper()
	var all []string
	for v, err := range s {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v.ShortName)
	}
	return all
}

// observer records which variants run at the same time, and on which hosts.
type observer struct {
	mu      sync.Mutex
	running map[string][]string // hosts
	most    int
	order   []string
	shared  bool // two had one host
}

func (o *observer) begin(bed *testbed.Bed) (end func()) {
	name := bed.Params()["shortname"]
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.running == nil {
		o.running = map[string][]string{}
	}
	for _, other := range o.running {
		for _, h := range bed.HostNames() {
			o.shared = o.shared || slices.Contains(other, h)
		}
	}
	o.running[name] = bed.HostNames()
	o.most = max(o.most, len(o.running))
	o.order = append(o.order, name)
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.running, name)
	}
}

// meeting makes scenarios wait until n of them run, for some time at most.
func (o *observer) meeting(ctx context.Context, n int) {
	for range 200 {
		o.mu.Lock()
		most := o.most
		o.mu.Unlock()
		if most >= n || ctx.Err() != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// With four hosts two variants that need two run at the same time, on different
// hosts; --parallel lowers that.
func TestParallel(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ parallel, most int }{{0, 2}, {1, 1}, {2, 2}, {9, 2}} {
		t.Run(fmt.Sprint(test.parallel), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFixtureOf(t, 4)
				var o observer
				f.options.Parallel, f.options.Planned = test.parallel, 6
				f.options.Scenario = func(ctx context.Context, bed *testbed.Bed) run.Verdict {
					defer o.begin(bed)()
					o.meeting(ctx, test.most)
					return run.Verdict{}
				}
				outcomes, err := f.run(t.Context(), t, sequence(f.base, "a 2", "b 2", "c 2", "d 2", "e 2", "f 2"))
				if err != nil || len(outcomes) != 6 || o.most != test.most || o.shared {
					t.Errorf("got %d outcomes, %v; %d at the same time, want %d; hosts shared: %v", len(outcomes), err, o.most, test.most, o.shared)
				}
			})
		})
	}
}

// With Share more variants run at the same time than there are hosts, limited by
// memory and CPUs.
func TestShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixtureOf(t, 2)
		f.base["smp"] = "1"
		f.base["vms"] = "vm1"
		var o observer
		f.options.Pool, f.options.Parallel = local(t, f.hosts, true), 2
		f.options.Scenario = func(ctx context.Context, bed *testbed.Bed) run.Verdict {
			defer o.begin(bed)()
			o.meeting(ctx, 2)
			return run.Verdict{}
		}
		if outcomes, err := f.run(t.Context(), t, sequence(f.base, "a", "b", "c")); err != nil || len(outcomes) != 3 {
			t.Fatalf("got %d outcomes, %v", len(outcomes), err)
		}
		cpus := f.hosts[0]
		facts, err := cpus.Facts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := min(2, facts.CPUs); o.most != want {
			t.Errorf("%d at the same time, want %d on a machine of %d processors", o.most, want, facts.CPUs)
		}
		if left := f.left(t); len(left) > 0 {
			t.Errorf("left: %q", left)
		}

		// Each wants more memory than the half of what there is.
		o = observer{}
		f2 := newFixtureOf(t, 2)
		f2.base["vms"], f2.base["mem"] = "vm1", fmt.Sprint(facts.MemoryBytes>>20/4)
		f2.options.Pool = local(t, f2.hosts, true)
		f2.options.Scenario = func(_ context.Context, bed *testbed.Bed) run.Verdict {
			defer o.begin(bed)()
			time.Sleep(50 * time.Millisecond)
			return run.Verdict{}
		}
		if _, err := f2.run(t.Context(), t, sequence(f2.base, "a", "b", "c")); err != nil || o.most != 1 {
			t.Errorf("got %v, %d at the same time, want 1", err, o.most)
		}
	})
}

// A variant that needs all hosts gets them, although others could always run before
// it; one that needs more is skipped.
func TestHostsNeeded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixtureOf(t, 4)
		var o observer
		got := map[string]int{}
		var mu sync.Mutex
		f.options.Planned = 43
		f.options.Scenario = func(_ context.Context, bed *testbed.Bed) run.Verdict {
			defer o.begin(bed)()
			mu.Lock()
			defer mu.Unlock()
			got[bed.Params()["shortname"]] = len(bed.Hosts())
			return run.Verdict{}
		}
		specs := []string{"first", "whole 4", "five 5"}
		for i := range 40 {
			specs = append(specs, fmt.Sprintf("small%d", i))
		}
		outcomes, err := f.run(t.Context(), t, sequence(f.base, specs...))
		if err != nil || len(outcomes) != 43 {
			t.Fatalf("got %d outcomes, %v", len(outcomes), err)
		}
		if got["whole"] != 4 || got["first"] != 2 {
			t.Errorf("hosts: got %v", got)
		}
		if place := slices.Index(o.order, "whole"); place > 20 {
			t.Errorf("the one that needs all hosts came %d.", place+1)
		}
		for _, o := range outcomes {
			if o.ShortName == "five" && (o.Status != result.Skip || !strings.Contains(o.Message, "needs 5 hosts")) {
				t.Errorf("five hosts of four: got %s %q", o.Status, o.Message)
			}
		}
	})
}

// Where a failed variant has kept hosts that another one needs, only that one is not run,
// and its dependents: the others get the hosts that are left.
func TestTooFewHostsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixtureOf(t, 4)
		specs := []string{"bad 2", "four 4", "after_four 2: four"}
		for i := range 20 {
			specs = append(specs, fmt.Sprintf("small%d 2", i))
		}
		f.options.Planned = len(specs)
		f.options.Scenario = func(_ context.Context, bed *testbed.Bed) run.Verdict {
			if bed.Params()["shortname"] == "bad" {
				return failures(result.Fail.Errorf("broken"))
			}
			return run.Verdict{}
		}
		f.options.Failed = func(context.Context, *testbed.Bed, result.Failure) bool { return true }
		outcomes, err := f.run(t.Context(), t, sequence(f.base, specs...))
		if err != nil {
			t.Fatal(err)
		}
		got := map[result.Status]int{}
		for _, o := range outcomes {
			got[o.Status]++
			if want := "it depends on all.four, which was not run: not enough hosts are left"; o.ShortName == "after_four" && o.Message != want {
				t.Errorf("its dependent: got %s %q, want %q", o.Status, o.Message, want)
			}
		}
		if want := map[result.Status]int{result.Fail: 1, result.Cancel: 1, result.Pass: 20}; !maps.Equal(got, want) || f.summary.NotRun != 1 {
			t.Errorf("got %v and %d not run, want %v and 1", got, f.summary.NotRun, want)
		}
	})
}

// Dependents of a variant wait for it, and are CANCEL, with the reason, unless it
// passed.
func TestDependencies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixtureOf(t, 6)
		var o observer
		f.options.Planned = 7
		f.options.Scenario = func(_ context.Context, bed *testbed.Bed) run.Verdict {
			defer o.begin(bed)()
			time.Sleep(20 * time.Millisecond)
			switch bed.Params()["shortname"] {
			case "bad":
				return failures(result.Fail.Errorf("broken"))
			case "careful":
				return run.Verdict{Warnings: []string{"slow"}}
			}
			return run.Verdict{}
		}
		outcomes, err := f.run(t.Context(), t, sequence(f.base,
			"bad", "good", "careful", "after_bad: bad", "after_good: all.good", "after_careful: careful", "chain: after_bad", "free: nobody"))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, o := range outcomes {
			got[o.ShortName] = strings.TrimSpace(o.Status.String() + " " + o.Message)
		}
		want := map[string]string{
			"bad": "FAIL broken", "good": "PASS", "careful": "WARN", "after_good": "PASS", "after_careful": "PASS", "free": "PASS",
			"after_bad": "CANCEL it depends on all.bad, which ended with FAIL", "chain": "CANCEL it depends on all.after_bad, which ended with CANCEL",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(- want, + got):\n%s", diff)
		}
		for _, pair := range [][2]string{{"good", "after_good"}, {"careful", "after_careful"}} {
			if slices.Index(o.order, pair[0]) > slices.Index(o.order, pair[1]) {
				t.Errorf("%s ran before %s", pair[1], pair[0])
			}
		}
	})
}

func TestFailFast(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.options.FailFast, f.options.Planned = true, 4
	f.options.Scenario = func(_ context.Context, bed *testbed.Bed) run.Verdict {
		if bed.Params()["shortname"] == "two" {
			return failures(result.Fail.Errorf("broken"))
		}
		return run.Verdict{}
	}
	outcomes, err := f.run(t.Context(), t, sequence(f.base, "one", "two", "three", "four"))
	if err != nil || len(outcomes) != 2 || f.summary.NotRun != 2 || f.summary.Reason != "--fail-fast: two ended with FAIL" {
		t.Errorf("got %d outcomes, %v, %+v", len(outcomes), err, f.summary)
	}
}

func TestRepeat(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.options.Repeat, f.options.Planned = 3, 6
	f.options.Scenario = func(context.Context, *testbed.Bed) run.Verdict { return run.Verdict{} }
	outcomes, err := f.run(t.Context(), t, sequence(f.base, "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range outcomes {
		got = append(got, fmt.Sprint(o.ShortName, o.Repeat))
	}
	if want := []string{"a1", "b1", "a2", "b2", "a3", "b3"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Repeats of one variant run at the same time too.
func TestRepeatsInParallel(t *testing.T) {
	t.Parallel()
	f := newFixtureOf(t, 4)
	var o observer
	f.options.Repeat, f.options.Planned = 4, 4
	f.options.Scenario = func(ctx context.Context, bed *testbed.Bed) run.Verdict {
		end := o.begin(bed)
		o.mu.Lock()
		o.running[bed.HostNames()[0]] = nil // the names are alike
		o.most = max(o.most, len(o.running)-1)
		o.mu.Unlock()
		defer end()
		o.meeting(ctx, 2)
		return run.Verdict{}
	}
	if outcomes, err := f.run(t.Context(), t, sequence(f.base, "a")); err != nil || len(outcomes) != 4 || o.most < 2 {
		t.Errorf("got %d outcomes, %v; %d at the same time, want 2", len(outcomes), err, o.most)
	}
}

// Quarantine does not make a variant satisfy dependencies.
func TestQuarantinedDependency(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "known.toml")
	text := "[[quarantine]]\nvariant = \"bad\"\nreason = \"r\"\ntracker = \"https://x/1\"\nexpires = 2999-01-01\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	var err error
	if f.options.Quarantine, err = run.ReadQuarantine(path); err != nil {
		t.Fatal(err)
	}
	f.options.Scenario = func(context.Context, *testbed.Bed) run.Verdict { return failures(result.Fail.Errorf("broken")) }
	outcomes, err := f.run(t.Context(), t, sequence(f.base, "bad", "after: bad"))
	if err != nil || len(outcomes) != 2 || outcomes[0].Status != result.Warn || outcomes[1].Status != result.Cancel {
		t.Errorf("got %v, %+v", err, outcomes)
	}
}

func TestUntilFailure(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 2, 9} {
		f := newFixture(t)
		f.options.Repeat, f.options.UntilFailure = limit, true
		times := 0
		f.options.Scenario = func(context.Context, *testbed.Bed) run.Verdict {
			if times++; times == 4 {
				return failures(errors.New("at last"))
			}
			return run.Verdict{}
		}
		outcomes, err := f.run(t.Context(), t, sequence(f.base, "a"))
		want := 4
		if limit == 2 {
			want = 2
		}
		if err != nil || len(outcomes) != want {
			t.Errorf("at most %d times: got %d outcomes, %v, want %d", limit, len(outcomes), err, want)
		}
	}
}

// The time limit of the run ends running variants as CANCEL, and the run with an
// error.
func TestRunTimeout(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.options.RunTimeout, f.options.Planned = 2*time.Second, 3
	f.options.Scenario = func(ctx context.Context, bed *testbed.Bed) run.Verdict {
		if bed.Params()["shortname"] == "one" {
			return run.Verdict{}
		}
		<-ctx.Done()
		return failures(fmt.Errorf("sleep: %w", context.Cause(ctx)))
	}
	outcomes, err := f.run(t.Context(), t, sequence(f.base, "one", "two", "three"))
	if !errors.Is(err, run.ErrTimeout) || len(outcomes) != 2 || outcomes[1].Status != result.Cancel || f.summary.NotRun != 1 {
		t.Errorf("got %v, %d outcomes, %+v", err, len(outcomes), f.summary)
	}
	if !strings.Contains(f.summary.Reason, "--run-timeout 2s") {
		t.Errorf("reason: got %q", f.summary.Reason)
	}
}

// A failure in quarantine is a warning until its expiry; a pass is unchanged.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "known.toml")
	var text strings.Builder
	for _, name := range []string{"known", "fine", "old"} {
		day := "2999-01-01"
		if name == "old" {
			day = "2020-01-01"
		}
		fmt.Fprintf(&text, "[[quarantine]]\nvariant = %q\nreason = \"loses its NIC\"\ntracker = \"https://bugs.example.com/1\"\nexpires = %s\n", name, day)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	q, err := run.ReadQuarantine(path)
	if err != nil {
		t.Fatal(err)
	}
	if lines := q.Expired(time.Now()); len(lines) != 1 || !strings.Contains(lines[0], `"old" has expired (2020-01-01)`) {
		t.Errorf("expired: got %q", lines)
	}
	f := newFixture(t)
	f.options.Quarantine = q
	f.options.Scenario = func(_ context.Context, bed *testbed.Bed) run.Verdict {
		if bed.Params()["shortname"] == "fine" {
			return run.Verdict{}
		}
		return failures(result.Fail.Errorf("broken"))
	}
	outcomes, err := f.run(t.Context(), t, sequence(f.base, "known", "fine", "old", "other"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range outcomes {
		was := "-"
		if o.Quarantine != nil {
			was = o.Quarantine.Status.String() + " " + o.Quarantine.Reason
		}
		got = append(got, fmt.Sprintf("%s %s %s %s", o.ShortName, o.Status, o.Message, was))
	}
	want := []string{"known WARN broken FAIL loses its NIC", "fine PASS  -", "old FAIL broken -", "other FAIL broken -"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(- want, + got):\n%s", diff)
	}
}

func TestQuarantineErrors(t *testing.T) {
	t.Parallel()
	const whole = "[[quarantine]]\nvariant = \"a\"\nreason = \"r\"\ntracker = \"https://x/1\"\nexpires = 2999-01-01\n"
	for _, test := range []struct{ old, new, want string }{
		{"variant = \"a\"\n", "", "entry 1: variant: missing"},
		{"\"a\"", "\"(a\"", "entry 1: variant: "},
		{"reason = \"r\"\n", "", "entry 1: reason: missing"},
		{"https://x/1", "bug 1", "entry 1: tracker: got \"bug 1\", want the URL of the defect"},
		{"expires = 2999-01-01\n", "", "entry 1: expires: missing"},
		{"2999-01-01", "2999-02-31", "known.toml:5: "},
		{"reason", "raison", "known.toml:3: unknown key quarantine.raison, want "},
		{"2999-01-01", "\"soon\"", "entry 1: expires: got soon, want a day"},
	} {
		path := filepath.Join(t.TempDir(), "known.toml")
		if err := os.WriteFile(path, []byte(strings.Replace(whole, test.old, test.new, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := run.ReadQuarantine(path); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q instead of %q: got %v, want an error with %q", test.new, test.old, err, test.want)
		}
	}
}

// The shards of a run together have each variant once; a variant stays in its shard
// when others are added or removed; one that depends on another is in the shard of
// that.
func TestShards(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,6}`), 1, 30, rapid.ID).Draw(rt, "names")
		n := rapid.IntRange(1, 5).Draw(rt, "shards")
		specs := slices.Clone(all)
		specs = append(specs, "LATE: "+all[0], "LATER: LATE")
		where := map[string]int{}
		for i := range n {
			for _, name := range names(t, run.Shard{Index: i + 1, Count: n}.Of(sequence(nil, specs...))) {
				if _, twice := where[name]; twice {
					rt.Fatalf("%s is in two shards", name)
				}
				where[name] = i
			}
		}
		if len(where) != len(specs) {
			rt.Fatalf("the shards have %d variants, want %d", len(where), len(specs))
		}
		if where["LATE"] != where[all[0]] || where["LATER"] != where["LATE"] {
			rt.Fatalf("what depends on a variant is in another shard: %v", where)
		}
		fewer := names(t, run.Shard{Index: 1, Count: n}.Of(sequence(nil, all[:len(all)/2]...)))
		for _, name := range fewer {
			if where[name] != 0 {
				rt.Fatalf("%s moved from shard %d to 1 when others went", name, where[name]+1)
			}
		}
	})
	for _, wrong := range []string{"", "1", "0/2", "3/2", "a/b", "1/2/3", "-1/2"} {
		if s, err := run.ParseShard(wrong); err == nil {
			t.Errorf("ParseShard(%q): got %v, want an error", wrong, s)
		}
	}
}

// A seed determines an order, which has each variant once and dependencies first.
func TestShuffle(t *testing.T) {
	t.Parallel()
	specs := []string{"a", "b", "c: a", "d", "e: c", "f", "g", "h"}
	orders := map[string]bool{}
	for seed := range uint64(50) {
		order := names(t, run.Shuffle(sequence(nil, specs...), seed))
		again := names(t, run.Shuffle(sequence(nil, specs...), seed))
		if !slices.Equal(order, again) {
			t.Fatalf("seed %d: got %v, then %v", seed, order, again)
		}
		sorted := slices.Sorted(slices.Values(order))
		if strings.Join(sorted, "") != "abcdefgh" {
			t.Fatalf("seed %d: got %v", seed, order)
		}
		if a, c, e := slices.Index(order, "a"), slices.Index(order, "c"), slices.Index(order, "e"); a > c || c > e {
			t.Errorf("seed %d: got %v, want a before c before e", seed, order)
		}
		orders[strings.Join(order, "")] = true
	}
	if len(orders) < 25 {
		t.Errorf("50 seeds gave only %d orders", len(orders))
	}
}

func TestFairShare(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ hosts, parallel, planned, want int }{
		{2, 0, 1, 2}, {1, 0, 5, 1}, {4, 0, 40, 2}, {4, 1, 40, 4}, {4, 0, 1, 4}, {3, 0, 9, 3}, {5, 0, 9, 2}, {8, 3, 9, 2}, {8, 2, 0, 4},
	} {
		if got := run.FairShare(test.hosts, test.parallel, test.planned); got != test.want {
			t.Errorf("FairShare(%d, %d, %d): got %d, want %d", test.hosts, test.parallel, test.planned, got, test.want)
		}
	}
}

// A dependency that did not pass stops only the dependents of the same repeat.
func TestRepeatedDependency(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.options.Repeat = 2
	times := 0
	f.options.Scenario = func(_ context.Context, bed *testbed.Bed) run.Verdict {
		if bed.Params()["shortname"] == "a" {
			if times++; times == 1 {
				return failures(result.Fail.Errorf("broken"))
			}
		}
		return run.Verdict{}
	}
	outcomes, err := f.run(t.Context(), t, sequence(f.base, "a", "b: a"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range outcomes {
		got = append(got, fmt.Sprint(o.ShortName, o.Repeat, o.Status))
	}
	slices.Sort(got)
	if want := []string{"a1 FAIL", "a2 PASS", "b1 CANCEL", "b2 PASS"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// mhmig's files are uploaded to shared storage once, and removed at the run's end.
func TestShippedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	local := filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(local, []byte("a kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.base["kernel"] = "jeos:kernel"
	shipped := 0
	f.options.Shipped = func(string) (string, error) { shipped++; return local, nil }
	f.options.Scenario = func(ctx context.Context, bed *testbed.Bed) run.Verdict {
		h := bed.Hosts()[1]
		if data, err := h.ReadFile(ctx, path.Join(h.ShippedDir(), "jeos-kernel")); err != nil || string(data) != "a kernel" {
			return failures(fmt.Errorf("got %q, %w", data, err))
		}
		return run.Verdict{}
	}
	outcomes, err := f.run(t.Context(), t, sequence(f.base, "a", "b", "c"))
	if err != nil || len(outcomes) != 3 || f.summary.Counts[result.Pass] != 3 || shipped != 1 {
		t.Errorf("got %v, %+v, shipped %d times, want 3 PASS and once", err, f.summary, shipped)
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// sharedPool is a pool that another run also uses: that has all hosts until release.
type sharedPool struct {
	run.Pool
	asked   chan struct{} // gets a value each time that somebody was turned away
	changed chan struct{}
	free    atomic.Bool
}

func (p *sharedPool) Changed() <-chan struct{} { return p.changed }

func (p *sharedPool) Acquire(ctx context.Context, n run.Needs) (run.Lease, error) {
	if !p.free.Load() {
		select {
		case p.asked <- struct{}{}:
		default:
		}
		return nil, fmt.Errorf("the fleet: %w", run.ErrBusy)
	}
	return p.Pool.Acquire(ctx, n)
}

func (p *sharedPool) release() {
	p.free.Store(true)
	p.changed <- struct{}{}
}

// needsPool remembers what its hosts were needed for.
type needsPool struct {
	run.Pool
	needs []run.Needs
}

func (p *needsPool) Acquire(ctx context.Context, n run.Needs) (run.Lease, error) {
	p.needs = append(p.needs, n)
	return p.Pool.Acquire(ctx, n)
}

// A variant whose params say what the VMs have on some hosts gets no others, on which they
// would have something else.
func TestNamedHosts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		params cartesian.Params
		among  int
	}{
		{nil, 0},
		{cartesian.Params{"qemu_version_host1": "7.2", "qemu_version_host2": "10.0"}, 2},
		{cartesian.Params{"nic_model_nic1_vm1_host1": "virtio"}, 2}, // as many as it needs
		{cartesian.Params{"image_name_host4": "x"}, 4},
		{cartesian.Params{"ssh_port_host4": "22", "images_base_dir_host1": "/x"}, 0},
		{cartesian.Params{"qemu_dst_binary": "qemu"}, 2},
		{cartesian.Params{"qemu_dst_binary_vm1": "qemu", "image_name_host4": "x"}, 2}, // host1 is one of them
	} {
		f := newFixture(t)
		p := &needsPool{Pool: f.options.Pool}
		f.options.Pool = p
		f.options.Scenario = func(context.Context, *testbed.Bed) run.Verdict { return run.Verdict{} }
		params := maps.Clone(f.base)
		maps.Copy(params, tt.params)
		if _, err := f.run(t.Context(), t, sequence(params, "a")); err != nil {
			t.Errorf("%v: %v", tt.params, err)
		}
		if len(p.needs) != 1 || p.needs[0].Among != tt.among {
			t.Errorf("%v: needs %+v, want hosts among the first %d", tt.params, p.needs, tt.among)
		}
	}
}

// TestBusyPool: while another run uses the hosts, the run waits; when they are free,
// it continues. An interruption ends the wait, and so does the time limit of the
// run.
func TestBusyPool(t *testing.T) {
	t.Parallel()
	newPool := func(f *fixture) *sharedPool {
		p := &sharedPool{Pool: f.options.Pool, asked: make(chan struct{}, 1), changed: make(chan struct{})}
		f.options.Pool = p
		return p
	}
	pass := func(context.Context, *testbed.Bed) run.Verdict { return run.Verdict{} }

	f := newFixture(t)
	f.options.Scenario = pass
	p := newPool(f)
	go func() {
		<-p.asked
		p.changed <- struct{}{} // something changed, but not for us
		<-p.asked
		p.release()
	}()
	outcomes, err := f.run(t.Context(), t, f.variants("a", "b"))
	if err != nil || len(outcomes) != 2 || f.summary.Counts[result.Pass] != 2 {
		t.Errorf("got %d outcomes %v, %v, want two that passed", len(outcomes), f.summary.Counts, err)
	}

	f = newFixture(t)
	f.options.Scenario, f.options.Planned = pass, 1
	p = newPool(f)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-p.asked
		cancel(run.ErrInterrupted)
	}()
	if _, err := f.run(ctx, t, f.variants("a")); !errors.Is(err, run.ErrInterrupted) || f.summary.NotRun != 1 {
		t.Errorf("interrupted: got %v, %d not run", err, f.summary.NotRun)
	}

	f = newFixture(t)
	f.options.Scenario, f.options.RunTimeout = pass, 100*time.Millisecond
	newPool(f)
	if _, err := f.run(t.Context(), t, f.variants("a")); !errors.Is(err, run.ErrTimeout) {
		t.Errorf("late: got %v, want %v", err, run.ErrTimeout)
	}

	// Other errors than busy end the run.
	f = newFixture(t)
	f.options.Scenario, f.options.Pool = pass, brokenPool{f.options.Pool}
	if _, err := f.run(t.Context(), t, f.variants("a")); err == nil || !strings.Contains(err.Error(), "acquire hosts for a: the fleet is gone") {
		t.Errorf("broken: got %v", err)
	}
}

type brokenPool struct{ run.Pool }

func (brokenPool) Acquire(context.Context, run.Needs) (run.Lease, error) {
	return nil, errors.New("the fleet is gone")
}
