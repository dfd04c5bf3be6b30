// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// spare is what a worker needs besides its pages, and the guest to go on: its
// program's own memory, page tables, a login.
const spare = 4 << 20

// moreMemory is what to do about a shortage.
const moreMemory = "give the VM more memory (param mem), or the work less (--size)"

// checkRoom says that a work does not fit into the guest's memory before the
// kernel finds out, which would kill something, and maybe something else.
func checkRoom(o options, meminfo string) error {
	available, known := availableMemory(meminfo)
	if o.name != memwork || !known || available >= int64(o.size)+spare {
		return nil
	}
	return fmt.Errorf("the guest has only %d MiB of memory available, too little for %d MiB and what a worker needs besides: %s",
		available>>20, o.size>>20, moreMemory)
}

// availableMemory is what a process can get without another one being killed:
// what /proc/meminfo calls available, and free swap.
func availableMemory(meminfo string) (bytes int64, known bool) {
	for line := range strings.Lines(meminfo) {
		name, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "MemAvailable":
			bytes, known = bytes+kib<<10, true
		case "SwapFree":
			bytes += kib << 10
		}
	}
	return bytes, known
}

// killedForMemory returns what the kernel said when it killed a process for want
// of memory, and "" if it did not, as far as its log goes back.
func killedForMemory(pid int) string {
	log, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(log)
	said := ""
	record := make([]byte, 8<<10) // more than any has
	for {
		n, err := unix.Read(log, record)
		switch {
		case errors.Is(err, unix.EPIPE): // it was overwritten meanwhile: the next one follows
		case err != nil || n == 0:
			return said
		default:
			if words, ours := killOf(record[:n], pid); ours {
				said = words
			}
		}
	}
}

// killOf finds in a record of /dev/kmsg, as in
//
//	3,513,67583195,-;Out of memory: Killed process 137 (memwork) total-vm:…
//
// that a process was killed for want of memory, of the guest's or of a control
// group's.
func killOf(record []byte, pid int) (words string, ours bool) {
	_, message, _ := bytes.Cut(record, []byte(";"))
	line, _, _ := strings.Cut(string(message), "\n")
	killed := fmt.Sprintf("Killed process %d (", pid)
	return line, strings.Contains(strings.ToLower(line), "out of memory") && strings.Contains(line, killed)
}

// readFile is a file's content, "" if it cannot be read.
func readFile(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(content)
}
