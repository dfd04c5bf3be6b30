// SPDX-License-Identifier: Apache-2.0

package memproof_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/memproof"
	"github.com/mhmig/mhmig/runtime/qmp"
)

const (
	page  = 4 << 10
	piece = 16 << 20
)

// end is an end with RAM of its own, whose scripts a real shell runs.
type end struct {
	name    string
	scratch string
	ram     map[uint64][]byte // by address
	tree    string            // info mtree -f
	guid    string            // "": no such device
	states  []string          // the answers of query-status, the last one again and again
	answer  func(command string) error
	run     func(script string) (host.Output, error, bool)

	mu      sync.Mutex // guards what follows
	scripts []string
}

func (e *end) String() string  { return e.name }
func (e *end) Scratch() string { return e.scratch }

func (e *end) Supports(context.Context, string) (bool, error) { return true, nil }

func (e *end) Execute(_ context.Context, command string, arguments, reply any) error {
	if e.answer != nil {
		if err := e.answer(command); err != nil {
			return err
		}
	}
	var answer any
	switch command {
	case "query-status":
		state := e.states[0]
		if len(e.states) > 1 {
			e.states = e.states[1:]
		}
		answer = map[string]any{"status": state, "running": state == "running"}
	case "human-monitor-command":
		answer = e.tree
	case "query-vm-generation-id":
		if e.guid == "" {
			return &qmp.Error{Class: "GenericError", Desc: "VM Generation ID device not found"}
		}
		answer = map[string]any{"guid": e.guid}
	case "pmemsave":
		a := arguments.(map[string]any)
		at, size := a["val"].(uint64), a["size"].(uint64)
		for start, content := range e.ram {
			if at >= start && at+size <= start+uint64(len(content)) {
				return os.WriteFile(a["filename"].(string), content[at-start:at-start+size], 0o600)
			}
		}
		return fmt.Errorf("no RAM at %#x", at)
	default:
		return fmt.Errorf("unexpected command %s", command)
	}
	if reply == nil {
		return nil
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, reply)
}

func (e *end) Run(ctx context.Context, c host.Command) (host.Output, error) {
	args := c.Args
	if c.Script != "" {
		args = []string{"sh", "-c", c.Script}
	}
	e.mu.Lock()
	e.scripts = append(e.scripts, strings.Join(args, " "))
	e.mu.Unlock()
	if e.run != nil {
		if out, err, done := e.run(c.Script); done {
			return out, err
		}
	}
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	return host.Output{Stdout: out}, err
}

const tree = `FlatView #0
 AS "I/O", root: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-000000000009ffff (prio 0, ram): pc.ram
  00000000000a0000-00000000000bffff (prio 1, i/o): vga ioports remapped
  00000000000c0000-00000000000fffff (prio 0, rom): pc.ram @00000000000c0000
  0000000000100000-00000000014fffff (prio 0, ram): pc.ram @0000000000100000
  00000000fd000000-00000000fd00ffff (prio 1, ramd): vfio
  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic
  00000000fffc0000-00000000ffffffff (prio 0, romd): system.flash0
`

// memory has RAM where tree says, up to end instead of 0x1500000, all of it different
// from page to page.
func memory(end int) map[uint64][]byte {
	ram := map[uint64][]byte{0: make([]byte, 0xa0000), 0xc0000: make([]byte, end-0xc0000), 0xfffc0000: make([]byte, 0x40000)}
	for start, content := range ram {
		for at := 0; at < len(content); at += page {
			binary.LittleEndian.PutUint64(content[at:], start+uint64(at)+1)
		}
	}
	return ram
}

// pages is how many pages there are with memory(end).
func pages(end int) int64 { return int64(0xa0000+end-0xc0000+0x40000) / page }

// ends are two ends with the same 1.5 MiB of RAM.
func ends(t *testing.T) (source, destination *end) {
	t.Helper()
	return endsWith(t, 0x180000)
}

func endsWith(t *testing.T, size int) (source, destination *end) {
	t.Helper()
	tree := strings.ReplaceAll(tree, "00000000014fffff", fmt.Sprintf("%016x", size-1))
	source = &end{name: "vm1@host1", ram: memory(size), tree: tree, states: []string{"postmigrate"}}
	destination = &end{name: "vm1@host2", ram: memory(size), tree: tree, states: []string{"paused"}}
	for _, e := range []*end{source, destination} {
		e.scratch = filepath.Join(t.TempDir(), "it's RAM")
	}
	return source, destination
}

