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

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/excerpt"
	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// exitGrace is how much later than its guest's connections QEMU's own end may be
// seen.
const exitGrace = 100 * time.Millisecond

// Instance is one instance of a VM in a bed: QEMU, its console, and where its
// guest is on its way.
type Instance struct {
	QEMU
	Host    *Host
	Console *guest.Console

	hostConfig vm.HostConfig
	shape      vm.Shape
	log        *slog.Logger
	watcher    sync.WaitGroup
	lastQMP    *excerpt.Recorder

	mu       sync.Mutex     // guards what follows
	state    string         // QEMU's run state, as far as events tell
	presence presence       // of the guest
	arrived  bool           // the guest came by a migration
	sent     bool           // a migration has begun to take the guest away, once
	killed   bool           // by a signal that QEMU obeys
	asked    asked          // of QEMU, by mhmig or the scenario
	resets   []Reset        // in their order
	told     bool           // an error says how QEMU ended
	checked  *guest.Session // EnsureLogin's, until somebody takes it
	sessions []openSession  // all that were opened, to be closed with the instance
}

// openSession is a session, and how many resets the guest had had when it began.
type openSession struct {
	*guest.Session
	resets int
}

func (i *Instance) String() string { return vm.InstanceName(i.Name(), i.ID()) + "@" + i.Host.Name() }

// Params are the VM's params on this host.
func (i *Instance) Params() cartesian.Params {
	return i.hostConfig.Params.Object(i.Host.label).Object(i.Name())
}

// Log writes with the machine's VM and host.
func (i *Instance) Log() *slog.Logger { return i.log }

// State is QEMU's run state as its events have told, without asking.
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

// Depart notes that a migration begins to take the guest away: what goes wrong
// with QEMU from now on is what the migration did to it.
func (i *Instance) Depart() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sent = true
	if i.presence == here {
		i.presence = leaving
	}
}

// underTest says whether a migration has had to do with this instance's guest.
func (i *Instance) underTest() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.arrived || i.sent
}

// Arrive notes that a migration has brought the guest here, whatever QEMU has told of
// that.
func (i *Instance) Arrive() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.arrived = true
	if i.presence == awaited {
		i.presence = arriving
	}
}

// Left notes that a migration has taken the guest away, whatever QEMU has told of
// that.
func (i *Instance) Left() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.presence.has() || i.presence == inPostcopy {
		i.presence = gone
	}
}

func (i *Instance) hasGuest() bool { return i.currentPresence().has() }

func (i *Instance) currentPresence() presence {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.presence
}

// Blame turns what went wrong with the guest, or with the way to it, into a
// verdict: FAIL once a migration has had to do with the guest, since it then is
// what a migration left of it; before, the test could not be done, as it cannot
// when the connection to the host is lost, or the guest has too little memory for
// what it is to do. It says so when QEMU has ended, or does not answer its monitor,
// and what the guest's kernel has said of trouble.
func (i *Instance) Blame(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
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
		if _, asked := i.Status(ctx); errors.Is(asked, qmp.ErrSilent) {
			err = fmt.Errorf("%w; seen by: %w", asked, err)
		}
	}
	err = i.WithKernelTrouble(err)
	if short := i.OutOfMemory(err); short != nil {
		return short
	}
	if i.underTest() {
		return result.Fail.Wrap(err)
	}
	return err
}

// BlameGone is Blame for a QMP command: only that QEMU has ended or does not
// answer is anybody's fault, its refusals are not.
func (i *Instance) BlameGone(ctx context.Context, err error) error {
	if errors.Is(err, qmp.ErrGone) || errors.Is(err, qmp.ErrSilent) {
		return i.Blame(ctx, err)
	}
	return err
}

// Ended is the error of an instance whose QEMU has ended, though its guest was
// still wanted here.
func (i *Instance) Ended(ctx context.Context) error {
	return i.ended(ctx, fmt.Errorf("%s is not running any more", i))
}

