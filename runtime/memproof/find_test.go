// SPDX-License-Identifier: Apache-2.0

package memproof_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/memproof"
)

// Texts are found in any piece of the RAM, among any bytes, and only where they are.
func TestFind(t *testing.T) {
	t.Parallel()
	e, _ := endsWith(t, 40<<20)
	ram := e.ram[0xc0000]
	copy(ram[5*page:], "it's here")
	copy(ram[33<<20+100:], "\xff\xfe\nand here\x80")
	copy(e.ram[0xfffc0000][page:], "in the ROM")
	got, err := memproof.Find(t.Context(), e, []string{"it's here", "and here", "in the ROM", "nowhere", ".*"})
	want := map[string]bool{"it's here": true, "and here": true, "in the ROM": true, "nowhere": false, ".*": false}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestFindFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		plant func(*end)
		want  string
	}{
		"it runs":          {func(e *end) { e.states = []string{"running"} }, "the guest is running"},
		"it has begun to":  {func(e *end) { e.states = []string{"paused", "running"} }, "the guest is running"},
		"no layout":        {func(e *end) { e.tree = "nothing" }, "where its RAM is"},
		"RAM is not saved": {func(e *end) { e.ram = nil }, "save RAM at 0x0-0x9ffff"},
		"grep fails": {func(e *end) {
			e.run = func(script string) (host.Output, error, bool) {
				if !strings.Contains(script, "grep -c") {
					return host.Output{}, nil, false
				}
				return host.Output{}, errors.New("grep: not found"), true
			}
		}, "look for a text in RAM at 0x0-0x9ffff: grep: not found"},
		"the disk is full": {func(e *end) {
			e.run = func(script string) (host.Output, error, bool) {
				return host.Output{Stdout: []byte("17\n0\n")}, nil, strings.Contains(script, "grep -c")
			}
		}, "QEMU saved 17 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _ := ends(t)
			tt.plant(e)
			found, err := memproof.Find(t.Context(), e, []string{"a text"})
			if failure, ok := errors.AsType[*memproof.EndError](err); !ok || !strings.Contains(err.Error(), tt.want) || failure.End != "vm1@host1" {
				t.Errorf("got %v, %v, want an EndError with %q", found, err, tt.want)
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stopped")
	cancel(stop)
	e, _ := ends(t)
	if _, err := memproof.Find(ctx, e, []string{"a text"}); !errors.Is(err, stop) {
		t.Errorf("got %v, want %v", err, stop)
	}
}
