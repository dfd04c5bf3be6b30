// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/excerpt"
	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// exitGrace is how long after the loss of a guest's connection the end of its QEMU may
// be detected.
const exitGrace = 100 * time.Millisecond

// Instance is one instance of a VM in a bed: QEMU, its console, and the presence of its
// guest.
type Instance struct {
	QEMU
	Host    *Host
	Console *guest.Console

	shape   vm.Shape
	log     *slog.Logger
	watcher sync.WaitGroup
	lastQMP *excerpt.Recorder
	copies  *diskPlace // of the disks, which a migration fills; nil: it has the VM's

	mu           sync.Mutex     // guards what follows
	hostConfig   vm.HostConfig  // with the devices that the guest has now
	state        string         // QEMU's run state, by its events
	presence     presence       // of the guest
	arrived      bool           // the guest came by a migration
	sent         bool           // a migration from here has started
	departures   int            // counted more than once for a migration
	snapshotted  bool           // a background snapshot has begun
	snapshot     bool           // a background snapshot is being taken
	killed       bool           // by a signal on which QEMU exits
	requested    requested      // by mhmig or the scenario
	resets       []Reset        // in their order
	resetsBefore int            // how many came before its guest first moved from here
	reported     bool           // an error says how QEMU ended
	checked      *guest.Session // of EnsureLogin, for the next WaitForLogin
	sessions     []openSession  // all that were opened, to be closed with the instance
}

// openSession is a session, and the number of the guest's resets before it.
type openSession struct {
	*guest.Session
	resets int
}

func (i *Instance) String() string { return vm.InstanceName(i.Name(), i.ID()) + "@" + i.Host.Name() }

// Params are the VM's params on this host.
func (i *Instance) Params() cartesian.Params {
	return api.OnHost(i.currentConfig().Params, i.Host.label, i.Name())
}

// Log is the variant's log, with the VM and the host.
func (i *Instance) Log() *slog.Logger { return i.log }

// State is QEMU's run state by its events, without a query.
func (i *Instance) State() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state
}

// Arrived says whether the guest came into this instance by a migration.
func (i *Instance) Arrived() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.arrived
}

// HoldArrival records that the guest is to stay paused when it arrives, until [Instance.Cont]:
// until then, it is no failure that it does not run.
func (i *Instance) HoldArrival() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.requested.hold = true
}

// Depart records that a migration from here starts: later errors of QEMU are failures
// of the system under test.
func (i *Instance) Depart() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.noteSent()
	i.requested.cancel = false
	if i.presence == here {
		i.presence = leaving
	}
}

// noteSent records that the guest is sent from here; what has reset it before the first time
// is none of a migration's. i.mu is held.
func (i *Instance) noteSent() {
	if !i.arrived && !i.sent {
		i.resetsBefore = len(i.resets)
	}
	i.sent = true
	i.departures++
}

// Departures is a number that grows when a migration from here starts, by whatever command.
func (i *Instance) Departures() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.departures
}

// underTest says whether this instance's guest has been in a migration, or a background
// snapshot of it was taken.
func (i *Instance) underTest() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.arrived || i.sent || i.snapshotted
}

// Arrive records that a migration has moved the guest here, whatever events QEMU has
// sent.
func (i *Instance) Arrive() {
	i.arriveDisks()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.arrived = true
	if i.presence == awaited {
		i.presence = arriving
	}
}

// Left records that a migration has moved the guest away, whatever events QEMU has
// sent.
func (i *Instance) Left() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.presence.has() || i.presence == inPostcopy {
		i.presence = gone
	}
}

// HasGuest says whether the VM's guest is in this instance.
func (i *Instance) HasGuest() bool { return i.currentPresence().has() }

func (i *Instance) currentPresence() presence {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.presence
}

