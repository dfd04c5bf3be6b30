// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"testing"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// QEMU's enum is whole, and each status is judged: one that is not known neither
// ends a migration nor is post-copy.
func TestMigrationStatus(t *testing.T) {
	t.Parallel()
	terminal := map[qmp.MigrationStatus]bool{"completed": true, "failed": true, "cancelled": true}
	postcopy := map[qmp.MigrationStatus]bool{
		"postcopy-device": true, "postcopy-active": true, "postcopy-paused": true, "postcopy-recover-setup": true, "postcopy-recover": true,
	}
	if len(qmp.MigrationStatuses) != 17 {
		t.Errorf("got %d statuses, want QEMU's 17", len(qmp.MigrationStatuses))
	}
	seen := map[qmp.MigrationStatus]bool{}
	for _, s := range append(qmp.MigrationStatuses, "postcopy-of-the-future") {
		if seen[s] {
			t.Errorf("%s: twice", s)
		}
		seen[s] = true
		if s.Terminal() != terminal[s] || s.Postcopy() != postcopy[s] || s.Known() != (s != "postcopy-of-the-future") || s.Begun() != (s != "none") {
			t.Errorf("%s: got terminal %t, postcopy %t, known %t, begun %t", s, s.Terminal(), s.Postcopy(), s.Known(), s.Begun())
		}
	}
	if none := qmp.MigrationStatus(""); none.Begun() || none.Terminal() || !none.Known() {
		t.Error("no status: want that nothing has begun")
	}
	if got := (qmp.Event{Name: "MIGRATION", Data: map[string]any{"status": "setup"}}).MigrationStatus(); got != qmp.MigrationSetup {
		t.Errorf("event: got %q, want setup", got)
	}
	if got := (qmp.Event{Name: "JOB_STATUS_CHANGE", Data: map[string]any{"status": "running"}}).MigrationStatus(); got != "" {
		t.Errorf("another event: got %q, want none", got)
	}
}
