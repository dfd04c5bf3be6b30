// SPDX-License-Identifier: Apache-2.0

// Package clockwork lets a guest say all the time that it runs: the command
// clockwork reads CLOCK_MONOTONIC every [Period] and writes what it read to the
// virtio-serial port called [PortName]. Who reads the port on the host sees how
// long the guest stood still when it was moved, and how slow it was before; see
// package guestclock.
//
// Any guest that has the port may run the command, or a program of its own that
// writes the same lines, see [Stamp.Append].
//
// The host can tell the guest on the port that it was restored from a saved state, see
// [Restored]: the command then sets the guest's clock and reseeds its random numbers.
//
// The command has the best priority, so that the load in the guest shows little
// in its stamps; what shows is what the guest as a whole did not get. While
// nobody listens on the host it only looks, a few times a second, whether
// somebody does.
package clockwork

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Name is the command's.
	Name = "clockwork"
	// PortName is the name of the virtio-serial port.
	PortName = "org.mhmig.clock"
	// Period is how long the command sleeps between two stamps.
	Period = 10 * time.Millisecond

	// idle is how often it looks whether somebody listens.
	idle = 100 * time.Millisecond
	// portTimeout is for the driver to be loaded.
	portTimeout = time.Minute
)

// Main stamps until the guest ends. It returns the exit status: 0 when the VM has
// no such port.
func Main(stderr io.Writer) int {
	port, err := openPort()
	if err == nil && port < 0 {
		return 0
	}
	if err == nil {
		err = stamp(port)
	}
	fmt.Fprintf(stderr, "%s: %v\n", Name, err)
	return 1
}

// consoleDevices are the PCI IDs of virtio-serial controllers, as the kernel
// writes them: the transitional one and the modern one.
var consoleDevices = []string{"0x1003", "0x1043"}

// mayHavePort says whether the VM has a controller that could have the port. The
// bus tells so before any driver is there.
func mayHavePort() bool {
	files, _ := filepath.Glob("/sys/bus/pci/devices/*/device")
	return slices.ContainsFunc(files, func(file string) bool {
		id, _ := os.ReadFile(file)
		return slices.Contains(consoleDevices, strings.TrimSpace(string(id)))
	})
}

// openPort waits for the port; it is -1 if the VM has none. It does not look for
// long in vain: who wakes up now and then keeps a guest from being as idle, or as
// busy with one thing, as it would be without.
func openPort() (int, error) {
	if !mayHavePort() {
		return -1, nil
	}
	for range portTimeout / idle {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, file := range names {
			if name, _ := os.ReadFile(file); strings.TrimSpace(string(name)) == PortName {
				// Not to block: the driver's wait for room is a loop that keeps the processor.
				return unix.Open("/dev/"+filepath.Base(filepath.Dir(file)), unix.O_RDWR|unix.O_NONBLOCK, 0)
			}
		}
		time.Sleep(idle) //nolint:forbidigo // nothing tells when the driver has been loaded
	}
	return -1, nil
}

func stamp(port int) error {
	runtime.LockOSThread()
	if err := hurry(); err != nil {
		return err
	}
	s := Stamp{Life: rand.Uint64() >> 32}
	line := make([]byte, 0, MaxLine)
	var in inbox
	received := make([]byte, maxRestored)
	for {
		if n, err := unix.Read(port, received); err == nil && n > 0 {
			if restored, ok := in.take(received[:n]); ok {
				if err := restored.apply(); err != nil {
					return err
				}
				s = Stamp{Life: restored.Life()}
			}
		}
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			return err
		}
		s.Seq++
		s.Time = time.Duration(now.Nano())
		line = s.Append(line[:0])
		pause := Period
		switch _, err := unix.Write(port, line); {
		case errors.Is(err, unix.EAGAIN):
			if !listening(port) {
				pause = idle
			}
		case err != nil:
			return fmt.Errorf("write to %s: %w", PortName, err)
		}
		sleep := unix.NsecToTimespec(pause.Nanoseconds())
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &sleep, nil) // a signal makes it short: no harm
	}
}

// listening says whether the host has the port's other end open: else it is not
// just full.
func listening(port int) bool {
	fds := []unix.PollFd{{Fd: int32(port), Events: unix.POLLOUT}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&unix.POLLHUP == 0
}

// bestNice is the best priority of those that share the processor.
const bestNice = -20

// hurry gives the best priority of those that share the processor to all threads
// of the process, also those that the runtime is yet to start, which inherit it.
//
// It must be all of them: what the runtime does to a goroutine from another
// thread, as when sysmon takes the P of a system call, that goroutine waits for
// in a loop around sched_yield. Where the other thread has a worse priority, the
// loop takes the processor it needs, for seconds: under TCG that was one
// migration in ten. A real-time thread would do the same.
func hurry() error {
	for again := true; again; {
		again = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil {
				return err
			}
			has, err := unix.Getpriority(unix.PRIO_PROCESS, id)
			if errors.Is(err, unix.ESRCH) || has == 20-bestNice { // as the system call has it: never negative
				continue
			}
			if err := unix.Setpriority(unix.PRIO_PROCESS, id, bestNice); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("take the best priority: %w", err)
			}
			again = true // it may have started another one before
		}
	}
	return nil
}
