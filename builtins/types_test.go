// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/builtins"
)

// TestWordsOfQEMU: a misspelt status or event is an error, not a wait until the
// timeout.
func TestWordsOfQEMU(t *testing.T) {
	t.Parallel()
	tests := []struct {
		typ         builtins.Type
		word, fault string // "": it is fine
	}{
		{builtins.MigrationStatus, "active", ""},
		{builtins.MigrationStatus, "pre-switchover", ""},
		{builtins.MigrationStatus, "actve", `no status "actve"; did you mean "active"?`},
		{builtins.MigrationStatus, "Completed", `no status "Completed"; did you mean "completed"?`},
		{builtins.MigrationStatus, "canceled", `no status "canceled"; did you mean "cancelled"?`},
		{builtins.MigrationStatus, "finished", `no status "finished", only none, setup, `},
		{builtins.EventName, "STOP", ""},
		{builtins.EventName, "SPICE_MIGRATE_COMPLETED", ""},
		{builtins.EventName, "STPO", `no event "STPO"; did you mean "STOP"?`},
		{builtins.EventName, "resume", `no event "resume"; did you mean "RESUME"?`},
	}
	for _, tt := range tests {
		got, err := tt.typ.Unpack(nil, starlark.String(tt.word))
		switch {
		case tt.fault == "" && (err != nil || got != tt.word):
			t.Errorf("%s: got %v, %v", tt.word, got, err)
		case tt.fault != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.fault)):
			t.Errorf("%s: got %v, want %s", tt.word, err, tt.fault)
		}
	}
}
