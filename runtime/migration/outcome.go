// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Outcome is what a feature is judged by when the guest has moved: QEMU's final
// statistics, and both ends.
type Outcome struct {
	Query    map[string]any  // the source's query-migrate, as QEMU answered
	Samples  []result.Sample // the same during the move: of a long one not all, but each change of the status
	Switched bool            // it was switched to post-copy: StartPostcopy
	Postcopy bool            // it had a status of post-copy
	Paused   bool            // it had the status pre-switchover
	File     SavedFile       // what the source has written, with mig_mapped_ram
	// Connections are those of the move, with multifd and postcopy-preempt.
	Connections Connections

	// Features are what the checks have found: see Used and Idle.
	Features []result.FeatureUse

	throttling throttling
	ends       map[Role]Peer
	ask        func(ctx context.Context, role Role, command string, reply any) error
	log        func(ctx context.Context, role Role) []string // the last lines of QEMU's log
}

// RAM is a figure of query-migrate's ram, such as multifd-bytes; ok is false if QEMU
// does not report it.
func (o *Outcome) RAM(name string) (n int64, ok bool) {
	ram, _ := o.Query["ram"].(map[string]any)
	value, ok := ram[name].(float64)
	return int64(value), ok
}

// Used notes that the move has used a feature, and which figures show it.
func (o *Outcome) Used(feature, format string, a ...any) {
	o.Features = append(o.Features, result.FeatureUse{Feature: feature, Used: true, Seen: fmt.Sprintf(format, a...)})
}

// Idle notes that a feature was on and had nothing to do in this move, and why.
func (o *Outcome) Idle(feature, format string, a ...any) {
	o.Features = append(o.Features, result.FeatureUse{Feature: feature, Seen: fmt.Sprintf(format, a...)})
}

// Ask executes a QMP command on one end. The error of an end that does not answer is the
// migration's [Failure].
func (o *Outcome) Ask(ctx context.Context, role Role, command string, reply any) error {
	return o.ask(ctx, role, command, reply)
}

// End is the VM and host of one end, for messages: vm1@host1.
func (o *Outcome) End(role Role) string { return o.ends[role].String() }

// Parameter is a migration parameter of one end as it is after the move
// (query-migrate-parameters), as encoding/json decodes it; nil if QEMU has none.
func (o *Outcome) Parameter(ctx context.Context, role Role, name string) (any, error) {
	var all map[string]any
	err := o.Ask(ctx, role, "query-migrate-parameters", &all)
	return all[name], err
}

// checkSet checks that both ends have a parameter that was set.
func (o *Outcome) checkSet(ctx context.Context, p parameter) error {
	for _, role := range []Role{SourceRole, DestinationRole} {
		got, err := o.Parameter(ctx, role, p.name)
		if err != nil {
			return err
		}
		if fmt.Sprint(got) != p.value {
			return unused("%s was set to %s, but %s has %v", p.name, p.value, o.End(role), got)
		}
	}
	return nil
}

// unusedError is what a feature's Check has found: the move has not used it.
type unusedError struct{ err error }

func (e *unusedError) Error() string { return e.err.Error() }
func (e *unusedError) Unwrap() error { return e.err }

// unused is fmt.Errorf for an unusedError.
func unused(format string, a ...any) error { return &unusedError{fmt.Errorf(format, a...)} }

