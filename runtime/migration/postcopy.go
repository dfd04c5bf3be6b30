// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/result"
)

const (
	postcopyRAM       = "postcopy-ram"
	postcopyPreempt   = "postcopy-preempt"
	postcopyBlocktime = "postcopy-blocktime"
)

// postcopyOptions are mig_postcopy, mig_postcopy_preempt and mig_postcopy_blocktime.
type postcopyOptions struct{ on, preempt, blocktime bool }

func parsePostcopy(v api.Values, o *options) postcopyOptions {
	p := postcopyOptions{
		on:      o.uses(v, "mig_postcopy", postcopyRAM),
		preempt: o.uses(v, "mig_postcopy_preempt", postcopyPreempt), blocktime: o.uses(v, "mig_postcopy_blocktime", postcopyBlocktime),
	}
	if !p.on && (p.preempt || p.blocktime) {
		v.Invalid("mig_postcopy", "yes, where mig_postcopy_preempt or mig_postcopy_blocktime is")
	}
	return p
}

// postcopy is the feature of mig_postcopy: the migration can be switched to post-copy.
// With preempt, the pages that the guest waits for have a connection of their own; with
// blocktime, the destination measures how long it waits.
type postcopy struct{ postcopyOptions }

func newPostcopy(o options, _ Traits) Feature { return postcopy{o.postcopy} }

func (f postcopy) Capabilities(role Role) []string {
	var names []string
	if f.on {
		names = append(names, postcopyRAM)
	}
	if f.preempt {
		names = append(names, postcopyPreempt)
	}
	if f.blocktime && role == DestinationRole {
		names = append(names, postcopyBlocktime)
	}
	return names
}

func (postcopy) Parameters(Role) []string                { return nil }
func (postcopy) Set(context.Context, Role, Peer) error   { return nil }
func (postcopy) Reset(context.Context, Role, Peer) error { return nil }

// Check checks a move that was switched to post-copy: that it was in it, had the second
// connection of preempt, and has measured the time of blocktime.
func (f postcopy) Check(ctx context.Context, o *Outcome) error {
	sent, _ := o.RAM("postcopy-bytes")
	switch {
	case !f.on:
		return nil
	case !o.Switched:
		o.Idle(postcopyRAM, "the migration was not switched to post-copy")
		return nil
	case sent == 0 && !o.wasInPostcopy():
		return fmt.Errorf("%s: the migration completed before it was in post-copy, although mig.start_postcopy was called: call it earlier, or limit mig_speed", o.End(SourceRole))
	case f.preempt && o.Channels == 1:
		return unused("postcopy-preempt was on, but there was one connection to the destination, not two")
	}
	o.Used(postcopyRAM, "the guest ran on the destination before its memory was there, of which %d bytes came afterwards", sent)
	switch {
	case f.preempt && o.Channels == 0:
		o.Idle(postcopyPreempt, "the connections to the destination were not counted")
	case f.preempt:
		o.Used(postcopyPreempt, "the source's host had %d connections to the destination", o.Channels)
	}
	if !f.blocktime {
		return nil
	}
	var reply map[string]any
	if err := o.Ask(ctx, DestinationRole, "query-migrate", &reply); err != nil {
		return err
	}
	waited, reported := reply[postcopyBlocktime]
	if !reported {
		return unused("postcopy-blocktime was on, but %s reports no postcopy-blocktime", o.End(DestinationRole))
	}
	o.Used(postcopyBlocktime, "the guest waited for pages for %v ms", waited)
	return nil
}

// wasInPostcopy says whether a status or a sample of the move was one of post-copy.
func (o *Outcome) wasInPostcopy() bool {
	return o.Postcopy || slices.ContainsFunc(o.Samples, func(s result.Sample) bool { return State(s.Progress().Status).Postcopy() })
}

// StartPostcopy switches the migration of every VM to post-copy: migrate-start-postcopy
// on the source, while the VMs move. Wait tells when they are in it.
func (m *Migration) StartPostcopy(ctx context.Context) error {
	if !m.options.postcopy.on {
		return errors.New("start_postcopy: the migration was started without: use migrate(postcopy=True), or the param mig_postcopy")
	}
	for _, mv := range m.moves {
		m.mu.Lock()
		src, state := mv.source, mv.state
		m.mu.Unlock()
		if src == nil || !state.Begun() || state.Terminal() {
			return fmt.Errorf("start_postcopy: %s does not move now, its status is %s: wait for the status active first", mv.vm, state)
		}
		mv.openUrgent(ctx)
		if err := src.Monitor().Execute(ctx, "migrate-start-postcopy", nil, nil); err != nil {
			return blame(ctx, mv, src, SourceRole, err)
		}
		m.mu.Lock()
		mv.switched = true
		m.mu.Unlock()
	}
	return nil
}
