// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/vm"
)

// restorable is the params of a VM whose guest can be restored from a saved state.
func restorable(more cartesian.Params) cartesian.Params {
	params := cartesian.Params{
		"name": "variant", "mem": "128", "kernel": "jeos:kernel", "initrd": "jeos:initrd", "kernel_params": jeos.KernelParams,
		"guest_clock": "yes", "nics": "nic1", "serials": "serial0", "images": "image1", "create_image": "yes", "image_size": "64M",
	}
	maps.Copy(params, more)
	return params
}

// installed is the params of a VM with an installed guest that can be restored.
func installed(more cartesian.Params) cartesian.Params {
	params := restorable(cartesian.Params{
		"kernel": "", "initrd": "", "kernel_params": "", "guest_clock": "no", "create_image": "no", "image_size": "", "image_name": "images/debian12",
	})
	maps.Copy(params, more)
	return params
}

func identify(t *testing.T, name string, params cartesian.Params, shape vm.Shape, launch vm.Launch) (string, error) {
	t.Helper()
	config, err := vm.ParseConfig(name, params.Object("host1").Object(name))
	if err != nil {
		t.Fatal(err)
	}
	return vm.Identity(config, shape, launch)
}

// What a guest can see is in its identity, and nothing else is.
func TestIdentity(t *testing.T) {
	t.Parallel()
	base, err := identify(t, "vm1", restorable(nil), shape, vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	other := shape
	other.MemoryKiB -= 8
	older := shape
	older.Machine = "pc-i440fx-5.2"
	model := shape
	model.CPU += ",+avx"
	tests := []struct {
		name    string
		vm      string
		params  cartesian.Params
		shape   vm.Shape
		launch  vm.Launch
		differs bool
	}{
		{"another variant", "vm1", cartesian.Params{"name": "other"}, shape, vm.Launch{}, false},
		{"another path of the kernel", "vm1", cartesian.Params{"kernel": "/cache/vmlinux", "initrd": "/cache/initrd"}, shape, vm.Launch{}, false},
		{"a state to restore", "vm1", nil, shape, vm.Launch{Restore: "/states/x"}, false},
		{"another VM", "vm2", nil, shape, vm.Launch{}, true},
		{"memory", "vm1", nil, other, vm.Launch{}, true},
		{"machine type", "vm1", nil, older, vm.Launch{}, true},
		{"CPU", "vm1", nil, model, vm.Launch{}, true},
		{"number of CPUs", "vm1", cartesian.Params{"smp": "2"}, shape, vm.Launch{}, true},
		{"a disk more", "vm1", cartesian.Params{"images": "image1 stg"}, shape, vm.Launch{}, true},
		{"no disk", "vm1", cartesian.Params{"images": ""}, shape, vm.Launch{}, true},
		{"a disk's size", "vm1", cartesian.Params{"image_size": "65M"}, shape, vm.Launch{}, true},
		{"a disk's bus", "vm1", cartesian.Params{"drive_format": "scsi"}, shape, vm.Launch{}, true},
		{"a NIC more", "vm1", cartesian.Params{"nics": "nic1 nic2"}, shape, vm.Launch{}, true},
		{"a NIC's model", "vm1", cartesian.Params{"nic_model": "e1000"}, shape, vm.Launch{}, true},
		{"a NIC's address", "vm1", cartesian.Params{"mac": "52:54:00:00:00:01"}, shape, vm.Launch{}, true},
		{"a serial port more", "vm1", cartesian.Params{"serials": "serial0 serial1"}, shape, vm.Launch{}, true},
		{"the host's name", "vm1", cartesian.Params{"kernel_params": jeos.KernelParams + " mhmig.hostname=one"}, shape, vm.Launch{}, true},
		{"RAM in a file", "vm1", nil, shape, vm.Launch{SharedMemory: true}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := identify(t, tt.vm, restorable(tt.params), tt.shape, tt.launch)
			if err != nil {
				t.Fatal(err)
			}
			if differs := got != base; differs != tt.differs {
				t.Errorf("another identity: got %v, want %v; it is\n%s", differs, tt.differs, got)
			}
		})
	}
}

// A guest that mhmig cannot restore as if it had booted has no identity.
func TestIdentityRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		params cartesian.Params
		want   string
	}{
		{cartesian.Params{"kernel_params": "console=ttyS0"}, "its guest is neither JeOS nor installed on a disk"},
		{cartesian.Params{"kernel": "", "initrd": "", "kernel_params": ""}, "its guest is neither JeOS nor installed on a disk"},
		{cartesian.Params{"kernel_params": jeos.KernelParams + " panic=1"}, "kernel_params has more than JeOS knows: panic=1"},
		{cartesian.Params{"extra_params": "-device pvpanic"}, "extra_params: mhmig does not know what they add"},
		{cartesian.Params{"guest_clock": "no"}, "guest_clock = no"},
		{cartesian.Params{"nics": ""}, "it has no NIC"},
		{cartesian.Params{"cdroms": "cd1"}, "CD-ROM drive cd1"},
		{cartesian.Params{"floppies": "fl"}, "it has a floppy drive"},
		{cartesian.Params{"image_overlay": "no", "image_name": "images/data"}, "disk image1 is written to without an overlay"},
		{installed(cartesian.Params{"image_overlay": "no"}), "disk image1 is written to without an overlay"},
		{installed(cartesian.Params{"image_raw_device": "yes", "image_name": "/dev/vg/debian"}), "disk image1 is on a device"},
		{installed(cartesian.Params{"nic_mode": "tap", "netdst": "br0"}), "NIC nic1: a network gives the guest an address for a while only"},
		{installed(cartesian.Params{"nics": ""}), "it has no NIC"},
	}
	for _, tt := range tests {
		if got, err := identify(t, "vm1", restorable(tt.params), shape, vm.Launch{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %q, %v, want an error with %q", tt.params, got, err, tt.want)
		}
	}
}

// An installed guest can be restored with its disks, JeOS with blank ones without.
func TestKeepsDisks(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		params cartesian.Params
		want   bool
	}{
		{"JeOS", restorable(nil), false},
		{"JeOS without disks", restorable(cartesian.Params{"images": ""}), false},
		{"JeOS with an image", restorable(cartesian.Params{"create_image": "no", "image_name": "images/data"}), true},
		{"installed", installed(nil), true},
		{"installed, with a blank disk", installed(cartesian.Params{"images": "image1 stg", "create_image_stg": "yes", "image_size_stg": "1G"}), true},
		{"mhmig's Debian", installed(cartesian.Params{"kernel": "debian:kernel", "initrd": "debian:initrd", "image_name": "debian:disk"}), true},
	}
	for _, tt := range tests {
		if _, err := identify(t, "vm1", tt.params, shape, vm.Launch{}); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		config, err := vm.ParseConfig("vm1", tt.params)
		if err != nil {
			t.Fatal(err)
		}
		if got := config.HasInstalledDisk(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
