// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"strings"
)

// step is a part of a migration, in which each side does its own. A name that is
// told of appears in the log, the timeline and the errors of that side.
type step struct {
	name                string
	when                phase
	source, destination part
}

// part is what one side does in a step.
type part struct {
	does string // for people: the table in the package's documentation
	do   func(*Side, context.Context) error
	// optional is the scenario's hook without which the side does not come to the
	// step; it still does what do says. It runs before that.
	optional func(*Plan) Hook
	// within says that the side takes it for a part of the step before.
	within bool
}

// phase is when a step is taken.
type phase int

const (
	beforeMove  phase = iota // a QEMU that ends now ends the migration: there is nothing left to move
	inMove                   // the guests move
	afterMove                // they have
	afterCancel              // they have not, as it was asked for
)

// steps is the order of every migration. The documentation of the package is made
// of it, which a test holds.
var steps = []step{
	{
		"prepare", beforeMove,
		part{does: "end the VMs elsewhere, barrier cleared, start them, log in", do: (*Side).prepareSources},
		part{does: "barrier cleared, start the VMs' other halves, which listen", do: (*Side).prepareDestinations},
	},
	{
		"ports", beforeMove,
		part{does: "barrier ports", do: meet("ports")},
		part{does: "barrier ports", do: meet("ports")},
	},
	{
		"start_work", beforeMove,
		part{does: "start_work, barrier worked", do: meet("worked"), optional: func(p *Plan) Hook { return p.StartWork }},
		part{does: "barrier worked", do: meet("worked"), within: true},
	},
	{
		"before_migration", beforeMove,
		part{does: "before_migration", optional: func(p *Plan) Hook { return p.BeforeMigration }},
		part{does: "before_migration", optional: func(p *Plan) Hook { return p.BeforeMigration }},
	},
	{
		"migrate", inMove,
		part{does: "migrate_src", do: (*Side).sendVMs},
		part{does: "migrate_dst", do: (*Side).receiveVMs},
	},
	{
		"mig_finished", afterMove,
		part{does: "barrier mig_finished", do: (*Side).meetFinished},
		part{does: "barrier mig_finished", do: (*Side).meetFinished},
	},
	{
		"check", afterMove,
		part{does: "check_src", do: (*Side).checkSource},
		part{does: "let the guests run, check_dst", do: (*Side).checkDestination},
	},
	{
		"check_work", afterMove,
		part{},
		part{does: "check_work", optional: func(p *Plan) Hook { return p.CheckWork }},
	},
	{
		"conclude", afterMove,
		part{does: "barrier checked, look again, barrier concluded, end the VMs", do: (*Side).concludeSource, within: true},
		part{does: "barrier checked, look again, barrier concluded", do: (*Side).finalCheck, within: true},
	},
	{
		"post_migration", afterMove,
		part{does: "post_migration", optional: func(p *Plan) Hook { return p.PostMigration }},
		part{does: "post_migration", optional: func(p *Plan) Hook { return p.PostMigration }},
	},
	{
		"cancelled", afterCancel,
		part{does: "the guests go on, barrier cancelled", do: (*Side).endCancelledSource},
		part{does: "end the VMs' other halves, barrier cancelled", do: (*Side).endCancelledDestination},
	},
}

// meet is the part of a side that meets the other one, however long that takes.
func meet(tag string) func(*Side, context.Context) error {
	return func(s *Side, ctx context.Context) error { return s.waitForPeer(ctx, tag, limit{}) }
}

// runSteps goes through the side's parts of all steps of a phase.
func (s *Side) runSteps(ctx context.Context, when phase) error {
	for _, st := range steps {
		if st.when != when {
			continue
		}
		if err := s.perform(ctx, st); err != nil {
			return err
		}
	}
	return nil
}

func (s *Side) perform(ctx context.Context, st step) error {
	p := st.destination
	if s.IsSource() {
		p = st.source
	}
	var hook Hook
	if p.optional != nil {
		hook = p.optional(&s.Migration.Plan)
	}
	if hook != nil || p.optional == nil && p.do != nil && !p.within {
		s.begin(st.name)
	}
	if hook != nil {
		if err := hook(ctx, s); err != nil {
			return err
		}
	}
	if p.do == nil {
		return nil
	}
	return p.do(s, ctx)
}

// describeSteps is the table of steps as text, as the package's documentation has
// it: those of a cancelled migration stand behind the others.
func describeSteps() string {
	var b strings.Builder
	row := func(name, source, destination string) {
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(fmt.Sprintf("%-18s%-61s%s", name, source, destination), " "))
	}
	row("step", "source", "destination")
	for _, st := range steps {
		row(st.name, st.source.does, st.destination.does)
	}
	return b.String()
}