// Blame gives an error of the guest, or of the connection to it, its status: FAIL once
// the guest has been in a migration; ERROR before, when the connection to the host is
// lost, when the guest has too little memory for its load, or for a [NoAccessError]. It
// adds that QEMU has ended, or does not answer its monitor, and what the guest's kernel has
// reported.
func (i *Instance) Blame(ctx context.Context, err error) error {
	if _, noAccess := errors.AsType[*NoAccessError](err); err == nil || noAccess || ctx.Err() != nil {
		return err
	}
	select {
	case <-i.Exited():
		return i.ended(ctx, err)
	case <-time.After(exitGrace):
	case <-ctx.Done():
		return err
	}
	if !errors.Is(err, qmp.ErrSilent) {
		if _, silent := i.Status(ctx); errors.Is(silent, qmp.ErrSilent) {
			err = fmt.Errorf("%w; detected by: %w", silent, err)
		}
	}
	err = i.WithKernelFaults(err)
	if short := i.OutOfMemory(err); short != nil {
		return short
	}
	if i.underTest() {
		return result.Fail.Wrap(err)
	}
	return err
}

// BlameGone is Blame for a QMP command: it applies only if QEMU has ended or does not
// answer; the error of a refused command is returned as it is.
func (i *Instance) BlameGone(ctx context.Context, err error) error {
	if errors.Is(err, qmp.ErrGone) || errors.Is(err, qmp.ErrSilent) {
		return i.Blame(ctx, err)
	}
	return err
}

// Ended is the error of an instance whose QEMU has ended while its guest was still
// needed here.
func (i *Instance) Ended(ctx context.Context) error {
	return i.ended(ctx, fmt.Errorf("%s is not running any more", i))
}

// ended is the error of an instance whose QEMU has ended or cannot be reached; err is
// the error that detected it. A QEMU that ended abnormally is a FAIL, even if its guest
// has not been in a migration. The end of one that was destroyed is an ERROR of who still
// uses it.
func (i *Instance) ended(ctx context.Context, err error) error {
	if destroyed := i.Destroyed(); destroyed != nil { // who destroys it is told how it has ended
		return fmt.Errorf("%w (%w)", destroyed, err)
	}
	exit := i.QEMU.Exit(ctx) // runs a command on the host, which detects a lost connection
	if lost := i.Host.Err(); lost != nil {
		return fmt.Errorf("%s: %w", i, lost)
	}
	i.mu.Lock()
	i.reported = true
	i.mu.Unlock()
	if _, known := errors.AsType[*endedError](err); !known {
		err = &endedError{err: i.WithKernelFaults(err), exit: exit}
	}
	if i.underTest() || exit.Abnormal() {
		return result.Fail.Wrap(err)
	}
	return err
}

// Removed says whether the instance was ended on purpose: by Remove, or by the
// scenario's quit.
func (i *Instance) Removed() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requested.end
}

// Destroyed is the error of those who still use an instance that the scenario has ended,
// nil if it has not: see [Instance.Removed].
func (i *Instance) Destroyed() error {
	if !i.Removed() {
		return nil
	}
	return fmt.Errorf("the scenario has destroyed %s", i)
}

// CancelRequested says whether migrate_cancel was executed in the migration that started
// last, by mhmig or by the scenario.
func (i *Instance) CancelRequested() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requested.cancel
}

// Exit is [vm.Instance.Exit], for an error that reports it.
func (i *Instance) Exit(ctx context.Context) *vm.ExitError {
	i.mu.Lock()
	i.reported = true
	i.mu.Unlock()
	return i.QEMU.Exit(ctx)
}

// endedError is the error of an instance whose QEMU has ended, and how it ended.
type endedError struct {
	err  error
	exit *vm.ExitError
}

func (e *endedError) Error() string   { return e.err.Error() + "; " + e.exit.Error() }
func (e *endedError) Unwrap() []error { return []error{e.err, e.exit} }

// placement is where the instance of a VM on a host lives that has this ID.
func (b *Bed) placement(name string, h *Host, id int) vm.Placement {
	return vm.Placement{
		ID: id, Host: h.Remote, RunDir: h.runDir, ImageDir: b.disksOf(name).path(h), BaseDir: h.baseDir, ShippedDir: h.ShippedDir(),
		Kept: b.keptImages(name), Variant: b.Variant(), Cache: &b.shared.vms, Ledger: b.ledger, Log: b.log,
		Artifacts: func(file string) (io.WriteCloser, error) {
			return b.results.VMFile(vm.InstanceName(name, id), h.Name(), file)
		},
	}
}

