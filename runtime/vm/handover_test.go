// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/qemu"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// What a QEMU's schema lacks is a SKIP; a QEMU that does not say what it has is none.
func TestCheckMode(t *testing.T) {
	t.Parallel()
	hosts, _ := bedtest.LocalHosts(t, 1)
	const schema = `{"return": [{"name": "query-qmp-schema"}, {"name": "17", "values": ["normal", "cpr-reboot"MORE], "meta-type": "enum"}]}`
	for _, tt := range []struct {
		name, mode, answer, want string
		status                   result.Status
	}{
		{name: "has it", mode: vm.TransferMode, answer: strings.Replace(schema, "MORE", `, "cpr-transfer", "cpr-exec"`, 1)},
		{name: "lacks it", mode: vm.TransferMode, answer: strings.Replace(schema, "MORE", "", 1), want: "has no value cpr-transfer: QEMU 10.0 or later has it", status: result.Skip},
		{name: "lacks the newer one", mode: vm.ExecMode, answer: strings.Replace(schema, "MORE", `, "cpr-transfer"`, 1), want: "has no value cpr-exec: QEMU 10.2 or later has it", status: result.Skip},
		{name: "says nothing", mode: vm.ExecMode, want: "does not answer query-qmp-schema: cannot start", status: result.Error},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), "qemu")
			script := "#!/bin/sh\necho 'cannot start' >&2\ncat >/dev/null\necho '" + tt.answer + "'\n"
			if err := os.WriteFile(binary, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			err := new(vm.Cache).CheckMode(t.Context(), hosts[0], qemu.Program{Binary: binary}, tt.mode)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || result.StatusOf(err) != tt.status):
				t.Errorf("got %v: %v, want %v with %q", result.StatusOf(err), err, tt.status, tt.want)
			}
		})
	}
}
