// SPDX-License-Identifier: Apache-2.0

// Package workload is the work that a guest does while it is moved, and the
// proof that it came over whole: memwork fills memory and diskwork a disk with
// pages that can be told apart, keeps rewriting them, and verifies each page
// before it rewrites it. A page that went back to an older content (a dirty
// page that was not sent), a page of zeros and a flipped bit are all found.
// cpuwork computes with what instructions the processor has, and compares each
// result with the right one: a register that was lost is found, and an
// instruction that the processor has no more.
//
//	memwork start --size 32M --rate 20M
//	memwork check        # verifies every page; exit status 0 or 1
//	memwork status
//	memwork stop
//	diskwork start --device /dev/vda --size 16M
//	cpuwork start --load 50
//
// start leaves a worker behind, in a session of its own; the other commands
// ask it through a unix socket in /run. A worker that died is told by all of
// them, with its last words, or the kernel's that has killed it for want of
// memory. Work that is too large for the guest's memory is not even started.
//
// Words: a page is 4096 bytes; a sweep goes through all pages in order; a
// page's generation is the number of times it was written. A round is each of
// cpuwork's computations once.
//
// A sweep belongs to one goroutine, the worker's. The threads of cpuwork share
// what is guarded in processor.
package workload

import (
	"errors"
	"io"

	"github.com/spf13/pflag"
)

const (
	memwork  = "memwork"
	diskwork = "diskwork"
	cpuwork  = "cpuwork"
)

// kind is what a command does, and what its help says.
type kind struct {
	does    string // all of it
	started string // what has happened when start returns
	checks  string
	work    func(options) (work, error)
}

const pagesDoes = ` with pages that can be told apart and keeps rewriting them, and
proves that none is lost, old or damaged.`

var kinds = map[string]kind{
	memwork: {
		does: "memwork fills memory" + pagesDoes, started: "once all pages are filled", checks: "verify every page",
		work: pagesOn(newMemory),
	},
	diskwork: {
		does: "diskwork fills a disk" + pagesDoes, started: "once all pages are filled", checks: "verify every page",
		work: pagesOn(newDisk),
	},
	cpuwork: {
		does: `cpuwork computes all the time with what instructions the CPU has, such as those for AES,
SHA-256 and CRC-32, and proves that every result is right.`,
		started: "once each thread has computed everything once",
		checks:  "tell whether all results were right, and each thread has gone on since the last check",
		work:    newProcessor,
	},
}

// Commands are the names that Main knows.
func Commands() []string { return []string{memwork, diskwork, cpuwork} }

// Exit statuses of the commands.
const (
	statusOK    = 0
	statusFault = 1 // the work is damaged, or the worker died
	statusUsage = 2 // wrong arguments, or nothing was started
	statusShort = 3 // the guest has too little memory for the work
)

// Main carries out one command, as in memwork check: name is memwork, args are
// [check]. It returns the exit status.
func Main(name string, args []string, stdout, stderr io.Writer) int {
	o, err := parse(name, args)
	if errors.Is(err, pflag.ErrHelp) {
		_, _ = io.WriteString(stdout, Usage(name)) // who has closed it does not read it
		return statusOK
	}
	if err != nil {
		return say(stderr, statusUsage, name, err.Error())
	}
	switch o.verb {
	case "start":
		return start(o, stdout, stderr)
	case "serve":
		return serve(o, stderr)
	default:
		status, answer, err := ask(o, o.verb)
		if err != nil {
			return say(stderr, status, name, err.Error())
		}
		return say(stdout, status, name, answer)
	}
}