// Ensure makes sure that the VM's guest runs on host h, and says whether it was
// started. A guest on another host is an error: see ClearFor. The caller has claimed
// the VM. launch is how it is started.
func (b *Bed) Ensure(ctx context.Context, name string, h *Host, params cartesian.Params, launch vm.Launch) (instance *Instance, started bool, err error) {
	if instance := b.Current(name); instance != nil {
		select {
		case <-instance.Exited():
			return nil, false, instance.Ended(ctx)
		default:
		}
		if instance.Host != h {
			return nil, false, fmt.Errorf("%s runs on %s already, and one VM never runs twice", name, instance.Host.Name())
		}
		return instance, false, nil
	}
	shape, err := b.shape(ctx, name, params)
	if err != nil {
		return nil, false, err
	}
	if err := b.PlaceDisks(ctx, name, h, params); err != nil {
		return nil, false, err
	}
	b.setChanges(name, changes{})
	b.setRebootAsked(name, time.Time{})
	instance, err = b.startGuest(ctx, name, h, params, shape, launch)
	if err != nil {
		return nil, false, err
	}
	return instance, true, nil
}

// instanceKey identifies an instance of a bed.
type instanceKey struct {
	vm, host string
	id       int
}

// takeID takes the least ID that no instance of the VM on the host has: both sides of
// a migration may start one there at the same time. It is taken until release, or for
// as long as there is an instance that has it.
func (b *Bed) takeID(name string, h *Host) (id int, release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id = 1; ; id++ {
		key := instanceKey{name, h.Name(), id}
		used := slices.ContainsFunc(b.instances, func(i *Instance) bool { return i.Name() == name && i.Host == h && i.ID() == id })
		if used || b.starting[key] {
			continue
		}
		b.starting[key] = true
		return id, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			delete(b.starting, key)
		}
	}
}

// StartIncoming starts the half of the VM on host h that waits for a migration. An
// old instance there is ended first, but for one that the guest is in: the two have
// their disks in common, and one of them runs. Where the guest runs already,
// it decides the shape, and which disks and network cards there are; params decide the
// rest.
func (b *Bed) StartIncoming(ctx context.Context, name string, h *Host, params cartesian.Params, launch vm.Launch) (*Instance, error) {
	launch.Incoming = true
	for _, old := range b.instancesOf(name) {
		if old.Host != h || old.HasGuest() {
			continue
		}
		b.log.Info("ending the old instance first", "vm", name, "host", h.Name())
		if err := b.Remove(ctx, old); err != nil {
			return nil, err
		}
	}
	var shape vm.Shape
	var since changes
	if current := b.Current(name); current != nil {
		since = b.changesFor(name, params)
		hostConfig, err := h.changedConfig(name, params, since)
		if err != nil {
			return nil, err
		}
		if err := vm.CheckFits(current.currentConfig(), hostConfig); err != nil {
			return nil, err
		}
		shape = current.shape
	} else {
		var err error
		if shape, err = b.shape(ctx, name, params); err != nil {
			return nil, err
		}
	}
	if !launch.CopyDisks {
		return b.start(ctx, name, h, params, since, shape, launch, nil)
	}
	hostConfig, err := h.changedConfig(name, params, since)
	if err != nil {
		return nil, err
	}
	copies, err := b.copyDisks(ctx, name, h, hostConfig.Config)
	if err != nil {
		return nil, err
	}
	instance, err := b.start(ctx, name, h, params, since, shape, launch, copies)
	if err != nil {
		return nil, errors.Join(err, b.removeCopies(ctx, *copies))
	}
	return instance, nil
}

