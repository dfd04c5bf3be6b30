// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/vm"
)

func TestGuardMemory(t *testing.T) {
	v72, v82, v90, v100 := vm.Version{Major: 7, Minor: 2, Micro: 22}, vm.Version{Major: 8, Minor: 2, Micro: 99}, vm.Version{Major: 9}, vm.Version{Major: 10}
	tests := []struct {
		name    string
		accel   string
		oldest  vm.Version
		kib     int64
		setting string
		want    int64
		notice  string // what it must contain; empty: no notice
	}{
		{"the defect", "tcg", v72, 262144, "auto", 262136, "memory is 262136 KiB instead of 262144: QEMU 7.2.22 under TCG loses memory"},
		{"the last with it", "tcg", v82, 262144, "auto", 262136, "QEMU 8.2.99"},
		{"the first without it", "tcg", v90, 262144, "auto", 262144, ""},
		{"a new one", "tcg", v100, 262144, "auto", 262144, ""},
		{"KVM has it not", "kvm", v72, 262144, "auto", 262144, ""},
		{"memory off the fast path", "tcg", v72, 262136, "auto", 262136, ""},
		{"memory that QEMU would round up to it", "tcg", v72, 262137, "auto", 262136, "instead of 262144"},
		{"odd memory is rounded as QEMU does", "tcg", v72, 100001, "auto", 100008, ""},
		{"odd memory on a new one", "tcg", v100, 100001, "auto", 100008, ""},
		{"a quarter of a MiB", "tcg", v72, 256 * 5, "auto", 256*5 - 8, "loses memory"},
		{"forced on a new one", "tcg", v100, 262144, "on", 262136, "tcg_dirty_guard = on"},
		{"forced under KVM", "kvm", v72, 262144, "on", 262136, "tcg_dirty_guard = on"},
		{"forced without need", "tcg", v100, 262136, "on", 262136, ""},
		{"off", "tcg", v72, 262144, "off", 262144, "tcg_dirty_guard = off: QEMU 7.2.22 under TCG loses memory"},
		{"off without need", "tcg", v100, 262144, "off", 262144, ""},
		{"off under KVM", "kvm", v72, 262144, "off", 262144, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, notice := vm.GuardMemory(tt.accel, tt.oldest, tt.kib, tt.setting)
			if got != tt.want {
				t.Errorf("guardMemory = %d, want %d", got, tt.want)
			}
			if tt.notice == "" && notice != "" || !strings.Contains(notice, tt.notice) {
				t.Errorf("notice %q, want %q in it", notice, tt.notice)
			}
		})
	}
}
