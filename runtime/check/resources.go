// SPDX-License-Identifier: Apache-2.0

package check

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
)

// freeMemory compares the host's memory with that of the VMs of the largest variant. Hosts
// of one machine, as those of a lab, share it.
func freeMemory(ctx context.Context, m *machine) finding {
	out, err := m.h.Run(ctx, host.Command{Script: "cat /proc/meminfo", Timeout: commandTimeout})
	if err != nil {
		return failBy(err)
	}
	available, err := availableMemory(string(out.Stdout))
	if err != nil {
		return failBy(fmt.Errorf("%s: %w", m.name(), err))
	}
	return judgeMemory(&m.needs, m.facts.MemoryBytes, available, m.sharers())
}

// sharers is the number of hosts that are this machine.
func (m *machine) sharers() int {
	n := 0
	for _, o := range m.c.reached() {
		if o == m || o.facts.BootID != "" && o.facts.BootID == m.facts.BootID {
			n++
		}
	}
	return n
}

func judgeMemory(n *needs, total, available int64, hosts int) finding {
	need := n.memory * int64(hosts)
	found := fmt.Sprintf("%s of %s free", size(available), size(total))
	if need == 0 {
		return ok("%s", found)
	}
	found += fmt.Sprintf("; the VMs of %s need %s", cmp.Or(n.largest, "the variant"), size(need))
	if hosts > 1 {
		found += fmt.Sprintf(" for %d hosts of one machine", hosts)
	}
	const fix = "free memory there, or give the VMs less (param mem), or select other variants by --filter"
	switch {
	case need > total:
		return fail(found, fix)
	case need > available:
		return warn(found, fix)
	}
	return ok("%s", found)
}

var availableLine = regexp.MustCompile(`(?m)^MemAvailable:\s+(\d+) kB$`)

// availableMemory returns MemAvailable of /proc/meminfo in bytes.
func availableMemory(meminfo string) (int64, error) {
	found := availableLine.FindStringSubmatch(meminfo)
	if found == nil {
		return 0, fmt.Errorf("/proc/meminfo has no MemAvailable")
	}
	kib, err := strconv.ParseInt(found[1], 10, 64)
	return kib << 10, err
}

// enoughCores compares the host's processors with those of the VMs.
func enoughCores(_ context.Context, m *machine) finding {
	found := fmt.Sprintf("%d; the VMs of a variant have %d at most", m.facts.CPUs, m.needs.cpus)
	if m.needs.cpus > m.facts.CPUs {
		return warn(found, "expect slow guests and timeouts, or give the VMs fewer processors (param smp)")
	}
	return ok("%s", found)
}

const (
	leastDisk = 64 << 20 // with less, runs fail
	roomyDisk = 1 << 30  // logs, overlays and saved states fit into this
)

// freeDisk compares the free space of the folders that runs write to with what they write:
// images at images_base_dir; logs and saved states of guests at state_dir.
func freeDisk(ctx context.Context, m *machine) finding {
	n := &m.needs
	f := finding{}
	var found []string
	for _, d := range []struct {
		dir  string
		want int64
	}{{n.baseDir, roomyDisk + n.newImages}, {n.stateDir, roomyDisk}} {
		out, err := m.h.Run(ctx, host.Command{Script: fmt.Sprintf(dfScript, shellescape.Quote(d.dir)), Timeout: commandTimeout})
		if err != nil {
			return failBy(err)
		}
		free, err := availableDisk(string(out.Stdout))
		if err != nil {
			return failBy(fmt.Errorf("%s: %s: %w", m.name(), d.dir, err))
		}
		found = append(found, fmt.Sprintf("%s free at %s", size(free), d.dir))
		f.verdict = max(f.verdict, judgeDisk(free, d.want))
	}
	f.found = strings.Join(found, ", ")
	if f.verdict != OK {
		f.fix = "make room for images there; mhmig cleanup --states removes saved states of guests"
	}
	return f
}

func judgeDisk(free, want int64) Verdict {
	switch {
	case free < leastDisk:
		return Failed
	case free < want:
		return Warning
	}
	return OK
}

// dfScript prints the free space of the folder %[1]s, or of the one in which it will be
// made.
const dfScript = `
dir=%[1]s
while [ ! -e "$dir" ] && [ "$dir" != / ] && [ "$dir" != . ]; do dir=$(dirname -- "$dir"); done
df -Pk -- "$dir"`

// dfNumbers are the columns of df -Pk between the file system and the mount point, which
// may both have blanks: all, used, available, used in percent.
var dfNumbers = regexp.MustCompile(`\s(\d+)\s+(\d+)\s+(\d+)\s+(?:\d+%|-)\s`)

// availableDisk returns the available bytes that df -Pk prints.
func availableDisk(df string) (int64, error) {
	_, line, _ := strings.Cut(df, "\n")
	found := dfNumbers.FindStringSubmatch(line)
	if found == nil {
		return 0, fmt.Errorf("df: want a line with numbers, got %q", df)
	}
	kib, err := strconv.ParseInt(found[3], 10, 64)
	return kib << 10, err
}

// size is 512 MiB, or 1.5 GiB.
func size(bytes int64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}
