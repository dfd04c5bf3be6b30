// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"errors"
	"testing"

	"github.com/mhmig/mhmig/runtime/vm"
)

func TestExitError(t *testing.T) {
	tests := []struct {
		name string
		exit vm.ExitError
		want string
	}{
		{"a status", vm.ExitError{Status: 1, Log: []string{"first", "second"}, CommandLine: "/run/vm1.sh"}, "QEMU of vm1 on host2 ended with status 1; log: first | second; command line: /run/vm1.sh"},
		{"a signal", vm.ExitError{Status: 139}, "QEMU of vm1 on host2 ended by signal 11 (segmentation fault)"},
		{"alive", vm.ExitError{Status: vm.StillRuns}, "QEMU of vm1 on host2 still runs, but its monitor is closed"},
		{"unknown", vm.ExitError{Status: vm.StatusUnknown}, "QEMU of vm1 on host2 ended with an unknown status"},
		{"out of reach", vm.ExitError{Status: vm.Unreachable, Cause: errors.New("host2 is lost")}, "QEMU of vm1 on host2 is unreachable and may still run: host2 is lost"},
		{
			"a port is taken",
			vm.ExitError{Status: 1, Log: []string{"Could not set up host forwarding rule 'tcp:127.0.0.1:8443-:443'"}},
			"QEMU of vm1 on host2 ended with status 1; log: Could not set up host forwarding rule 'tcp:127.0.0.1:8443-:443'; port 8443 of host2, forwarded to the guest's port 443, is in use: set another host_port_… or none",
		},
		{
			"a sanitizer",
			vm.ExitError{Status: 0, Sanitizer: []string{"==7==ERROR: AddressSanitizer: heap-use-after-free"}, Log: []string{"SUMMARY"}},
			"QEMU of vm1 on host2 ended with status 0; sanitizer: ==7==ERROR: AddressSanitizer: heap-use-after-free; log: SUMMARY",
		},
		{
			"an image below is in use",
			vm.ExitError{Status: 1, Log: []string{`Could not open backing file: Failed to get shared "write" lock`}},
			`QEMU of vm1 on host2 ended with status 1; log: Could not open backing file: Failed to get shared "write" lock; another QEMU has the image open: does a VM of an earlier run still exist? (mhmig cleanup)`,
		},
		{
			"an image is in use",
			vm.ExitError{Status: 1, Log: []string{`Failed to get "write" lock`}},
			`QEMU of vm1 on host2 ended with status 1; log: Failed to get "write" lock; another QEMU has the image open: does a VM of an earlier run still exist? (mhmig cleanup)`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.exit.VM, tt.exit.Host = "vm1", "host2"
			if got := tt.exit.Error(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestLostPeer: only the log of a destination that has failed says whether the other
// side failed first.
func TestLostPeer(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]bool{
		"qemu-system-x86_64: load of migration failed: Input/output error":            true,
		"qemu-system-x86_64: Unable to read from socket: Connection reset by peer":    true,
		"qemu-system-x86_64: load of migration failed: Invalid argument":              false,
		`qemu-system-x86_64: Unknown savevm section or instance "0000:00:03.0/e1000"`: false,
		"": false,
	} {
		e := &vm.ExitError{Status: 1, Log: []string{"first words", words}}
		if got := e.LostPeer(); got != want {
			t.Errorf("%q: got %v, want %v", words, got, want)
		}
	}
}
