// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/memproof"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// A background snapshot is a migration to a file after which the guest is still where it
// was (QEMU's capability background-snapshot, since 6.0). QEMU stops the guest for a
// moment, to save its devices' state and to write-protect its RAM by userfaultfd; then
// the guest runs on, and a page that it is about to write to is saved first. The file has
// the guest as it was at that moment.

const (
	backgroundSnapshotCapability = "background-snapshot"
	lateBlockActivate            = "late-block-activate"
)

// SnapshotOptions are those of a background snapshot.
type SnapshotOptions struct {
	// Speed limits how many bytes are written per second; 0: no limit. QEMU does not apply
	// its max-bandwidth here.
	Speed int64
	// Timeout is how long it may take.
	Timeout time.Duration
}

// BackgroundSnapshot is a guest as it was at one moment, in a file on its host. The file
// is in the run's folder there, and removed with it.
type BackgroundSnapshot struct {
	Host  *testbed.Host
	Bytes int64          // of the file
	Pause time.Duration  // how long the guest was stopped when it began
	Took  time.Duration  // from QMP migrate until it was complete
	Query map[string]any // the final query-migrate

	bed      *testbed.Bed
	instance *testbed.Instance
	config   testbed.GuestConfig // when it was taken
	file     *madeFile
	programs carriers
}

// TakeBackgroundSnapshot takes a background snapshot of an instance's guest, which runs
// on, and returns when it is complete. The caller has claimed the VM. It is a SKIP where
// QEMU or the host's kernel lacks what it needs, and a FAIL if the snapshot fails, if
// QEMU has dropped the capability, or if the guest did not run on while it was taken.
func TakeBackgroundSnapshot(ctx context.Context, bed *testbed.Bed, i *testbed.Instance, o SnapshotOptions) (_ *BackgroundSnapshot, err error) {
	if state := i.State(); state != "running" {
		err := fmt.Errorf("%s: its guest is %s: a background snapshot is one of a guest that runs", i, state)
		if i.PauseRequested() {
			return nil, err
		}
		return nil, i.Blame(ctx, err)
	}
	late := fmt.Errorf("%s: the background snapshot was not complete within %v", i, o.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, late)
	defer cancel()
	s := &BackgroundSnapshot{Host: i.Host, bed: bed, instance: i, config: i.GuestConfig()}
	before, err := s.switchOn(ctx)
	if err != nil {
		return nil, i.BlameGone(ctx, err)
	}
	err = s.take(ctx, o)
	if i.Monitor().Err() == nil {
		err = errors.Join(err, s.setCapabilities(context.WithoutCancel(ctx), before))
	}
	err = errors.Join(err, s.programs.closeEnd(context.WithoutCancel(ctx), SourceRole))
	switch {
	case err == nil:
		return s, nil
	case s.file != nil:
		err = errors.Join(err, s.file.remove(context.WithoutCancel(ctx)))
	}
	if errors.Is(err, late) {
		return nil, result.Fail.Wrap(err)
	}
	return nil, i.BlameGone(ctx, err)
}

// switchOn switches the capability on, and others off, which exclude it. It returns what
// switches them back.
func (s *BackgroundSnapshot) switchOn(ctx context.Context) (before []capability, err error) {
	p := endpoint{s.instance}
	var known, on []capability
	if err := p.Execute(ctx, "query-migrate-capabilities", nil, &known); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(known, func(k capability) bool { return k.Capability == backgroundSnapshotCapability }) {
		return nil, lacksCapability(p, backgroundSnapshotCapability)
	}
	for _, k := range known {
		wanted := k.Capability == backgroundSnapshotCapability || k.Capability == "events"
		if k.State != wanted {
			before, on = append(before, k), append(on, capability{k.Capability, wanted})
		}
	}
	err = s.setCapabilities(ctx, on)
	refused, isRefused := errors.AsType[*qmp.Error](err)
	if isRefused && (strings.Contains(refused.Desc, "not supported") || strings.Contains(refused.Desc, "guest memory configuration")) {
		return nil, result.Skip.Errorf("%s: %w: it needs userfaultfd with write protection in the host's kernel, and QEMU run by root or with the sysctl vm.unprivileged_userfaultfd = 1", p, err)
	}
	if err == nil {
		err = s.checkOn(ctx) // else QEMU would move the guest away
	}
	return before, err
}

func (s *BackgroundSnapshot) setCapabilities(ctx context.Context, to []capability) error {
	return endpoint{s.instance}.Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": to}, nil)
}

