// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"strings"
)

// step is a step of a migration, with one part for each side. Its name appears in the
// log, the timeline and the errors of a side that reports it.
type step struct {
	name                string
	when                phase
	source, destination part
}

// part is the part of one side in a step.
type part struct {
	doc string // in the table of the package's documentation
	do  func(*Side, context.Context) error
	// optional returns the scenario's hook, which runs before do. Without a hook the
	// side does not report the step, but still runs do.
	optional func(*Plan) Hook
	// unreported says that the side reports it as part of the step before.
	unreported bool
	// only says whether the migration has this part at all. Nil: it has.
	only func(*Migration) bool
}

// phase is the phase of a migration that a step belongs to.
type phase int

const (
	beforeMove   phase = iota // a QEMU that ends now ends the migration
	duringMove                // the guests are migrated
	afterMove                 // of a migration that has completed
	afterCancel               // of a migration that was cancelled
	afterFailure              // of one that has failed as it may
)

// steps are the steps of every migration, in order. A test compares the table in the
// package's documentation with them.
var steps = []step{
	{
		"prepare", beforeMove,
		part{doc: "end the VMs elsewhere, barrier cleared, start them, log in", do: (*Side).prepareSources},
		part{doc: "barrier cleared, start the incoming VMs", do: (*Side).prepareDestinations},
	},
	{
		"ports", beforeMove,
		part{doc: "barrier ports", do: waitAt("ports")},
		part{doc: "barrier ports", do: waitAt("ports")},
	},
	{
		"start_work", beforeMove,
		part{doc: "start_work, barrier worked", do: waitAt("worked"), optional: func(p *Plan) Hook { return p.StartWork }},
		part{doc: "barrier worked", do: waitAt("worked"), unreported: true},
	},
	{
		"before_migration", beforeMove,
		part{doc: "before_migration, barrier ready", do: waitAt("ready"), optional: func(p *Plan) Hook { return p.BeforeMigration }},
		part{doc: "before_migration, barrier ready", do: waitAt("ready"), optional: func(p *Plan) Hook { return p.BeforeMigration }},
	},
	{
		"migrate", duringMove,
		part{doc: "migrate_src", do: (*Side).sendVMs},
		part{doc: "migrate_dst", do: (*Side).receiveVMs},
	},
	{
		proofStep, afterMove,
		part{doc: "barrier proved", do: waitAt("proved"), only: (*Migration).proves},
		part{doc: "compare the memory, barrier proved", do: (*Side).proveMemory, only: (*Migration).proves},
	},
	{
		"mig_finished", afterMove,
		part{doc: "check the features, barrier mig_finished", do: (*Side).finishSource},
		part{doc: "barrier mig_finished", do: (*Side).waitFinished},
	},
	{
		"check", afterMove,
		part{doc: "check_src", do: (*Side).checkSource},
		part{doc: "resume the guests, check_dst", do: (*Side).checkDestination},
	},
	{
		"check_work", afterMove,
		part{},
		part{doc: "check_work", optional: func(p *Plan) Hook { return p.CheckWork }},
	},
	{
		"conclude", afterMove,
		part{doc: "barrier checked, recheck, barrier concluded, end the VMs", do: (*Side).concludeSource, unreported: true},
		part{doc: "barrier checked, recheck, barrier concluded", do: (*Side).finalCheck, unreported: true},
	},
	{
		"post_migration", afterMove,
		part{doc: "post_migration", optional: func(p *Plan) Hook { return p.PostMigration }},
		part{doc: "post_migration", optional: func(p *Plan) Hook { return p.PostMigration }},
	},
	{
		"cancelled", afterCancel,
		part{doc: "check the guests, barrier cancelled", do: (*Side).endCancelledSource},
		part{doc: "end the incoming VMs, check the guests that have moved, barrier cancelled", do: (*Side).endCancelledDestination},
	},
	{
		"failed", afterFailure,
		part{doc: "check the guests, barrier cancelled", do: (*Side).endCancelledSource},
		part{doc: "end the incoming VMs, check the guests that have moved, barrier cancelled", do: (*Side).endCancelledDestination},
	},
}

// Steps are the names of the steps of every migration, in their order.
func Steps() []string {
	names := make([]string, len(steps))
	for i, st := range steps {
		names[i] = st.name
	}
	return names
}

// waitAt is a part that waits for the other side at a barrier, without a limit.
func waitAt(tag string) func(*Side, context.Context) error {
	return func(s *Side, ctx context.Context) error { return s.waitForPeer(ctx, tag, limit{}) }
}

// runSteps runs the side's parts of all steps of a phase.
func (s *Side) runSteps(ctx context.Context, when phase) error {
	for _, st := range steps {
		if st.when != when {
			continue
		}
		if err := s.runStep(ctx, st); err != nil {
			return err
		}
	}
	return nil
}

func (s *Side) runStep(ctx context.Context, st step) error {
	p := st.destination
	if s.IsSource() {
		p = st.source
	}
	if p.only != nil && !p.only(s.Migration) {
		return nil
	}
	var hook Hook
	if p.optional != nil {
		hook = p.optional(&s.Migration.Plan)
	}
	if hook != nil || p.optional == nil && p.do != nil && !p.unreported {
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

// describeSteps formats the table of steps as in the package's documentation.
func describeSteps() string {
	var b strings.Builder
	row := func(name, source, destination string) {
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(fmt.Sprintf("%-18s%-61s%s", name, source, destination), " "))
	}
	row("step", "source", "destination")
	for _, st := range steps {
		row(st.name, st.source.doc, st.destination.doc)
	}
	return b.String()
}
