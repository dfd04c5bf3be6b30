// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/guest"
)

// shown is a console's log.
type shown struct{ bytes.Buffer }

func (*shown) Close() error { return nil }

func TestWatchKernel(t *testing.T) {
	t.Parallel()
	const oom = "Out of memory: Killed process 137 (memwork) total-vm:1344464kB, anon-rss:69216kB"
	tests := []struct {
		name, console string
		want          []guest.KernelFault
	}{
		{"a killed process", "jeos login: [   67.583195] " + oom + "\r\n", []guest.KernelFault{{guest.OutOfMemory, oom, "memwork"}}},
		{"before 5.3", "[1.0] Out of memory: Kill process 7 (a b) score 9 or sacrifice child\n", []guest.KernelFault{
			{guest.OutOfMemory, "Out of memory: Kill process 7 (a b) score 9 or sacrifice child", "a b"},
		}},
		{"nothing left to kill", "Kernel panic - not syncing: System is deadlocked on memory\r\n", []guest.KernelFault{
			{guest.OutOfMemory, "Kernel panic - not syncing: System is deadlocked on memory", ""},
		}},
		{"a panic", "[ 2.7] Kernel panic - not syncing: sysrq triggered crash\r\n[ 2.8] CPU: 0\r\n[ 2.9] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n", []guest.KernelFault{
			{guest.Panicked, "Kernel panic - not syncing: sysrq triggered crash", ""},
		}},
		{"a crash", "[ 2.7] BUG: kernel NULL pointer dereference, address: 0000000000000000\n[ 2.7] Oops: 0002 [#1] PREEMPT SMP\n", []guest.KernelFault{
			{guest.Crashed, "BUG: kernel NULL pointer dereference, address: 0000000000000000", ""},
			{guest.Crashed, "Oops: 0002 [#1] PREEMPT SMP", ""},
		}},
		{"colours", "\x1b[31m[ 1.0] \x1b[1mKernel panic - not syncing: x\x1b[0m\n", []guest.KernelFault{{guest.Panicked, "Kernel panic - not syncing: x", ""}}},
		{"none", "jeos login: root\r\nmemory: 94800 kB\r\nKernel panic is a band\n[ 4.2] SCSI subsystem initialized\n", nil},
		{"a line without end", strings.Repeat("x", 1<<20) + "\n[1.0] " + oom + "\n", []guest.KernelFault{{guest.OutOfMemory, oom, "memwork"}}},
		{"a line that is not whole", "Kernel panic - not syncing: x", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{1 << 30, 7, 1} { // of the pieces in which it comes
				if size == 1 && len(tt.console) > 1<<16 {
					continue
				}
				var got []guest.KernelFault
				var log shown
				w := guest.WatchKernel(&log, func(t guest.KernelFault) { got = append(got, t) })
				for rest := tt.console; rest != ""; {
					n := min(size, len(rest))
					if written, err := w.Write([]byte(rest[:n])); err != nil || written != n {
						t.Fatalf("Write: got %d, %v; want %d", written, err, n)
					}
					rest = rest[n:]
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("in pieces of %d bytes: %s", size, diff)
				}
				if log.String() != tt.console {
					t.Errorf("in pieces of %d bytes: the log is another", size)
				}
			}
		})
	}
}
