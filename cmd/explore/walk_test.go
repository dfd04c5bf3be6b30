// SPDX-License-Identifier: Apache-2.0

package explore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/builtins/scenariotest"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/explore"
	"github.com/mhmig/mhmig/stdlib"
)

// vocabulary is that of fake hosts, which are several machines without programs of their own.
func vocabulary(hosts int) *explore.Vocabulary {
	all := slices.Repeat([]explore.Abilities{{
		Capabilities: []string{"xbzrle", "auto-converge", "postcopy-ram", "postcopy-preempt", "multifd"}, Parameters: []string{"tls-creds"},
		Userfaultfd: true, Firewall: true,
	}}, hosts)
	for i := range all {
		all[i].Machine = fmt.Sprint(i)
	}
	return explore.NewVocabulary(all)
}

// without are the steps of a walk whose statements do not match.
func without(statements string, hosts int, steps []explore.Step) []explore.Step {
	texts := explore.Text(hosts, steps)
	var kept []explore.Step
	for i, s := range steps {
		if !regexp.MustCompile(statements).MatchString(texts[i]) {
			kept = append(kept, s)
		}
	}
	return kept
}

// notFaked are steps that fake hosts cannot do: their guests do not see cards that are
// plugged, and they have no processes of QEMU.
const notFaked = `^plug_nic|"freeze"`

// onFakes runs scenarios on fake hosts, each with what its test plants before, and returns
// how the tests ended.
func onFakes(t *testing.T, walks map[string][]explore.Step, hosts int, body string) map[string]scenariotest.Result {
	t.Helper()
	dir := t.TempDir()
	var tests strings.Builder
	for name, steps := range walks {
		source := explore.Scenario(name, hosts, without(notFaked, hosts, steps))
		if err := os.WriteFile(filepath.Join(dir, name+".star"), source, 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&tests, "def test_%s(t):\n    walk = lambda: run(%q, hosts = %d, params = {\"vms\": \"vm1\"})\n%s\n", name, name+".star", hosts, body)
	}
	file := filepath.Join(dir, "walks"+scenariotest.Suffix)
	if err := os.WriteFile(file, []byte(tests.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	all := map[string]scenariotest.Result{}
	_, err := scenariotest.Run(t.Context(), []string{file}, scenariotest.Options{
		Libraries: library.Set{"std": stdlib.FS}, DefaultConfig: "@std//" + stdlib.DefaultConfig, Limits: star.DefaultLimits, Timeout: 5 * time.Minute,
	}, func(r scenariotest.Result) { all[strings.TrimPrefix(r.Name, "test_")] = r })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Walks that nothing is wrong with pass: what the model says is what happens, with the
// runtime of real runs on fake hosts.
func TestWalksPass(t *testing.T) {
	t.Parallel()
	seeds := 5
	if testing.Short() {
		seeds = 1
	}
	for _, hosts := range []int{2, 3} {
		walks := map[string][]explore.Step{}
		for seed := range seeds {
			walks[fmt.Sprintf("walk%d", seed)] = vocabulary(hosts).Walk(uint64(seed), 40)
		}
		for name, r := range onFakes(t, walks, hosts, "    r = walk()\n    expect.eq(r.status + r.message, \"PASS\")\n") {
			if r.Verdict != scenariotest.Passed {
				t.Errorf("%d hosts, %s: %s\n%s\n%s", hosts, name, r.Reason, r.Failure.Message, r.Failure.Backtrace)
			}
		}
	}
}

// Each invariant finds the fault that it is there to find.
func TestWalksFail(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, plant, message string }{
		{"a byte of memory", `fake.vm("vm1").memory_changed(migration = 2, percent = 50)`, "damaged pages"},
		{"a dead workload", `fake.vm("vm1").worker_dies(migration = 2, percent = 50)`, "memwork"},
		{"an unexpected reset", `fake.vm("vm1").reboots(migration = 2, percent = 50)`, "reset"},
		{"a lost page", `fake.vm("vm1").page_lost(migration = 2, percent = 50)`, "guest memory differs"},
		{"a pause", `fake.vm("vm1").pauses(time = 6)`, "pause"},
		{"a monitor that hangs", `fake.vm("vm1").hangs(migration = 2, percent = 50)`, "does not answer its monitor"},
		{"a QEMU that ends", `fake.vm("vm1").dies(migration = 2, percent = 50)`, "ended"},
	}
	steps := without(`^[^m]|params|hold|postcopy|meanwhile`, 2, vocabulary(2).Walk(1, 400)) // plain moves
	for _, test := range tests {
		body := fmt.Sprintf("    %s\n    r = walk()\n    expect.eq(r.status, \"FAIL\")\n    expect.contains(r.message, %q)\n", test.plant, test.message)
		for name, r := range onFakes(t, map[string][]explore.Step{"walk": steps}, 2, body) {
			if r.Verdict != scenariotest.Passed {
				t.Errorf("%s, %s: %s\n%s", test.name, name, r.Reason, r.Failure.Message)
			}
		}
	}
}

// A source that does not notice that the destination has ended is no failed migration, as
// one that notices is.
func TestWalkFailsByItself(t *testing.T) {
	t.Parallel()
	lost := without(`^[^l]|pre-switchover|walk, 1`, 2, vocabulary(2).Walk(1, 400))[:1]
	const unnoticed = `    fake.vm("vm1").reply("migrate", on = "source")
    fake.vm("vm1").event("MIGRATION", {"status": "active"}, time = 5)
`
	for plant, want := range map[string]string{"": "PASS", unnoticed: "FAIL the destination's QEMU has ended in the status active, and the migration did not fail before mig_timeout: "} {
		body := fmt.Sprintf("%s    r = walk()\n    expect.contains((r.status + \" \" + r.message).strip(), %q)\n", plant, want)
		for _, r := range onFakes(t, map[string][]explore.Step{"walk": lost}, 2, body) {
			if r.Verdict != scenariotest.Passed {
				t.Errorf("%s: %s\n%s", plant, r.Reason, r.Failure.Message)
			}
		}
	}
}
