// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

const (
	maxBandwidth  = "max-bandwidth"
	downtimeLimit = "downtime-limit"
)

// limits is the feature of mig_speed and mig_downtime, and of SetSpeed and SetDowntime.
// QEMU keeps them for all later migrations of a source.
type limits struct {
	speed    int64         // bytes per second, 0: QEMU's own
	downtime time.Duration // 0: QEMU's own
	goes     bool          // the source has no monitor after the move

	before limitParameters // the source's parameters before this migration

	applying chan struct{} // has room for the one that sets them, and asks what QEMU has then

	mu  sync.Mutex
	set map[string]setValue // by parameter, as they were last set
}

// setValue is the value that a parameter was given, and those that QEMU had before and then.
type setValue struct{ wanted, before, got int64 }

// dropped says whether QEMU has not taken it. Another value may be of a command of the
// scenario at the same time.
func (v setValue) dropped() bool { return v.got != v.wanted && v.got == v.before }

type limitParameters struct {
	Bandwidth int64 `json:"max-bandwidth"`  // bytes per second
	Downtime  int64 `json:"downtime-limit"` // milliseconds
}

func newLimits(o options, t Traits) *limits {
	return &limits{speed: o.speed, downtime: o.downtime, goes: t.Exec, applying: make(chan struct{}, 1), set: map[string]setValue{}}
}

func (p limitParameters) downtime() time.Duration {
	return time.Duration(p.Downtime) * time.Millisecond
}

// value is that of a parameter.
func (p limitParameters) value(name string) int64 {
	if name == maxBandwidth {
		return p.Bandwidth
	}
	return p.Downtime
}

func (l *limits) Capabilities(Role) []string { return nil }

func (l *limits) Parameters(role Role) []string {
	if role != SourceRole {
		return nil
	}
	return slices.Sorted(maps.Keys(l.wanted()))
}

// wanted are the values of the params.
func (l *limits) wanted() map[string]int64 {
	wanted := map[string]int64{}
	if l.speed > 0 {
		wanted[maxBandwidth] = l.speed
	}
	if l.downtime > 0 {
		wanted[downtimeLimit] = l.downtime.Milliseconds()
	}
	return wanted
}

func (l *limits) Set(ctx context.Context, role Role, p Peer) error {
	if role != SourceRole {
		return nil
	}
	if err := p.Execute(ctx, "query-migrate-parameters", nil, &l.before); err != nil {
		return err
	}
	return l.apply(ctx, p, l.wanted())
}

// apply sets parameters of the source, and notes what QEMU has then: at the end, the
// scenario may have set others by its own commands.
func (l *limits) apply(ctx context.Context, p Peer, wanted map[string]int64) error {
	if len(wanted) == 0 {
		return nil
	}
	select {
	case l.applying <- struct{}{}:
		defer func() { <-l.applying }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var before, got limitParameters
	if err := p.Execute(ctx, "query-migrate-parameters", nil, &before); err != nil {
		return err
	}
	if err := p.Execute(ctx, "migrate-set-parameters", wanted, nil); err != nil {
		return err
	}
	if err := p.Execute(ctx, "query-migrate-parameters", nil, &got); err != nil {
		if errors.Is(err, qmp.ErrGone) { // it may have become the destination
			return nil
		}
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, value := range wanted {
		l.set[name] = setValue{value, before.value(name), got.value(name)}
	}
	return nil
}

// Reset also reverts changes by SetSpeed and SetDowntime.
func (l *limits) Reset(ctx context.Context, role Role, p Peer) error {
	if role != SourceRole || l.before == (limitParameters{}) { // it was cancelled before Set
		return nil
	}
	return p.Execute(ctx, "migrate-set-parameters", l.before, nil)
}

// Check checks that QEMU had the values that it was last given. How fast it has sent says
// less: it applies the bandwidth neither at the switchover nor, exactly, to multifd.
func (l *limits) Check(ctx context.Context, o *Outcome) error {
	l.mu.Lock()
	set := maps.Clone(l.set)
	l.mu.Unlock()
	if len(set) == 0 {
		return nil
	}
	var now limitParameters
	if !l.goes {
		if err := o.Ask(ctx, SourceRole, "query-migrate-parameters", &now); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		switch value := set[name]; {
		case value.dropped():
			return unused("%s was set to %d, but %s had %d then", name, value.wanted, o.End(SourceRole), value.got)
		case l.goes:
			o.Used(name, "the source had %d", value.wanted)
		case now.value(name) != value.wanted:
			o.Used(name, "the source had %d, and has %d now: the scenario has changed it by its own command", value.wanted, now.value(name))
		default:
			o.Used(name, "the source has %d", value.wanted)
		}
	}
	return nil
}
