// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"maps"
	"testing"
	"testing/synctest"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// What the VMs have that no migration can move is an error before anything is started.
func TestNewChecksVMs(t *testing.T) {
	t.Parallel()
	disks := func(more cartesian.Params) cartesian.Params {
		all := scriptedDisks()
		maps.Copy(all, more)
		return all
	}
	for _, tt := range []struct {
		name    string
		params  cartesian.Params
		oneHost bool
		want    string // "": no error
	}{
		{name: "no disks, of hosts that share none", params: cartesian.Params{"images_shared": "no"}},
		{name: "disks, of hosts that share none", params: disks(cartesian.Params{"images_shared": "no"}), want: "param mig_storage: the hosts share no images (images_shared = no): want nbd"},
		{name: "disks of another VM, of hosts that share none", params: disks(cartesian.Params{"images_shared": "no", "images_vm1": ""})},
		{name: "disks, from a host to itself", params: disks(cartesian.Params{"images_shared": "no"}), oneHost: true},
		{name: "no disks that move", params: cartesian.Params{"mig_storage": "nbd"}, want: `param mig_storage: got "nbd", want none, where no VM has a disk`},
		{name: "disks of another VM that move", params: disks(cartesian.Params{"mig_storage": "nbd", "images_vm1": ""})},
		{name: "no disks with bitmaps", params: cartesian.Params{"mig_dirty_bitmaps": "yes"}, want: "param mig_dirty_bitmaps: dirty-bitmaps needs a disk, and no VM has one"},
		{name: "a disk that has one place", params: disks(cartesian.Params{"mig_storage": "nbd", "image_overlay_image2_vm1": "no", "image_name_image2": "x"}), want: "vm1: image2: param image_overlay: no, so that the disk is image_name itself"},
		{name: "a floppy disk, of hosts that share none", params: cartesian.Params{"images_shared": "no", "floppies": "fl", "floppy_name": "x.img"}, want: "vm1: fl: param floppy_name: the hosts share no images (images_shared = no)"},
		{name: "a floppy disk, from a host to itself", params: cartesian.Params{"images_shared": "no", "floppies": "fl", "floppy_name": "x.img"}, oneHost: true},
		{name: "an empty drive, of hosts that share none", params: cartesian.Params{"images_shared": "no", "floppies": "fl"}},
		{name: "no UUID", params: cartesian.Params{"mig_validate_uuid": "yes"}, want: "vm1: param uuid: missing"},
		{name: "a UUID that no param has", params: cartesian.Params{"mig_validate_uuid": "yes", "extra_params": "-uuid " + vmUUID}},
		{name: "another VM without a UUID", params: cartesian.Params{"mig_validate_uuid": "yes", "uuid_vm1": vmUUID}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bed := bedtest.NewScriptedBed(t, 2, tt.params).Bed
			p := plan(bed)
			if tt.oneHost {
				p.Destination = p.Source
			}
			_, err := migration.New(bed.Bed, 1, p)
			if tt.want == "" && err != nil {
				t.Error(err)
			}
			if wrong := refused(err, tt.want); tt.want != "" && wrong != nil {
				t.Error(wrong)
			}
		})
	}
}

// A guest without disks moves between hosts that share none, and a disk that is plugged in
// there moves with it.
func TestWithoutSharedImages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed := bedtest.NewScriptedBed(t, 1, cartesian.Params{"images_shared": "no", "images_base_dir_host2": t.TempDir(), "qemu_img_binary": bedtest.ImageProgram})
		ctx, there := t.Context(), plan(bed.Bed)
		if _, _, err := bed.Ensure(ctx, "vm1", there.Source, bed.Params(), vm.Launch{}); err != nil {
			t.Fatal(err)
		}
		if err := runBoth(ctx, start(t, bed.Bed, there)); err != nil {
			t.Fatal(err)
		}
		if err := bed.PlugIn(ctx, bed.Current("vm1"), testbed.Plug{Name: "plugged", Size: 4 << 20}); err != nil {
			t.Fatal(err)
		}
		back := plan(bed.Bed)
		back.Source, back.Destination, back.Params = back.Destination, back.Source, and(bed.Params(), "mig_storage", "nbd")
		if err := runBoth(ctx, start(t, bed.Bed, back)); err != nil {
			t.Fatal(err)
		}
		if current := bed.Current("vm1"); current == nil || current.Host != there.Source {
			t.Errorf("the guest is in %v, want on host1", current)
		}
	})
}