// checkOn checks that the capability is on.
func (s *BackgroundSnapshot) checkOn(ctx context.Context) error {
	var known []capability
	if err := (endpoint{s.instance}).Execute(ctx, "query-migrate-capabilities", nil, &known); err != nil {
		return err
	}
	if !slices.Contains(known, capability{backgroundSnapshotCapability, true}) {
		return result.Fail.Errorf("%s: background-snapshot was switched on, but QEMU reports it as off", s.instance)
	}
	return nil
}

// take takes the snapshot.
func (s *BackgroundSnapshot) take(ctx context.Context, o SnapshotOptions) (err error) {
	p := endpoint{s.instance}
	s.file = inRunFolder(s.Host, fmt.Sprintf("snapshot%d", s.Host.NextNumber()))
	where, err := s.programs.address(SourceRole, p, snapshotCommand(s.file.path, o.Speed))
	if err != nil {
		return err
	}
	events := p.Monitor().Subscribe("MIGRATION", "STOP", "RESUME")
	defer events.Close()
	defer s.instance.BeginSnapshot()()
	p.Log().Info("background snapshot", "file", s.file.path)
	began, resets := time.Now(), len(s.instance.Resets())
	if err := (form{}).migrate(ctx, p, where); err != nil {
		return err
	}
	runs, err := s.follow(ctx, events)
	if err != nil {
		return err
	}
	s.Took = time.Since(began)
	if err := s.programs.wait(ctx, SourceRole); err != nil {
		return result.Fail.Wrap(err)
	}
	if err := s.checkOn(ctx); err != nil {
		return err
	}
	switch state, err := p.Status(ctx); {
	case err != nil:
		return err
	case state != "running" && !s.instance.PauseRequested(), !runs:
		return result.Fail.Errorf("%s: background-snapshot was on, but its guest did not run on while the snapshot was taken: it is %s", p, state)
	}
	for _, r := range s.instance.Resets()[resets:] {
		if !r.Requested {
			return result.Fail.Errorf("%s: its guest was reset while a background snapshot of it was taken: at %s; only vm.reset() and vm.reboot() may reset it", p, r)
		}
	}
	info, err := s.Host.Stat(ctx, s.file.path)
	if err != nil {
		return err
	}
	s.Bytes = info.Size()
	p.Log().Info("background snapshot completed", "took", s.Took.Round(time.Millisecond), "pause", s.Pause.Round(time.Millisecond), "bytes", s.Bytes)
	return p.Execute(ctx, "query-migrate", nil, &s.Query)
}

// pieces is how many pieces a file is written in per second, if its speed is limited.
const pieces = 20

// snapshotCommand is the command that writes its standard input into a file.
func snapshotCommand(file string, speed int64) string {
	file = shellescape.Quote(file)
	if speed == 0 {
		return "cat >" + file
	}
	return fmt.Sprintf(`(set -e; file=%s; while dd bs=%d count=1 iflag=fullblock of="$file".part 2>/dev/null || exit; [ -s "$file".part ]; do cat "$file".part; sleep %g; done >"$file"; rm "$file".part)`,
		file, max(1, speed/pieces), 1./pieces)
}

// follow waits for the end of the snapshot. runs says whether QEMU let the guest run on
// before.
func (s *BackgroundSnapshot) follow(ctx context.Context, events *qmp.Subscription) (runs bool, err error) {
	i, stopped := s.instance, time.Time{}
	for {
		select {
		case e, open := <-events.C:
			switch status := e.MigrationStatus(); {
			case !open:
				return false, fmt.Errorf("%s: while the background snapshot was taken: %w", i, i.Monitor().Err())
			case e.Name == "STOP" && stopped.IsZero():
				stopped = e.Received
			case e.Name == "RESUME" && !runs && !stopped.IsZero():
				runs, s.Pause = true, e.Received.Sub(stopped)
			case status == qmp.MigrationCompleted:
				return runs, nil
			case status.Terminal():
				return false, s.failure(ctx, status)
			}
		case <-ctx.Done():
			return false, errors.Join(context.Cause(ctx), s.abandon(context.WithoutCancel(ctx), events))
		}
	}
}

// failure is the error of a snapshot that has ended with another status than completed.
func (s *BackgroundSnapshot) failure(ctx context.Context, status State) error {
	var query struct {
		Desc string `json:"error-desc"`
	}
	if err := (endpoint{s.instance}).Execute(ctx, "query-migrate", nil, &query); err != nil {
		return err
	}
	why := query.Desc
	if program := s.programs.explain(ctx); program.Why != "" {
		why = program.Why
	}
	return result.Fail.Errorf("%s: the background snapshot has %s: %s", s.instance, status, why)
}

