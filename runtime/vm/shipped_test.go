// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/vm"
)

func TestShippedFile(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"jeos:kernel": "jeos-kernel", "debian:disk": "debian-disk",
		"jeos": "", "debian": "", "": "", "images/debian12-64": "", "/boot/vmlinuz": "", "fedora:kernel": "",
	} {
		file, ok := vm.ShippedFile(value)
		if file != want || ok != (want != "") {
			t.Errorf("ShippedFile(%q): got %q, %v, want %q", value, file, ok, want)
		}
		if guest, _, _ := strings.Cut(want, "-"); vm.ShippedGuest(value) != guest {
			t.Errorf("ShippedGuest(%q): got %q, want %q", value, vm.ShippedGuest(value), guest)
		}
	}
}

// The disk of mhmig's own guest is never written to, and no file of the user's.
func TestShippedDisk(t *testing.T) {
	t.Parallel()
	params := cartesian.Params{"images": "image1", "image_name": "debian:disk", "kernel": "debian:kernel", "initrd": "debian:initrd"}
	c, err := vm.ParseConfig("vm1", params)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Prerequisites("/images")
	if err != nil || len(p.Files) > 0 || !slices.Equal(p.Shipped, []string{"debian"}) {
		t.Errorf("got %+v, %v, want no files, and debian once", p, err)
	}
	for _, more := range []cartesian.Params{
		{"image_overlay": "no"},
		{"image_format": "raw"},
		{"create_image": "yes", "image_size": "1G"},
		{"force_create_image": "yes", "image_size": "1G"},
		{"image_raw_device": "yes"},
	} {
		maps.Copy(more, cartesian.Params{"images": "image1", "image_name": "debian:disk"})
		if _, err := vm.ParseConfig("vm1", more); err == nil || !strings.Contains(err.Error(), "vm1: image1: param image_name: debian:disk is a qcow2 image that all guests share") {
			t.Errorf("%v: got %v, want that the image is shared", more, err)
		}
	}
}
