// SPDX-License-Identifier: Apache-2.0

package testbed_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// An error whose reason is that the guest ran out of memory is an ERROR; other errors
// keep their status.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	command := func(status int, line, output string) error {
		return fmt.Errorf("check: %w", &guest.CmdError{Command: line, Status: status, Output: output})
	}
	killed := func(name string) []guest.KernelFault {
		return []guest.KernelFault{{Kind: guest.OutOfMemory, Message: "Out of memory: Killed process 9 (" + name + ")", KilledProcess: name}}
	}
	deadlock := []guest.KernelFault{{Kind: guest.OutOfMemory, Message: "Kernel panic - not syncing: System is deadlocked on memory"}}
	ended := guest.ErrClosed
	noLogin := fmt.Errorf("vm1: %w: login_timeout is over", testbed.NoLogin)
	late := &guest.TimeoutError{Command: "true", Limit: time.Second}
	tests := []struct {
		name   string
		kernel []guest.KernelFault
		err    error
		status result.Status
	}{
		{"memwork says so", nil, command(3, "memwork check", "memwork: the worker died: the guest ran out of memory and killed it (…): give the VM more memory (param mem)"), result.Error},
		{"no room for memwork", nil, command(3, "memwork start", "memwork: the guest has only 9 MiB of memory available, too little for 32 MiB"), result.Error},
		{"another program says so", nil, command(1, "stress", "mmap: Cannot allocate memory"), result.Error},
		{"the work is gone", killed("dd"), command(1, "killall -0 dd", "killall: dd: no process killed"), result.Error},
		{"the command was killed", killed("stress"), command(137, "./work.sh", "Killed"), result.Error},
		{"killed by somebody else", nil, command(137, "./work.sh", "Killed"), result.Fail},
		{"other work is gone", killed("dd"), command(1, "killall -0 fio", "killall: fio: no process killed"), result.Fail},
		{"damaged memory", killed("dd"), command(1, "memwork check", "memwork: FAILED: 3 damaged pages"), result.Fail},
		{"damaged memory, beside a second worker that was killed", killed("memwork"), command(1, "memwork check", "memwork: FAILED: 3 damaged pages"), result.Fail},
		{"the server was killed", killed("sshd"), ended, result.Error},
		{"no server any more", killed("guestd"), noLogin, result.Error},
		{"no login, and something else was killed", killed("dd"), noLogin, result.Fail},
		{"nothing left to kill", deadlock, late, result.Error},
		{"no answer", nil, late, result.Fail},
		{"a silent QEMU, beside a deadlock", deadlock, fmt.Errorf("%w; detected by: %w", qmp.ErrSilent, late), result.Fail},
		{"QEMU, beside a deadlock", deadlock, errors.New("the source failed"), result.Fail},
		{"QEMU, beside a killed server", killed("sshd"), errors.New("the source failed"), result.Fail},
	}
	synctest.Test(t, func(t *testing.T) {
		bed := bedtest.NewScriptedBed(t, 1, nil)
		instance, _, err := bed.Ensure(t.Context(), "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{})
		if err != nil {
			t.Fatal(err)
		}
		instance.Arrive() // so that all else is a FAIL
		for _, tt := range tests {
			instance.BootNewGuest()
			for _, said := range tt.kernel {
				instance.AddKernelFault(said)
			}
			err := instance.Blame(t.Context(), tt.err)
			if got := result.StatusOf(err); got != tt.status {
				t.Errorf("%s: got %v (%v), want %v", tt.name, got, err, tt.status)
			}
			if !strings.Contains(err.Error(), tt.err.Error()) || tt.status == result.Error && !strings.Contains(err.Error(), "param mem") && !strings.Contains(err.Error(), "too little for") {
				t.Errorf("%s: got %v, want what went wrong and what to do", tt.name, err)
			}
			for _, said := range tt.kernel {
				if !strings.Contains(err.Error(), said.Message) {
					t.Errorf("%s: got %v, want the kernel's words %q", tt.name, err, said.Message)
				}
			}
		}
	})
}

// reset resets the guest, and waits for the event.
func reset(t *testing.T, instance *testbed.Instance) {
	t.Helper()
	before := len(instance.Resets())
	if err := instance.Monitor().Execute(t.Context(), "system_reset", nil, nil); err != nil {
		t.Fatal(err)
	}
	for len(instance.Resets()) == before { // its event may follow the answer
		if _, err := instance.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Kernel messages before a reset are added to errors until the next boot has its own.
func TestKernelFaultsBeforeAReset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed := bedtest.NewScriptedBed(t, 1, nil)
		instance, _, err := bed.Ensure(t.Context(), "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{})
		if err != nil {
			t.Fatal(err)
		}
		const words = "Kernel panic - not syncing: Fatal exception"
		for range 20 { // few are kept
			instance.AddKernelFault(guest.KernelFault{Kind: guest.Crashed, Message: "BUG: first"})
		}
		instance.AddKernelFault(guest.KernelFault{Kind: guest.Panicked, Message: words})
		wrong := errors.New("the guest was reset")
		if got, want := instance.WithKernelFaults(wrong).Error(), "the guest was reset; the guest's kernel reported: BUG: first | "+words; got != want {
			t.Errorf("before the reset: got %q, want %q", got, want)
		}
		again := errors.New("its console ends: BUG: first\n" + words)
		if got := instance.WithKernelFaults(again); !errors.Is(got, again) || got.Error() != again.Error() {
			t.Errorf("words that are told: got %v, want no change", got)
		}
		reset(t, instance)
		if got := instance.WithKernelFaults(wrong).Error(); !strings.HasSuffix(got, words) {
			t.Errorf("after the reset: got %q, want the words before it", got)
		}
		instance.AddKernelFault(guest.KernelFault{Kind: guest.Panicked, Message: "Kernel panic - not syncing: another"})
		if got := instance.WithKernelFaults(wrong).Error(); strings.Contains(got, words) || !strings.HasSuffix(got, "another") {
			t.Errorf("in the boot after: got %q, want its own words", got)
		}
		instance.BootNewGuest()
		if got := instance.WithKernelFaults(wrong); !errors.Is(got, wrong) || got.Error() != wrong.Error() {
			t.Errorf("of another guest: got %v, want no change", got)
		}
	})
}
