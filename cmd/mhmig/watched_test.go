// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/result"
)

// TestWatchedMigration follows a real migration to all who are to see it: the bar
// on the terminal, the timeline of both sides, the guest's own figures, and the
// evidence of a failure that no migration has had.
func TestWatchedMigration(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.needGuest()
	w.write("move.star", `
def migration_scenario(env):
    migrate_wait(["vm1"], env.hosts[0], env.hosts[1])
    fail("lost its way")
`)
	cmd := w.command("exec", "move.star", "--param", "vms=vm1", "--param", "accel=tcg", "--param", "mig_speed=40M")
	cmd.Env = append(cmd.Env, "TERM=xterm")
	text := movement.ReplaceAllString(escape.ReplaceAllString(runInTerminal(t, cmd, 100), ""), "")
	for _, want := range []string{"host1 migrate  →  host2 migrate", "vm1   █", "M left, ", "pass 1", "FAIL   001 "} {
		if !strings.Contains(text, want) {
			t.Errorf("the terminal does not show %q", want)
		}
	}
	_, outcomes, err := result.Load(filepath.Join(w.dir, "mhmig-results", "latest"))
	if err != nil || len(outcomes) != 1 {
		t.Fatalf("got %d outcomes, %v:\n%s", len(outcomes), err, text)
	}
	o := outcomes[0]
	for _, want := range []string{"host2 vm1", "last QMP:", " > {", "guest console:"} {
		if !strings.Contains(o.Evidence, want) {
			t.Errorf("the evidence has no %q:\n%s", want, o.Evidence)
		}
	}
	if want := `fail("lost its way")`; strings.TrimSpace(o.Source) != want {
		t.Errorf("the scenario's line: got %q, want %q", o.Source, want)
	}
	dir := filepath.Join(w.dir, "mhmig-results", "latest", o.ID)
	data, err := os.ReadFile(filepath.Join(dir, result.TimelineFile))
	if err != nil {
		t.Fatal(err)
	}
	var timeline result.Timeline
	if err := json.Unmarshal(data, &timeline); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range timeline {
		seen[strings.Join(strings.Fields(string(s.Kind)+" "+s.Side+" "+s.Name), " ")] = true
		if s.End.Before(s.Start) {
			t.Errorf("it ends before it begins: %+v", s)
		}
	}
	for _, want := range []string{
		"step source migrate", "step destination migrate", "barrier source mig_finished", "barrier destination mig_finished", "step scenario", "step clean_up",
	} {
		if !seen[want] {
			t.Errorf("the timeline has no %q: %s", want, data)
		}
	}
	migrations, err := result.Migrations(dir)
	if err != nil || len(migrations) != 1 || len(migrations[0].VMs) != 1 {
		t.Fatalf("migrations: got %+v, %v", migrations, err)
	}
	vm := migrations[0].VMs[0]
	sent := slices.ContainsFunc(vm.Samples, func(s result.Sample) bool { return s.Progress().Rate > 0 })
	if len(vm.Samples) < 3 || !sent || vm.Guest == nil || !vm.Guest.Moved {
		t.Errorf("figures: got %d samples, a rate in one of them: %t, and the guest's %+v", len(vm.Samples), sent, vm.Guest)
	}
	w.wantNothingLeft()
}
