// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/debian"
	"github.com/mhmig/mhmig/runtime/exit"
)

func TestOwnFiles(t *testing.T) {
	t.Parallel()
	own := &ownGuests{files: map[string]map[string]string{
		"jeos":   {"kernel": "/vmlinux", "bzimage": "/bzimage", "initrd": "/initrd.cpio"},
		"debian": {"kernel": "/vmlinuz", "initrd": "/initrd", "disk": "/disk.qcow2"},
	}}
	for value, want := range map[string]string{
		"jeos:kernel": "/vmlinux", "jeos:bzimage": "/bzimage", "jeos:initrd": "/initrd.cpio",
		"debian:kernel": "/vmlinuz", "debian:initrd": "/initrd", "debian:disk": "/disk.qcow2",
	} {
		if got, err := own.file(t.Context(), value); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", value, got, err, want)
		}
	}
	for value, want := range map[string]string{"jeos:vmlinuz": "only bzimage, initrd, kernel", "debian:": "only disk, initrd, kernel"} {
		if _, err := own.file(t.Context(), value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", value, err, want)
		}
	}
}

// A guest of mhmig's own that is not built is an error before anything is made; any other
// guest is not mhmig's business.
func TestOwnGuestNotBuilt(t *testing.T) {
	t.Setenv("MHMIG_CACHE", t.TempDir())
	var own ownGuests
	check := func(params cartesian.Params) error { return own.check(t.Context(), &cartesian.Variant{Params: params}) }
	if err := check(cartesian.Params{"vms": "vm1", "kernel": "debian:kernel"}); !errors.Is(err, debian.ErrNotBuilt) || exit.Of(err) != exit.Hosts {
		t.Errorf("debian:kernel: got %v, want that it is not built", err)
	}
	for _, params := range []cartesian.Params{{"vms": "vm1"}, {"vms": "vm1", "kernel": "/boot/vmlinuz"}, {"kernel": "debian:kernel"}} {
		if err := check(params); err != nil {
			t.Errorf("%v: got %v", params, err)
		}
	}
}
