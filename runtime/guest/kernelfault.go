// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"io"
	"regexp"
	"strings"
)

// KernelFault is a panic, an oops, or an out-of-memory kill that a guest's kernel
// reports on its console.
type KernelFault struct {
	Kind          KernelFaultKind
	Message       string // the kernel's message
	KilledProcess string // the killed process, with OutOfMemory; "" for none
}

// KernelFaultKind is the kind of a KernelFault.
type KernelFaultKind uint8

// The kinds of kernel faults.
const (
	OutOfMemory KernelFaultKind = iota + 1 // the OOM killer killed a process, or the kernel panicked as there was none left
	Panicked                               // kernel panic
	Crashed                                // BUG or oops; the kernel may go on
)

// String returns the kind as a state of the guest: "out of memory".
func (k KernelFaultKind) String() string {
	switch k {
	case OutOfMemory:
		return "out of memory"
	case Panicked:
		return "panicked"
	default:
		return "kernel crashed"
	}
}

// kernelFaults are the messages of Linux. Before them on the line is a timestamp, or
// input that was typed.
var kernelFaults = []struct {
	kind  KernelFaultKind
	words *regexp.Regexp // group 1 is the victim
}{
	{OutOfMemory, regexp.MustCompile(`(?:Out of memory|emory cgroup out of memory): Kill(?:ed)? process \d+ \(([^)]*)\).*`)},
	{OutOfMemory, regexp.MustCompile(`Kernel panic - not syncing: (?:Out of memory|System is deadlocked on memory).*`)},
	{Panicked, regexp.MustCompile(`Kernel panic - not syncing: .*`)},
	{Crashed, regexp.MustCompile(`(?:BUG: |Oops: |kernel BUG at ).*`)},
}

// findKernelFault looks for a kernel fault in a line.
func findKernelFault(line string) (KernelFault, bool) {
	if strings.Contains(line, "end Kernel panic") { // the second message about the same panic
		return KernelFault{}, false
	}
	for _, t := range kernelFaults {
		if m := t.words.FindStringSubmatch(line); m != nil {
			found := KernelFault{Kind: t.kind, Message: strings.TrimSpace(m[0])}
			if len(m) > 1 {
				found.KilledProcess = m[1]
			}
			return found, true
		}
	}
	return KernelFault{}, false
}

// maxKernelLine is more than the kernel writes in one line.
const maxKernelLine = 4 << 10

// WatchKernel copies a console's output to w, and reports each kernel fault in
// it as soon as its line is complete. tell is called by whoever writes.
func WatchKernel(w io.WriteCloser, report func(KernelFault)) io.WriteCloser {
	return &kernelWatch{WriteCloser: w, report: report}
}

type kernelWatch struct {
	io.WriteCloser
	report func(KernelFault)
	line   []byte // what has come of it
}

func (k *kernelWatch) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		part, after, whole := bytes.Cut(rest, []byte("\n"))
		if room := maxKernelLine - len(k.line); room > 0 {
			k.line = append(k.line, part[:min(len(part), room)]...)
		}
		rest = after
		if !whole {
			break
		}
		if t, found := findKernelFault(visible(k.line)); found {
			k.report(t)
		}
		k.line = k.line[:0]
	}
	return k.WriteCloser.Write(p)
}
