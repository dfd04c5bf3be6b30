// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"fmt"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/result"
)

// hostile is what a guest could print to break a report.
const hostile = "\x00\x1b[31m]]></system-out></script><script>alert(1)</script><!--<img src=x onerror=alert(2)> \xff\xfe & \" ' \u2028 ``` | a*b ::error::x %0A\r\n#"

// makeRun makes a results folder with a variant of each kind; that of the name
// "killed" does not end. unfinished leaves the run as a killed one.
func makeRun(t testing.TB, unfinished bool) string {
	t.Helper()
	f, err := result.Create(t.TempDir(), result.Run{
		Command: []string{"mhmig", "exec", "scenarios/moves.star", "--filter", "only <b>"}, Version: "v0.1.0", Scenario: "scenarios/moves.star",
		Hosts: []string{"host1", "host2"}, Planned: 6,
	}, func(err error) { t.Error(err) })
	check(t, err)
	run(t, f, "idle", result.Outcome{Failure: result.Failure{Status: result.Pass}}, 0)
	run(t, f, "load", result.Outcome{Failure: result.Failure{Status: result.Pass}}, 30e6)
	run(t, f, "broken", result.Outcome{
		Failure: result.Failure{
			Status: result.Fail, Message: "memory differs: " + hostile, Host: "host2", VM: "vm1", Side: "destination", Phase: "check_work",
			Position: "scenarios/moves.star:30:17", Source: "        check_memory_work(session)", Backtrace: "Traceback (most recent call last):\n  moves.star:30:17: in check\n",
			Evidence: "destination host2 vm1:\n  guest console:\n    " + hostile,
		},
		Further:  []result.Failure{{Status: result.Error, Message: "QEMU did not end", Host: "host1"}},
		Warnings: []string{"slow " + hostile},
	}, 30e6)
	run(t, f, "quarantined", result.Outcome{
		Failure: result.Failure{Status: result.Warn, Message: "downtime too long", Position: "scenarios/moves.star:12:5"},
		Quarantine: &result.Quarantine{
			Status: result.Fail, Reason: "known # bug", Tracker: "https://bugs.example.com/17", Expires: time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC),
		},
	}, 0)
	run(t, f, "nordma", result.Outcome{Failure: result.Failure{Status: result.Skip, Message: "no RDMA card on host1"}}, -1)
	if unfinished {
		_, err := f.Start(result.Entry{Name: "killed.<i>" + hostile, Params: map[string]string{"mem": "128"}})
		check(t, err)
		return f.Dir()
	}
	check(t, f.Finish(result.Fail))
	return f.Dir()
}

// makeLargeRun makes a results folder with so many variants that pass.
func makeLargeRun(t testing.TB, variants int) string {
	t.Helper()
	f, err := result.Create(t.TempDir(), result.Run{Scenario: "large.star"}, func(err error) { t.Error(err) })
	check(t, err)
	var all sync.WaitGroup
	const workers = 16 // they wait for the disk
	for w := range workers {
		all.Go(func() {
			for i := w; i < variants; i += workers {
				run(t, f, fmt.Sprint("v", i), result.Outcome{Failure: result.Failure{Status: result.Pass}}, 30e6)
			}
		})
	}
	all.Wait()
	check(t, f.Finish(result.Pass))
	return f.Dir()
}

// run runs one variant, with a migration of a guest that changes so many bytes
// of its memory per second; with none if dirty is negative.
func run(t testing.TB, f *result.Folder, name string, o result.Outcome, dirty float64) {
	t.Helper()
	params := map[string]string{"mem": "128", "vms": "vm1", "name": name, "hostile": hostile}
	origins := map[string]string{"mem": "base.cfg:12", "vms": "base.cfg:15", "name": "tests.cfg:3", "hostile": "</script>.cfg:1"}
	v, err := f.Start(result.Entry{Name: name + ".Linux.JeOS", ShortName: name, Hosts: []string{"host1", "host2"}, Params: params, Origins: origins})
	check(t, err)
	log := slog.New(f.Handler()).With("variant", v.ID())
	log.Info("scenario begins", "step", "scenario")
	source, destination := log.With("host", "host1", "side", "source", "migration", 1), log.With("host", "host2", "side", "destination", "migration", 1)
	source.Info("prepare", "step", "prepare")
	destination.Info("prepare", "step", "prepare")
	source.Info("met", "barrier", "ports", "waited", time.Duration(0))
	destination.Info("met", "barrier", "ports", "waited", 1200*time.Millisecond)
	source.Info(hostile)
	if dirty >= 0 {
		check(t, v.Migration(moves(time.Now(), dirty)))
	}
	w, err := v.Artifact("dmesg of guest.txt")
	check(t, err)
	_, err = fmt.Fprintln(w, hostile)
	check(t, err)
	check(t, w.Close())
	w, err = v.VMFile("vm1", "host1", "console.log")
	check(t, err)
	check(t, w.Close())
	check(t, v.Finish(o))
}