func TestEqual(t *testing.T) {
	t.Parallel()
	source, destination := endsWith(t, 0x1500000)
	if err := os.MkdirAll(filepath.Join(source.scratch, "of a comparison that has failed"), 0o700); err != nil {
		t.Fatal(err)
	}
	result, err := memproof.Compare(t.Context(), source, destination)
	if err != nil {
		t.Fatal(err)
	}
	if result.Pages != pages(0x1500000) || result.Differ != 0 || result.Took <= 0 {
		t.Errorf("got %+v, want %d pages, none of which differs", result, pages(0x1500000))
	}
	if limit := int64(2000); result.Moved == 0 || result.Moved > limit {
		t.Errorf("%d bytes were moved for memory that is equal, want at most %d", result.Moved, limit)
	}
	for _, e := range []*end{source, destination} {
		if _, err := os.Stat(e.scratch); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the scratch folder remains: %v", e, err)
		}
	}
}

// Each way in which memory can differ is found, and counted.
func TestDifferent(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	const (
		ram          = 0xc0000 // where the second part of the memory begins
		small, large = 0x180000, 0x1500000
	)
	tests := []struct {
		name   string
		size   int
		change func(ram map[uint64][]byte)
		differ int64
		first  uint64
		region string
		runs   []memproof.Span
		text   string
	}{
		{"the first byte", small, func(m map[uint64][]byte) { m[0][0] = 'A' }, 1, 0, "pc.ram", []memproof.Span{{0, page}}, "at 0x0 the source has 01 00 00 00 00 00 00 00, the destination 41 00"},
		{"the last byte", small, func(m map[uint64][]byte) { m[0xfffc0000][0x3ffff]++ }, 1, 0xfffff000, "system.flash0", []memproof.Span{{0xfffff000, 1 << 32}}, "at 0xffffffff the source has 00, the destination 01"},
		{"the end of the first piece", large, func(m map[uint64][]byte) { m[ram][piece-1]++ }, 1, ram + piece - page, "pc.ram", []memproof.Span{{ram + piece - page, ram + piece}}, "1 of 5408 pages: 0x10bf000-0x10bffff"},
		{"the beginning of the second piece", large, func(m map[uint64][]byte) { m[ram][piece]++ }, 1, ram + piece, "pc.ram", []memproof.Span{{ram + piece, ram + piece + page}}, "0x10c0000-0x10c0fff"},
		{"a page that is lost", small, func(m map[uint64][]byte) { clear(m[ram][5*page : 6*page]) }, 1, ram + 5*page, "pc.ram", []memproof.Span{{ram + 5*page, ram + 6*page}}, "the destination 00 00 00 00"},
		{"64 pages, as one word of a bitmap", small, func(m map[uint64][]byte) { clear(m[ram][256<<10 : 512<<10]) }, 64, ram + 256<<10, "pc.ram", []memproof.Span{{ram + 256<<10, ram + 512<<10}}, "64 of 416 pages: 0x100000-0x13ffff; the first is 0x100000 of pc.ram"},
		{"several", large, func(m map[uint64][]byte) {
			for i := range 6 {
				m[ram][(i*300+1)*page+123] = 'x'
			}
		}, 6, ram + page, "pc.ram", nil, "0xc1000-0xc1fff, 0x1ed000-0x1edfff, 0x319000-0x319fff, 0x445000-0x445fff, 2 more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source, destination := endsWith(t, tt.size)
			tt.change(destination.ram)
			result, err := memproof.Compare(t.Context(), source, destination)
			different, ok := errors.AsType[*memproof.DifferenceError](err)
			if !ok {
				t.Fatalf("got %v, want a difference", err)
			}
			first := result.First
			if result.Pages != pages(tt.size) || result.Differ != tt.differ || first.Address != tt.first || first.Region != tt.region || result.AtLeast {
				t.Errorf("got %d of %d pages, the first at %#x of %s; want %d of %d, the first at %#x of %s", result.Differ, result.Pages, first.Address, first.Region, tt.differ, pages(tt.size), tt.first, tt.region)
			}
			if tt.runs != nil {
				if diff := cmp.Diff(tt.runs, result.Runs); diff != "" {
					t.Errorf("runs (-want +got):\n%s", diff)
				}
			}
			for name, side := range map[string]struct {
				got []byte
				ram map[uint64][]byte
			}{"source": {first.Source, source.ram}, "destination": {first.Destination, destination.ram}} {
				for start, content := range side.ram {
					if at := tt.first; at >= start && at < start+uint64(len(content)) && !bytes.Equal(side.got, content[at-start:at-start+page]) {
						t.Errorf("the page of the %s is not what it has there", name)
					}
				}
			}
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v\nwant %q in it", err, tt.text)
			}
			if detail := different.Detail(); !strings.Contains(detail, "source vm1@host1 (-)") || !strings.Contains(detail, "\n  + ") {
				t.Errorf("detail: got %s", detail)
			}
		})
	}
}

