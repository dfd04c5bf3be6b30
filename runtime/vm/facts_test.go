// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/vm"
)

const help72 = `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)
Copyright (c) 2003-2022 Fabrice Bellard and the QEMU Project developers
Supported machines are:
microvm              microvm (i386)
pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-7.2)
pc-i440fx-7.2        Standard PC (i440FX + PIIX, 1996) (default)
pc-i440fx-7.1        Standard PC (i440FX + PIIX, 1996)
q35                  Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-7.2)
pc-q35-7.2           Standard PC (Q35 + ICH9, 2009)
isapc                ISA-only PC
none                 empty machine
`

const help100 = `QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2~bpo12+1)
Copyright (c) 2003-2025 Fabrice Bellard and the QEMU Project developers
Supported machines are:
pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-10.0)
pc-i440fx-10.0       Standard PC (i440FX + PIIX, 1996) (default)
pc-i440fx-7.2        Standard PC (i440FX + PIIX, 1996)
pc-i440fx-2.12       Standard PC (i440FX + PIIX, 1996) (deprecated)
`

const helpRHEL = `QEMU emulator version 9.1.0 (qemu-kvm-9.1.0-15.el9)
Supported machines are:
pc                   RHEL 7.6.0 PC (i440FX + PIIX, 1996) (alias of pc-i440fx-rhel7.6.0)
pc-i440fx-rhel7.6.0  RHEL 7.6.0 PC (i440FX + PIIX, 1996) (default) (deprecated)
`

func parse(t *testing.T, host, text string) vm.QEMU {
	t.Helper()
	q, err := vm.ParseFacts(text)
	if err != nil {
		t.Fatal(err)
	}
	q.Host, q.Program.Binary = host, "qemu-system-x86_64"
	return q
}

func TestParseFacts(t *testing.T) {
	q := parse(t, "host1", help72)
	if diff := cmp.Diff(vm.Version{Major: 7, Minor: 2, Micro: 22}, q.Version); diff != "" {
		t.Error(diff)
	}
	want := []vm.Machine{
		{Name: "microvm"},
		{Name: "pc", AliasOf: "pc-i440fx-7.2"},
		{Name: "pc-i440fx-7.2"},
		{Name: "pc-i440fx-7.1"},
		{Name: "q35", AliasOf: "pc-q35-7.2"},
		{Name: "pc-q35-7.2"},
		{Name: "isapc"},
		{Name: "none"},
	}
	if diff := cmp.Diff(want, q.Machines); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "GNU bash, version 5.2", "QEMU emulator version 7.2.22\n"} {
		if _, err := vm.ParseFacts(text); err == nil {
			t.Errorf("ParseFacts(%q): no error", text)
		}
	}
}

func TestVersionLess(t *testing.T) {
	v := func(major, minor, micro int) vm.Version { return vm.Version{Major: major, Minor: minor, Micro: micro} }
	ordered := []vm.Version{v(2, 12, 1), v(7, 2, 3), v(7, 2, 22), v(8, 0, 0), v(9, 0, 0), v(10, 0, 2)}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := a.Less(b); got != (i < j) {
				t.Errorf("%v.Less(%v) = %v", a, b, got)
			}
		}
	}
}

func TestCommonMachine(t *testing.T) {
	old, young, rhel := parse(t, "host1", help72), parse(t, "host2", help100), parse(t, "host3", helpRHEL)
	tests := []struct {
		name, wanted  string
		qemus         []vm.QEMU
		want, wantErr string
	}{
		{"an alias", "pc", []vm.QEMU{old}, "pc-i440fx-7.2", ""},
		{"an alias, the same everywhere", "pc", []vm.QEMU{old, old}, "pc-i440fx-7.2", ""},
		{"an alias, older first", "pc", []vm.QEMU{old, young}, "pc-i440fx-7.2", ""},
		{"an alias, newer first", "pc", []vm.QEMU{young, old}, "pc-i440fx-7.2", ""},
		{"a name", "pc-i440fx-7.1", []vm.QEMU{old}, "pc-i440fx-7.1", ""},
		{"with options", "q35,smm=off", []vm.QEMU{old}, "pc-q35-7.2,smm=off", ""},
		{"unknown on one", "q35", []vm.QEMU{old, young}, "", `param machine_type: got "q35", want a type that qemu-system-x86_64 on host2 supports (pc, pc-i440fx-10.0, pc-i440fx-7.2, pc-i440fx-2.12)`},
		{"no common meaning", "pc", []vm.QEMU{old, rhel}, "", `param machine_type: "pc" is pc-i440fx-7.2 on host1 (QEMU 7.2.22), pc-i440fx-rhel7.6.0 on host3 (QEMU 9.1.0), and none of these is supported on all hosts: set one that is`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := vm.CommonMachine(tt.wanted, tt.qemus...)
			if got != tt.want {
				t.Errorf("CommonMachine = %q, want %q", got, tt.want)
			}
			if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || err.Error() != tt.wantErr) {
				t.Errorf("CommonMachine: got %v, want %q", err, tt.wantErr)
			}
		})
	}
}
