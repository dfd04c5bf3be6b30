// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// storageOptions are mig_storage and mig_storage_timeout.
type storageOptions struct {
	on      bool // nbd
	timeout time.Duration
}

func parseStorage(v api.Values) storageOptions {
	return storageOptions{on: v.Choice("mig_storage") == "nbd", timeout: v.Seconds("mig_storage_timeout")}
}

// storage is the feature of mig_storage = nbd: the disks move too. While the guest runs on
// the source, each disk is mirrored (blockdev-mirror) to an empty image in the
// destination's QEMU, which exports it (its NBD server). When all mirrors are as new as
// the disks (BLOCK_JOB_READY), the guest's memory is sent. The source stops before the
// switchover, where the mirrors end with what was still missing, and the destination's
// NBD server, which would keep the guest from writing.
type storage struct {
	storageOptions

	ports   portRange         // of mig_port
	taken   []func()          // release the ports that were reserved for the NBD server
	port    int               // of the destination's NBD server; 0: it does not run
	exports []string          // the destination's disks
	server  string            // its address, as the source has connected to it; "": it has not
	mirrors []*mirror         // of the source
	events  *qmp.Subscription // of their jobs; nil: none yet
	src     *testbed.Instance // of the mirrors
	ending  bool              // the guest is stopped, and the mirrors are to end
	ended   atomic.Bool       // all mirrors, without an error; also read by who releases a migration
}

// isDone says whether nothing has to be mirrored, or everything was.
func (f *storage) isDone() bool { return !f.on || f.ended.Load() }

// mirror is the mirror of one disk.
type mirror struct {
	disk    string
	added   bool  // the node of the NBD client
	started bool  // the job
	ready   bool  // its event
	ended   bool  // its event
	bytes   int64 // that were copied
}

// id is what the export, the job and the node of the NBD client are called.
func (m *mirror) id() string { return mirrorPrefix + m.disk }

const mirrorPrefix = "mhmig-mirror-"

// bindAttempts is how many ports are tried for the NBD server: one that was free may be
// in use already, and QEMU does not tell which port it has chosen.
const bindAttempts = 5

// mirrorEvents are the events of block jobs.
var mirrorEvents = []string{"BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED", "BLOCK_JOB_ERROR"}

func newStorage(o options) *storage { return &storage{storageOptions: o.storage, ports: o.port} }

func (f *storage) Capabilities(role Role) []string {
	if f.on && role == SourceRole {
		return []string{pauseBeforeSwitchover}
	}
	return nil
}

func (f *storage) Parameters(Role) []string              { return nil }
func (f *storage) Set(context.Context, Role, Peer) error { return nil }

// MirrorError is the end of a disk's mirror, or of the wait for it. Which side has failed
// is not known by it.
type MirrorError struct {
	Disk string
	Err  error
}

func (e *MirrorError) Error() string { return fmt.Sprintf("the mirror of disk %s: %v", e.Disk, e.Err) }
func (e *MirrorError) Unwrap() error { return e.Err }

// needs returns a SKIP for a QEMU that lacks a command.
func needs(ctx context.Context, p Peer, commands ...string) error {
	for _, command := range commands {
		has, err := p.Supports(ctx, command)
		if err != nil {
			return err
		}
		if !has {
			return result.Skip.Errorf("%s: this QEMU has no command %s, which mig_storage = nbd needs", p, command)
		}
	}
	return nil
}

// export makes the destination's QEMU export its images.
func (f *storage) export(ctx context.Context, dst endpoint) error {
	c := dst.Config()
	if !f.on || len(c.Disks()) == 0 {
		return nil
	}
	if err := needs(ctx, dst, "nbd-server-start", "block-export-add"); err != nil {
		return err
	}
	if err := f.startServer(ctx, dst); err != nil {
		return err
	}
	for _, disk := range c.Disks() {
		m := &mirror{disk: disk}
		export := map[string]any{"type": "nbd", "id": m.id(), "node-name": vm.DiskNode(disk), "name": disk, "writable": true}
		if err := dst.Execute(ctx, "block-export-add", export, nil); err != nil {
			return err
		}
		f.exports = append(f.exports, disk)
	}
	return nil
}

// startServer starts the NBD server on a port of mig_port's range, or any. QEMUs that
// migrate to the range take its ports without a reservation.
func (f *storage) startServer(ctx context.Context, dst endpoint) error {
	attempts := bindAttempts
	if !f.ports.any() {
		attempts = f.ports.last - f.ports.first + 1
	}
	var refusal error
	for range attempts {
		port, release, err := f.ports.reserve(ctx, dst.Machine())
		if err != nil {
			return errors.Join(refusal, err)
		}
		if release != nil {
			f.taken = append(f.taken, release)
		}
		err = dst.Execute(ctx, "nbd-server-start", map[string]any{"addr": map[string]any{
			"type": "inet", "data": map[string]any{"host": dst.ListenAddress(), "port": strconv.Itoa(port)},
		}}, nil)
		if err == nil {
			f.port = port
			return nil
		}
		if _, refused := errors.AsType[*qmp.Error](err); !refused {
			return err
		}
		refusal = err
	}
	return refusal
}

