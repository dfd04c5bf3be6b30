// SPDX-License-Identifier: Apache-2.0

package vmstate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/vmstate"
)

// The files of testdata are of QEMU 7.2.22, whose guests have not run: -machine none, and
// microvm without and with a virtio-rng-device.
func open(t *testing.T, name string) *vmstate.Stream {
	t.Helper()
	s, err := vmstate.Open(t.Context(), filepath.Join("testdata", name), 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(text []byte) (*vmstate.Stream, error) {
	return vmstate.Read(bytes.NewReader(text), 0, int64(len(text)))
}

// values are the values of a device, by their paths.
func values(d *vmstate.Device) map[string]any {
	all := map[string]any{}
	for _, v := range d.Values {
		all[v.Path] = v.Value
	}
	return all
}

func TestOpenReal(t *testing.T) {
	t.Parallel()
	s := open(t, "microvm.state")
	if s.Machine != "microvm" || s.PageSize != 4096 || s.Undecoded != "" {
		t.Errorf("got %s, pages of %d bytes, undecoded: %s", s.Machine, s.PageSize, s.Undecoded)
	}
	ram, zeros := int64(0), int64(0)
	for _, b := range s.Blocks {
		ram += b.Size
		zeros += b.Zeros
		if sent := (b.Pages + b.Zeros) * s.PageSize; sent != b.Size {
			t.Errorf("block %s of %d bytes: pages of %d bytes", b.Name, b.Size, sent)
		}
	}
	if ram != 1<<20+1<<16+12<<10 || zeros < 256 {
		t.Errorf("RAM: got %d bytes, %d zero pages", ram, zeros)
	}
	sum := int64(0)
	for _, d := range s.Devices {
		sum += d.Bytes
	}
	for _, section := range s.Sections {
		if section.Name != "ram" {
			sum -= section.Bytes
		}
	}
	if sum != 0 {
		t.Errorf("the devices have %d bytes more than their sections", sum)
	}
	cpu := values(s.Device("cpu", 0))
	if cpu["env.eip"] != uint64(0xfff0) || cpu["env.segs[1].base"] != uint64(0xffff0000) {
		t.Errorf("the reset vector: got %v:%v", cpu["env.segs[1].base"], cpu["env.eip"])
	}
	var b strings.Builder
	if err := s.Only("globalstate"); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteText(&b, false); err != nil {
		t.Fatal(err)
	}
	const want = `globalstate, instance 0: version 1, 104 bytes
  size      uint32  4    10
  runstate  buffer  100  "prelaunch"
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("globalstate: %s", diff)
	}
	if err := s.Only("nope"); err == nil || err.Error() != "there is no device nope" {
		t.Errorf("got %v", err)
	}
}

func TestReadRAM(t *testing.T) {
	t.Parallel()
	s, err := read(withRAM())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*vmstate.Block{{"pc.ram", 8192, 3, 1}, {"pc.bios", 4096, 1, 0}}, s.Blocks); diff != "" {
		t.Error(diff)
	}
	if ram := s.Sections[0]; ram.Name != "ram" || ram.Parts != 3 {
		t.Errorf("got %+v", ram)
	}
}

// TestMappedRAM: the pages of mapped-ram lie behind each block's size, at an offset of
// their own, and those of x-ignore-shared are not there.
func TestMappedRAM(t *testing.T) {
	t.Parallel()
	shared := newSample(capabilities("x-ignore-shared")...).begin(0x01, 2, "ram", 0, 4)
	shared.add(uint64(1<<12|0x04)).name("pc.ram").add(uint64(1<<12), uint64(0xfee0000)).add(uint64(0x10)).footer(2)
	hour := clock(`"fields": [{"name": "hour", "type": "uint8", "size": 1}]`)
	s, err := read(shared.device("clock", 2, 7).describe(hour))
	if err != nil || !slices.Equal(s.Capabilities, []string{"x-ignore-shared"}) || s.Blocks[0].Size != 4096 {
		t.Errorf("x-ignore-shared: got %+v, %v", s, err)
	}
	mapped := func(pages uint64) []byte {
		m := newSample(capabilities("mapped-ram")...).begin(0x01, 2, "ram", 0, 4)
		m.add(uint64(1<<12|0x04)).name("pc.ram").add(uint64(1<<12)).add(uint32(1), uint64(4096), uint64(200), pages)
		m.add(make([]byte, 1000-len(m.bytes)), []byte(strings.Repeat("x", 4096)))
		return m.add(uint64(0x10)).footer(2).device("clock", 2, 7).describe(hour)
	}
	if s, err := read(mapped(1000)); err != nil || len(s.Devices[0].Values) != 1 {
		t.Errorf("mapped-ram: got %+v, %v", s, err)
	}
	for _, pages := range []uint64{10, 5000, 1 << 63, 1<<64 - 1} {
		if _, err := read(mapped(pages)); err == nil || !strings.Contains(err.Error(), "its pages are said to be at offset") {
			t.Errorf("mapped-ram with pages at %d: got %v", pages, err)
		}
	}
}

func TestReadTypes(t *testing.T) {
	t.Parallel()
	text := described(`"fields": [
		{"name": "u8", "type": "uint8", "size": 1}, {"name": "i16", "type": "int16", "size": 2},
		{"name": "eq", "type": "int32 equal", "size": 4}, {"name": "big", "type": "uint64", "size": 8},
		{"name": "on", "type": "bool", "size": 1}, {"name": "alarm", "type": "timer", "size": 8},
		{"name": "gap", "type": "unused_buffer", "size": 3}, {"name": "none", "type": "buffer", "size": 0},
		{"name": "list", "type": "uint16", "size": 2, "array_len": 3},
		{"name": "name", "type": "buffer", "size": 4}, {"name": "odd", "type": "uint32", "size": 2},
		{"name": "parts", "type": "struct", "size": 2, "array_len": 2, "struct": {"vmsd_name": "part", "version": 1, "fields": [
			{"name": "a", "type": "uint8", "size": 1}, {"name": "b", "type": "int8", "size": 1}]}},
		{"name": "each", "index": 0, "type": "uint8", "size": 1}, {"name": "each", "index": 1, "type": "uint8", "size": 1},
		{"name": "last", "index": 0, "type": "uint8", "size": 1}, {"name": "last", "type": "uint8", "size": 1},
		{"name": "bare", "type": "uint8", "size": 1}, {"name": "bare", "type": "uint8", "size": 1},
		{"name": "mixed", "index": 0, "type": "uint8", "size": 1}, {"name": "mixed", "index": 1, "type": "uint16", "size": 2},
		{"name": "tmp", "type": "tmp", "size": 1, "vmsd_name": "t", "version": 1, "fields": [{"name": "x", "type": "uint8", "size": 1}]},
		{"name": "queue", "type": "qtailq", "size": 3, "vmsd_name": "q", "version": 1, "fields": [{"name": "x", "type": "uint8", "size": 1}]}
	], "subsections": [{"vmsd_name": "clock/leap", "version": 1, "fields": [{"name": "second", "type": "uint8", "size": 1}]}]`,
		slices.Concat([]byte{200, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
			[]byte{9, 9, 9, 0, 1, 0, 2, 0, 3}, []byte("run\x00"), []byte{0xab, 0xcd}, []byte{1, 0xff, 2, 0xfe}, []byte{5, 6}, []byte{3, 4, 1, 2}, []byte{7, 1, 0}, []byte{8}, []byte{1, 9, 0},
			[]byte{0x05, 10}, []byte("clock/leap"), []byte{0, 0, 0, 1}, []byte{60})...)
	s, err := read(text)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"u8": uint64(200), "i16": int64(-2), "eq": int64(-1), "big": uint64(0xff00000000000001), "on": true, "alarm": int64(-1),
		"list": []any{uint64(1), uint64(2), uint64(3)}, "name": "72756e00", "odd": "abcd",
		"parts[0].a": uint64(1), "parts[0].b": int64(-1), "parts[1].a": uint64(2), "parts[1].b": int64(-2),
		"each": []any{uint64(5), uint64(6)}, "last": []any{uint64(3), uint64(4)}, "bare": []any{uint64(1), uint64(2)}, "mixed": uint64(7), "mixed[1]": uint64(256), "tmp.x": uint64(8), "queue": "010900",
		"clock/leap:second": uint64(60),
	}
	if diff := cmp.Diff(want, values(s.Devices[0])); diff != "" {
		t.Error(diff)
	}
	if d := s.Devices[0]; d.Bytes != s.Sections[0].Bytes {
		t.Errorf("the device has %d bytes, its section %d", d.Bytes, s.Sections[0].Bytes)
	}
}

// What is long is kept only in part.
func TestTruncatedValues(t *testing.T) {
	t.Parallel()
	s, err := read(described(`"fields": [{"name": "raw", "type": "buffer", "size": 5000}, {"name": "list", "type": "uint8", "size": 1, "array_len": 2000}]`, make([]byte, 7000)...))
	if err != nil {
		t.Fatal(err)
	}
	raw, list := s.Devices[0].Values[0], s.Devices[0].Values[1]
	if !raw.Truncated || len(raw.Value.(string)) != 2*4096 || !list.Truncated || len(list.Value.([]any)) != 1024 {
		t.Errorf("got %d digits (%t) and %d elements (%t)", len(raw.Value.(string)), raw.Truncated, len(list.Value.([]any)), list.Truncated)
	}
}

// A section of a kind that no description has ends the decoding; what is described is
// there nevertheless.
func TestUndecoded(t *testing.T) {
	t.Parallel()
	hour := clock(`"fields": [{"name": "hour", "type": "uint8", "size": 1}]`)
	s, err := read(newSample().begin(0x01, 4, "dirty-bitmap", 0, 1).add("whatever").device("clock", 2, 7).describe(hour))
	if err != nil || s.Undecoded != "offset 19: section dirty-bitmap, instance 0 is of a kind that streams do not describe" {
		t.Fatalf("got %+v, %v", s, err)
	}
	if d := s.Device("clock", 0); d == nil || d.Values != nil || d.Bytes != 1 {
		t.Errorf("got %+v", d)
	}
	var b strings.Builder
	if err := s.WriteText(&b, true); err != nil || !strings.Contains(b.String(), "  hour  uint8  1\n") || !strings.Contains(b.String(), "not decoded from there on: offset 19: ") {
		t.Errorf("got %v\n%s", err, b.String())
	}
	s, err = read(newSample().begin(0x04, 4, "other", 0, 1).add("whatever").device("clock", 2, 7).describe(hour))
	if err != nil || s.Undecoded != "offset 19: the description has no section other, instance 0" {
		t.Errorf("got %+v, %v", s, err)
	}
}

// Streams of old machine types have no footers.
func TestWithoutFooters(t *testing.T) {
	t.Parallel()
	s, err := read(newSample().begin(0x04, 9, "clock", 0, 2).add(byte(7), byte(0)).describe(clock(`"fields": [{"name": "hour", "type": "uint8", "size": 1}]`)))
	if err != nil || values(s.Devices[0])["hour"] != uint64(7) {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	hour := clock(`"fields": [{"name": "hour", "type": "uint8", "size": 1}]`)
	ram := func(version uint32) *sample { return newSample().begin(0x01, 2, "ram", 0, version) }
	block := func() *sample {
		return ram(4).add(uint64(1<<12 | 0x04)).name("pc.ram").add(uint64(1 << 12))
	}
	for _, test := range []struct {
		name string
		text []byte
		want string
	}{
		{"empty", nil, "offset 0: the file is empty"},
		{"no stream", []byte("hello"), `offset 0: is neither a migration stream, which begins with "QEVM", nor what -dump-vmstate writes, which is JSON: got "hell"`},
		{"old version", new(sample).add("QEVM", uint32(2)).add(byte(0)).describe(hour), "offset 4: the stream's version: got 2, want 3"},
		{"no description", newSample().begin(0x04, 9, "clock", 0, 2).add(byte(7)).bytes, "offset 39: the stream has no description of its devices at its end: it is truncated, or QEMU has not sent it (suppress-vmdesc=on, postcopy)"},
		{"no description, no device", newSample().add(byte(0)).bytes, "offset 20: the stream has no description of its devices at its end: it is truncated, or QEMU has not sent it (suppress-vmdesc=on, postcopy)"},
		{"truncated description", bytes.TrimSuffix(newSample().device("clock", 2, 7).describe(hour), []byte("}]}")), "offset 45: the description of the devices is truncated: it has 160 bytes, want 163"},
		{"more behind it", append(newSample().device("clock", 2, 7).describe(hour), "more"...), "offset 213: 4 bytes follow the end of the stream"},
		{"no JSON", newSample().device("clock", 2, 7).describe(`{"page_size": 4096, }`), "offset 71: the description of the devices: invalid character '}' looking for beginning of object key string"},
		{"other JSON", newSample().device("clock", 2, 7).describe(`{"page_size": "x"}`), "offset 67: the description of the devices: json: cannot unmarshal string into Go struct field jsonDescription.page_size of type int64"},
		{"page size", newSample().device("clock", 2, 7).describe(`{"page_size": 4097, "devices": []}`), "offset 45: the description of the devices: page_size: got 4097, want a power of two from 1024 to 16777216"},
		{"twice described", newSample().device("clock", 2, 7).describe(strings.Replace(hour, "]}]}", "]}, {\"name\": \"clock\"}]}", 1)), "offset 45: the description has clock, instance 0, twice"},
		{"negative size", described(`"fields": [{"name": "hour", "type": "uint8", "size": -1}]`, 7), "offset 45: the description of clock: field hour: size -1, array_len 1, index 0: want no negative numbers"},
		{"version of a device", newSample().device("clock", 3, 7).describe(hour), "offset 19: section clock, instance 0 has version 3, but is described with version 2"},
		{"not sent", newSample().add(byte(0)).describe(hour), "offset 20: clock, instance 0, is described but was not sent"},
		{"size of a device", ram(4).add(uint64(0x10)).footer(2).device("clock", 2, 7, 8).describe(hour), "offset 69: the footer of section clock, instance 0: got 0x08, want 0x7e: its payload, from offset 68, has another size"},
		{"longer than the stream", described(`"fields": [{"name": "hour", "type": "buffer", "size": 100}]`, 7), "offset 38: section clock, instance 0 is truncated: 100 more bytes are needed, 7 are there"},
		{"endless array", described(`"fields": [{"name": "hour", "type": "uint64", "size": 8, "array_len": 9223372036854775807}]`, 7), "offset 38: section clock, instance 0 is truncated: 9223372036854775807 more bytes are needed, 7 are there"},
		{"subsection", described(`"fields": [], "subsections": [{"vmsd_name": "leap", "version": 1}]`, slices.Concat([]byte{5, 4}, []byte("lead"), []byte{0, 0, 0, 1})...), `offset 38: section clock, instance 0: got the subsection "lead", want "leap"`},
		{"subsection's version", described(`"fields": [], "subsections": [{"vmsd_name": "leap", "version": 1}]`, slices.Concat([]byte{5, 4}, []byte("leap"), []byte{0, 0, 0, 2})...), "offset 38: section clock, instance 0: subsection leap has version 2, but is described with version 1"},
		{"no subsection", described(`"fields": [], "subsections": [{"vmsd_name": "leap", "version": 1}]`, slices.Concat([]byte{4, 4}, []byte("leap"), []byte{0, 0, 0, 2})...), "offset 38: section clock, instance 0: got 0x04, want its subsection leap"},
		{"footer of another", newSample().begin(0x04, 9, "clock", 0, 2).add(byte(7)).footer(8).add(byte(0)).describe(hour), "offset 39: the footer of section clock, instance 0: got the id 8, want 9"},
		{"no footer", newSample().begin(0x04, 8, "clock", 0, 2).add(byte(7)).footer(8).begin(0x04, 9, "clock", 0, 2).add(byte(7), byte(0)).describe(hour), "offset 64: the footer of section clock, instance 0: got 0x00, want 0x7e: its payload, from offset 63, has another size"},
		{"unknown section", newSample().add(byte(0x55)).describe(hour), "offset 19: the type of a section: got 0x55"},
		{"a part of nothing", newSample().add(byte(0x02), uint32(7)).describe(hour), "offset 19: a part of section 7, which has not begun"},
		{"twice begun", ram(4).add(uint64(0x10)).footer(2).begin(0x01, 2, "ram", 0, 4).describe(hour), "offset 49: section 2 begins twice, as ram and as ram"},
		{"more sections behind the end", newSample().device("clock", 2, 7).add("x").describe(hour), "offset 45: the sections end here, but the description begins at offset 46"},
		{"long machine type", new(sample).add("QEVM", uint32(3), byte(7), uint32(1<<31)).describe(hour), "offset 9: the machine type has 2147483648 bytes, want at most 1024"},
		{"configuration", newSample(append([]byte{5, 1, 'x'}, 0, 0, 0, 1)...).describe(hour), `offset 19: the configuration has an unknown subsection, "x"`},
		{"endless capabilities", newSample(slices.Concat([]byte{5, 26}, []byte("configuration/capabilities"), []byte{0, 0, 0, 1, 255, 255, 255, 255})...).describe(hour), "offset 55: the configuration is truncated: 1 more bytes are needed, 0 are there"},
		{"RAM's version", ram(3).describe(hour), "offset 19: section ram, instance 0 has version 3, want 4"},
		{"a page's flags", block().add(uint64(0x80)).describe(hour), "offset 59: section ram, instance 0: the flags of a page: got 0x80"},
		{"a page of nothing", block().add(uint64(0x08)).name("x").describe(hour), `offset 59: section ram, instance 0: a page of the block "x", which is not in the list of blocks`},
		{"the first page continues", block().add(uint64(0x08 | 0x20)).describe(hour), "offset 59: section ram, instance 0: the first page continues a block"},
		{"too long a block", ram(4).add(uint64(1<<12 | 0x04)).name("pc.ram").add(uint64(2 << 12)).describe(hour), `offset 36: section ram, instance 0: the block "pc.ram" has 8192 bytes, but all blocks together have 4096`},
		{"twice a block", ram(4).add(uint64(2<<12 | 0x04)).name("pc.ram").add(uint64(1 << 12)).name("pc.ram").add(uint64(1 << 12)).describe(hour), `offset 36: section ram, instance 0: the list of blocks has "pc.ram" twice`},
		{"a page that ends too early", block().add(uint64(0x08)).name("pc.ram").add("xxxx").describe(hour), "offset 74: section ram, instance 0 is truncated: 4096 more bytes are needed, 4 are there"},
		{"dump: no JSON", []byte(`{"vmschkmachine": `), "offset 18: -dump-vmstate's JSON: unexpected end of JSON input"},
		{"dump: other JSON", []byte(`{"a": 1}`), `offset 0: the JSON is not of -dump-vmstate: it has no "vmschkmachine"`},
		{"dump: no device", []byte(`{"vmschkmachine": {"Name": "pc"}, "hpet": 3}`), "offset 42: hpet: json: cannot unmarshal number into Go value of type vmstate.dumpedDevice"},
		{"dump: negative size", []byte(`{"vmschkmachine": {"Name": "pc"}, "hpet": {"Description": {"Fields": [{"field": "a", "size": -1}]}}}`), "offset 42: hpet: field a: size -1, num 1: want no negative numbers"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, err := read(test.text)
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, %v\nwant %s", s, err, test.want)
			}
			if _, ok := errors.AsType[*vmstate.Error](err); !ok {
				t.Errorf("got a %T, want an *Error", err)
			}
		})
	}
}

// TestTruncated: no beginning of a stream is taken for a whole one.
func TestTruncated(t *testing.T) {
	t.Parallel()
	real, err := os.ReadFile("testdata/none.state")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{real, withRAM()} {
		for length := range text {
			s, err := read(text[:length])
			fault, ok := errors.AsType[*vmstate.Error](err)
			if !ok || fault.Offset > int64(length) {
				t.Fatalf("the first %d of %d bytes: got %v, %v", length, len(text), s, err)
			}
		}
	}
}

// TestDamaged: whatever is damaged, reading ends, and so does writing what was read.
func TestDamaged(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	whole := withRAM()
	found := 0
	for i := range whole {
		text := slices.Clone(whole)
		text[i] ^= byte(1 + random.IntN(255))
		s, err := read(text)
		if err != nil {
			found++
			continue
		}
		if err := s.WriteText(&strings.Builder{}, true); err != nil {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	if found < 200 { // the pages' contents cannot be checked
		t.Errorf("found %d of %d faults", found, len(whole))
	}
}

// TestHostile: what a file claims to have takes no memory that it does not have.
func TestHostile(t *testing.T) {
	const limit = 64 << 20
	deep := strings.Repeat(`"fields": [{"name": "a", "type": "struct", "size": 1, "struct": {`, 3000) + strings.Repeat(`}}]`, 3000)
	wide := `"fields": [{"name": "a", "type": "struct", "size": 1, "array_len": 1000000, "struct": {"fields": [{"name": "b", "type": "uint8", "size": 1}` +
		strings.Repeat(`, {"name": "c", "type": "uint8", "size": 0}, {"name": "d", "type": "uint8", "size": 0}`, 500) + `]}}]`
	many := newSample().begin(0x01, 2, "ram", 0, 4).add(uint64(1<<12 | 0x04))
	for i := range 70000 {
		many.name(fmt.Sprintf("b%d", i)).add(uint64(0))
	}
	sections := newSample()
	for i := range 70000 {
		sections.begin(0x01, uint32(i), "ram", 0, 4).add(uint64(0x10)).footer(uint32(i))
	}
	for _, test := range []struct {
		name string
		text []byte
		want string
	}{
		{"deep", described(deep, 7), "more than 64 structs are in each other"},
		{"wide", described(wide, make([]byte, 1000000)...), "the devices have more than 4194304 fields"},
		{"long name", described(`"fields": [{"name": "`+strings.Repeat("n", 300)+`", "size": 1}]`, 7), "a field's name of 300 bytes, want at most 255"},
		{"blocks", many.describe(clock(`"fields": []`)), "more than 65536 blocks"},
		{"sections", sections.describe(clock(`"fields": []`)), "more than 65536 sections"},
		{"description", new(sample).add("QEVM", uint32(3), byte(0), byte(0x06), uint32(1<<32-1), "{").bytes, "the description of the devices is truncated: it has 1 bytes, want 4294967295"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, err := read(test.text)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, %v; want %s", test.name, s, err, test.want)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > limit {
			t.Errorf("%s: took %d MiB", test.name, took>>20)
		}
	}
}

func TestOpenFaults(t *testing.T) {
	t.Parallel()
	if _, err := vmstate.Open(t.Context(), t.TempDir(), 0); err == nil || !strings.HasSuffix(err.Error(), ": is not a regular file") {
		t.Errorf("a folder: got %v", err)
	}
	if _, err := vmstate.Open(t.Context(), "testdata/nothing", 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	short := filepath.Join(t.TempDir(), "short.state")
	if err := os.WriteFile(short, withRAM()[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("stopped")
	ctx, stop := context.WithCancelCause(t.Context())
	stop(stopped)
	if _, err := vmstate.Open(ctx, "testdata/none.state", 0); !errors.Is(err, stopped) {
		t.Errorf("after its context has ended: got %v", err)
	}
	if _, err := vmstate.Open(t.Context(), short, 0); err == nil || !strings.HasPrefix(err.Error(), short+": offset ") {
		t.Errorf("got %v", err)
	}
}

// FuzzRead: no file makes reading it panic or never end, and what was read can be
// written, and is equal to itself.
func FuzzRead(f *testing.F) {
	real, err := os.ReadFile("testdata/none.state")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{
		real, withRAM(),
		described(`"fields": [{"name": "a", "type": "uint16", "size": 2, "array_len": 3}], "subsections": [{"vmsd_name": "b", "version": 1, "fields": [{"name": "c", "type": "bool", "size": 1}]}]`,
			0, 1, 0, 2, 0, 3, 5, 1, 'b', 0, 0, 0, 1, 1),
		newSample(capabilities("mapped-ram", "x-ignore-shared")...).device("clock", 2, 7).describe(clock(`"fields": [{"name": "hour", "type": "tmp", "size": 1}]`)),
		[]byte(dumped), nil, []byte("QEVM"), []byte("{}"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := read(text)
		if err != nil {
			fault, ok := errors.AsType[*vmstate.Error](err)
			if !ok || fault.Offset < 0 {
				t.Errorf("got %T %v, want an *Error with an offset", err, err)
			}
			return
		}
		if err := s.WriteText(&strings.Builder{}, true); err != nil {
			t.Error(err)
		}
		if differences, err := vmstate.Compare(s, s); err != nil || len(differences) > 0 {
			t.Errorf("compared with itself: got %+v, %v", differences, err)
		}
	})
}
