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

// makeSquare makes a results folder of moves between versions.
func makeSquare(t *testing.T) string {
	t.Helper()
	f, err := result.Create(t.TempDir(), result.Run{Scenario: "versions.cfg", Hosts: []string{"a", "b", "c"}}, func(err error) { t.Error(err) })
	check(t, err)
	for _, v := range []struct {
		machine, source, destination, third string
		outcome                             result.Outcome
	}{
		{"pc", "7.2", "7.2", "", result.Outcome{Failure: result.Failure{Status: result.Pass}}},
		{"pc", "10.0", "7.2", "", result.Outcome{Failure: result.Failure{Status: result.Fail, Message: "Unknown savevm section " + hostile}}},
		{"pc", "10.0", "7.2", "", result.Outcome{Failure: result.Failure{Status: result.Pass}}},
		{"pc", "5.2", "7.2", "", result.Outcome{Failure: result.Failure{Status: result.Pass}, Machines: []result.Machine{
			{VM: "vm1", Type: "pc-i440fx-5.2", QEMU: map[string]string{"a": "5.2.0", "b": "7.2.22"}, Deprecated: []string{"b"}},
		}}},
		{"q35", "", "10.0", "11.1", result.Outcome{Failure: result.Failure{Status: result.Skip, Message: "no QEMU 11.1"}}},
	} {
		params := map[string]string{
			"machine_type": v.machine, "qemu_binary": "/usr/bin/qemu-system-x86_64",
			"qemu_version_host1": v.source, "qemu_version_host2": v.destination, "qemu_version_host3": v.third,
		}
		hosts := []string{"a", "b", "c"}
		if v.third == "" {
			hosts = hosts[:2]
		}
		variant, err := f.Start(result.Entry{Name: v.machine + ".Linux", ShortName: v.machine, Hosts: hosts, Params: params})
		check(t, err)
		check(t, variant.Finish(v.outcome))
	}
	check(t, f.Finish(result.Fail))
	return f.Dir()
}

// The table has each pair of versions once, with the worst status, and lines that say why.
func TestSquare(t *testing.T) {
	t.Parallel()
	dir := makeSquare(t)
	var b strings.Builder
	if err := report.Square(&b, dir); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(b.String(), "\n")
	for i, line := range got {
		if before, _, found := strings.Cut(line, "Unknown savevm section"); found {
			got[i] = before + "…"
		}
	}
	want := []string{
		"machine_type pc: from the QEMU on the left to the one above", "",
		"        7.2",
		"  5.2   PASS*",
		"  7.2   PASS",
		"  10.0  FAIL", "",
		"  10.0 -> 7.2  002-pc: …",
		"  * deprecated by QEMU 7.2.22: pc-i440fx-5.2", "",
		"machine_type q35: from the QEMU on the left to the one above", "",
		"                      10.0, 11.1",
		"  qemu-system-x86_64  SKIP", "",
		"  qemu-system-x86_64 -> 10.0, 11.1  005-q35: no QEMU 11.1", "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var page strings.Builder
	if err := report.HTML(&page, dir); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`<tr><th>5.2</th><td><span class="status PASS" title="pc-i440fx-5.2">PASS*</span></td></tr>`,
		`<th>qemu-system-x86_64</th><td><span class="status SKIP" title="005-q35: no QEMU 11.1">SKIP</span></td>`,
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

// ofBinaries makes a results folder of moves from host a, whose QEMU is that of a folder of
// its own, to host b with another one.
func ofBinaries(t *testing.T, moves ...move) string {
	t.Helper()
	f, err := result.Create(t.TempDir(), result.Run{Hosts: []string{"a", "b"}}, func(err error) { t.Error(err) })
	check(t, err)
	for _, m := range moves {
		params := map[string]string{"machine_type": "pc", "qemu_binary_host1": "/opt/" + m.from + "/bin/qemu-system-x86_64", "qemu_dst_binary": "/opt/" + m.to + "/bin/qemu-system-x86_64"}
		variant, err := f.Start(result.Entry{Name: "pc", ShortName: "pc", Hosts: []string{"a", "b"}, Params: params})
		check(t, err)
		o := result.Outcome{Failure: result.Failure{Status: result.Skip, Message: "it lacks something"}}
		if m.source != "" {
			o = result.Outcome{Failure: result.Failure{Status: result.Pass}, Machines: []result.Machine{{VM: "vm1", Type: "pc-i440fx-7.2", QEMU: map[string]string{"a": m.source, "b": m.destination}}}}
		}
		check(t, variant.Finish(o))
	}
	check(t, f.Finish(result.Pass))
	return f.Dir()
}

// move is one from the QEMU of a folder to that of another one, and their versions; none:
// it was skipped before they were known.
type move struct{ from, to, source, destination string }

// Where the params have programs in place of versions, the versions are those that the
// hosts had.
func TestSquareOfBinaries(t *testing.T) {
	t.Parallel()
	dir := ofBinaries(t, move{"7.2", "10", "7.2.22", "10.0.13"}, move{"10", "7.2", "10.0.13", "7.2.22"}, move{"7.2", "10", "", ""}, move{"7.2", "11", "", ""})
	var b strings.Builder
	if err := report.Square(&b, dir); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"machine_type pc: from the QEMU on the left to the one above", "",
		"           /opt/11/bin/qemu-system-x86_64  7.2.22  10.0.13",
		"  7.2.22   SKIP                            -       SKIP",
		"  10.0.13  -                               PASS    -", "",
		"  7.2.22 -> /opt/11/bin/qemu-system-x86_64  004-pc: it lacks something",
		"  7.2.22 -> 10.0.13  003-pc: it lacks something", "",
	}
	if diff := cmp.Diff(want, strings.Split(b.String(), "\n")); diff != "" {
		t.Error(diff)
	}
	if err := report.Square(&b, ofBinaries(t, move{"7.2", "other", "7.2.22", "7.2.22"})); !errors.Is(err, report.ErrNoVersions) {
		t.Errorf("one version in two folders: got %v, want %v", err, report.ErrNoVersions)
	}
}

// A run that is not about versions has no such table.
func TestNoSquare(t *testing.T) {
	t.Parallel()
	dir := makeRun(t, false)
	if err := report.Square(&strings.Builder{}, dir); !errors.Is(err, report.ErrNoVersions) {
		t.Errorf("got %v, want %v", err, report.ErrNoVersions)
	}
	var page strings.Builder
	if err := report.HTML(&page, dir); err != nil || strings.Contains(page.String(), `id="squares"`) {
		t.Errorf("the page has the table, or %v", err)
	}
}
