// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
)

// Feature is a set of migration capabilities and parameters, set on both ends before
// the destination listens and the source sends. Each move has its own values.
type Feature interface {
	// Capabilities are switched on, on one end, which must support them.
	Capabilities(Role) []string
	// Parameters are those that Set sets on one end, which must support them: names, or
	// NAME/VALUE for a value of an enum.
	Parameters(Role) []string
	// Set sets parameters on one end.
	Set(context.Context, Role, Peer) error
	// Reset restores the parameters of an end that keeps the guest, where they would
	// apply to its next migration.
	Reset(context.Context, Role, Peer) error
}

// Checked is a Feature that can tell whether a guest that has moved has really used it:
// QEMU accepts features that it then does not use.
type Checked interface {
	Feature
	// Check is called on the source when the guest has moved, and both ends are as they
	// were set. Its error says what was switched on and what was seen.
	Check(context.Context, *Outcome) error
}

// features are the features of each move, besides its limits.
var features = []func(options, Traits) Feature{
	newMigrationEvents,
	newCPR,
	newPostcopy,
	newMultifd,
	newZeroPages,
	newXbzrle,
	newAutoConverge,
	newZeroCopy,
	newValidateUUID,
	newDirtyBitmaps,
	newSwitchoverAck,
	newIgnoreShared,
	newMappedRAM,
	newAnnounce,
	newArrivesStopped,
	newTLS,
	newSettings,
}

// setUp sets the capabilities and parameters of one end of a move. A capability or a
// parameter that the end does not support is an error.
func (mv *move) setUp(ctx context.Context, role Role, p Peer) error {
	if err := mv.checkCombination(ctx, role, p); err != nil {
		return err
	}
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
	if role == SourceRole { // the destination was set up before
		mv.isSet = true
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

// checkParameters checks that an end has these parameters, and their values of enums. One
// that it lacks is a SKIP, unless no QEMU has it.
func checkParameters(ctx context.Context, p Peer, paths []string) error {
	for _, path := range paths {
		name, value, isValue := strings.Cut(path, "/")
		supported, err := p.Supports(ctx, qmp.Parameter(name))
		if err != nil {
			return err
		}
		if !supported {
			err = fmt.Errorf("%s: this QEMU has no migration parameter %s%s", p, name, meant(name, parameterNames))
			if slices.Contains(parameterNames, name) {
				err = result.Skip.Wrap(err)
			}
			return err
		}
		if !isValue {
			continue
		}
		if supported, err = p.Supports(ctx, qmp.Parameter(path)); err != nil {
			return err
		}
		if !supported {
			return result.Skip.Errorf("%s: the migration parameter %s of this QEMU has no value %s", p, name, value)
		}
	}
	return nil
}

// migrationEvents makes each end report the move's status: events replace polling,
// and the return path makes a source fail whose destination could not load the guest.
type migrationEvents struct{ traits Traits }

func newMigrationEvents(_ options, traits Traits) Feature { return migrationEvents{traits} }

func (t migrationEvents) Capabilities(Role) []string {
	if t.traits.ReturnPath {
		return []string{returnPath, "events"}
	}
	return []string{"events"}
}

func (migrationEvents) Parameters(Role) []string                { return nil }
func (migrationEvents) Set(context.Context, Role, Peer) error   { return nil }
func (migrationEvents) Reset(context.Context, Role, Peer) error { return nil }