// ended is the error of an instance whose QEMU has ended or is out of reach;
// err is what was seen of it. A QEMU that ended as none should is at fault
// itself, whatever had become of its guest.
func (i *Instance) ended(ctx context.Context, err error) error {
	exit := i.QEMU.Exit(ctx) // asks the host, so that a loss is known by now
	if lost := i.Host.Err(); lost != nil {
		return fmt.Errorf("%s: %w", i, lost)
	}
	i.mu.Lock()
	i.told = true
	i.mu.Unlock()
	if _, told := errors.AsType[*endedError](err); !told {
		err = &endedError{seen: i.WithKernelTrouble(err), exit: exit}
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
	return i.asked.end
}

// Exit is [vm.Instance.Exit], for an error that tells it.
func (i *Instance) Exit(ctx context.Context) *vm.ExitError {
	i.mu.Lock()
	i.told = true
	i.mu.Unlock()
	return i.QEMU.Exit(ctx)
}

// endedError is what was seen of an instance whose QEMU has ended, and why it has.
type endedError struct {
	seen error
	exit *vm.ExitError
}

func (e *endedError) Error() string   { return e.seen.Error() + "; " + e.exit.Error() }
func (e *endedError) Unwrap() []error { return []error{e.seen, e.exit} }

// placement is where the instance of a VM on a host lives that has this ID.
func (b *Bed) placement(name string, h *Host, id int) vm.Placement {
	return vm.Placement{
		ID: id, Host: h.Remote, RunDir: h.runDir, ImageDir: h.imageDir, BaseDir: h.baseDir, ShippedDir: h.ShippedDir(),
		Kept: b.kept[name], Variant: b.Variant(), Cache: &b.shared.vms, Ledger: b.ledger, Log: b.log,
		Artifacts: func(file string) (io.WriteCloser, error) {
			return b.results.VMFile(vm.InstanceName(name, id), h.Name(), file)
		},
	}
}

// Ensure makes sure that the VM's guest runs on host h, and says whether it had
// to be started. One that is on another host is an error: see ClearFor.
// The VM is claimed by the caller. launch is how it is started.
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
	instance, err = b.start(ctx, name, h, params, shape, launch)
	if err != nil {
		return nil, false, err
	}
	if err := instance.BlameGone(ctx, instance.Cont(ctx)); err != nil {
		return nil, false, err
	}
	return instance, true, nil
}

// instanceKey tells the instances of a bed apart.
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
// it decides the shape; params decide the rest.
func (b *Bed) StartIncoming(ctx context.Context, name string, h *Host, params cartesian.Params, launch vm.Launch) (*Instance, error) {
	launch.Incoming = true
	for _, old := range b.instancesOf(name) {
		if old.Host != h || old.hasGuest() {
			continue
		}
		b.log.Info("ending the old instance first", "vm", name, "host", h.Name())
		if err := b.Remove(ctx, old); err != nil {
			return nil, err
		}
	}
	var shape vm.Shape
	if current := b.Current(name); current != nil {
		hostConfig, err := h.vmConfig(name, params)
		if err != nil {
			return nil, err
		}
		if err := vm.CheckFits(current.hostConfig, hostConfig); err != nil {
			return nil, err
		}
		shape = current.shape
	} else {
		var err error
		if shape, err = b.shape(ctx, name, params); err != nil {
			return nil, err
		}
	}
	return b.start(ctx, name, h, params, shape, launch)
}

