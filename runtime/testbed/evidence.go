// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/excerpt"
)

// consoleTail is how many lines of the guest's console an error shows.
const consoleTail = 10

// Evidence is the state of an instance at the time of an error.
type Evidence struct {
	Side    string // source, destination, or ""
	Host    string
	VM      string
	State   string   // QEMU's run state, or how it ended
	Log     []string // the last lines of QEMU's log
	LastQMP []string // the last messages on its monitor
	Console string   // the last lines of the guest's console
}

// Evidence collects the instance's state, log and console, within ctx.
func (i *Instance) Evidence(ctx context.Context, side string) Evidence {
	e := Evidence{Side: side, Host: i.Host.Name(), VM: i.Name(), LastQMP: i.lastQMP.Lines()}
	select {
	case <-i.Exited():
		e.State = i.QEMU.Exit(ctx).Error()
	default:
		var querying sync.WaitGroup // concurrently: a QEMU that hangs only has a log
		querying.Go(func() {
			state, err := i.Status(ctx)
			if err != nil {
				state = err.Error()
			}
			e.State = state
		})
		querying.Go(func() { e.Log = i.LogTail(ctx) })
		querying.Wait()
	}
	if i.Console != nil {
		e.Console = i.Console.Tail(consoleTail)
	}
	if e.Console == "" { // no output since the guest arrived: show that before
		b := i.Host.bed
		b.mu.Lock()
		e.Console = b.consoles[i.Name()]
		b.mu.Unlock()
	}
	return e
}

// evidenceTimeout limits collecting the evidence of all VMs.
const evidenceTimeout = 3 * time.Second

// Evidence is the evidence of all VMs, as text. It also runs after ctx has ended, within
// its own limit.
func (b *Bed) Evidence(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), evidenceTimeout)
	defer cancel()
	b.mu.Lock()
	instances := slices.Clone(b.instances)
	b.mu.Unlock()
	all := make([]string, len(instances))
	var querying sync.WaitGroup
	for i, instance := range instances {
		querying.Go(func() { all[i] = instance.Evidence(ctx, "").String() })
	}
	querying.Wait()
	return strings.Join(all, "")
}

// String formats the evidence: a heading and indented lines.
func (e Evidence) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, %s:\n  QEMU: %s\n", strings.TrimSpace(e.Side+" "+e.Host), e.VM, "at that time", e.State)
	section := func(name string, lines []string) {
		if len(lines) == 0 || lines[0] == "" {
			return
		}
		fmt.Fprintf(&b, "  %s:\n", name)
		for _, line := range lines {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	section("QEMU's log", e.Log)
	section("last QMP", transcriptLines(e.LastQMP))
	section("guest console", strings.Split(e.Console, "\n"))
	return b.String()
}

// shownMessage is how many bytes of a QMP message are shown.
const shownMessage = 400

// transcriptLines formats lines of a QMP transcript: time, direction (> is from mhmig,
// < from QEMU), and message.
func transcriptLines(transcript []string) []string {
	lines := make([]string, len(transcript))
	for i, text := range transcript {
		lines[i] = excerpt.Head(text, shownMessage)
		var entry struct {
			Time    time.Time       `json:"time"`
			Dir     string          `json:"dir"`
			Message json.RawMessage `json:"message"`
		}
		if json.Unmarshal([]byte(text), &entry) != nil {
			continue
		}
		direction := "<"
		if entry.Dir == "send" {
			direction = ">"
		}
		lines[i] = excerpt.Head(entry.Time.UTC().Format("15:04:05.000 ")+direction+" "+string(entry.Message), shownMessage)
	}
	return lines
}
