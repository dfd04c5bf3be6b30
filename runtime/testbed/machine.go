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
	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// exitGrace is how much later than its guest's connections QEMU's own end may be
// seen.
const exitGrace = 100 * time.Millisecond

// Machine is one instance of a VM in a bed: QEMU, its console, and where its
// guest is on its way.
type Machine struct {
	Instance
	Host    *Host
	Console *guest.Console

	site    vm.Site
	shape   vm.Shape
	log     *slog.Logger
	watcher sync.WaitGroup
	lastQMP *lastLines

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

func (m *Machine) String() string { return vm.InstanceName(m.Name(), m.ID()) + "@" + m.Host.Name() }

// Params are the VM's params on this host.
func (m *Machine) Params() cartesian.Params {
	return m.site.Params.Object(m.Host.label).Object(m.Name())
}

// Log writes with the machine's VM and host.
func (m *Machine) Log() *slog.Logger { return m.log }

// State is QEMU's run state as its events have told, without asking.
func (m *Machine) State() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// Arrived says whether the guest came into this instance by a migration.
func (m *Machine) Arrived() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.arrived
}

// Depart notes that a migration begins to take the guest away: what goes wrong
// with QEMU from now on is what the migration did to it.
func (m *Machine) Depart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = true
	if m.presence == here {
		m.presence = leaving
	}
}

// underTest says whether a migration has had to do with this instance's guest.
func (m *Machine) underTest() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.arrived || m.sent
}

// Arrive notes that a migration has brought the guest here, whatever QEMU has told of
// that.
func (m *Machine) Arrive() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.arrived = true
	if m.presence == awaited {
		m.presence = arriving
	}
}

// Left notes that a migration has taken the guest away, whatever QEMU has told of
// that.
func (m *Machine) Left() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.presence.has() || m.presence == parted {
		m.presence = gone
	}
}

func (m *Machine) isHere() bool { return m.whereabouts().has() }

func (m *Machine) whereabouts() presence {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.presence
}

// Blame turns what went wrong with the guest, or with the way to it, into a
// verdict: FAIL once a migration has had to do with the guest, since it then is
// what a migration left of it; before, the test could not be done, as it cannot
// when the connection to the host is lost, or the guest has too little memory for
// what it is to do. It says so when QEMU has ended, or does not answer its monitor,
// and what the guest's kernel has said of trouble.
func (m *Machine) Blame(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	select {
	case <-m.Exited():
		return m.ended(ctx, err)
	case <-time.After(exitGrace):
	case <-ctx.Done():
		return err
	}
	if !errors.Is(err, qmp.ErrSilent) {
		if _, asked := m.Status(ctx); errors.Is(asked, qmp.ErrSilent) {
			err = fmt.Errorf("%w; seen by: %w", asked, err)
		}
	}
	err = m.InItsWords(err)
	if short := m.OutOfMemory(err); short != nil {
		return short
	}
	if m.underTest() {
		return result.Fail.Wrap(err)
	}
	return err
}

// BlameGone is Blame for a QMP command: only that QEMU has ended or does not
// answer is anybody's fault, its refusals are not.
func (m *Machine) BlameGone(ctx context.Context, err error) error {
	if errors.Is(err, qmp.ErrGone) || errors.Is(err, qmp.ErrSilent) {
		return m.Blame(ctx, err)
	}
	return err
}

// Ended is the error of an instance whose QEMU has ended, though its guest was
// still wanted here.
func (m *Machine) Ended(ctx context.Context) error {
	return m.ended(ctx, fmt.Errorf("%s is not running any more", m))
}

// ended is the error of an instance whose QEMU has ended or is out of reach;
// err is what was seen of it. A QEMU that ended as none should is at fault
// itself, whatever had become of its guest.
func (m *Machine) ended(ctx context.Context, err error) error {
	exit := m.Instance.Exit(ctx) // asks the host, so that a loss is known by now
	if lost := m.Host.Err(); lost != nil {
		return fmt.Errorf("%s: %w", m, lost)
	}
	m.mu.Lock()
	m.told = true
	m.mu.Unlock()
	if _, told := errors.AsType[*endedError](err); !told {
		err = &endedError{seen: m.InItsWords(err), exit: exit}
	}
	if m.underTest() || exit.Abnormal() {
		return result.Fail.Wrap(err)
	}
	return err
}

// Removed says whether the instance was ended on purpose: by Remove, or by the
// scenario's quit.
func (m *Machine) Removed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked.end
}

// Exit is [vm.Instance.Exit], for an error that tells it.
func (m *Machine) Exit(ctx context.Context) *vm.ExitError {
	m.mu.Lock()
	m.told = true
	m.mu.Unlock()
	return m.Instance.Exit(ctx)
}

