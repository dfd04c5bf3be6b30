// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/jeos/workload"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
)

// kernelFaults are what a guest's kernel has reported on its console. They belong to the VM, not to an
// instance, since the guest migrates.
type kernelFaults struct {
	boot   []guest.KernelFault // since the last boot
	before []guest.KernelFault // in the boot before: a possible reason of the reset
	reset  time.Time           // the last one
}

// rebooted returns the faults after a reset. A reset that soon follows another is the
// firmware's, without a boot in between.
func (t kernelFaults) rebooted(now time.Time) kernelFaults {
	before := t.boot
	if len(before) == 0 && now.Sub(t.reset) < seriesQuiet {
		before = t.before
	}
	return kernelFaults{before: before, reset: now}
}

const (
	// keptKernelFaults is how many of a boot are kept: the last ones.
	keptKernelFaults = 8
	// shownKernelFaults is how many of them an error shows.
	shownKernelFaults = 2
)

// addKernelFault records and logs a faults reported on the guest's console.
func (i *Instance) addKernelFault(t guest.KernelFault) {
	if i.Host.bed.recordKernelFault(i.Name(), t) {
		i.log.Warn("guest "+t.Kind.String(), "message", t.Message)
	} else {
		i.log.Debug("guest "+t.Kind.String(), "message", t.Message)
	}
}

// addPanic records the event of a panic, from a pvpanic device, unless the kernel's
// message, which says more, is recorded already.
func (i *Instance) addPanic(e qmp.Event) {
	b := i.Host.bed
	known := slices.ContainsFunc(b.kernelFaultsOf(i.Name()).boot, func(t guest.KernelFault) bool {
		return strings.HasPrefix(t.Message, "Kernel panic")
	})
	if !known {
		b.recordKernelFault(i.Name(), guest.KernelFault{Kind: guest.Panicked, Message: fmt.Sprintf("%s (%v)", e.Name, e.Data["action"])})
	}
}

// recordKernelFault records a fault of the kernel of a VM's guest; first says that it is
// the first of its
// kind and process in this boot.
func (b *Bed) recordKernelFault(vm string, t guest.KernelFault) (first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.kernelFaults[vm]
	first = !slices.ContainsFunc(all.boot, func(o guest.KernelFault) bool { return o.Kind == t.Kind && o.KilledProcess == t.KilledProcess })
	all.boot = append(slices.Clone(all.boot[max(0, len(all.boot)-keptKernelFaults+1):]), t)
	b.kernelFaults[vm] = all
	return first
}

// kernelFaultsOf returns the faults of the kernel of a VM's guest.
func (b *Bed) kernelFaultsOf(vm string) kernelFaults {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kernelFaults[vm]
}

// rebootKernelFaults records that a VM's guest reboots; or, when fresh, that a new guest
// boots.
func (b *Bed) rebootKernelFaults(vm string, fresh bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if fresh {
		delete(b.kernelFaults, vm)
		return
	}
	b.kernelFaults[vm] = b.kernelFaults[vm].rebooted(time.Now())
}

// WithKernelFaults adds the last faults reported of the guest's kernel to an error,
// since they may be its reason.
func (i *Instance) WithKernelFaults(err error) error {
	if err == nil {
		return nil
	}
	all := i.Host.bed.kernelFaultsOf(i.Name())
	last := all.boot
	if len(last) == 0 && len(i.Resets()) > 0 {
		last = all.before
	}
	var words []string
	text := err.Error()
	for _, t := range slices.Backward(last) {
		if len(words) < shownKernelFaults && !strings.Contains(text, t.Message) && !slices.Contains(words, t.Message) {
			words = append(words, t.Message)
		}
	}
	if len(words) == 0 {
		return err
	}
	slices.Reverse(words)
	return fmt.Errorf("%w; the guest's kernel reported: %s", err, strings.Join(words, " | "))
}

// loginPrograms are the programs that a login and a session need.
var loginPrograms = []string{"guestd", "sshd", "sshd-session", "dropbear", "login", "sh", "ash", "dash", "bash"}

// killedStatus is a shell's status of a command that was killed by SIGKILL.
const killedStatus = 128 + 9

// OutOfMemory returns err as an ERROR that says what to do, if its reason is that the
// guest's memory is too small for its load: that is an error of the test, even after a
// migration. Else it returns nil, also when the guest has run out of memory but err is
// unrelated, such as corrupted memory.
func (i *Instance) OutOfMemory(err error) error {
	if err == nil || !i.lacksMemory(err) {
		return nil
	}
	if text := err.Error(); !strings.Contains(text, "param mem") {
		err = fmt.Errorf("%w; the guest of %s ran out of memory: increase the VM's memory (param mem), or reduce the guest's load", err, i)
	}
	return result.Error.Wrap(err)
}

// Why a guest is unreachable, besides the end of a session.
var (
	ErrNoLogin  = errors.New("no login")
	errPanicked = errors.New("has panicked")
)

// isUnreachable says whether err means that the guest as a whole does not answer, or not
// in time, while QEMU does.
func isUnreachable(err error) bool {
	if errors.Is(err, qmp.ErrSilent) {
		return false
	}
	_, late := errors.AsType[*guest.TimeoutError](err)
	return late || errors.Is(err, guest.ErrEnded) || errors.Is(err, ErrNoLogin) || errors.Is(err, errPanicked)
}

func (i *Instance) lacksMemory(err error) bool {
	var victims []string
	deadlocked := false // there was no process left to kill
	for _, t := range i.Host.bed.kernelFaultsOf(i.Name()).boot {
		switch {
		case t.Kind != guest.OutOfMemory:
		case t.KilledProcess == "":
			deadlocked = true
		default:
			victims = append(victims, t.KilledProcess)
		}
	}
	killed := func(name string) bool { return slices.Contains(victims, name) }
	failed, isCommand := errors.AsType[*guest.CmdError](err)
	if !isCommand {
		return isUnreachable(err) && (deadlocked || slices.ContainsFunc(loginPrograms, killed))
	}
	for _, words := range []string{"ut of memory", "annot allocate memory", "too little for"} {
		if strings.Contains(failed.Output, words) {
			return true
		}
	}
	if failed.Status == killedStatus && len(victims) > 0 {
		return true
	}
	// The workloads report themselves why they ended.
	return slices.ContainsFunc(commandWords(failed.Command), func(word string) bool {
		return killed(word) && !slices.Contains(workload.Commands(), word)
	})
}

// commandWords are the words of a command line, such as names of programs.
func commandWords(command string) []string {
	return strings.FieldsFunc(command, func(r rune) bool { return strings.ContainsRune(" \t\n;&|()'\"`$/", r) })
}

// describeResets says how often the guest has reset here without a request, for the
// error of a failed login; "" for never.
func (i *Instance) describeResets() string {
	times, reason := 0, ""
	for _, r := range i.Resets() {
		if !r.Requested {
			times, reason = times+1, r.Reason
		}
	}
	switch times {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("the guest has reset once (%s)", reason)
	default:
		return fmt.Sprintf("the guest has reset %d times (%s)", times, reason)
	}
}
