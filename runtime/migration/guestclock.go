// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"time"

	"github.com/mhmig/mhmig/runtime/testbed"
)

// clockTimeout is how long a side waits for a guest's clock stamps: those of a guest
// that has just booted, or arrived, come late.
const clockTimeout = 2 * time.Second

// listenClock starts reading the guest's clock stamps on this side, if the VM has a
// port for them.
func (s *Side) listenClock(ctx context.Context, instance *testbed.Instance) error {
	if instance.Spec().Clock == "" {
		return nil
	}
	conn, err := instance.DialClock(ctx)
	if err != nil {
		return err
	}
	clock := &s.Migration.moves[instance.Name()].clock
	if s.IsSource() {
		clock.FromSource(conn)
	} else {
		clock.FromDestination(conn)
	}
	return nil
}

// settleClock waits until enough stamps have been read on this side. A guest that
// sends none is not an error.
func (s *Side) settleClock(ctx context.Context, vm string) error {
	clock := &s.Migration.moves[vm].clock
	settled := clock.SourceSettled()
	if !s.IsSource() {
		if clock.Figures() == nil {
			return nil // none came from the source
		}
		settled = clock.DestinationSettled()
	}
	if settled == nil {
		return nil
	}
	select {
	case <-settled:
	case <-time.After(clockTimeout):
		if clock.Figures() == nil {
			s.log.Info("the guest sends no clock stamps: no guest_downtime", "vm", vm)
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// closeClocks stops reading clock stamps on this side.
func (s *Side) closeClocks() {
	for _, mv := range s.Migration.moves {
		if s.IsSource() {
			mv.clock.CloseSource()
		} else {
			mv.clock.CloseDestination()
		}
	}
}

// addGuestClock adds the downtime that the guest's clock shows to QEMU's statistics.
func (mv *move) addGuestClock(stats map[string]any) {
	f := mv.clock.Figures()
	if f == nil {
		return
	}
	if f.Moved {
		stats["guest_downtime"], stats["guest_clock_stop"] = f.Downtime, f.ClockStop
	}
	stats["guest_brownout"], stats["guest_longest_gap"], stats["guest_silence"] = f.Brownout, f.LongestGap, f.Silence
}