// endedError is what was seen of an instance whose QEMU has ended, and why it has.
type endedError struct {
	seen error
	exit *vm.ExitError
}

func (e *endedError) Error() string   { return e.seen.Error() + "; " + e.exit.Error() }
func (e *endedError) Unwrap() []error { return []error{e.seen, e.exit} }

// place is where the instance of a VM on a host lives that has this ID.
func (b *Bed) place(name string, h *Host, id int) vm.Place {
	return vm.Place{
		ID: id, Host: h.Host, RunDir: h.runDir, ImageDir: h.imageDir, BaseDir: h.baseDir, ShippedDir: h.ShippedDir(),
		Kept: b.kept[name], Variant: b.Variant(), Cache: &b.shared.vms, Ledger: b.ledger, Log: b.log,
		Artifacts: func(file string) (io.WriteCloser, error) {
			return b.results.VMFile(vm.InstanceName(name, id), h.Name(), file)
		},
	}
}

// Ensure makes sure that the VM's guest runs on host h, and says whether it had
// to be started. One that is on another host is an error: see ClearFor.
// The VM is claimed by the caller. launch is how it is started.
func (b *Bed) Ensure(ctx context.Context, name string, h *Host, params cartesian.Params, launch vm.Launch) (m *Machine, started bool, err error) {
	if m := b.Current(name); m != nil {
		select {
		case <-m.Exited():
			return nil, false, m.Ended(ctx)
		default:
		}
		if m.Host != h {
			return nil, false, fmt.Errorf("%s runs on %s already, and one VM never runs twice", name, m.Host.Name())
		}
		return m, false, nil
	}
	shape, err := b.shape(ctx, name, params)
	if err != nil {
		return nil, false, err
	}
	m, err = b.start(ctx, name, h, params, shape, launch)
	if err != nil {
		return nil, false, err
	}
	if err := m.BlameGone(ctx, m.Cont(ctx)); err != nil {
		return nil, false, err
	}
	return m, true, nil
}

// freeID is the least ID that no instance of the VM on the host has, which the
// caller has claimed.
func (b *Bed) freeID(name string, h *Host) int {
	id := 1
	for slices.ContainsFunc(b.instances(name), func(m *Machine) bool { return m.Host == h && m.ID() == id }) {
		id++
	}
	return id
}