// checkFeatures checks, on the source, that a guest that has moved has really used the
// features of the move: QEMU accepts some and ignores them. It checks only what it has
// set itself, thus not a move of the scenario's own migrate_src.
func (mv *move) checkFeatures(ctx context.Context, src, dst endpoint) error {
	if mv.storage.on && !mv.isSet && mv.completed() {
		err := unused("mig_storage = nbd was set, but migrate_src has not copied the disks: it has to call mig.migrate_vms_src")
		return fail(ctx, mv, src.Instance, SourceRole, err)
	}
	if !mv.completed() {
		return nil
	}
	if !mv.isSet {
		mv.warnUnset(src.Instance)
		return nil
	}
	ends := map[Role]endpoint{SourceRole: src, DestinationRole: dst}
	for _, role := range []Role{SourceRole, DestinationRole} {
		if role == SourceRole && mv.m.traits.Exec {
			continue // it has become the destination
		}
		err := mv.checkCapabilities(ctx, role, ends[role])
		if _, isUnused := errors.AsType[*unusedError](err); isUnused {
			return fail(ctx, mv, ends[role].Instance, role, err)
		}
		if err != nil {
			return blame(ctx, mv, ends[role].Instance, role, err)
		}
	}
	mv.m.mu.Lock()
	outcome := &Outcome{Query: mv.query, Samples: mv.samples, throttling: mv.throttling, Connections: mv.connections, Switched: mv.switched, Postcopy: mv.postcopied, Paused: mv.paused, ends: map[Role]Peer{SourceRole: src, DestinationRole: dst}}
	mv.m.mu.Unlock()
	if t, toFile := mv.transport.(interface{ savedFile() SavedFile }); toFile {
		outcome.File = t.savedFile()
	}
	outcome.ask = func(ctx context.Context, role Role, command string, reply any) error {
		return blame(ctx, mv, ends[role].Instance, role, ends[role].Execute(ctx, command, nil, reply))
	}
	outcome.log = func(ctx context.Context, role Role) []string { return ends[role].LogTail(ctx) }
	err := checkAll(ctx, mv.features, outcome)
	if _, isUnused := errors.AsType[*unusedError](err); isUnused {
		return fail(ctx, mv, src.Instance, SourceRole, err)
	}
	if err != nil {
		return err
	}
	for _, f := range outcome.Features {
		src.Log().Info("feature", "feature", f.Feature, "used", f.Used, "seen", f.Seen)
	}
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	mv.checked = outcome.Features
	return nil
}

// checkAll lets all features judge a move. A SKIP of one hides no failure of another.
func checkAll(ctx context.Context, features []Feature, o *Outcome) error {
	var skip error
	for _, f := range features {
		checked, ok := f.(Checked)
		if !ok {
			continue
		}
		err := checked.Check(ctx, o)
		switch {
		case err == nil:
		case result.StatusOf(err) == result.Skip:
			skip = cmp.Or(skip, err)
		default:
			return err
		}
	}
	return skip
}

// warnUnset warns of what the params say of a move, and was not set on the source, because
// the scenario's own migrate_src has sent the guest.
func (mv *move) warnUnset(src *testbed.Instance) {
	var settings []string
	for _, f := range mv.features {
		if _, always := f.(migrationEvents); always {
			continue
		}
		settings = append(settings, f.Capabilities(SourceRole)...)
		for _, parameter := range f.Parameters(SourceRole) {
			name, _, _ := strings.Cut(parameter, "/")
			settings = append(settings, name)
		}
	}
	if len(settings) > 0 {
		src.Log().Warn("migrate_src has sent the guest without settings that the params ask for: mig.migrate_vms_src sends it with them", "settings", strings.Join(settings, " "))
	}
}

// addFeatures adds what was seen of the features to QEMU's statistics; m.mu is held.
func (mv *move) addFeatures(stats map[string]any) {
	if len(mv.checked) == 0 {
		return
	}
	features := map[string]any{}
	for _, f := range mv.checked {
		features[f.Feature] = map[string]any{"used": f.Used, "seen": f.Seen}
	}
	stats["features"] = features
}

// finishSource checks the features of each move, which both ends still have, and waits
// for the destination.
func (s *Side) finishSource(ctx context.Context) error {
	m := s.Migration
	err := s.each(ctx, func(ctx context.Context, vm string) error {
		return m.moves[vm].checkFeatures(ctx, endpoint{s.Instance(vm)}, endpoint{m.Destination.Instance(vm)})
	})
	if err != nil {
		return err
	}
	return s.waitFinished(ctx)
}
