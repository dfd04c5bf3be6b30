// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// Feature is a set of migration capabilities and parameters, set on both ends before
// the destination listens and the source sends. Each move has its own values.
type Feature interface {
	// Capabilities are switched on, on one end, which must support them.
	Capabilities(Role) []string
	// Parameters are those that Set sets on one end, which must support them.
	Parameters(Role) []string
	// Set sets parameters on one end.
	Set(context.Context, Role, Peer) error
	// Reset restores the parameters of an end that keeps the guest, where they would
	// apply to its next migration.
	Reset(context.Context, Role, Peer) error
}

// features are the features of each move, besides its limits.
var features = []func(options, Traits) Feature{
	newMigrationEvents,
	newPostcopy,
	newSettings,
}

// setUp sets the capabilities and parameters of one end of a move. A capability or a
// parameter that the end does not support is an error.
func (mv *move) setUp(ctx context.Context, role Role, p Peer) error {
	if err := mv.setCapabilities(ctx, role, p); err != nil {
		return err
	}
	for _, f := range mv.features {
		if err := checkParameters(ctx, p, f.Parameters(role)); err != nil {
			return err
		}
		if err := f.Set(ctx, role, p); err != nil {
			return err
		}
	}
	return nil
}

// reset restores the parameters and capabilities of an end that keeps the guest.
func (mv *move) reset(ctx context.Context, role Role, p Peer) error {
	for _, f := range slices.Backward(mv.features) {
		if err := f.Reset(ctx, role, p); err != nil {
			return err
		}
	}
	return mv.switchOff(ctx, role, p)
}

func checkParameters(ctx context.Context, p Peer, names []string) error {
	for _, name := range names {
		supported, err := p.Supports(ctx, qmp.Parameter(name))
		if err != nil {
			return err
		}
		if !supported {
			return fmt.Errorf("%s: this QEMU has no migration parameter %s", p, name)
		}
	}
	return nil
}

type capability struct {
	Capability string `json:"capability"`
	State      bool   `json:"state"`
}

// lasting are the capabilities that stay on when the move has ended: mhmig depends on
// them.
var lasting = []string{"events", "return-path"}

// setCapabilities switches the features' capabilities on, on one end, and notes those
// that were off, for switchOff.
func (mv *move) setCapabilities(ctx context.Context, role Role, p Peer) error {
	var known []capability
	if err := p.Execute(ctx, "query-migrate-capabilities", nil, &known); err != nil {
		return err
	}
	var wanted []capability
	for _, f := range mv.features {
		for _, name := range f.Capabilities(role) {
			i := slices.IndexFunc(known, func(k capability) bool { return k.Capability == name })
			if i < 0 {
				return fmt.Errorf("%s: this QEMU has no migration capability %s%s", p, name, neededFor[name])
			}
			wanted = append(wanted, capability{name, true})
			if !known[i].State && !slices.Contains(lasting, name) {
				mv.switchedOn[role] = append(mv.switchedOn[role], capability{name, false})
			}
		}
	}
	return p.Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": wanted}, nil)
}

// neededFor is what a capability that old QEMUs lack is needed for.
var neededFor = map[string]string{
	pauseBeforeSwitchover: ", which a migration that is held needs: QEMU 2.11 or later has it",
	postcopyRAM:           ", which post-copy needs: QEMU 2.6 or later has it",
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

// migrationEvents makes each end report the move's status: events replace polling,
// and the return path makes a source fail whose destination could not load the guest.
type migrationEvents struct{ traits Traits }

func newMigrationEvents(_ options, traits Traits) Feature { return migrationEvents{traits} }

func (t migrationEvents) Capabilities(Role) []string {
	if t.traits.ReturnPath {
		return []string{"return-path", "events"}
	}
	return []string{"events"}
}

func (migrationEvents) Parameters(Role) []string                { return nil }
func (migrationEvents) Set(context.Context, Role, Peer) error   { return nil }
func (migrationEvents) Reset(context.Context, Role, Peer) error { return nil }