// StartIncoming starts the half of the VM on host h that waits for a migration. An
// old instance there is ended first, but for one that the guest is in: the two have
// their disks in common, and one of them runs. Where the guest runs already,
// it decides the shape; params decide the rest.
func (b *Bed) StartIncoming(ctx context.Context, name string, h *Host, params cartesian.Params, launch vm.Launch) (*Machine, error) {
	launch.Incoming = true
	for _, old := range b.instances(name) {
		if old.Host != h || old.isHere() {
			continue
		}
		b.log.Info("ending the old instance first", "vm", name, "host", h.Name())
		if err := b.Remove(ctx, old); err != nil {
			return nil, err
		}
	}
	var shape vm.Shape
	if current := b.Current(name); current != nil {
		site, err := h.site(name, params)
		if err != nil {
			return nil, err
		}
		if err := vm.CheckFits(current.site, site); err != nil {
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

func (b *Bed) start(ctx context.Context, name string, h *Host, params cartesian.Params, shape vm.Shape, launch vm.Launch) (*Machine, error) {
	site, err := h.site(name, params)
	if err != nil {
		return nil, err
	}
	place := b.place(name, h, b.freeID(name, h))
	m := &Machine{
		Host: h, site: site, shape: shape, log: b.log.With("vm", name, "host", h.Name()),
		lastQMP: &lastLines{keep: 6}, state: "prelaunch",
	}
	if launch.Incoming {
		m.state, m.presence = "inmigrate", awaited
	} else {
		b.setRebooting(name, false)
		b.bootTroubles(name, true)
		b.mu.Lock()
		b.ran[name] = true
		b.mu.Unlock()
	}
	open := place.Artifacts
	place.Artifacts = func(file string) (io.WriteCloser, error) {
		w, err := open(file)
		if err != nil || file != "qmp.jsonl" {
			return w, err
		}
		return m.lastQMP.tee(w), nil
	}
	instance, err := b.launch(ctx, place, site.Config, shape, launch)
	if err != nil {
		return nil, err
	}
	m.Instance = instance
	b.mu.Lock()
	b.machines = append(b.machines, m)
	b.mu.Unlock()
	instance.Monitor().Handle(m.note)
	events := instance.Monitor().Subscribe()
	m.watcher.Go(func() { m.watch(context.WithoutCancel(ctx), events) })
	if err := m.attachConsole(ctx, place); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Machine) attachConsole(ctx context.Context, place vm.Place) error {
	if len(m.Spec().Serials) == 0 {
		return nil
	}
	conn, err := m.DialConsole(ctx)
	if err != nil {
		return err
	}
	log, err := place.Artifacts("console.log")
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	m.Console = guest.NewConsole(conn, guest.WatchKernel(log, m.hearKernel))
	return nil
}

// reportedEvents are the events that a person wants to hear of, in words.
var reportedEvents = map[string]string{
	"STOP": "guest stopped", "RESUME": "guest runs",
	"SUSPEND": "guest suspended", "WAKEUP": "guest woke up",
}

// warningEvents are the events that mean trouble.
var warningEvents = map[string]string{
	"GUEST_PANICKED": "guest panicked", "GUEST_CRASHLOADED": "guest crashed", "BLOCK_IO_ERROR": "disk error", "WATCHDOG": "watchdog barked",
}

// tells says whether an event is one that a person hears of.
func tells(e qmp.Event) bool {
	return reportedEvents[e.Name] != "" || warningEvents[e.Name] != "" || e.Name == "SHUTDOWN"
}

func (m *Machine) tell(e qmp.Event) {
	byGuest, _ := e.Data["guest"].(bool)
	switch {
	case !e.MigrationStatus().Known():
		m.log.Warn("QEMU tells of a migration status that mhmig does not know; it is taken for one that is under way", "status", string(e.MigrationStatus()))
	case reportedEvents[e.Name] != "":
		m.log.Info(reportedEvents[e.Name])
	case warningEvents[e.Name] != "":
		m.log.Warn(warningEvents[e.Name], "data", e.Data)
	case e.Name == "SHUTDOWN" && byGuest:
		m.log.Info("guest shut down", "reason", e.Data["reason"])
	default:
		m.log.Debug("event", "event", e.Name, "data", e.Data)
	}
}

// Current returns the instance that the VM's guest is in, nil when it is nowhere. A
// guest on its way is where it was until the destination's QEMU lets it run, or the
// source's says that all of it has gone.
func (b *Bed) Current(name string) *Machine {
	found := map[presence]*Machine{}
	for _, m := range b.instances(name) {
		found[m.whereabouts()] = m
	}
	for _, p := range []presence{arriving, here, leaving, parted} {
		if m := found[p]; m != nil {
			return m
		}
	}
	if found[gone] != nil || found[twice] != nil { // a moment before QEMU tells
		return found[awaited]
	}
	return nil
}

// MovedFrom is the error of who still has to do with the guest in an instance that a
// migration has taken it from, or that was ended; nil if it is there.
func (b *Bed) MovedFrom(m *Machine) error {
	if m.isHere() {
		return nil
	}
	switch now := b.Current(m.Name()); {
	case now == nil || now == m:
		return nil
	case now.Arrived() || now.whereabouts() == awaited:
		return fmt.Errorf("%s has moved to %s; log in anew", m.Name(), now.Host.Name())
	default:
		return fmt.Errorf("%s was started anew on %s; log in anew", m.Name(), now.Host.Name())
	}
}

// Machines returns all instances that were started and not removed, those whose
// QEMU has ended by itself included.
func (b *Bed) Machines() []*Machine {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.machines)
}

func (b *Bed) instances(name string) []*Machine {
	var found []*Machine
	for _, m := range b.Machines() {
		if m.Name() == name {
			found = append(found, m)
		}
	}
	return found
}

// Remove ends an instance and forgets it; again is fine. A QEMU that ended as
// none should is a FAIL, unless an error has told of it before.
func (b *Bed) Remove(ctx context.Context, m *Machine) error {
	fault, err := b.remove(ctx, m)
	if err != nil {
		return err
	}
	return fault
}

func (b *Bed) remove(ctx context.Context, m *Machine) (fault, err error) {
	m.mu.Lock()
	m.asked.end = true
	m.mu.Unlock()
	err = m.Destroy(ctx)
	m.detach()
	if b.forget(m, err == nil) {
		fault = m.fault()
	}
	return fault, err
}

// forget keeps what an instance's console has shown, and, once it is gone, strikes
// it from the bed's; known says that it was there.
func (b *Bed) forget(m *Machine, gone bool) (known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.Console != nil {
		if shown := m.Console.Tail(consoleTail); shown != "" {
			b.consoles[m.Name()] = shown
		}
	}
	i := slices.Index(b.machines, m)
	if i < 0 || !gone {
		return false
	}
	b.machines = slices.Delete(b.machines, i, i+1)
	return true
}

// detach lets go of the instance's sessions, console and monitor.
func (m *Machine) detach() {
	m.mu.Lock()
	sessions := m.sessions
	m.sessions, m.checked = nil, nil
	m.mu.Unlock()
	for _, session := range sessions {
		_ = session.Close()
	}
	if m.Console != nil {
		_ = m.Console.Close()
	}
	_ = m.Monitor().Close()
	m.watcher.Wait()
}
