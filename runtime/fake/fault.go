// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"cmp"
	"fmt"
	"time"
)

// Fault is something that goes wrong, once.
type Fault struct {
	// Text is the fault as the test has it, for messages.
	Text string
	When When
	VM   string // whose it is; or
	Host string
	Side string // source or destination: the QEMU of that role; "": where the guest is
	// Do makes it happen: see the functions of this package.
	Do func(w *World, f *Fault)
}

// When is the moment of a fault. Its zero value is the first moment that it can happen.
type When struct {
	At      string        // when a migration begins a step
	After   string        // when it has ended a step
	Percent int           // when so much of the VM's used memory was sent
	Time    time.Duration // after the run's begin
	// Migration is the number of the migration, from 1, that At and After mean, or, with
	// Percent, of those of the VM; 0: any.
	Migration int
}

func (w When) isZero() bool { return w == When{} }

// Happened says whether a fault has happened.
func (w *World) Happened(f *Fault) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.happened[f]
}

func (w *World) happen(f *Fault) {
	w.mu.Lock()
	before := w.happened[f]
	w.happened[f] = true
	w.mu.Unlock()
	if !before {
		f.Do(w, f)
	}
}

// arm prepares a fault for its moment, if that is a time.
func (w *World) arm(f *Fault) {
	if f.When.Time == 0 {
		return
	}
	w.working.Go(func() {
		select {
		case <-time.After(f.When.Time):
			w.happen(f)
		case <-w.ctx.Done():
		}
	})
}

// booted makes the faults of a VM happen that wait for nothing but its guest.
func (w *World) booted(vm string) {
	for _, f := range w.Faults {
		if f.VM == vm && f.When.isZero() && f.Side != destinationSide {
			w.happen(f)
		}
	}
}

// launched makes the faults of a destination happen that wait for nothing but it.
func (w *World) launched(vm string) {
	for _, f := range w.Faults {
		if f.VM == vm && f.When.isZero() && f.Side == destinationSide {
			w.happen(f)
		}
	}
}

// progress makes the faults happen that wait for a part of the guest's memory; those of
// hosts wait for any guest.
func (w *World) progress(vm string, percent int) {
	w.mu.Lock()
	number := w.moved[vm]
	w.mu.Unlock()
	for _, f := range w.Faults {
		wanted := f.When.Migration == 0 || f.When.Migration == number
		if (f.VM == vm || f.VM == "") && wanted && f.When.Percent > 0 && percent >= f.When.Percent {
			w.happen(f)
		}
	}
}

// The sides of a migration.
const (
	sourceSide      = "source"
	destinationSide = "destination"
)

// target is the QEMU that a fault means: that of its side in the last migration, else the
// one that the guest is in. It is nil if there is none.
func (w *World) target(f *Fault) *qemu {
	w.mu.Lock()
	defer w.mu.Unlock()
	var destination, source, last, running *qemu
	for _, q := range w.qemus[f.VM] {
		if q.hasEnded() {
			continue
		}
		last = q
		if q.launch.Incoming {
			destination = q
		}
		if state := q.process.RunState(); state != "inmigrate" && state != "postmigrate" {
			running = q
		}
	}
	for _, q := range w.qemus[f.VM] {
		if q != destination && !q.hasEnded() {
			source = q
		}
	}
	switch f.Side {
	case destinationSide:
		return cmp.Or(destination, last)
	case sourceSide:
		return cmp.Or(source, running, last)
	}
	return cmp.Or(running, last)
}

// The faults of a VM.

// BreakMigration breaks the connection of the VM's migration.
func BreakMigration(w *World, f *Fault) {
	if q := w.target(f); q != nil {
		q.process.BreakMigration()
	}
}

// Hang freezes the VM's QEMU, as SIGSTOP does.
func Hang(w *World, f *Fault) {
	if q := w.target(f); q != nil {
		q.process.StopAnswering()
	}
}

// Die kills the VM's QEMU.
func Die(w *World, f *Fault) {
	if q := w.target(f); q != nil {
		q.process.Die()
	}
}

// Event makes the VM's QEMU send an event.
func Event(name string, data map[string]any) func(*World, *Fault) {
	return func(w *World, f *Fault) {
		if q := w.target(f); q != nil {
			q.process.Emit(name, data)
		}
	}
}

// Pause stops the guest, as QMP's stop does that somebody else sends.
func Pause(w *World, f *Fault) {
	if q := w.target(f); q != nil {
		q.process.Pause()
	}
}

// The faults of a guest.

// KillWorker kills a workload: memwork, diskwork or cpuwork.
func KillWorker(name string) func(*World, *Fault) {
	return func(w *World, f *Fault) { w.guest(f.VM).damage(name, killed) }
}

// ChangeMemory changes a byte of the memory that memwork verifies.
func ChangeMemory(w *World, f *Fault) {
	w.guest(f.VM).damage("memwork", "FAILED: 1 damaged pages, first found page 17 is not as it was written last")
}

// LosePage makes the migration of a fault of the destination lose a page of the guest's
// memory, although it completes: what only a comparison of both ends finds.
func LosePage(w *World, f *Fault) {
	if q := w.target(f); q != nil {
		q.mu.Lock()
		q.lost = true
		q.mu.Unlock()
	}
}

// LoseWrite loses a write to the disk that diskwork verifies.
func LoseWrite(w *World, f *Fault) {
	w.guest(f.VM).damage("diskwork", "FAILED: 1 damaged pages, first found page 5 is not as it was written last")
}

// JumpClock sets the guest's clock ahead, or back.
func JumpClock(by time.Duration) func(*World, *Fault) {
	return func(w *World, f *Fault) { w.guest(f.VM).jump(by) }
}

// StopClock stops the guest's clock.
func StopClock(w *World, f *Fault) { w.guest(f.VM).stopClock() }

// Reboot resets the guest, which it has done itself.
func Reboot(w *World, f *Fault) { w.guest(f.VM).reset() }

// Panic crashes the guest's kernel: it writes so on its console, and answers nothing more.
func Panic(w *World, f *Fault) { w.guest(f.VM).panics() }

// Run runs a shell command in the guest, which nobody has asked it for.
func Run(command string) func(*World, *Fault) {
	return func(w *World, f *Fault) {
		g := w.guest(f.VM)
		g.machine.Run(g.lifetime(), g.lifetime(), command, nil, nil)
	}
}

// The faults of a host.

// Lose loses the host: the connection to it, and its QEMUs.
func Lose(w *World, f *Fault) {
	if h := w.host(f.Host); h != nil {
		h.lose()
	}
}

// String is the fault as the test has it.
func (f *Fault) String() string { return fmt.Sprint(f.Text) }
