// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"testing"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
)

// The destination's QEMU is that of all hosts but the first, unless a host has its own.
func TestOnHost(t *testing.T) {
	t.Parallel()
	params := cartesian.Params{
		"qemu_binary": "old", "qemu_dst_binary": "new", "qemu_dst_binary_vm2": "newer", "qemu_binary_host3": "own", "qemu_binary_vm3_host2": "its",
	}
	for _, tt := range []struct{ label, vm, want string }{
		{"host1", "vm1", "old"},
		{"host2", "vm1", "new"},
		{"host2", "vm2", "newer"},
		{"host3", "vm1", "own"},
		{"host3", "vm2", "own"},
		{"host2", "vm3", "its"},
	} {
		if got := api.OnHost(params, tt.label, tt.vm)["qemu_binary"]; got != tt.want {
			t.Errorf("%s on %s: got %q, want %q", tt.vm, tt.label, got, tt.want)
		}
	}
	with := cartesian.Params{"qemu_binary": "/old", "qemu_loader": "/ld", "qemu_data": "/data", "qemu_data_host2": "/newdata", "qemu_dst_binary": "new"}
	if got := api.OnHost(with, "host2", "vm1"); got["qemu_loader"] != "" || got["qemu_data"] != "/newdata" {
		t.Errorf("the files of the other QEMU: got %v", got)
	}
	if got := api.OnHost(with, "host1", "vm1"); got["qemu_loader"] != "/ld" || got["qemu_data"] != "/data" {
		t.Errorf("on host1: got %v", got)
	}
	versions := cartesian.Params{
		"qemu_version": "10.0", "qemu_binary": "old", "qemu_binary_host2": "/new", "qemu_binary_vm2": "/its", "qemu_version_host3": "11.1", "qemu_binary_host4": "",
		"qemu_loader": "/ld", "qemu_versions_dir": "/all", "qemu_versions_dir_vm1": "/none",
	}
	for _, tt := range []struct{ label, vm, binary, version string }{
		{"host1", "vm1", "", "10.0"},
		{"host2", "vm1", "/new", ""},
		{"host1", "vm2", "/its", ""},
		{"host2", "vm2", "/its", ""},
		{"host3", "vm1", "", "11.1"},
		{"host3", "vm2", "", "11.1"},
		{"host4", "vm1", "", "10.0"},
	} {
		got := api.OnHost(versions, tt.label, tt.vm)
		if got["qemu_version"] != tt.version || tt.binary != "" && got["qemu_binary"] != tt.binary || got["qemu_versions_dir"] != "/all" {
			t.Errorf("%s on %s: got qemu_version %q, qemu_binary %q of %q, want %q and %q", tt.vm, tt.label, got["qemu_version"], got["qemu_binary"], got["qemu_versions_dir"], tt.version, tt.binary)
		}
		if err := api.CheckQEMU(versions, tt.label, tt.vm); err != nil {
			t.Errorf("%s on %s: %v", tt.vm, tt.label, err)
		}
	}
	if got := api.OnHost(cartesian.Params{"qemu_binary": "old"}, "host2")["qemu_binary"]; got != "old" {
		t.Errorf("without qemu_dst_binary: got %q", got)
	}
	if params["qemu_binary"] != "old" {
		t.Error("the params were changed")
	}
}
