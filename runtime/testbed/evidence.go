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

// Evidence is what one instance knew when something went wrong.
type Evidence struct {
	Side    string // source, destination, or ""
	Host    string
	VM      string
	State   string   // QEMU's run state, or how it ended
	Log     []string // QEMU's last lines
	LastQMP []string // the last exchange on its monitor
	Console string   // the guest's last lines
}

// Evidence gathers what the instance knows, within ctx.
func (i *Instance) Evidence(ctx context.Context, side string) Evidence {
	e := Evidence{Side: side, Host: i.Host.Name(), VM: i.Name(), LastQMP: i.lastQMP.Lines()}
	select {
	case <-i.Exited():
		e.State = i.QEMU.Exit(ctx).Error()
	default:
		var asking sync.WaitGroup // beside each other: of a QEMU that hangs, its log is all there is
		asking.Go(func() {
			state, err := i.Status(ctx)
			if err != nil {
				state = err.Error()
			}
			e.State = state
		})
		asking.Go(func() { e.Log = i.LogTail(ctx) })
		asking.Wait()
	}
	if i.Console != nil {
		e.Console = i.Console.Tail(consoleTail)
	}
	if e.Console == "" { // since the guest came it has said nothing: what did it say before?
		b := i.Host.bed
		b.mu.Lock()
		e.Console = b.consoles[i.Name()]
		b.mu.Unlock()
	}
	return e
}

// evidenceTimeout is how long the VMs may take to say what they know.
const evidenceTimeout = 3 * time.Second

// Evidence is what all VMs know, for the user. It works on after ctx has ended,
// within its own limit.
func (b *Bed) Evidence(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), evidenceTimeout)
	defer cancel()
	b.mu.Lock()
	instances := slices.Clone(b.instances)
	b.mu.Unlock()
	all := make([]string, len(instances))
	var asking sync.WaitGroup
	for i, instance := range instances {
		asking.Go(func() { all[i] = instance.Evidence(ctx, "").String() })
	}
	asking.Wait()
	return strings.Join(all, "")
}

// String is the evidence for the user: a heading and indented lines.
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

// transcriptLines is lines of a QMP transcript for the user: when, who (> is mhmig, < is
// QEMU), and what.
func transcriptLines(transcript []string) []string {
	lines := make([]string, len(transcript))
	for i, text := range transcript {
		lines[i] = excerpt.Head(text, shownMessage)
		var said struct {
			Time    time.Time       `json:"time"`
			Dir     string          `json:"dir"`
			Message json.RawMessage `json:"message"`
		}
		if json.Unmarshal([]byte(text), &said) != nil {
			continue
		}
		who := "<"
		if said.Dir == "send" {
			who = ">"
		}
		lines[i] = excerpt.Head(said.Time.UTC().Format("15:04:05.000 ")+who+" "+string(said.Message), shownMessage)
	}
	return lines
}
