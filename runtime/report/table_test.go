// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/report"
	"github.com/mhmig/mhmig/runtime/result"
)

// makeMatrix makes a results folder of features over transports.
func makeMatrix(t *testing.T) string {
	t.Helper()
	f, err := result.Create(t.TempDir(), result.Run{Scenario: "matrix.cfg", Hosts: []string{"alpha", "beta", "gamma", "delta"}}, func(err error) { t.Error(err) })
	check(t, err)
	pass, lacks := result.Failure{Status: result.Pass}, result.Failure{Status: result.Skip, Message: "no zstd " + hostile}
	onB, onD := result.Failure{Status: result.Skip, Message: "vm1@beta: no qpl"}, result.Failure{Status: result.Skip, Message: "vm1@delta: no qpl"}
	for _, v := range []struct {
		feature, kind, transport string
		totalTime, downtime      float64
		idle                     string // why the feature had nothing to do
		outcome                  result.Outcome
	}{
		{"plain", "", "tcp", 1900, 48, "", result.Outcome{Failure: pass}},
		{"plain", "", "unix", 800, 12, "", result.Outcome{Failure: pass}},
		{"plain", "", "unix", 700, 21, "", result.Outcome{Failure: result.Failure{Status: result.Fail, Message: "memory differs\nat page 7"}}},
		{"multifd", "zstd", "tcp", 0, 0, "", result.Outcome{Failure: lacks}},
		{"multifd", "zstd", "unix", 0, 0, "", result.Outcome{Failure: lacks}},
		{"multifd", "qpl", "tcp", 0, 0, "", result.Outcome{Failure: onB}},
		{"multifd", "qpl", "unix", 0, 0, "", result.Outcome{Failure: onD}},
		{"xbzrle", "", "unix", 5000, 3, "no page was sent again", result.Outcome{Failure: pass}},
		{"", "", "unix", 1, 1, "", result.Outcome{Failure: pass}},
	} {
		params := map[string]string{"feature": v.feature, "kind": v.kind, "transport": v.transport}
		hosts := []string{"alpha", "beta"}
		if v.transport == "unix" {
			hosts = []string{"gamma", "delta"}
		}
		variant, err := f.Start(result.Entry{Name: v.feature, ShortName: v.feature, Hosts: hosts, Params: params})
		check(t, err)
		if v.totalTime > 0 {
			moved := result.MovedVM{VM: "vm1", Status: "completed", Query: map[string]any{"total-time": v.totalTime, "downtime": v.downtime}}
			if v.feature != "plain" {
				moved.Features = []result.FeatureUse{{Feature: v.feature, Used: v.idle == "", Seen: v.idle}}
			}
			if v.downtime == 12 {
				moved.Proof = &result.MemoryProof{Skipped: "both ends map it"}
			}
			check(t, variant.Migration(result.Migration{Number: 1, Source: hosts[0], Destination: hosts[1], Status: "completed", VMs: []result.MovedVM{moved}}))
		}
		check(t, variant.Finish(v.outcome))
	}
	check(t, f.Finish(result.Fail))
	return f.Dir()
}

// A cell has the worst status and the longest times of its variants, and why it is not a
// PASS that has used the feature.
func TestTable(t *testing.T) {
	t.Parallel()
	dir := makeMatrix(t)
	var b strings.Builder
	if err := report.Table([]string{"feature", "kind"}, []string{"transport"})(&b, dir); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(b.String(), "\n")
	for i, line := range got {
		if before, _, found := strings.Cut(line, "no zstd"); found {
			got[i] = before + "…"
			if strings.ContainsAny(line, "\x1b<") {
				t.Errorf("the line is not safe: %q", line)
			}
		}
	}
	want := []string{
		`| feature kind | tcp              | unix                  |`,
		`| ------------ | ---------------- | --------------------- |`,
		`| plain        | PASS 1.90 s, 48 ms | FAIL 0.80 s, 21 ms \[1\] \[2\] |`,
		`| multifd zstd | SKIP \[3\]       | SKIP \[3\]            |`,
		`| multifd qpl  | SKIP \[4\]       | SKIP \[4\]            |`,
		`| xbzrle       | -                | PASS 5.00 s, 3 ms \[5\] |`,
		``,
		`A cell has the status, and the longest total time and downtime that QEMU reports. -: not in this run.`,
		``,
		`1. the memory was not compared: both ends map it`,
		`2. memory differs`,
		`3. …`,
		"4. vm1@\u200bbeta: no qpl",
		`5. xbzrle had nothing to do: no page was sent again`,
		``,
	}
	if diff := cmp.Diff(squeezed(want), squeezed(got)); diff != "" {
		t.Error(diff)
	}
	if err := report.Table([]string{"feature"}, []string{"machine"})(&b, dir); !errors.Is(err, report.ErrNoTable) {
		t.Errorf("got %v, want %v", err, report.ErrNoTable)
	}
}

// squeezed are lines without the padding of a table.
func squeezed(lines []string) []string {
	var all []string
	for _, line := range lines {
		for strings.Contains(line, "  ") || strings.Contains(line, "--") {
			line = strings.NewReplacer("  ", " ", "--", "-").Replace(line)
		}
		all = append(all, line)
	}
	return all
}
