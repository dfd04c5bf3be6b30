// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"io"
	"regexp"
	"strings"
)

// Trouble is a panic, an oops, or an out-of-memory kill that a guest's kernel
// reports on its console.
type Trouble struct {
	Kind   TroubleKind
	Words  string // the kernel's message
	Victim string // the killed process, with OutOfMemory; "" for none
}

// TroubleKind is the kind of a Trouble.
type TroubleKind uint8

// The kinds of trouble.
const (
	OutOfMemory TroubleKind = iota + 1 // the OOM killer killed a process, or the kernel panicked as there was none left
	Panicked                           // kernel panic
	Crashed                            // BUG or oops; the kernel may go on
)

// String returns the kind as a state of the guest: "out of memory".
func (k TroubleKind) String() string {
	switch k {
	case OutOfMemory:
		return "out of memory"
	case Panicked:
		return "panicked"
	default:
		return "kernel crashed"
	}
}

// troubles are the messages of Linux. Before them on the line is a timestamp, or
// input that was typed.
var troubles = []struct {
	kind  TroubleKind
	words *regexp.Regexp // group 1 is the victim
}{
	{OutOfMemory, regexp.MustCompile(`(?:Out of memory|emory cgroup out of memory): Kill(?:ed)? process \d+ \(([^)]*)\).*`)},
	{OutOfMemory, regexp.MustCompile(`Kernel panic - not syncing: (?:Out of memory|System is deadlocked on memory).*`)},
	{Panicked, regexp.MustCompile(`Kernel panic - not syncing: .*`)},
	{Crashed, regexp.MustCompile(`(?:BUG: |Oops: |kernel BUG at ).*`)},
}

// findTrouble looks for trouble in a line.
func findTrouble(line string) (Trouble, bool) {
	if strings.Contains(line, "end Kernel panic") { // the second message about the same panic
		return Trouble{}, false
	}
	for _, t := range troubles {
		if m := t.words.FindStringSubmatch(line); m != nil {
			found := Trouble{Kind: t.kind, Words: strings.TrimSpace(m[0])}
			if len(m) > 1 {
				found.Victim = m[1]
			}
			return found, true
		}
	}
	return Trouble{}, false
}

// maxKernelLine is more than the kernel writes in one line.
const maxKernelLine = 4 << 10

// WatchKernel copies a console's output to w, and reports each trouble in it as
// soon as its line is complete. tell is called by whoever writes.
func WatchKernel(w io.WriteCloser, report func(Trouble)) io.WriteCloser {
	return &kernelWatch{WriteCloser: w, report: report}
}

type kernelWatch struct {
	io.WriteCloser
	report func(Trouble)
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
		if t, found := findTrouble(visible(k.line)); found {
			k.report(t)
		}
		k.line = k.line[:0]
	}
	return k.WriteCloser.Write(p)
}
