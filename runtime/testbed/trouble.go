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

// troubles are what a guest's kernel has said of trouble. They belong to the VM and
// not to an instance: the guest takes them along when it moves.
type troubles struct {
	boot   []guest.KernelFault // since the last boot
	before []guest.KernelFault // in the boot before: why the guest may have reset
	reset  time.Time           // the last one
}

// rebooted is what is left of them after a reset. One that soon follows another is
// the firmware's, and the boot in between was none.
func (t troubles) rebooted(now time.Time) troubles {
	before := t.boot
	if len(before) == 0 && now.Sub(t.reset) < seriesQuiet {
		before = t.before
	}
	return troubles{before: before, reset: now}
}

const (
	// keptTroubles is how many of a boot are remembered; the last ones.
	keptTroubles = 8
	// shownTroubles is how many of them an error shows.
	shownTroubles = 2
)

// noteKernelTrouble takes trouble in that the guest's kernel has told on its console.
func (i *Instance) noteKernelTrouble(t guest.KernelFault) {
	if i.Host.bed.addTrouble(i.Name(), t) {
		i.log.Warn("guest "+t.Kind.String(), "words", t.Message)
	} else {
		i.log.Debug("guest "+t.Kind.String(), "words", t.Message)
	}
}

// notePanic takes in that a device has told QEMU of the guest's panic. What the
// kernel says itself says more.
func (i *Instance) notePanic(e qmp.Event) {
	b := i.Host.bed
	said := slices.ContainsFunc(b.troublesOf(i.Name()).boot, func(t guest.KernelFault) bool {
		return strings.HasPrefix(t.Message, "Kernel panic")
	})
	if !said {
		b.addTrouble(i.Name(), guest.KernelFault{Kind: guest.Panicked, Message: fmt.Sprintf("%s (%v)", e.Name, e.Data["action"])})
	}
}

// addTrouble notes trouble of a VM's guest; first says that it is the first of its
// kind in this boot that hit this process.
func (b *Bed) addTrouble(vm string, t guest.KernelFault) (first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.troubles[vm]
	first = !slices.ContainsFunc(all.boot, func(o guest.KernelFault) bool { return o.Kind == t.Kind && o.KilledProcess == t.KilledProcess })
	all.boot = append(slices.Clone(all.boot[max(0, len(all.boot)-keptTroubles+1):]), t)
	b.troubles[vm] = all
	return first
}

// troublesOf are those of a VM's guest.
func (b *Bed) troublesOf(vm string) troubles {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.troubles[vm]
}

// bootTroubles says that a VM's guest boots again; or, when fresh, another one.
func (b *Bed) bootTroubles(vm string, fresh bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if fresh {
		delete(b.troubles, vm)
		return
	}
	b.troubles[vm] = b.troubles[vm].rebooted(time.Now())
}

// WithKernelTrouble adds to what went wrong with the guest what its kernel has said of
// trouble, which may be why.
func (i *Instance) WithKernelTrouble(err error) error {
	if err == nil {
		return nil
	}
	all := i.Host.bed.troublesOf(i.Name())
	last := all.boot
	if len(last) == 0 && len(i.Resets()) > 0 {
		last = all.before
	}
	var words []string
	text := err.Error()
	for _, t := range slices.Backward(last) {
		if len(words) < shownTroubles && !strings.Contains(text, t.Message) && !slices.Contains(words, t.Message) {
			words = append(words, t.Message)
		}
	}
	if len(words) == 0 {
		return err
	}
	slices.Reverse(words)
	return fmt.Errorf("%w; the guest's kernel said: %s", err, strings.Join(words, " | "))
}

// logins are the programs without which nobody gets into a guest, or stays there.
var logins = []string{"guestd", "sshd", "sshd-session", "dropbear", "login", "sh", "ash", "dash", "bash"}

// killedStatus is a shell's for a command that was killed by SIGKILL.
const killedStatus = 128 + 9

// OutOfMemory returns err as an ERROR that says what to do, if what went wrong did
// so because the guest's memory is too small for its work: that is the test's
// fault, whether the guest has moved or not. Else it returns nil. That a guest has
// run out of memory is no excuse for what has nothing to do with it, such as
// damaged memory.
func (i *Instance) OutOfMemory(err error) error {
	if err == nil || !i.lacksMemory(err) {
		return nil
	}
	if text := err.Error(); !strings.Contains(text, "param mem") {
		err = fmt.Errorf("%w; the guest of %s ran out of memory: give the VM more (param mem), or the guest less to do", err, i)
	}
	return result.Error.Wrap(err)
}

// How a guest is out of reach, besides by the end of a session.
var (
	errNoLogin  = errors.New("no login")
	errPanicked = errors.New("has panicked")
)

// isOutOfReach says whether err is about the guest as a whole: that it does not
// answer any more, or not in time, while QEMU does.
func isOutOfReach(err error) bool {
	if errors.Is(err, qmp.ErrSilent) {
		return false
	}
	_, late := errors.AsType[*guest.TimeoutError](err)
	return late || errors.Is(err, guest.ErrEnded) || errors.Is(err, errNoLogin) || errors.Is(err, errPanicked)
}

func (i *Instance) lacksMemory(err error) bool {
	var victims []string
	deadlocked := false // none was left to kill
	for _, t := range i.Host.bed.troublesOf(i.Name()).boot {
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
		return isOutOfReach(err) && (deadlocked || slices.ContainsFunc(logins, killed))
	}
	for _, words := range []string{"ut of memory", "annot allocate memory", "too little for"} {
		if strings.Contains(failed.Output, words) {
			return true
		}
	}
	if failed.Status == killedStatus && len(victims) > 0 {
		return true
	}
	// The workloads say themselves what has ended them.
	return slices.ContainsFunc(commandWords(failed.Command), func(word string) bool {
		return killed(word) && !slices.Contains(workload.Commands(), word)
	})
}

// commandWords are the names that a command's line may be about.
func commandWords(command string) []string {
	return strings.FieldsFunc(command, func(r rune) bool { return strings.ContainsRune(" \t\n;&|()'\"`$/", r) })
}

// describeResets is how often the guest has reset here without being asked to, for
// who waits for it in vain; "" for never.
func (i *Instance) describeResets() string {
	times, reason := 0, ""
	for _, r := range i.Resets() {
		if !r.Asked {
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