// abandon cancels the snapshot, and waits a while for that.
func (s *BackgroundSnapshot) abandon(ctx context.Context, events *qmp.Subscription) error {
	ctx, cancel := context.WithTimeoutCause(ctx, defaultTimeouts.answer, fmt.Errorf("%s: QEMU does not cancel the background snapshot", s.instance))
	defer cancel()
	if err := (endpoint{s.instance}).Execute(ctx, "migrate_cancel", nil, nil); err != nil {
		return err
	}
	if err := s.programs.end(ctx, SourceRole); err != nil { // QEMU may wait for it
		return err
	}
	for {
		select {
		case e, open := <-events.C:
			if !open || e.MigrationStatus().Terminal() {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Restore loads the snapshot into a second QEMU, on any host that has the VM's disks, and
// says of each text whether it is in the guest's RAM: see [memproof.Find]. The guest that
// is restored never runs, and never gets at its disks, which the other one uses; its QEMU
// is ended. A snapshot that cannot be loaded is a FAIL. The caller has claimed the VM.
func (s *BackgroundSnapshot) Restore(ctx context.Context, h *testbed.Host, texts []string, timeout time.Duration) (found map[string]bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the snapshot of %s was not restored on %s within %v", s.instance, h.Name(), timeout))
	defer cancel()
	file := s.file
	if h != s.Host {
		file = inRunFolder(h, fmt.Sprintf("snapshot%d", h.NextNumber()))
		defer func() { err = errors.Join(err, file.remove(context.WithoutCancel(ctx))) }()
		if _, err := copyFile(ctx, s.file, file); err != nil {
			return nil, fmt.Errorf("copy the snapshot from %s to %s: %w", s.Host.Name(), h.Name(), err)
		}
	}
	copied, end, err := s.bed.StartCopy(ctx, s.config, h)
	if err != nil {
		return nil, err
	}
	if found, err = restoreFrom(ctx, copied, file, texts); err != nil {
		err = fmt.Errorf("restore the snapshot of %s: %w", s.instance, copied.BlameGone(ctx, err))
	}
	return found, errors.Join(err, end(ctx))
}

// restoreFrom loads a file into a QEMU that waits, and looks for texts.
func restoreFrom(ctx context.Context, copied *testbed.Instance, file *madeFile, texts []string) (found map[string]bool, err error) {
	p, programs := endpoint{copied}, carriers{}
	defer func() { err = errors.Join(err, programs.closeEnd(context.WithoutCancel(ctx), DestinationRole)) }()
	if err := p.Execute(ctx, "stop", nil, nil); err != nil { // it has the effect of QEMU's option -S
		return nil, err
	}
	var known []capability
	if err := p.Execute(ctx, "query-migrate-capabilities", nil, &known); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(known, func(k capability) bool { return k.Capability == lateBlockActivate }) {
		return nil, lacksCapability(p, lateBlockActivate)
	}
	if err := p.Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": []capability{{"events", true}, {lateBlockActivate, true}}}, nil); err != nil {
		return nil, err
	}
	// It must not tell the network that the guest is there.
	switch announces, err := p.Supports(ctx, qmp.Parameter("announce-rounds")); {
	case err != nil:
		return nil, err
	case announces:
		if err := p.Execute(ctx, "migrate-set-parameters", map[string]any{"announce-rounds": 0}, nil); err != nil {
			return nil, err
		}
	}
	events := p.Monitor().Subscribe("MIGRATION")
	defer events.Close()
	where, err := programs.address(DestinationRole, p, "cat "+shellescape.Quote(file.path))
	if err != nil {
		return nil, err
	}
	if err := (form{}).incoming(ctx, p, where); err != nil {
		return nil, err
	}
	for loaded := false; !loaded; {
		select {
		case e, open := <-events.C:
			switch status := e.MigrationStatus(); {
			case !open:
				return nil, fmt.Errorf("%s: %w", p, p.Monitor().Err())
			case status == qmp.MigrationCompleted:
				loaded = true
			case status.Terminal(): // QEMU ends, and says why
				select {
				case <-p.Exited():
					return nil, copied.Ended(ctx)
				case <-ctx.Done():
					return nil, result.Fail.Errorf("%s: it has %s", p, status)
				}
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	state, err := p.Status(ctx)
	if err == nil && state != "paused" {
		err = result.Fail.Errorf("%s: the guest that was restored is %s, want paused: two copies of it would use one disk", p, state)
	}
	if err != nil {
		return nil, err
	}
	return memproof.Find(ctx, memoryEnd{p}, texts)
}
