// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// takeLeave notes, right before a guest moves, what it must not lose: its boot.
func (s *Side) takeLeave(ctx context.Context, vm string) error {
	mv, machine := s.Migration.moves[vm], s.Machine(vm)
	if _, err := machine.Status(ctx); err != nil && !errors.Is(err, qmp.ErrGone) { // what was reset before is told by now
		return blame(ctx, mv, machine, SourceRole, err)
	}
	mv.resetsBefore = len(machine.Resets())
	mv.bootID = machine.BootID(ctx, false)
	return nil
}

// checkResets proves that nobody has reset the guest since it began to move, on
// either side, but [testbed.Machine.Reset]. asked says whether that has.
func (mv *move) checkResets() (asked bool, err error) {
	for _, side := range []*Side{mv.m.Source, mv.m.Destination} {
		machine := side.Machine(mv.vm)
		if machine == nil {
			continue
		}
		resets := machine.Resets()
		if side.IsSource() {
			resets = resets[mv.resetsBefore:]
		}
		for _, r := range resets {
			if !r.Asked {
				return false, fmt.Errorf("the guest was reset on %s after its migration had begun: at %s; only vm.reboot() asks for that", side.Host.Name(), r)
			}
			asked = true
		}
	}
	return asked, nil
}

// checkBoot proves that the guest in an instance is the one that began to move,
// and not a later boot of it: by its resets, and by its boot IDs where both are
// known. With login it may log in to learn it.
func (mv *move) checkBoot(ctx context.Context, machine *testbed.Machine, login bool) error {
	asked, err := mv.checkResets()
	if err != nil || asked || mv.bootID == "" {
		return err
	}
	if now := machine.BootID(ctx, login); now != "" && now != mv.bootID {
		return fmt.Errorf("the guest has booted after its migration had begun: its boot ID was %s and is %s", mv.bootID, now)
	}
	return nil
}

// conclude is the end of check: both sides have checked what they had to, and
// look once more before anything is removed.
func (s *Side) conclude(ctx context.Context) error {
	o := s.Migration.options
	if err := s.meet(ctx, "checked", limit{o.loginTimeout + o.finishTimeout, "login_timeout + finish_timeout"}); err != nil {
		return err
	}
	if err := s.each(ctx, s.lookAgain); err != nil {
		return err
	}
	return s.meet(ctx, "concluded", limit{o.finishTimeout, "finish_timeout"})
}

// lookAgain proves that, whatever hooks and workers did, the guest runs once, and
// was not reset. One whose instance the scenario has ended is not looked at.
func (s *Side) lookAgain(ctx context.Context, vm string) error {
	machine := s.Machine(vm)
	if machine.Removed() {
		return nil
	}
	if s.IsSource() {
		return s.checkLeft(ctx, vm)
	}
	mv := s.Migration.moves[vm]
	_, err := machine.Status(ctx)
	if err == nil {
		err = mv.checkBoot(ctx, machine, s.Migration.options.login)
	}
	if err != nil && ctx.Err() == nil {
		return fail(ctx, mv, machine, DestinationRole, err)
	}
	return err
}