// A destination that has got nothing is not read as a whole.
func TestEnoughDiffers(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	const size = 40 << 20
	source, destination := endsWith(t, size)
	for at := 0; at < size-0xc0000; at += 8 * page {
		source.ram[0xc0000][at] = 0xff
	}
	result, err := memproof.Compare(t.Context(), source, destination)
	if _, ok := errors.AsType[*memproof.DifferenceError](err); !ok || !result.AtLeast || result.Differ != 16<<20/(8*page) || result.Pages != pages(size) {
		t.Errorf("got %d of %d pages, %t, %v; want at least 512 of %d", result.Differ, result.Pages, result.AtLeast, err, pages(size))
	}
	if err != nil && !strings.Contains(err.Error(), "at least") {
		t.Errorf("got %v, want: at least", err)
	}
}

// The GUID of vmgenid differs by design, once, and nothing beside it.
func TestAllowed(t *testing.T) {
	t.Parallel()
	const here, there = "00112233-4455-6677-8899-aabbccddeeff", "f0112233-4455-6677-8899-aabbccddeeff"
	inMemory := func(first byte) []byte { // little-endian, as GUIDs are
		return []byte{0x33, 0x22, 0x11, first, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	}
	const at = 7*page + 40
	tests := []struct {
		name    string
		change  func(source, destination *end)
		allowed int
		differ  int64
	}{
		{"the GUID", func(*end, *end) {}, 1, 0},
		{"another byte of its page", func(_, d *end) { d.ram[0][at+17] = 1 }, 0, 1},
		{"a byte before it", func(_, d *end) { d.ram[0][at-1] = 1 }, 0, 1},
		{"another page", func(_, d *end) { d.ram[0][at+page] = 1 }, 1, 1},
		{"a second page with it", func(s, d *end) { copy(s.ram[0][at+page:], inMemory(0)); copy(d.ram[0][at+page:], inMemory(0xf0)) }, 1, 1},
		{"no such device", func(s, d *end) { s.guid, d.guid = "", "" }, 0, 1},
		{"another GUID", func(_, d *end) { d.guid = here }, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source, destination := ends(t)
			source.guid, destination.guid = here, there
			copy(source.ram[0][at:], inMemory(0))
			copy(destination.ram[0][at:], inMemory(0xf0))
			tt.change(source, destination)
			result, err := memproof.Compare(t.Context(), source, destination)
			if (err != nil) != (tt.differ > 0) || result.Differ != tt.differ || len(result.Allowed) != tt.allowed {
				t.Errorf("got %d allowed, %d that differ, %v; want %d and %d", len(result.Allowed), result.Differ, err, tt.allowed, tt.differ)
			}
			if len(result.Allowed) > 0 && result.Allowed[0] != (memproof.Allowed{Address: 7 * page, Device: "vmgenid"}) {
				t.Errorf("allowed: got %v", result.Allowed)
			}
		})
	}
}

