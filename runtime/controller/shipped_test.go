// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/jeos"
)

func TestShippedFile(t *testing.T) {
	t.Parallel()
	image := &jeos.Image{Kernel: "/vmlinux", BzImage: "/bzimage", Initrd: "/initrd.cpio"}
	for name, want := range map[string]string{"kernel": "/vmlinux", "bzimage": "/bzimage", "initrd": "/initrd.cpio"} {
		if got, err := shippedFile(t.Context(), image, name); err != nil || got != want {
			t.Errorf("jeos:%s: got %s, %v; want %s", name, got, err, want)
		}
	}
	if _, err := shippedFile(t.Context(), image, "vmlinuz"); err == nil || !strings.Contains(err.Error(), "only kernel, bzimage and initrd") {
		t.Errorf("jeos:vmlinuz: got %v", err)
	}
}
