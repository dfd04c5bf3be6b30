// SPDX-License-Identifier: Apache-2.0

package vmstate_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/vmstate"
)

// dumped is a part of what -dump-vmstate writes.
const dumped = `{
  "vmschkmachine": {"Name": "pc-i440fx-7.2"},
  "hpet": {"Name": "hpet", "version_id": 2, "minimum_version_id": 1, "Description": {"name": "hpet", "version_id": 2, "minimum_version_id": 1,
    "Fields": [{"field": "config", "version_id": 0, "field_exists": false, "size": 8}, {"field": "timer", "version_id": 2, "field_exists": false, "num": 32, "size": 64,
      "Description": {"name": "hpet_timer", "version_id": 1, "minimum_version_id": 1, "Fields": [{"field": "fsb", "version_id": 0, "field_exists": false, "size": 8}]}}],
    "Subsections": [{"name": "hpet/offset", "version_id": 1, "minimum_version_id": 1, "Fields": [{"field": "offset", "version_id": 0, "field_exists": false, "size": 8}]}]}},
  "e1000": {"Name": "e1000", "version_id": 2, "minimum_version_id": 1}
}`

// differences are the sentences about two streams.
func differences(t *testing.T, older, newer *vmstate.Stream) []string {
	t.Helper()
	all, err := vmstate.Compare(older, newer)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range all {
		lines = append(lines, d.Text("A", "B"))
	}
	return append(lines, vmstate.Summary(older, newer, all))
}