// releasePorts lets others have the ports: the destination's side has ended.
func (f *storage) releasePorts() {
	for _, release := range f.taken {
		release()
	}
	f.taken = nil
}

// start starts a mirror of each of the source's disks, and waits until all are as new as
// the disks.
func (f *storage) start(ctx context.Context, mv *move, src, dst *testbed.Instance) error {
	c := src.Config()
	if !f.on || len(c.Disks()) == 0 {
		return nil
	}
	source := endpoint{src}
	if err := needs(ctx, source, "blockdev-mirror", "blockdev-add", "block-job-cancel"); err != nil {
		return err
	}
	f.src, f.events = src, src.Monitor().Subscribe(mirrorEvents...)
	began := time.Now()
	address := endpoint{dst}.Address()
	f.server = net.JoinHostPort(address, strconv.Itoa(f.port))
	for _, disk := range c.Disks() {
		m := &mirror{disk: disk}
		f.mirrors = append(f.mirrors, m)
		err := source.Execute(ctx, "blockdev-add", map[string]any{
			"driver": "nbd", "node-name": m.id(), "export": disk,
			"server": map[string]any{"type": "inet", "host": address, "port": strconv.Itoa(f.port)},
		}, nil)
		if err != nil {
			return mirrorError(m, "", err)
		}
		m.added = true
		err = source.Execute(ctx, "blockdev-mirror", map[string]any{
			"job-id": m.id(), "device": vm.DiskNode(disk), "target": m.id(), "sync": "full",
		}, nil)
		if err != nil {
			return mirrorError(m, "", err)
		}
		m.started = true
	}
	if err := f.wait(ctx, mv, dst, "BLOCK_JOB_READY", func(m *mirror) bool { return m.ready }); err != nil {
		return err
	}
	src.Log().Info("disks mirrored", "disks", strings.Join(c.Disks(), " "), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// mirrorError is the error of a command for a mirror: a refusal may be the other side's.
func mirrorError(m *mirror, what string, err error) error {
	if _, refused := errors.AsType[*qmp.Error](err); !refused {
		return err
	}
	return &MirrorError{m.disk, fmt.Errorf("%s%w", what, err)}
}

// wait waits until something holds for all mirrors. It ends when a mirror has ended too
// early, when the destination's QEMU has, or when the migration is cancelled.
func (f *storage) wait(ctx context.Context, mv *move, dst *testbed.Instance, event string, holds func(*mirror) bool) error {
	timeout := time.NewTimer(f.timeout)
	defer timeout.Stop()
	for {
		var missing *mirror
		for _, m := range f.mirrors {
			if missing == nil && !holds(m) {
				missing = m
			}
		}
		mv.m.mu.Lock()
		cancelled, changed := mv.m.cancelled, mv.m.changed
		mv.m.mu.Unlock()
		if missing == nil || cancelled {
			return nil
		}
		select {
		case e, open := <-f.events.C:
			if !open {
				return f.src.Monitor().Err()
			}
			if err := f.handle(e); err != nil {
				return err
			}
		case <-changed:
		case <-dst.Exited():
			return &MirrorError{missing.disk, fmt.Errorf("the destination's QEMU has ended before %s", event)}
		case <-timeout.C:
			return &MirrorError{missing.disk, fmt.Errorf("no %s within mig_storage_timeout = %v", event, f.timeout)}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// jobs yields the events of the mirrors; nil if there are none.
func (f *storage) jobs() <-chan qmp.Event {
	if f.events == nil {
		return nil
	}
	return f.events.C
}

// handle notes an event of a mirror's job. A job that ends before the guest is stopped,
// or with an error, is an error.
func (f *storage) handle(e qmp.Event) error {
	id, _ := e.Data["device"].(string)
	for _, m := range f.mirrors {
		if m.id() != id {
			continue
		}
		reason, failed := e.Data["error"].(string)
		switch e.Name {
		case "BLOCK_JOB_READY":
			m.ready = true
		case "BLOCK_JOB_ERROR": // the job's end has the reason
			f.src.Log().Warn("disk mirror: an operation has failed", "disk", m.disk, "operation", e.Data["operation"])
		case "BLOCK_JOB_CANCELLED":
			m.started = false
			return &MirrorError{m.disk, errors.New("it was cancelled before it was complete (BLOCK_JOB_CANCELLED)")}
		case "BLOCK_JOB_COMPLETED":
			m.started = false
			switch {
			case failed:
				return &MirrorError{m.disk, errors.New(reason)}
			case !f.ending:
				return &MirrorError{m.disk, errors.New("it has ended before the guest was stopped")}
			}
			m.ended = true
			offset, _ := e.Data["offset"].(float64)
			m.bytes = int64(offset)
		}
	}
	return nil
}

// finish ends the mirrors, when the guest is stopped before the switchover: they copy what
// is missing. Then the destination's QEMU exports its images no more.
func (f *storage) finish(ctx context.Context, mv *move, src, dst *testbed.Instance) error {
	f.ending = true
	for _, m := range f.mirrors {
		// Of a mirror that is ready, this is the end, not a cancellation.
		if err := src.Monitor().Execute(ctx, "block-job-cancel", map[string]any{"device": m.id()}, nil); err != nil {
			return mirrorError(m, "", err)
		}
	}
	if err := f.wait(ctx, mv, dst, "BLOCK_JOB_COMPLETED", func(m *mirror) bool { return m.ended }); err != nil || mv.m.wasCancelled() {
		return err
	}
	for _, m := range f.mirrors {
		if err := src.Monitor().Execute(ctx, "blockdev-del", map[string]any{"node-name": m.id()}, nil); err != nil {
			return mirrorError(m, "", err)
		}
		m.added = false
		src.Log().Info("disk mirror ended", "disk", m.disk, "bytes", m.bytes)
	}
	err := f.stopServer(ctx, endpoint{dst})
	if errors.Is(err, qmp.ErrGone) && mv.cancelRequested(src) { // with which the destination's QEMU ends
		return nil
	}
	if err != nil {
		return blame(ctx, mv, dst, DestinationRole, err)
	}
	f.ended.Store(true)
	return nil
}

func (f *storage) stopServer(ctx context.Context, dst Peer) error {
	if f.port == 0 {
		return nil
	}
	if err := dst.Execute(ctx, "nbd-server-stop", nil, nil); err != nil {
		return err
	}
	f.port = 0
	return nil
}

// silentSource is the verdict of a source that does not answer its monitor. While its disks
// are mirrored, its main thread waits for the destination's NBD server, as blockdev-add
// does for a connection: a destination that hangs is the reason then.
func (mv *move) silentSource(ctx context.Context, src, dst *testbed.Instance, err error) error {
	if server := mv.storage.server; server != "" && !mv.storage.isDone() {
		if silent := mv.m.checkMonitor(ctx, dst); silent != nil {
			return fail(ctx, mv, dst, DestinationRole, fmt.Errorf("%w; the source waits for its NBD server: %w", silent, err))
		}
		if slices.ContainsFunc(mv.storage.mirrors, func(m *mirror) bool { return !m.added && !m.ended }) {
			err = fmt.Errorf("%w; it connects to the NBD server of %s at %s: does a firewall drop that?", err, dst, server)
		}
	}
	return fail(ctx, mv, src, SourceRole, err)
}

// close ends what start has begun to listen to.
func (f *storage) close() {
	if f.events != nil {
		f.events.Close()
		f.events = nil
	}
}

// Reset ends the mirrors of a source that keeps the guest, whose disks stay its own.
func (f *storage) Reset(ctx context.Context, role Role, p Peer) error {
	if !f.on || role == DestinationRole {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("%s: QEMU does not end the mirrors of the disks within %v", p, f.timeout))
	defer cancel()
	for _, m := range f.mirrors {
		if err := m.abort(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// abort ends a mirror that is not needed any more, and removes its node.
func (m *mirror) abort(ctx context.Context, p Peer) error {
	for m.started {
		var jobs []struct{ Device string }
		if err := p.Execute(ctx, "query-block-jobs", nil, &jobs); err != nil {
			return err
		}
		m.started = false
		for _, job := range jobs {
			m.started = m.started || job.Device == m.id()
		}
		if !m.started {
			break
		}
		err := p.Execute(ctx, "block-job-cancel", map[string]any{"device": m.id(), "force": true}, nil)
		if _, refused := errors.AsType[*qmp.Error](err); err != nil && !refused { // it may just have ended
			return err
		}
		if err := sleep(ctx, waitInterval); err != nil {
			return err
		}
	}
	if !m.added {
		return nil
	}
	m.added = false
	return p.Execute(ctx, "blockdev-del", map[string]any{"node-name": m.id()}, nil)
}

// Check checks that every disk of the destination was copied: that its mirror has ended
// without an error when the guest was stopped, and has copied something.
func (f *storage) Check(_ context.Context, o *Outcome) error {
	if !f.on {
		return nil
	}
	if !f.ended.Load() {
		return unused("mig_storage = nbd was set, but the guest has moved although the mirrors of its disks had not ended on %s", o.End(SourceRole))
	}
	for _, disk := range f.exports {
		if !slices.ContainsFunc(f.mirrors, func(m *mirror) bool { return m.disk == disk }) {
			return unused("mig_storage = nbd was set, but disk %s of %s has no mirror on %s: it is empty", disk, o.End(DestinationRole), o.End(SourceRole))
		}
	}
	if len(f.mirrors) == 0 {
		o.Idle("mig_storage", "%s has no disks", o.End(SourceRole))
		return nil
	}
	var seen []string
	for _, m := range f.mirrors {
		if m.bytes == 0 {
			return unused("mig_storage = nbd was set, but the mirror of disk %s has copied 0 bytes from %s to %s", m.disk, o.End(SourceRole), o.End(DestinationRole))
		}
		seen = append(seen, fmt.Sprintf("%d bytes of disk %s", m.bytes, m.disk))
	}
	o.Used("mig_storage", "the mirrors have copied %s", strings.Join(seen, ", "))
	return nil
}
