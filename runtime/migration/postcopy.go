// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
)

const (
	postcopyRAM       = "postcopy-ram"
	postcopyPreempt   = "postcopy-preempt"
	postcopyBlocktime = "postcopy-blocktime"
)

// postcopyOptions are mig_postcopy, mig_postcopy_preempt, mig_postcopy_blocktime and
// mig_postcopy_start.
type postcopyOptions struct {
	on, preempt, blocktime bool
	start                  Condition // when it is switched to post-copy; the zero value: when StartPostcopy is called
}

func parsePostcopy(v api.Values, o *options) postcopyOptions {
	p := postcopyOptions{
		on:      o.uses(v, "mig_postcopy", postcopyRAM),
		preempt: o.uses(v, "mig_postcopy_preempt", postcopyPreempt), blocktime: o.uses(v, "mig_postcopy_blocktime", postcopyBlocktime),
	}
	if text := v.Text("mig_postcopy_start"); text != "" {
		var ok bool
		if p.start, ok = parseSwitch(text); !ok {
			v.Invalid("mig_postcopy_start", "active, passes N, sent SIZE or remaining SIZE")
		}
		p.on = true
	}
	for _, f := range []struct {
		on                bool
		param, capability string
	}{{p.preempt, "mig_postcopy_preempt", postcopyPreempt}, {p.blocktime, "mig_postcopy_blocktime", postcopyBlocktime}} {
		if f.on && !p.on {
			v.Unfit(setBy(v, f.param), "%s needs mig_postcopy = yes, or mig_postcopy_start", f.capability)
		}
	}
	return p
}

// parseSwitch parses mig_postcopy_start.
func parseSwitch(text string) (c Condition, ok bool) {
	what, value, _ := strings.Cut(text, " ")
	switch what {
	case string(qmp.MigrationActive):
		return Condition{Status: qmp.MigrationActive}, value == ""
	case "passes":
		n, err := strconv.Atoi(value)
		return Condition{Passes: n}, err == nil && n > 0
	}
	size, err := cartesian.Params{"size": value}.Size("size", 0, 1)
	switch {
	case err != nil || size <= 0:
		return Condition{}, false
	case what == "sent":
		return Condition{Sent: size}, true
	case what == "remaining":
		return Condition{Remaining: &size}, true
	}
	return Condition{}, false
}

// startPostcopyWhenDue switches the migration to post-copy when mig_postcopy_start says so.
// The VMs move in the context that it returns, which ends if they cannot be switched, with
// the reason as its cause. ended is called when they do not move any more.
func (m *Migration) startPostcopyWhenDue(ctx context.Context) (moving context.Context, ended func()) {
	due := m.options.postcopy.start
	if due == (Condition{}) {
		return ctx, func() {}
	}
	moving, stop := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := m.Wait(moving, due)
		if err == nil {
			m.log.Info("mig_postcopy_start: the migration is switched to post-copy", "condition", due.String())
			err = m.StartPostcopy(moving)
		}
		if err != nil && !m.wasCancelled() && !m.State().Terminal() { // else it has ended first, see Check
			stop(fmt.Errorf("mig_postcopy_start: %w", err))
		}
	}()
	return moving, func() {
		stop(nil)
		<-done
	}
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
		if start := f.start; start != (Condition{}) {
			o.Idle(postcopyRAM, "the migration completed before it had %s (mig_postcopy_start)", start)
			return nil
		}
		o.Idle(postcopyRAM, "the migration was not switched to post-copy")
		return nil
	case sent == 0 && !o.wasInPostcopy():
		return fmt.Errorf("%s: the migration completed before it was in post-copy, although mig.start_postcopy was called: call it earlier, or limit mig_speed", o.End(SourceRole))
	case f.preempt && o.Connections.fewerThan(2):
		return unused("postcopy-preempt was on, but there was one connection to the destination, not two")
	}
	o.Used(postcopyRAM, "the guest ran on the destination before its memory was there, of which %d bytes came afterwards", sent)
	switch {
	case f.preempt && o.Connections.Most < 2:
		o.Idle(postcopyPreempt, "the connections to the destination were not counted")
	case f.preempt:
		o.Used(postcopyPreempt, "there were %d connections to the destination", o.Connections.Most)
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
// on the source, while the VMs move. None is switched before all of them move; those that
// have completed are passed over. Wait tells when they are in it.
func (m *Migration) StartPostcopy(ctx context.Context) error {
	if !m.options.postcopy.on {
		return errors.New("start_postcopy: the migration was started without: use migrate(postcopy=True), or the param mig_postcopy")
	}
	moving, err := m.toSwitch()
	if err != nil {
		return err
	}
	for _, mv := range moving {
		mv.openUrgent(ctx)
	}
	if moving, err = m.toSwitch(); err != nil { // that has taken some time
		return err
	}
	for _, mv := range moving {
		if err := mv.startPostcopy(ctx); err != nil {
			return err
		}
	}
	return nil
}

// toSwitch returns the moves that are to be switched to post-copy, at least one. It is an
// error if a VM does not move yet: the others could not be cancelled any more.
func (m *Migration) toSwitch() (moving []*move, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range m.Plan.VMs {
		switch mv := m.moves[name]; {
		case mv.source != nil && mv.state.Begun() && !mv.state.Terminal():
			moving = append(moving, mv)
		case mv.state != qmp.MigrationCompleted:
			return nil, mv.notMoving()
		}
	}
	if len(moving) == 0 {
		return nil, m.moves[m.Plan.VMs[0]].notMoving()
	}
	return moving, nil
}

// notMoving is the error of a move that cannot be switched to post-copy; m.mu is held.
func (mv *move) notMoving() error {
	return fmt.Errorf("start_postcopy: %s does not move now, its status is %s: wait for the status active first", mv.vm, mv.state)
}

// startPostcopy switches the move to post-copy, unless it is cancelled. It is switched
// before QEMU hears of it: from then on, Cancel is refused.
func (mv *move) startPostcopy(ctx context.Context) error {
	m, src := mv.m, mv.m.Source.Instance(mv.vm)
	m.mu.Lock()
	cancelled, before := m.cancelled, mv.switched
	mv.switched = before || !cancelled
	m.mu.Unlock()
	if cancelled {
		return fmt.Errorf("start_postcopy: the migration of %s was cancelled", mv.vm)
	}
	err := src.Monitor().Execute(ctx, "migrate-start-postcopy", nil, nil)
	if _, refused := errors.AsType[*qmp.Error](err); refused {
		m.mu.Lock()
		mv.switched = before
		m.mu.Unlock()
	}
	return blame(ctx, mv, src, SourceRole, err)
}
