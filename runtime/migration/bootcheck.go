// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// noteBoot records the guest's resets and boot ID right before it moves: the
// migration must not reboot it.
func (s *Side) noteBoot(ctx context.Context, vm string) error {
	mv, instance := s.Migration.moves[vm], s.Instance(vm)
	if _, err := instance.Status(ctx); err != nil && !errors.Is(err, qmp.ErrGone) { // events of earlier resets have arrived by then
		return blame(ctx, mv, instance, SourceRole, err)
	}
	if err := instance.CheckResets(); err != nil { // before this migration, which may fail by Plan.MayFail
		return err
	}
	mv.resetsBefore = len(instance.Resets())
	mv.departuresBefore = instance.Departures()
	mv.bootID = instance.BootID(ctx, false)
	return nil
}

// checkResets checks that nothing but what the scenario has requested has reset the guest
// on either side since it began to move: the side on which it was reset has failed.
// requested says whether the scenario has reset it.
func (mv *move) checkResets(ctx context.Context) (requested bool, err error) {
	for _, side := range []*Side{mv.m.Source, mv.m.Destination} {
		instance := side.Instance(mv.vm)
		if instance == nil {
			continue
		}
		resets := instance.Resets()
		if side.IsSource() {
			resets = resets[min(mv.resetsBefore, len(resets)):]
		}
		for _, r := range resets {
			if !r.Requested {
				return false, fail(ctx, mv, instance, side.Role, fmt.Errorf("the guest was reset on %s after its migration had started: at %s; only vm.reset() and vm.reboot() may reset it", side.Host.Name(), r))
			}
			requested = true
		}
	}
	return requested, nil
}

// checkBoot checks that the guest in an instance has not rebooted since it began to
// move: by its resets, and by its boot IDs where both are known. With login it may
// log in to read the ID.
func (mv *move) checkBoot(ctx context.Context, instance *testbed.Instance, login bool) error {
	requested, err := mv.checkResets(ctx)
	if err != nil || requested || mv.bootID == "" {
		return err
	}
	if now := instance.BootID(ctx, login); now != "" && now != mv.bootID {
		return fmt.Errorf("the guest rebooted after its migration had started: its boot ID was %s and is %s", mv.bootID, now)
	}
	return nil
}

// finalCheck ends the checks: when both sides have done theirs, it repeats the
// essential ones before anything is removed.
func (s *Side) finalCheck(ctx context.Context) error {
	o := s.Migration.options
	if err := s.waitForPeer(ctx, "checked", limit{o.loginTimeout + o.finishTimeout, "login_timeout + finish_timeout"}); err != nil {
		return err
	}
	if err := s.each(ctx, s.recheck); err != nil {
		return err
	}
	return s.waitForPeer(ctx, "concluded", limit{o.finishTimeout, "finish_timeout"})
}

// recheck checks that the guest does not run on the source, that the destination's QEMU
// answers, and that neither hooks nor workers have reset the guest. Of one whose
// instance the scenario has ended, the resets until then are checked.
func (s *Side) recheck(ctx context.Context, vm string) error {
	mv, instance := s.Migration.moves[vm], s.Instance(vm)
	if instance.Removed() {
		_, err := mv.checkResets(ctx)
		return err
	}
	if s.IsSource() {
		return s.checkLeft(ctx, vm)
	}
	_, err := instance.Status(ctx)
	if err == nil {
		err = mv.checkBoot(ctx, instance, s.Migration.options.login)
	}
	if err != nil && ctx.Err() == nil {
		return fail(ctx, mv, instance, DestinationRole, err)
	}
	return err
}
