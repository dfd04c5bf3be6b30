// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/runtime/guest"
)

// Resets are told of in one line: those of one reboot, and those of a guest that
// never gets on, which is told of now and then.
func TestResetFold(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		every time.Duration
		times int
		over  bool // by another event
		want  []string
	}{
		{"one", time.Hour, 1, false, []string{"1s: 1"}},
		{"a reboot", 50 * time.Millisecond, 3, false, []string{"1.1s: 3"}},
		{"a reboot, and then something else", 50 * time.Millisecond, 3, true, []string{"150ms: 3"}},
		{"a boot that fails", 3 * time.Second, 10, false, []string{"1s: 1", "23s: 7", "57s: 2"}},
		{"a boot that fails at once", 300 * time.Millisecond, 1000, false, []string{"10s: 34", "30.2s: 67", "1m10.3s: 134", "2m30.5s: 267", "5m10.6s: 498"}},
		{"apart", time.Minute, 3, false, []string{"1s: 1", "1m1s: 1", "2m1s: 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var got []string
				f := newResetLog(func(times int, _ string) { got = append(got, fmt.Sprintf("%v: %d", time.Since(began), times)) })
				tick := time.NewTicker(tt.every)
				defer tick.Stop()
				f.add("guest-reset")
				for n := 1; n < tt.times; {
					select {
					case <-tick.C:
						f.add("guest-reset")
						n++
					case <-f.timer.C:
						f.timeout()
					}
				}
				if tt.over {
					<-tick.C
					f.endSeries()
				}
				for end := time.After(time.Hour); ; {
					select {
					case <-f.timer.C:
						f.timeout()
						continue
					case <-end:
					}
					break
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// What the kernel said before a reset is known until the next boot, through the
// resets of the firmware.
func TestKernelFaultsThroughResets(t *testing.T) {
	t.Parallel()
	now := time.Now()
	all := kernelFaults{boot: []guest.KernelFault{{Kind: guest.Panicked, Message: "panic"}}}
	for i, after := range []time.Duration{0, 50 * time.Millisecond, 2 * time.Second} {
		now = now.Add(after)
		if all = all.rebooted(now); len(all.boot) != 0 || len(all.before) != 1 {
			t.Errorf("reset %d: got %+v, want the panic to be from before", i, all)
		}
	}
	if all = all.rebooted(now.Add(time.Minute)); len(all.boot)+len(all.before) != 0 {
		t.Errorf("a boot later: got %+v, want nothing", all)
	}
}

// namedQEMU is a QEMU that has nothing but a name.
type namedQEMU struct {
	QEMU
	name string
}

func (q namedQEMU) Name() string { return q.name }

// The STOP of a source may come when the guest runs on the destination: its time goes on.
func TestLateStopOfASource(t *testing.T) {
	t.Parallel()
	b := &Bed{reboots: map[string]requestedReboot{}}
	source, destination := &Instance{QEMU: namedQEMU{name: "vm1"}}, &Instance{QEMU: namedQEMU{name: "vm1"}}
	now := time.Now()
	b.beginReboot(source, true, now)
	b.noteRunning(destination, true, now.Add(time.Second))
	b.noteRunning(source, false, now.Add(2*time.Second))
	for after, want := range map[time.Duration]bool{3 * time.Second: true, time.Minute: false} {
		if got := b.resetByFirmware("vm1", now.Add(after)); got != want {
			t.Errorf("after %v: by the firmware: %t", after, got)
		}
	}
}