func TestCompareReal(t *testing.T) {
	t.Parallel()
	plain, rng := open(t, "microvm.state"), open(t, "microvm-rng.state")
	for _, test := range []struct {
		older, newer *vmstate.Stream
		want         []string
	}{
		{plain, plain, []string{"no difference: 11 devices"}},
		{plain, rng, []string{"virtio-mmio@00000000feb02e00/virtio-rng, instance 0: only in B: virtio-rng version 1, 81 bytes", "1 difference: 11 and 12 devices"}},
		{rng, plain, []string{"virtio-mmio@00000000feb02e00/virtio-rng, instance 0: only in A: virtio-rng version 1, 81 bytes", "1 difference: 12 and 11 devices"}},
	} {
		if diff := cmp.Diff(test.want, differences(t, test.older, test.newer)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestCompare plants each kind of difference.
func TestCompare(t *testing.T) {
	t.Parallel()
	stream := func(machine string, ram uint64, version uint32, fields string, payload ...byte) *vmstate.Stream {
		s := new(sample).add("QEVM", uint32(3), byte(0x07), uint32(len(machine)), machine)
		s.begin(0x01, 2, "ram", 0, 4).add(ram<<12 | 0x04).name("pc.bios").add(ram << 12).add(uint64(0x10)).footer(2)
		description := strings.Replace(clock(fields), `"version": 2`, `"version": `+string('0'+rune(version)), 1)
		read, err := read(s.device("clock", version, payload...).describe(description))
		if err != nil {
			t.Fatal(err)
		}
		return read
	}
	const two = `"fields": [{"name": "a", "type": "uint8", "size": 1}, {"name": "b", "type": "uint8", "size": 1}]`
	subsection := func(version string) string {
		return two + `, "subsections": [{"vmsd_name": "s", "version": ` + version + `, "fields": [{"name": "c", "type": "uint8", "size": 1}]}]`
	}
	inner := func(field string) string {
		return `"fields": [{"name": "t", "type": "struct", "size": 1, "array_len": 2, "struct": {"vmsd_name": "t", "version": 1, "fields": [` + field + `]}}]`
	}
	base := stream("pc", 1, 2, two, 1, 2)
	for _, test := range []struct {
		name         string
		older, newer *vmstate.Stream
		want         string
	}{
		{"machine type", base, stream("q35", 1, 2, two, 1, 2), "machine type: pc in A, q35 in B"},
		{"block", base, stream("pc", 2, 2, two, 1, 2), "RAM block pc.bios: 4096 bytes in A, 8192 bytes in B"},
		{"version", base, stream("pc", 1, 3, two, 1, 2), "clock, instance 0: version 2 in A, version 3 in B"},
		{"a new field", base, stream("pc", 1, 2, strings.Replace(two, `[`, `[{"name": "z", "type": "uint16", "size": 2}, `, 1), 0, 0, 1, 2), "clock, instance 0, z: only in B: uint16, 2 bytes (version 2)"},
		{"a field less", base, stream("pc", 1, 2, `"fields": [{"name": "a", "type": "uint8", "size": 1}]`, 1), "clock, instance 0, b: only in A: uint8, 1 byte (version 2)"},
		{"another size", base, stream("pc", 1, 2, strings.Replace(two, `"uint8", "size": 1}]`, `"uint32", "size": 4}]`, 1), 1, 0, 0, 0, 2), "clock, instance 0, b: uint8, 1 byte (version 2) in A, uint32, 4 bytes (version 2) in B"},
		{"another number", base, stream("pc", 1, 2, strings.Replace(two, `1}]`, `1, "array_len": 3}]`, 1), 1, 2, 2, 2), "clock, instance 0, b: uint8, 1 byte (version 2) in A, uint8, 3 times 1 byte (version 2) in B"},
		{"another name", base, stream("pc", 1, 2, strings.Replace(two, `"b"`, `"c"`, 1), 1, 2), "clock, instance 0, b: is called c in B, with the same format: uint8, 1 byte (version 2)"},
		{"another order", base, stream("pc", 1, 2, `"fields": [{"name": "b", "type": "uint8", "size": 1}, {"name": "a", "type": "uint8", "size": 1}]`, 1, 2), "clock, instance 0, b: the fields from here on have another order"},
		{"a subsection", base, stream("pc", 1, 2, subsection("1"), 1, 2, 5, 1, 's', 0, 0, 0, 1, 9), "clock, instance 0, s: subsection: only in B: version 1, 1 byte"},
		{"a subsection's version", stream("pc", 1, 2, subsection("1"), 1, 2, 5, 1, 's', 0, 0, 0, 1, 9), stream("pc", 1, 2, subsection("2"), 1, 2, 5, 1, 's', 0, 0, 0, 2, 9), "clock, instance 0, s: version 1 in A, version 2 in B"},
		{"in a struct", stream("pc", 1, 2, inner(`{"name": "x", "type": "uint8", "size": 1}`), 1, 2), stream("pc", 1, 2, inner(`{"name": "x", "type": "int8", "size": 1}`), 1, 2), "clock, instance 0, t.x: uint8, 1 byte (version 1) in A, int8, 1 byte (version 1) in B"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff([]string{test.want, "1 difference: 1 and 1 device"}, differences(t, test.older, test.newer)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCompareDumps(t *testing.T) {
	t.Parallel()
	dump := func(replace ...string) *vmstate.Stream {
		s, err := read([]byte(strings.NewReplacer(replace...).Replace(dumped)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	older := dump()
	newer := dump("7.2", "10.0", `"e1000"`, `"e1000e"`, `"num": 32`, `"num": 8`, `"hpet/offset", "version_id": 1`, `"hpet/offset", "version_id": 3`, `"field": "fsb", "version_id": 0`, `"field": "fsb", "version_id": 1`)
	want := []string{
		"machine type: pc-i440fx-7.2 in A, pc-i440fx-10.0 in B",
		"e1000, instance 0: only in A:  version 2",
		"hpet, instance 0, timer: 32 times 64 bytes (version 2) in A, 8 times 64 bytes (version 2) in B",
		"hpet, instance 0, hpet/offset: version 1 in A, version 3 in B",
		"e1000e, instance 0: only in B:  version 2",
		"5 differences: 2 and 2 devices",
	}
	if diff := cmp.Diff(want, differences(t, older, newer)); diff != "" {
		t.Error(diff)
	}
	if _, err := vmstate.Compare(older, open(t, "none.state")); err == nil {
		t.Error("a stream and a dump were compared")
	}
}
