// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"testing"

	"github.com/mhmig/mhmig/lang/api"
)

func TestNearestParam(t *testing.T) {
	t.Parallel()
	own := []string{"moves", "disk_1"}
	tests := []struct{ key, want string }{
		{"mme", "mem"},
		{"mme_vm1", "mem_vm1"},
		{"login_timeuot", "login_timeout"},
		{"login_timeuot_vm1_host2", "login_timeout_vm1_host2"},
		{"mvoes", "moves"},
		// Known ones, with objects too.
		{"mem", ""},
		{"mem_vm1_host2", ""},
		{"moves", ""},
		{"sound_devices", ""}, // of virt-test, not supported
		// Others of the user's.
		{"disk_2", ""},
		{"frobnicate", ""},
		{"vm_count", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got := api.NearestParam(tt.key, own); got != tt.want {
			t.Errorf("NearestParam(%q) = %q, want %q", tt.key, got, tt.want)
		}
	}
}
