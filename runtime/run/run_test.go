// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/pool"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is the requirements of a run: two hosts, without QEMU.
type fixture struct {
	options run.Options
	hosts   []testbed.Remote
	folders cartesian.Params // of the hosts
	base    cartesian.Params
	summary run.Summary // of the last run
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureOf(t, 2)
}

// newFixtureOf has so many hosts, which need no network: it may be used in virtual time.
func newFixtureOf(t *testing.T, count int) *fixture {
	t.Helper()
	hosts, folders := bedtest.LocalHosts(t, count)
	return newFixtureOn(t, hosts, folders)
}

func newFixtureOn(t *testing.T, hosts []testbed.Remote, folders cartesian.Params) *fixture {
	t.Helper()
	f := &fixture{hosts: hosts, folders: folders, base: bedtest.NoQEMU(t)}
	results, record := bedtest.Results(t)
	f.options = run.Options{
		Pool: local(t, hosts, false), HostParams: folders, Results: results, Ledger: record,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	return f
}

// local is a pool of hosts that no other run uses.
func local(t *testing.T, hosts []testbed.Remote, share bool) *pool.Local {
	t.Helper()
	p, err := pool.NewLocal(t.Context(), hosts, share)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// variants returns a variant for each name.
func (f *fixture) variants(names ...string) iter.Seq2[*cartesian.Variant, error] {
	return func(yield func(*cartesian.Variant, error) bool) {
		for _, name := range names {
			p := cartesian.Params{"shortname": name}
			maps.Copy(p, f.base)
			if !yield(&cartesian.Variant{Name: "whole." + name, ShortName: name, Params: p}, nil) {
				return
			}
		}
	}
}

// left returns the folders of runs on the hosts.
func (f *fixture) left(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, dir := range f.folders {
		found, err := filepath.Glob(filepath.Join(dir, "mhmig-*"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// run runs variants and returns their outcomes from the results folder.
func (f *fixture) run(ctx context.Context, t *testing.T, variants run.Sequence) ([]result.Outcome, error) {
	t.Helper()
	summary, err := run.Variants(ctx, f.options, variants)
	_, outcomes, loadErr := result.Load(f.options.Results.Dir())
	if loadErr != nil {
		t.Fatal(loadErr)
	}
	counts := map[result.Status]int{}
	for _, o := range outcomes {
		counts[o.Status]++
	}
	if diff := cmp.Diff(counts, summary.Counts); diff != "" {
		t.Errorf("counts (- as the folder has them, + summary):\n%s", diff)
	}
	f.summary = summary
	return outcomes, err
}

func failures(errs ...error) run.Verdict {
	var v run.Verdict
	for _, err := range errs {
		v.Failures = append(v.Failures, &task.Error{Task: "main", Err: err})
	}
	return v
}

// Each variant runs, whatever the outcome of the ones before it, and ends as its
// scenario says.
func TestVariants(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	verdicts := map[string]run.Verdict{
		"pass":  {},
		"warn":  {Warnings: []string{"slow"}},
		"fail":  failures(result.Fail.Errorf("lost"), errors.New("and then")),
		"error": failures(errors.New("no disk")),
		"skip":  failures(result.Skip.Errorf("not here")),
		"twice": failures(fmt.Errorf("check_work: %w", &testbed.SplitBrainError{}), errors.New("and then"), fmt.Errorf("check: %w", &testbed.SplitBrainError{})),
		"mute":  failures(result.Fail.Errorf(""), errors.New("and then")),
	}
	names := []string{"pass", "fail", "warn", "error", "skip", "twice", "mute", "pass"}
	folders := map[string]bool{}
	f.options.Scenario = func(_ context.Context, bed *testbed.Bed) run.Verdict {
		here := f.left(t)
		if len(here) != 3 {
			t.Errorf("folders while the scenario runs: got %q, want one of each host and a shared one", here)
		}
		for _, dir := range here {
			if folders[dir] {
				t.Errorf("two variants use %s", dir)
			}
			folders[dir] = true
		}
		return verdicts[bed.Params()["shortname"]]
	}
	outcomes, err := f.run(t.Context(), t, f.variants(names...))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range outcomes {
		got = append(got, fmt.Sprintf("%s %s %q %d", o.ShortName, o.Status, o.Message, len(o.Further)))
		if o.Seconds <= 0 {
			t.Errorf("%s took no time", o.ShortName)
		}
	}
	want := []string{
		`pass PASS "" 0`, `fail FAIL "lost" 1`, `warn WARN "" 0`, `error ERROR "no disk" 0`, `skip SKIP "not here" 0`,
		`twice FAIL "check_work: <nil>: split brain: the guest has migrated, but ran here again: two copies of it used one disk" 1`, `mute FAIL "" 1`, `pass PASS "" 0`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (- want, + got):\n%s", diff)
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// An error of the config ends the run where it is found.
func TestConfigError(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.options.Scenario = func(context.Context, *testbed.Bed) run.Verdict { return run.Verdict{} }
	broken := errors.New("line 7 is wrong")
	outcomes, err := f.run(t.Context(), t, func(yield func(*cartesian.Variant, error) bool) {
		for v := range f.variants("one") {
			if !yield(v, nil) {
				return
			}
		}
		yield(nil, broken)
	})
	if !errors.Is(err, broken) || len(outcomes) != 1 {
		t.Errorf("got %d outcomes and %v, want one and %v", len(outcomes), err, broken)
	}
}

// Ctrl-C ends the running variant, and no further one is started.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	f.options.Scenario = func(ctx context.Context, bed *testbed.Bed) run.Verdict {
		if bed.Params()["shortname"] == "one" {
			return run.Verdict{}
		}
		cancel(run.ErrInterrupted)
		<-ctx.Done()
		return failures(fmt.Errorf("wait: %w", context.Cause(ctx)))
	}
	outcomes, err := f.run(ctx, t, f.variants("one", "two", "three"))
	if !errors.Is(err, run.ErrInterrupted) {
		t.Errorf("got %v, want %v", err, run.ErrInterrupted)
	}
	var got []result.Status
	for _, o := range outcomes {
		got = append(got, o.Status)
	}
	if want := []result.Status{result.Pass, result.Cancel}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A variant that takes too long is an ERROR that names the limit; the next one
// runs.
func TestTimeout(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.options.Timeout = 2 * time.Second
	f.options.Scenario = func(ctx context.Context, bed *testbed.Bed) run.Verdict {
		if bed.Params()["shortname"] == "two" {
			return run.Verdict{}
		}
		<-ctx.Done()
		return failures(context.Cause(ctx))
	}
	outcomes, err := f.run(t.Context(), t, f.variants("one", "two"))
	if err != nil || len(outcomes) != 2 {
		t.Fatalf("got %d outcomes and %v", len(outcomes), err)
	}
	if o := outcomes[0]; o.Status != result.Error || o.Message != "the variant timed out (--timeout 2s)" {
		t.Errorf("got %s %q", o.Status, o.Message)
	}
	if o := outcomes[1]; o.Status != result.Pass {
		t.Errorf("the next one: got %s %q", o.Status, o.Message)
	}
}

// An error in the preparation is an ERROR, and the scenario is not started.
func TestPrepareError(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.base["accel"] = "magic"
	f.options.Scenario = func(context.Context, *testbed.Bed) run.Verdict {
		t.Error("the scenario began")
		return run.Verdict{}
	}
	outcomes, err := f.run(t.Context(), t, f.variants("one"))
	if err != nil || len(outcomes) != 1 {
		t.Fatalf("got %d outcomes and %v", len(outcomes), err)
	}
	if o := outcomes[0]; o.Status != result.Error || !strings.HasPrefix(o.Message, "prepare: ") || !strings.Contains(o.Message, "magic") {
		t.Errorf("got %s %q", o.Status, o.Message)
	}
	if left := f.left(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// What a guest is found to have done hides behind neither a skip nor the end of the
// variant's time.
func TestFinalCheckIsMade(t *testing.T) {
	t.Parallel()
	skip := failures(result.Skip.Errorf("no floppy driver here"))
	died := "vm1@host1 is not running any more; QEMU of vm1 on host1 ended by signal 9"
	for _, tt := range []struct {
		name    string
		verdict run.Verdict
		dies    bool          // the guest's QEMU, in the scenario
		freezes bool          // QEMU, in the scenario
		stops   bool          // the guest, which the scenario has not requested
		limit   time.Duration // of the variant, which the scenario exceeds
		ends    bool          // the run, in the scenario
		status  result.Status
		want    []string // the failures' messages
	}{
		{name: "all is well", status: result.Pass},
		{name: "skipped", verdict: skip, status: result.Skip, want: []string{"no floppy driver here"}},
		{name: "skipped, and QEMU has died", verdict: skip, dies: true, status: result.Fail, want: []string{died, "no floppy driver here"}},
		{name: "skipped, and the guest is stopped", verdict: skip, stops: true, status: result.Skip, want: []string{"no floppy driver here"}},
		{name: "the guest is stopped", stops: true, status: result.Error, want: []string{"vm1@host1: its guest does not run: it is paused"}},
		{name: "the time ends while it cleans up", limit: time.Minute, status: result.Pass},
		{name: "the time ends while it cleans up, and QEMU has died", limit: time.Minute, dies: true, status: result.Fail, want: []string{died}},
		{name: "the run ends while it cleans up", ends: true, status: result.Pass},
		{name: "the run ends while it cleans up, and QEMU has died", ends: true, dies: true, status: result.Fail, want: []string{died}},
		{name: "the run ends while it cleans up, and QEMU does not answer", ends: true, freezes: true, status: result.Cancel, want: []string{"interrupted"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, qemus := newFixtureOf(t, 1), bedtest.NewScriptedQEMUs()
				running, end := context.WithCancelCause(t.Context())
				defer end(nil)
				f.base["vms"], f.options.Timeout, f.options.Launch = "vm1", tt.limit, qemus.Launch
				f.options.Scenario = func(ctx context.Context, bed *testbed.Bed) run.Verdict {
					if _, _, err := bed.Ensure(ctx, "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{}); err != nil {
						return failures(err)
					}
					if tt.dies {
						qemus.Latest("vm1").Die()
					}
					if tt.stops {
						qemus.Latest("vm1").Pause()
					}
					if tt.freezes {
						qemus.Latest("vm1").StopAnswering()
					}
					if tt.limit > 0 {
						<-ctx.Done()
					}
					if tt.ends {
						end(run.ErrInterrupted)
					}
					return tt.verdict
				}
				outcomes, err := f.run(running, t, f.variants("one"))
				if tt.ends == (err == nil) || len(outcomes) != 1 {
					t.Fatalf("got %d outcomes and %v", len(outcomes), err)
				}
				var got []string
				for _, failure := range append([]result.Failure{outcomes[0].Failure}, outcomes[0].Further...) {
					if failure.Message != "" {
						got = append(got, failure.Message)
					}
				}
				if outcomes[0].Status != tt.status || len(got) != len(tt.want) {
					t.Fatalf("got %s %q, want %s %q", outcomes[0].Status, got, tt.status, tt.want)
				}
				for i, want := range tt.want {
					if !strings.HasPrefix(got[i], want) {
						t.Errorf("got %q, want %q", got[i], want)
					}
				}
			})
		})
	}
}

// An error of the clean-up is an ERROR, also if the variant passed.
func TestCleanUpError(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.options.Scenario = func(ctx context.Context, bed *testbed.Bed) run.Verdict {
		// A file system that is mounted in the folder keeps it from being removed.
		dir := bed.Hosts()[0].RunDir() + "/busy"
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Error(err)
		}
		if err := mountOn(t, dir); err != nil {
			t.Skip("NOT TESTED: a folder that cannot be removed: ", err)
		}
		return run.Verdict{}
	}
	outcomes, err := f.run(t.Context(), t, f.variants("one"))
	if err != nil || len(outcomes) != 1 {
		t.Fatalf("got %d outcomes and %v", len(outcomes), err)
	}
	if o := outcomes[0]; o.Status != result.Error || !strings.HasPrefix(o.Message, "clean up: host1: remove ") {
		t.Errorf("got %s %q", o.Status, o.Message)
	}
}

// Once a host is lost, no further variant runs, and no further repeat begins.
func TestLostHost(t *testing.T) {
	t.Parallel()
	for _, untilFailure := range []bool{false, true} {
		lab := bedtest.NewLab(t, 2)
		f := newFixtureOn(t, testbed.Remotes(lab.Connected), lab.Params())
		f.options.UntilFailure = untilFailure
		f.options.Scenario = func(_ context.Context, bed *testbed.Bed) run.Verdict {
			h := lab.Connected[1]
			if _, err := h.Run(t.Context(), host.Command{Script: "true"}); err != nil {
				t.Error(err)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			return run.Verdict{}
		}
		outcomes, err := f.run(t.Context(), t, f.variants("one", "two"))
		if !errors.Is(err, host.ErrClosed) || len(outcomes) != 1 {
			t.Errorf("got %d outcomes and %v, want one and that the host is lost", len(outcomes), err)
		}
		if o := outcomes[0]; o.Status != result.Pass {
			t.Errorf("got %s %q, want PASS: all was cleaned up by a second connection", o.Status, o.Message)
		}
		if left := f.left(t); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}

// mountOn puts a file system on dir until the test's end.
func mountOn(t *testing.T, dir string) error {
	t.Helper()
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return nil
}