// start starts an instance with these changes of its devices since the guest's start. Its
// disks are the VM's, if it has no copies. After an error there is no instance.
func (b *Bed) start(ctx context.Context, name string, h *Host, params cartesian.Params, since changes, shape vm.Shape, launch vm.Launch, copies *diskPlace) (*Instance, error) {
	hostConfig, err := h.changedConfig(name, params, since)
	if err != nil {
		return nil, err
	}
	id, release := b.takeID(name, h)
	defer release()
	placement := b.placement(name, h, id)
	if copies != nil {
		placement.ImageDir = copies.path(h)
	}
	log := b.log.With("vm", name, "host", h.Name())
	if id > 1 {
		log = log.With("instance", id)
	}
	inst := &Instance{
		Host: h, hostConfig: hostConfig, shape: shape, log: log,
		lastQMP: excerpt.NewRecorder(6), state: "prelaunch", copies: copies,
	}
	if launch.Restore != "" {
		inst.state = "paused"
	}
	if launch.Incoming {
		inst.state, inst.presence = "inmigrate", awaited
	} else {
		b.endReboot(name)
		b.rebootKernelFaults(name, true)
		b.mu.Lock()
		b.ran[name] = true
		b.mu.Unlock()
	}
	open := placement.Artifacts
	placement.Artifacts = func(file string) (io.WriteCloser, error) {
		w, err := open(file)
		if err != nil || file != "qmp.jsonl" {
			return w, err
		}
		return inst.lastQMP.Tee(w), nil
	}
	qemu, err := b.launch(ctx, placement, hostConfig.Config, shape, launch)
	if err != nil {
		return nil, err
	}
	inst.QEMU = qemu
	qemu.Monitor().Handle(func(e qmp.Event) {
		inst.handleEvent(e)
		b.publish(inst, e)
	})
	events := qemu.Monitor().Subscribe()
	inst.watcher.Go(func() { inst.watch(context.WithoutCancel(ctx), events) })
	err = inst.attachConsole(ctx, placement)
	b.mu.Lock()
	b.instances = append(b.instances, inst) // with its console, which others read without a lock
	b.mu.Unlock()
	if err != nil {
		return nil, b.abandon(ctx, inst, err)
	}
	return inst, nil
}

// abandon ends an instance whose start has failed with err: it has the VM's disks, and a
// later start would take it for a guest that runs. It also runs after ctx has ended.
func (b *Bed) abandon(ctx context.Context, instance *Instance, err error) error {
	return errors.Join(err, b.Remove(context.WithoutCancel(ctx), instance))
}

func (i *Instance) attachConsole(ctx context.Context, placement vm.Placement) error {
	if len(i.Spec().Serials) == 0 {
		return nil
	}
	conn, err := i.DialConsole(ctx)
	if err != nil {
		return err
	}
	log, err := placement.Artifacts("console.log")
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	i.Console = guest.NewConsole(conn, guest.WatchKernel(log, i.addKernelFault))
	return nil
}

// eventMessages are the log messages of events.
var eventMessages = map[string]string{
	"STOP": "guest stopped", "RESUME": "guest runs",
	"SUSPEND": "guest suspended", "WAKEUP": "guest woke up",
}

// eventWarnings are the warnings of events that are faults.
var eventWarnings = map[string]string{
	"GUEST_PANICKED": "guest panicked", "GUEST_CRASHLOADED": "guest crashed", "BLOCK_IO_ERROR": "disk error", "WATCHDOG": "watchdog expired",
}

// isLogged says whether an event is logged at INFO or WARN.
func isLogged(e qmp.Event) bool {
	return eventMessages[e.Name] != "" || eventWarnings[e.Name] != "" || e.Name == "SHUTDOWN"
}

func (i *Instance) logEvent(e qmp.Event) {
	byGuest, _ := e.Data["guest"].(bool)
	switch {
	case !e.MigrationStatus().Known():
		i.log.Warn("QEMU reports a migration status that mhmig does not know; it is treated as in progress", "status", string(e.MigrationStatus()))
	case eventMessages[e.Name] != "":
		i.log.Info(eventMessages[e.Name])
	case eventWarnings[e.Name] != "":
		i.log.Warn(eventWarnings[e.Name], "data", e.Data)
	case e.Name == "SHUTDOWN" && byGuest:
		i.log.Info("guest shut down", "reason", e.Data["reason"])
	default:
		i.log.Debug("event", "event", e.Name, "data", e.Data)
	}
}