// An end that cannot be compared is an error of that end, never a success.
func TestEndFails(t *testing.T) {
	t.Parallel()
	script := func(out string, err error) func(string) (host.Output, error, bool) {
		return func(script string) (host.Output, error, bool) {
			return host.Output{Stdout: []byte(out)}, err, strings.Contains(script, "sha256sum <piece0")
		}
	}
	refuses := func(command string) func(string) error {
		return func(got string) error {
			if got == command {
				return qmp.ErrGone
			}
			return nil
		}
	}
	tests := []struct {
		name   string
		change func(e *end)
		want   string
	}{
		{"it runs", func(e *end) { e.states = []string{"running"} }, "whether the guest runs: the guest is running"},
		{"it is not loaded", func(e *end) { e.states = []string{"inmigrate"} }, "the guest is inmigrate"},
		{"it runs at the end", func(e *end) { e.states = []string{"paused", "running"} }, "the guest is running"},
		{"it is gone at first", func(e *end) { e.answer = refuses("query-status") }, qmp.ErrGone.Error()},
		{"it is gone later", func(e *end) { e.answer = refuses("pmemsave") }, "save RAM at 0x0-0x9ffff: " + qmp.ErrGone.Error()},
		{"no RAM", func(e *end) { e.tree = "" }, "where its RAM is: info mtree -f: QEMU names no RAM"},
		{"a range that is none", func(e *end) { e.tree = strings.ReplaceAll(e.tree, "000000000017ffff", "00000000000fffff") }, "invalid range"},
		{"a full disk", func(e *end) { e.run = script("4096\n"+strings.Repeat("0", 64)+"  -\n", nil) }, "QEMU saved 4096 bytes into"},
		{"no hash", func(e *end) { e.run = script("655360\n", nil) }, `sha256sum wrote ""`},
		{"no sha256sum", func(e *end) {
			e.run = script("", &host.ExitError{Host: "host1", Command: "sha256sum", Output: host.Output{Status: 127}})
		}, "exit status 127"},
		{"a scratch folder that cannot be made", func(e *end) { e.scratch += "/of/none" }, "make a folder"},
	}
	for _, tt := range tests {
		for _, side := range []memproof.Side{memproof.Source, memproof.Destination} {
			t.Run(tt.name+" on the "+string(side), func(t *testing.T) {
				t.Parallel()
				source, destination := ends(t)
				wrong := source
				if side == memproof.Destination {
					wrong = destination
				}
				tt.change(wrong)
				_, err := memproof.Compare(t.Context(), source, destination)
				failed, ok := errors.AsType[*memproof.EndError](err)
				if !ok || failed.Side != side || failed.End != wrong.name || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v\nwant an error of the %s with %q", err, side, tt.want)
				}
			})
		}
	}
}

// Memory at other addresses is a difference, too; how it is divided is none.
func TestLayout(t *testing.T) {
	t.Parallel()
	source, destination := ends(t)
	base := destination.tree
	destination.tree = strings.Replace(base, "0000000000100000-000000000017ffff (prio 0, ram): pc.ram @0000000000100000",
		"0000000000100000-000000000013ffff (prio 0, nv-rom): ROM KVM\n  0000000000140000-000000000017ffff (prio -1, ram): pc.ram @0000000000140000 KVM", 1)
	if _, err := memproof.Compare(t.Context(), source, destination); err != nil {
		t.Errorf("divided otherwise: got %v", err)
	}
	destination.tree = strings.ReplaceAll(base, "00000000fffc0000-", "00000000fffd0000-")
	_, err := memproof.Compare(t.Context(), source, destination)
	const want = "on the source at 0x0-0x9ffff, 0xc0000-0x17ffff, 0xfffc0000-0xffffffff, on the destination at 0x0-0x9ffff, 0xc0000-0x17ffff, 0xfffd0000-0xffffffff"
	if _, ok := errors.AsType[*memproof.LayoutError](err); !ok || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// Compare ends with its context, whatever an end waits for.
func TestStopped(t *testing.T) {
	t.Parallel()
	source, destination := ends(t)
	late := errors.New("mig_timeout expired")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, late)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	destination.run = func(script string) (host.Output, error, bool) {
		if !strings.Contains(script, "sha256sum") {
			return host.Output{}, nil, false
		}
		stop(late)
		return host.Output{}, context.Cause(ctx), true
	}
	if _, err := memproof.Compare(ctx, source, destination); !errors.Is(err, late) {
		t.Errorf("got %v, want %v", err, late)
	}
}

// Only what differs is read from the hosts.
func TestMovesHashes(t *testing.T) {
	t.Parallel()
	source, destination := ends(t)
	destination.ram[0xc0000][0x20000]++
	result, err := memproof.Compare(t.Context(), source, destination)
	if err == nil {
		t.Fatal("got no difference")
	}
	if limit := int64(2*(64<<10) + 2*24*80 + 2000); result.Moved > limit {
		t.Errorf("%d bytes were moved for one page that differs, want at most %d: one block, and the hashes of a piece", result.Moved, limit)
	}
	reads := slices.DeleteFunc(slices.Clone(source.scripts), func(s string) bool { return !strings.Contains(s, "&& cat ") })
	if len(reads) != 1 || !strings.HasSuffix(reads[0], "cat b.aac") {
		t.Errorf("got %q, want one block to be read", reads)
	}
}
