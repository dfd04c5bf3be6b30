// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/controller"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/hostsfile"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newRequest is a request for two variants, good and bad, on its own lab, without
// QEMU. Bad ones fail.
func newRequest(t *testing.T) controller.Request {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("MHMIG_CACHE", filepath.Join(dir, "cache"))
	var config strings.Builder
	params := bedtest.NoQEMU(t)
	for _, key := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&config, "%s = %s\n", key, params[key])
	}
	config.WriteString("variants:\n    - good:\n    - bad:\n")
	for name, text := range map[string]string{
		"small.cfg": config.String(), "it.star": "def migration_scenario(env):\n    pass\n", "broken.star": "def migration_scenario(env):\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return controller.Request{
		Scenario: filepath.Join(dir, "it.star"), Config: filepath.Join(dir, "small.cfg"), Results: filepath.Join(dir, "results"),
		Lab: controller.Lab{Options: lab.Options{Hosts: 2, Kind: lab.Embedded}, Own: true}, Repeat: 1, MaxVariants: 100,
		Libraries: library.Set{},
		Load: func(ctx context.Context, path string) (*star.Scenario, error) {
			return (&star.Loader{}).Scenario(ctx, path)
		},
		Execute: func(_ context.Context, x controller.Execution) run.Verdict {
			if x.Bed.Params()["shortname"] != "bad" {
				return run.Verdict{}
			}
			failures := []*task.Error{{Task: "main", Err: result.Fail.Errorf("the guest is gone")}}
			x.Failed(failures)
			return run.Verdict{Failures: failures}
		},
	}
}

