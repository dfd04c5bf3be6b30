// SPDX-License-Identifier: Apache-2.0

package testbed_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// savingQEMU is a program that only saves states: of a VM with an rng and of one without,
// as its command line says; or what else there is to say.
func savingQEMU(t *testing.T) string {
	t.Helper()
	states, err := filepath.Abs("../vmstate/testdata")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "saving-qemu")
	script := fmt.Sprintf(`#!/bin/sh
case $1 in
--version) echo 'QEMU emulator version 9.2.0'; exit ;;
-machine) printf 'Supported machines are:\npc-i440fx-9.2  Standard PC\n'; exit ;;
esac
read -r line
file=${line#*>} file=${file%%\"}
case "$*" in
*fails*) echo 'qemu: no such device' >&2; exit 1 ;;
*nothing*) ;;
*damaged*) head -c 30000 '%[1]s/microvm.state' >"$file" ;;
*rng*) cp '%[1]s/microvm-rng.state' "$file" ;;
*) cp '%[1]s/microvm.state' "$file" ;;
esac
`, states)
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

func TestStateDifferences(t *testing.T) {
	t.Parallel()
	const heading = "state of the devices of vm1, the source's on host1 by QEMU 9.2.0 scripted, the destination's on host2 by QEMU 9.2.0 scripted, both started again without the guest:\n"
	for _, test := range []struct {
		name, extra, want string
	}{
		{"the same", "", ""},
		{"a device", "-device rng", heading + "  virtio-mmio@00000000feb02e00/virtio-rng, instance 0: only in the source: virtio-rng version 1, 81 bytes\n  1 difference: 12 and 11 devices\n"},
		{"no difference", "-global other", heading + "  no difference: 11 devices\n"},
		{"an error", "-device fails", "state of the devices: not compared: vm1 on host1: start QEMU again to describe its devices: "},
		{"no state", "-device nothing", "it has saved no state"},
		{"it saves only a part", "-device damaged", "vm1 on host1: the saved state of its devices: offset 18420: the description of the devices is truncated: it has 11575 bytes, want 12083\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bed := bedtest.NewScriptedBed(t, 1, cartesian.Params{"qemu_binary": savingQEMU(t), "extra_params_host1": test.extra})
			source, _, err := bed.Ensure(t.Context(), "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{})
			if err != nil {
				t.Fatal(err)
			}
			destination, err := bed.StartIncoming(t.Context(), "vm1", bed.Hosts()[1], bed.Params(), vm.Launch{})
			if err != nil {
				t.Fatal(err)
			}
			got := testbed.StateDifferences(t.Context(), source, destination)
			if !strings.Contains(got, test.want) || (test.want == "") != (got == "") || strings.HasPrefix(test.want, heading) && got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			for _, h := range bed.Hosts() {
				if left, err := filepath.Glob(filepath.Join(h.RunDir(), "*vmstate*")); err != nil || len(left) > 0 {
					t.Errorf("left in the run folder: %q, %v", left, err)
				}
			}
		})
	}
}
