// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mhmig/mhmig/runtime/vm"
	"github.com/mhmig/mhmig/runtime/vmstate"
)

// shownDifferences is how many differences of states are shown.
const shownDifferences = 40

// StateDifferences compares the state of the devices that the QEMUs of two instances of a
// VM send, and returns what differs as text, for an error. Each QEMU is started again on
// its host, without the guest, which takes some seconds. It returns "" when there is
// nothing to compare: they are of the same version and have the same devices. An error is
// part of the text.
func StateDifferences(ctx context.Context, source, destination *Instance) string {
	sides := []*Instance{source, destination}
	var versions []string
	commands := make([][]string, len(sides))
	placements := make([]vm.Placement, len(sides))
	for n, i := range sides {
		version := i.Monitor().Version()
		versions = append(versions, strings.TrimSpace(version.String()+" "+version.Package))
		placements[n] = i.Host.bed.placement(i.Name(), i.Host, i.ID())
		var err error
		if commands[n], err = vm.StateCommand(i.Config(), placements[n], i.shape); err != nil {
			return notCompared(err)
		}
	}
	if versions[0] == versions[1] && slices.Equal(commands[0], commands[1]) {
		return ""
	}
	states := make([]*vmstate.Stream, len(sides))
	errs := make([]error, len(sides))
	var describing sync.WaitGroup
	for n, i := range sides {
		describing.Go(func() { states[n], errs[n] = vm.DescribeState(ctx, placements[n], i.Name(), commands[n]) })
	}
	describing.Wait()
	if err := errors.Join(errs...); err != nil {
		return notCompared(err)
	}
	differences, err := vmstate.Compare(states[0], states[1])
	if err != nil {
		return notCompared(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "state of the devices of %s, the source's on %s by QEMU %s, the destination's on %s by QEMU %s, both started again without the guest:\n",
		source.Name(), source.Host.Name(), versions[0], destination.Host.Name(), versions[1])
	for n, d := range differences {
		if n == shownDifferences {
			b.WriteString("  …\n")
			break
		}
		fmt.Fprintf(&b, "  %s\n", d.Text("the source", "the destination"))
	}
	fmt.Fprintf(&b, "  %s\n", vmstate.Summary(states[0], states[1], differences))
	return b.String()
}

func notCompared(err error) string {
	return fmt.Sprintf("state of the devices: not compared: %v\n", err)
}