// TestRun: a request is executed without a command line; it writes results and
// leaves nothing on the hosts.
func TestRun(t *testing.T) {
	q := newRequest(t)
	var planned int
	var records, ended atomic.Int32
	var paused, complaints []string
	outcome, err := controller.Run(t.Context(), q, controller.Sinks{
		Begin: func(n int) slog.Handler {
			planned = n
			return result.Listen(slog.LevelInfo, func(result.Event) { records.Add(1) })
		},
		WriteFailed: func(err error) { complaints = append(complaints, err.Error()) },
		Pause:       func(_ context.Context, text string) { paused = append(paused, text) },
		Ended: func(o controller.Outcome) {
			ended.Add(1)
			if run, err := result.LoadRun(o.Dir); err != nil || run.Status != result.Running {
				t.Errorf("the run, when its variants are over: got %+v, %v, want one that is not finished", run, err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := map[result.Status]int{result.Pass: 1, result.Fail: 1}; !maps.Equal(outcome.Summary.Counts, want) || outcome.Status != result.Fail {
		t.Errorf("got %v, %v, want %v, FAIL", outcome.Summary.Counts, outcome.Status, want)
	}
	if planned != 2 || records.Load() == 0 || ended.Load() != 1 || len(complaints) > 0 {
		t.Errorf("sinks: planned %d, %d records, ended %d times, complaints %q", planned, records.Load(), ended.Load(), complaints)
	}
	if len(paused) != 1 || !strings.HasPrefix(paused[0], "paused: 002") || !strings.Contains(paused[0], "the guest is gone\n  ssh ") {
		t.Errorf("paused: got %q, want once, with what failed and the way to its hosts", paused)
	}
	record, outcomes, err := result.Load(outcome.Dir)
	if err != nil || record.Status != result.Fail || len(outcomes) != 2 || outcomes[1].Message != "the guest is gone" {
		t.Errorf("results: got %+v, %+v, %v", record, outcomes, err)
	}
	pending, running, err := ledger.Read(filepath.Join(outcome.Dir, hostsfile.LedgerFile))
	if err != nil || running || len(pending) > 0 {
		t.Errorf("the ledger: got %+v, running %v, %v, want nothing", pending, running, err)
	}

	q.RerunFailed = true
	outcome, err = controller.Run(t.Context(), q, controller.Sinks{})
	if err != nil || outcome.Planned != 1 || outcome.Summary.Counts[result.Fail] != 1 {
		t.Errorf("what failed, again: got %+v, %v", outcome, err)
	}
}

// TestRefused: errors of a request are found before anything is created, and have an
// exit code.
func TestRefused(t *testing.T) {
	q := newRequest(t)
	for _, c := range []struct {
		name   string
		change func(*controller.Request)
		want   string
		code   exit.Code
	}{
		{"no scenario", func(q *controller.Request) { q.Scenario += ".star" }, "no such file", exit.Usage},
		{"a scenario that nobody understands", func(q *controller.Request) { q.Scenario = filepath.Join(filepath.Dir(q.Scenario), "broken.star") }, "broken.star", exit.Usage},
		{"no scenario of the type", func(q *controller.Request) { q.Scenario = "" }, "param type", exit.Usage},
		{"no config", func(q *controller.Request) { q.Config += ".cfg" }, "small.cfg.cfg", exit.Usage},
		{"no variant", func(q *controller.Request) {
			q.Extras = []cartesian.Extra{{Name: "--filter 1", Text: "no good\nno bad"}}
		}, "no variant is left", exit.Usage},
		{"too many for one", func(q *controller.Request) { q.MaxVariants = 1 }, "more than one variant", exit.Usage},
		{"no earlier run", func(q *controller.Request) { q.RerunFailed = true }, "no latest run", exit.Usage},
		{"no quarantine", func(q *controller.Request) { q.Quarantine = "none.toml" }, "none.toml", exit.Usage},
	} {
		asked := q
		c.change(&asked)
		_, err := controller.Run(t.Context(), asked, controller.Sinks{})
		if err == nil || !strings.Contains(err.Error(), c.want) || exit.Of(err) != c.code {
			t.Errorf("%s: got %v (exit code %d), want %q (%d)", c.name, err, exit.Of(err), c.want, c.code)
		}
	}
	if _, err := os.Stat(q.Results); err == nil {
		t.Error("results were made")
	}
}

// TestInterrupted: an interrupted run has results.
func TestInterrupted(t *testing.T) {
	q := newRequest(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	q.Execute = func(ctx context.Context, _ controller.Execution) run.Verdict {
		cancel(run.ErrInterrupted)
		return run.Verdict{Failures: []*task.Error{{Task: "main", Err: context.Cause(ctx)}}}
	}
	outcome, err := controller.Run(ctx, q, controller.Sinks{})
	if exit.Of(err) != exit.Interrupted || outcome.Status != result.Cancel {
		t.Errorf("got %v, %v, want an interruption and CANCEL", err, outcome.Status)
	}
	if record, err := result.LoadRun(outcome.Dir); err != nil || record.Status != result.Cancel {
		t.Errorf("results: got %+v, %v", record, err)
	}
}

// TestPreview: the variants that would run, the hosts, and invalid params.
func TestPreview(t *testing.T) {
	q := newRequest(t)
	q.Extras = []cartesian.Extra{{Name: "--param 1", Text: "mem_vm2=many", Param: true}}
	plan, err := controller.NewPlan(t.Context(), q, controller.Sinks{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := plan.Preview(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []controller.PreviewRow{
		{Name: "good", Scenario: q.Scenario, Hosts: 2, VMs: "vm1 32M, vm2 ?"},
		{Name: "bad", Scenario: q.Scenario, Hosts: 2, VMs: "vm1 32M, vm2 ?"},
	}
	if diff := cmp.Diff(want, w.Rows); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if wrong := w.Invalid.Lines(); len(wrong) != 1 || !strings.HasSuffix(wrong[0], "(in 2 variants)") {
		t.Errorf("wrong: got %q, want mem_vm2 in two variants", wrong)
	}
	if w.Parallel != 1 || !slices.Equal(w.Hosts, []string{"host1", "host2"}) {
		t.Errorf("got %d at the same time on %q", w.Parallel, w.Hosts)
	}
}

// TestUnknownErrors: an unexpected error is not a usage error.
func TestUnknownErrors(t *testing.T) {
	q := newRequest(t)
	if err := os.MkdirAll(q.Results, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	q.Execute = func(context.Context, controller.Execution) run.Verdict {
		cancel(errors.New("a cause that nobody knows"))
		return run.Verdict{}
	}
	if _, err := controller.Run(ctx, q, controller.Sinks{}); exit.Of(err) != exit.Internal {
		t.Errorf("got %v with exit code %d, want %d", err, exit.Of(err), exit.Internal)
	}
}
