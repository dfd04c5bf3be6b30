// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
)

// capabilityNames are the values of QEMU's enum MigrationCapability, in any version. A
// QEMU that lacks one is too old or too new for the test; any other name is a mistake.
var capabilityNames = []string{
	"auto-converge", "background-snapshot", "block", "compress", "dirty-bitmaps", "dirty-limit", "events", "late-block-activate",
	"mapped-ram", "multifd", "pause-before-switchover", "postcopy-blocktime", "postcopy-preempt", "postcopy-ram", "rdma-pin-all",
	"release-ram", "return-path", "switchover-ack", "validate-uuid", "x-colo", "x-ignore-shared", "xbzrle", "zero-blocks", "zero-copy-send",
}

// lasting are the capabilities that stay on when the move has ended: mhmig depends on
// them.
var lasting = []string{"events", returnPath}

const returnPath = "return-path"

// neededFor is what a capability that old QEMUs lack is needed for.
var neededFor = map[string]string{
	pauseBeforeSwitchover: ", which a migration that is held needs: QEMU 2.11 or later has it",
	postcopyRAM:           ", which post-copy needs: QEMU 2.6 or later has it",
}

type capability struct {
	Capability string `json:"capability"`
	State      bool   `json:"state"`
}

// wanted are the capabilities that the features switch on, on one end, each once.
func (mv *move) wanted(role Role) []string {
	var names []string
	for _, f := range mv.features {
		for _, name := range f.Capabilities(role) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// setCapabilities switches the features' capabilities on, on one end, and notes those
// that were off, for switchOff.
func (mv *move) setCapabilities(ctx context.Context, role Role, p Peer) error {
	var known, on []capability
	if err := p.Execute(ctx, "query-migrate-capabilities", nil, &known); err != nil {
		return err
	}
	for _, name := range mv.wanted(role) {
		i := slices.IndexFunc(known, func(k capability) bool { return k.Capability == name })
		if i < 0 {
			return lacksCapability(p, name)
		}
		on = append(on, capability{name, true})
		if !known[i].State && !slices.Contains(lasting, name) {
			mv.switchedOn[role] = append(mv.switchedOn[role], capability{name, false})
		}
	}
	// It is still on from an earlier move. A source would wait for what a file never says.
	if !mv.transport.Traits().ReturnPath && slices.Contains(known, capability{returnPath, true}) {
		on = append(on, capability{returnPath, false})
	}
	return p.Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": on}, nil)
}

// lacksCapability is the error of an end whose QEMU has no such capability: SKIP, unless
// no QEMU has it, or mhmig cannot do without.
func lacksCapability(p Peer, name string) error {
	err := fmt.Errorf("%s: this QEMU has no migration capability %s%s%s", p, name, neededFor[name], meant(name, capabilityNames))
	if slices.Contains(lasting, name) || !slices.Contains(capabilityNames, name) {
		return err
	}
	return result.Skip.Wrap(err)
}

// switchOff switches off what setCapabilities has switched on, on an end that keeps the
// guest: it must not apply to the guest's next migration. QEMU refuses that for a moment
// after the end of a post-copy.
func (mv *move) switchOff(ctx context.Context, role Role, p Peer) error {
	off := mv.switchedOn[role]
	if len(off) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, mv.m.timeouts.settle, fmt.Errorf("%s: QEMU does not switch migration capabilities off", p))
	defer cancel()
	for {
		err := p.Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": off}, nil)
		if _, refused := errors.AsType[*qmp.Error](err); !refused {
			return err
		}
		select {
		case <-time.After(waitInterval):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// checkCapabilities checks that what setCapabilities has switched on, on one end, is
// still on: a QEMU may accept a capability and drop it.
func (mv *move) checkCapabilities(ctx context.Context, role Role, p Peer) error {
	var wanted []string
	for _, name := range mv.wanted(role) {
		if !slices.Contains(lasting, name) {
			wanted = append(wanted, name)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	var known []capability
	if err := p.Execute(ctx, "query-migrate-capabilities", nil, &known); err != nil {
		return err
	}
	for _, k := range known {
		if k.State {
			wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == k.Capability })
		}
	}
	if len(wanted) > 0 {
		return &unusedError{fmt.Errorf("%s: %s was switched on for the migration, but QEMU reports it as off after it", p, strings.Join(wanted, ", "))}
	}
	return nil
}

// switched is a feature, or the part of one, that is a capability of both ends.
type switched struct {
	capability string
	on         bool
}

// Capabilities is the capability, if it is on.
func (f switched) Capabilities(Role) []string {
	if !f.on {
		return nil
	}
	return []string{f.capability}
}

// Parameters are none, and there is nothing to Set or to Reset.
func (switched) Parameters(Role) []string                { return nil }
func (switched) Set(context.Context, Role, Peer) error   { return nil }
func (switched) Reset(context.Context, Role, Peer) error { return nil }