func (b *Bed) start(ctx context.Context, name string, h *Host, params cartesian.Params, shape vm.Shape, launch vm.Launch) (*Instance, error) {
	hostConfig, err := h.vmConfig(name, params)
	if err != nil {
		return nil, err
	}
	id, release := b.takeID(name, h)
	defer release()
	placement := b.placement(name, h, id)
	log := b.log.With("vm", name, "host", h.Name())
	if id > 1 {
		log = log.With("instance", id)
	}
	inst := &Instance{
		Host: h, hostConfig: hostConfig, shape: shape, log: log,
		lastQMP: excerpt.NewRecorder(6), state: "prelaunch",
	}
	if launch.Incoming {
		inst.state, inst.presence = "inmigrate", awaited
	} else {
		b.setRebooting(name, false)
		b.bootTroubles(name, true)
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
	b.mu.Lock()
	b.instances = append(b.instances, inst)
	b.mu.Unlock()
	qemu.Monitor().Handle(inst.note)
	events := qemu.Monitor().Subscribe()
	inst.watcher.Go(func() { inst.watch(context.WithoutCancel(ctx), events) })
	if err := inst.attachConsole(ctx, placement); err != nil {
		return nil, err
	}
	return inst, nil
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
	i.Console = guest.NewConsole(conn, guest.WatchKernel(log, i.noteKernelTrouble))
	return nil
}

// reportedEvents are the events that the user wants to hear of, in words.
var reportedEvents = map[string]string{
	"STOP": "guest stopped", "RESUME": "guest runs",
	"SUSPEND": "guest suspended", "WAKEUP": "guest woke up",
}

// warningEvents are the events that mean trouble.
var warningEvents = map[string]string{
	"GUEST_PANICKED": "guest panicked", "GUEST_CRASHLOADED": "guest crashed", "BLOCK_IO_ERROR": "disk error", "WATCHDOG": "watchdog barked",
}

// isReported says whether an event is one that the user hears of.
func isReported(e qmp.Event) bool {
	return reportedEvents[e.Name] != "" || warningEvents[e.Name] != "" || e.Name == "SHUTDOWN"
}

func (i *Instance) report(e qmp.Event) {
	byGuest, _ := e.Data["guest"].(bool)
	switch {
	case !e.MigrationStatus().Known():
		i.log.Warn("QEMU tells of a migration status that mhmig does not know; it is taken for one that is under way", "status", string(e.MigrationStatus()))
	case reportedEvents[e.Name] != "":
		i.log.Info(reportedEvents[e.Name])
	case warningEvents[e.Name] != "":
		i.log.Warn(warningEvents[e.Name], "data", e.Data)
	case e.Name == "SHUTDOWN" && byGuest:
		i.log.Info("guest shut down", "reason", e.Data["reason"])
	default:
		i.log.Debug("event", "event", e.Name, "data", e.Data)
	}
}

// Current returns the instance that the VM's guest is in, nil when it is nowhere. A
// guest on its way is where it was until the destination's QEMU lets it run, or the
// source's says that all of it has gone.
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
	if found[gone] != nil || found[splitBrain] != nil { // a moment before QEMU tells
		return found[awaited]
	}
	return nil
}

// MovedFrom is the error of who still has to do with the guest in an instance that a
// migration has taken it from, or that was ended; nil if it is there.
func (b *Bed) MovedFrom(instance *Instance) error {
	if instance.hasGuest() {
		return nil
	}
	switch now := b.Current(instance.Name()); {
	case now == nil || now == instance:
		return nil
	case now.Arrived() || now.currentPresence() == awaited:
		return fmt.Errorf("%s has moved to %s; log in anew", instance.Name(), now.Host.Name())
	default:
		return fmt.Errorf("%s was started anew on %s; log in anew", instance.Name(), now.Host.Name())
	}
}

// Instances returns all instances that were started and not removed, those whose
// QEMU has ended by itself included.
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

// Remove ends an instance and forgets it; again is fine. A QEMU that ended as
// none should is a FAIL, unless an error has told of it before.
func (b *Bed) Remove(ctx context.Context, instance *Instance) error {
	fault, err := b.remove(ctx, instance)
	if err != nil {
		return err
	}
	return fault
}

func (b *Bed) remove(ctx context.Context, instance *Instance) (fault, err error) {
	instance.mu.Lock()
	instance.asked.end = true
	instance.mu.Unlock()
	err = instance.Destroy(ctx)
	instance.detach()
	if b.forget(instance, err == nil) {
		fault = instance.fault()
	}
	return fault, err
}

// forget keeps what an instance's console has shown, and, once it is gone, strikes
// it from the bed's; known says that it was there.
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

// detach lets go of the instance's sessions, console and monitor.
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