// moves is the record of a migration of 128 MiB at 25 MB/s.
func moves(begun time.Time, dirty float64) result.Migration {
	const total, rate, step = 128 << 20, 25e6, 0.25
	var samples []result.Sample
	query := func(seconds, left, dirty float64, pass int, status string) map[string]any {
		return map[string]any{
			"status": status, "total-time": math.Round(seconds * 1000), "downtime": 40, "setup-time": 12,
			"ram": map[string]any{
				"total": total, "remaining": math.Round(left), "transferred": math.Round(seconds * rate), "mbps": rate * 8 / 1e6,
				"dirty-pages-rate": math.Round(dirty / 4096), "page-size": 4096, "dirty-sync-count": pass,
			},
		}
	}
	left, pass, seen, seconds := float64(total), 1, 0.0, 0.0
	for ; len(samples) < 500; seconds += step {
		samples = append(samples, result.Sample{Time: begun.Add(time.Duration(seconds * float64(time.Second))), Query: query(seconds, left, seen, pass, "active")})
		if left -= rate * step; left <= 0 {
			if pass++; pass > 6 || dirty == 0 {
				break
			}
			left, seen = 16e6, dirty*(1+0.1*float64(pass%2))
		}
	}
	samples[len(samples)-1].Query["total-time"] = 0 // as QEMU has it while it switches over
	moved := result.MovedVM{VM: "vm1", Status: "completed", Query: query(seconds+step, 0, seen, pass, "completed"), Samples: samples}
	if dirty > 0 {
		moved.Guest = minPause(begun, seconds+step)
		moved.Proof = &result.MemoryProof{Pages: 32768, Differ: 3, Runs: []string{"0x1000-0x3fff"}, Moved: 1382, Milliseconds: 1222}
		moved.Predictions = []result.Prediction{
			{From: result.FromMeasurement, Dirty: dirty, Rate: rate, Limited: true, Verdict: result.WronglyPredicted, Actual: 4000},
			{From: result.FromFirstPass, Converges: true, Milliseconds: 5000, Dirty: dirty, Rate: rate, Limited: true, Verdict: result.RightlyPredicted, Actual: 4000, Error: 1.25},
		}
	} else {
		moved.Proof = &result.MemoryProof{Skipped: "post-copy"}
	}
	return result.Migration{Number: 1, Source: "host1", Destination: "host2", Status: "completed", VMs: []result.MovedVM{moved}}
}

// minPause is how a guest felt such a move, that loses 60 ms of each second, and stamps
// its clock long after the move.
func minPause(begun time.Time, seconds float64) *result.GuestClock {
	g := &result.GuestClock{Moved: true, Downtime: 52, ClockStop: 41, LongestGap: 60, Silence: 62}
	const span = 0.05
	for i := range int(2 * seconds / span) {
		at := float64(i)*span - 1
		gap := result.ClockGap{Time: begun.Add(time.Duration(at * float64(time.Second))), Gap: int64(i % 3), Silence: 12}
		switch {
		case i%20 == 10:
			gap.Gap, gap.Silence = 60, 70
			if at > 0 && at < seconds {
				g.Brownout += gap.Gap
			}
		case at <= seconds && at+span > seconds:
			gap.Gap, gap.Silence = 11, 62
		}
		g.Gaps = append(g.Gaps, gap)
	}
	return g
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