// Current returns the instance that the VM's guest is in, nil if there is none. A guest
// in a migration is on the source until the destination's QEMU resumes it, or the
// source's QEMU has completed.
func (b *Bed) Current(name string) *Instance {
	found := map[presence]*Instance{}
	for _, instance := range b.instancesOf(name) {
		found[instance.currentPresence()] = instance
	}
	for _, p := range []presence{arriving, here, leaving, inPostcopy} {
		if instance := found[p]; instance != nil {
			return instance
		}
	}
	if found[gone] != nil || found[splitBrain] != nil { // shortly before the destination's event
		return found[awaited]
	}
	return nil
}

// MovedFrom returns an error, a *MovedError, if a migration has moved the guest from this instance, or
// the instance was ended, for those that still use it; nil if the guest is there.
func (b *Bed) MovedFrom(instance *Instance) error {
	if instance.HasGuest() {
		return nil
	}
	switch now := b.Current(instance.Name()); {
	case now == nil || now == instance:
		return nil
	case now.Arrived() || now.currentPresence() == awaited:
		return &MovedError{Left: instance, Host: now.Host.Name()}
	default:
		return fmt.Errorf("%s was restarted on %s; log in again", instance.Name(), now.Host.Name())
	}
}

// MovedError is the error of a use of the instance that a guest has left, for one on a
// host.
type MovedError struct {
	Left *Instance
	Host string
}

func (e *MovedError) Error() string {
	return fmt.Sprintf("%s has migrated to %s; log in again", e.Left.Name(), e.Host)
}

// Instances returns all instances that were started and not removed, including those
// whose QEMU has ended by itself.
func (b *Bed) Instances() []*Instance {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.instances)
}

func (b *Bed) instancesOf(name string) []*Instance {
	var found []*Instance
	for _, instance := range b.Instances() {
		if instance.Name() == name {
			found = append(found, instance)
		}
	}
	return found
}

// Remove ends an instance and removes it from the bed; it may be called more than once.
// A QEMU that ended abnormally is a FAIL, unless an error has reported it before.
func (b *Bed) Remove(ctx context.Context, instance *Instance) error {
	return errors.Join(b.remove(ctx, instance, instance.Destroy))
}

// Kill is Remove by KILL: QEMU can do nothing more, as after the loss of its host.
func (b *Bed) Kill(ctx context.Context, instance *Instance) error {
	return errors.Join(b.remove(ctx, instance, instance.Kill))
}

func (b *Bed) remove(ctx context.Context, instance *Instance, end func(context.Context) error) (fault, err error) {
	instance.mu.Lock()
	instance.requested.end = true
	instance.mu.Unlock()
	err = end(ctx)
	instance.detach()
	if b.forget(instance, err == nil) {
		fault = instance.fault()
		err = b.leaveDisks(ctx, instance)
	}
	return fault, err
}

// forget saves the end of an instance's console and, if it is gone, removes it from the
// bed's instances; known says whether it was one of them.
func (b *Bed) forget(instance *Instance, gone bool) (known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if instance.Console != nil {
		if shown := instance.Console.Tail(consoleTail); shown != "" {
			b.consoles[instance.Name()] = shown
		}
	}
	i := slices.Index(b.instances, instance)
	if i < 0 || !gone {
		return false
	}
	b.instances = slices.Delete(b.instances, i, i+1)
	return true
}

// detach closes the instance's sessions, console and monitor.
func (i *Instance) detach() {
	i.mu.Lock()
	sessions := i.sessions
	i.sessions, i.checked = nil, nil
	i.mu.Unlock()
	for _, session := range sessions {
		_ = session.Close()
	}
	if i.Console != nil {
		_ = i.Console.Close()
	}
	_ = i.Monitor().Close()
	i.watcher.Wait()
}
