// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/vm"
)

func TestPrerequisites(t *testing.T) {
	t.Parallel()
	const base = "/images"
	tests := []struct {
		name   string
		params cartesian.Params
		want   vm.Prerequisites
	}{
		{"nothing", cartesian.Params{"images": ""}, vm.Prerequisites{}},
		{
			"an installed guest",
			cartesian.Params{"images": "a", "image_name": "rhel"},
			vm.Prerequisites{Files: []vm.File{{Param: "image_name of a", Path: "/images/rhel.qcow2"}}, MakesDisk: true, PageCache: true},
		},
		{
			"without an overlay",
			cartesian.Params{"images": "a", "image_name": "rhel", "image_overlay": "no", "drive_cache": "none"},
			vm.Prerequisites{Files: []vm.File{{Param: "image_name of a", Path: "/images/rhel.qcow2"}}},
		},
		{
			"a new image in its place",
			cartesian.Params{"images": "a", "image_name": "new", "image_overlay": "no", "create_image": "yes", "image_size": "1G", "drive_cache": "none"},
			vm.Prerequisites{NewImages: 1 << 30, MakesDisk: true},
		},
		{
			"a new image of the run",
			cartesian.Params{"images": "a", "create_image": "yes", "image_size": "1G", "drive_cache": "directsync"},
			vm.Prerequisites{NewImages: 1 << 30, MakesDisk: true},
		},
		{"JeOS", cartesian.Params{"images": "", "kernel": "jeos:kernel", "initrd": "jeos:initrd", "mem": "128"}, vm.Prerequisites{Shipped: []string{"jeos"}}},
		{
			"a kernel and a disc",
			cartesian.Params{"images": "", "kernel": "vmlinuz", "cdroms": "cd1", "cdrom_cd1": "/isos/x.iso"},
			vm.Prerequisites{Files: []vm.File{{Param: "cdrom_cd1", Path: "/isos/x.iso"}, {Param: "kernel", Path: "/images/vmlinuz"}}},
		},
		{"a tap", cartesian.Params{"images": "", "nics": "nic1", "nic_mode": "tap", "netdst": "br0"}, vm.Prerequisites{Bridges: []string{"br0"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := vm.ParseConfig("vm1", tt.params)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Prerequisites(base)
			if len(got.Files) == 0 {
				got.Files = nil
			}
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("error %v, want - got +\n%s", err, diff)
			}
		})
	}
}
