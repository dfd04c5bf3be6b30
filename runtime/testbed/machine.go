// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
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
	*vm.Instance
	Host    *Host
	Console *guest.Console

	site    vm.Site
	shape   vm.Shape
	log     *slog.Logger
	watcher sync.WaitGroup
	lastQMP *lastLines

	mu       sync.Mutex       // guards what follows
	state    string           // QEMU's run state, as far as events tell
	here     bool             // the guest is in this instance
	awaited  bool             // QEMU has not said yet that the guest has come
	arrived  bool             // the guest came by a migration
	bidden   bool             // the guest, or a QMP quit, asked for QEMU\'s end
	proof    *guest.Session   // EnsureLogin's, until somebody takes it
	sessions []*guest.Session // all that were opened, to be closed with the instance
}

func (m *Machine) String() string { return m.Name() + "@" + m.Host.Name() }

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

// Cont lets the guest run, see [vm.Instance.Cont].
func (m *Machine) Cont(ctx context.Context) error {
	return m.became("running", m.Instance.Cont(ctx))
}

// Stop pauses the guest.
func (m *Machine) Stop(ctx context.Context) error {
	return m.became("paused", m.Instance.Stop(ctx))
}

// became notes a state that QEMU was asked for: its event may come a moment
// later than its answer.
func (m *Machine) became(state string, err error) error {
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = state
	return nil
}

// Arrived says whether the guest came into this instance by a migration.
func (m *Machine) Arrived() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.arrived
}

// Arrive notes that a migration has brought the guest here.
func (m *Machine) Arrive() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.here, m.arrived = true, true
}

// Left notes that a migration has taken the guest away.
func (m *Machine) Left() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.here = false
}

func (m *Machine) isHere() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.here
}

// Blame turns what went wrong with the guest, or with the way to it, into a
// verdict: FAIL once the guest has been migrated, since it then is what a
// migration left of it; before, the test could not be done, as it cannot when
// the connection to the host is lost. It says so when QEMU has ended.
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
	if m.Arrived() {
		return result.Fail.Wrap(err)
	}
	return err
}

// BlameGone is Blame for a QMP command: only the end of QEMU is anybody's
// fault, its refusals are not.
func (m *Machine) BlameGone(ctx context.Context, err error) error {
	if errors.Is(err, qmp.ErrGone) {
		return m.Blame(ctx, err)
	}
	return err
}

// ended is the error of an instance whose QEMU has ended or is out of reach;
// err is what was seen of it.
func (m *Machine) ended(ctx context.Context, err error) error {
	reason := m.ExitReason(ctx) // asks the host, so that a loss is known by now
	if lost := m.Host.Err(); lost != nil {
		return fmt.Errorf("%s: %w", m, lost)
	}
	if _, told := errors.AsType[*endedError](err); !told {
		err = &endedError{seen: err, reason: reason}
	}
	if m.Arrived() {
		return result.Fail.Wrap(err)
	}
	return err
}

// endedError is what was seen of an instance whose QEMU has ended, and why it has.
type endedError struct {
	seen   error
	reason string
}

func (e *endedError) Error() string { return e.seen.Error() + "; " + e.reason }
func (e *endedError) Unwrap() error { return e.seen }

// place is where an instance of a VM on a host lives.
func (b *Bed) place(name string, h *Host) vm.Place {
	return vm.Place{
		Host: h.Host, RunDir: h.runDir, ImageDir: h.imageDir, BaseDir: h.baseDir, ShippedDir: h.ShippedDir(),
		Variant: b.Variant(), Ledger: b.ledger, Log: b.log,
		Artifacts: func(file string) (io.WriteCloser, error) { return b.results.VMFile(name, h.Name(), file) },
	}
}

// Ensure makes sure that the VM's guest runs on host h, and says whether it had
// to be started. One that is on another host is an error: see EndElsewhere.
// The VM is claimed by the caller.
func (b *Bed) Ensure(ctx context.Context, name string, h *Host, params cartesian.Params) (m *Machine, started bool, err error) {
	if m := b.Current(name); m != nil {
		select {
		case <-m.Exited():
			return nil, false, m.ended(ctx, fmt.Errorf("%s is not running any more", m))
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
	m, err = b.start(ctx, name, h, params, shape, vm.Launch{})
	if err != nil {
		return nil, false, err
	}
	if err := m.Cont(ctx); err != nil {
		return nil, false, err
	}
	return m, true, nil
}

// StartIncoming starts the half of the VM on host h that waits for a
// migration. An old instance there is ended first. Where the guest runs already,
// it decides the shape; params decide the rest.
func (b *Bed) StartIncoming(ctx context.Context, name string, h *Host, params cartesian.Params) (*Machine, error) {
	for _, old := range b.instances(name) {
		if old.Host != h {
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
		if err := vm.CheckAlike(current.site, site); err != nil {
			return nil, err
		}
		shape = current.shape
	} else {
		var err error
		if shape, err = b.shape(ctx, name, params); err != nil {
			return nil, err
		}
	}
	return b.start(ctx, name, h, params, shape, vm.Launch{Incoming: true})
}

// EndElsewhere ends the instances of a VM on all hosts but h: one name never
// runs twice.
func (b *Bed) EndElsewhere(ctx context.Context, name string, h *Host) error {
	for _, m := range b.instances(name) {
		if m.Host == h {
			continue
		}
		b.log.Info("ending the instance that an earlier migration left there", "vm", name, "host", m.Host.Name(), "starts_on", h.Name())
		if err := b.Remove(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bed) start(ctx context.Context, name string, h *Host, params cartesian.Params, shape vm.Shape, launch vm.Launch) (*Machine, error) {
	site, err := h.site(name, params)
	if err != nil {
		return nil, err
	}
	place := b.place(name, h)
	m := &Machine{
		Host: h, site: site, shape: shape, log: b.log.With("vm", name, "host", h.Name()),
		lastQMP: &lastLines{keep: 6}, state: "prelaunch", here: !launch.Incoming,
	}
	if launch.Incoming {
		m.state, m.awaited = "inmigrate", true
	}
	open := place.Artifacts
	place.Artifacts = func(file string) (io.WriteCloser, error) {
		w, err := open(file)
		if err != nil || file != "qmp.jsonl" {
			return w, err
		}
		return m.lastQMP.tee(w), nil
	}
	instance, err := vm.Start(ctx, place, site.Config, shape, launch)
	if err != nil {
		return nil, err
	}
	m.Instance = instance
	b.mu.Lock()
	b.machines = append(b.machines, m)
	b.mu.Unlock()
	events := instance.Monitor().Subscribe()
	m.watcher.Go(func() { m.watch(events) })
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
	m.Console = guest.NewConsole(conn, log)
	return nil
}

// runStates are the run states that events announce.
var runStates = map[string]string{
	"STOP": "paused", "RESUME": "running", "SHUTDOWN": "shutdown",
	"SUSPEND": "suspended", "WAKEUP": "running", "GUEST_PANICKED": "guest-panicked",
}

// watch follows QEMU's events until it ends.
func (m *Machine) watch(events *qmp.Subscription) {
	defer events.Close()
	for e := range events.C {
		status, _ := e.Data["status"].(string)
		m.mu.Lock()
		if e.Name == "SHUTDOWN" {
			byGuest, _ := e.Data["guest"].(bool)
			m.bidden = byGuest || e.Data["reason"] == "host-qmp-quit"
		}
		if state, tells := runStates[e.Name]; tells {
			m.state = state
		} else if e.Name == "MIGRATION" && status == "completed" {
			if !m.awaited {
				m.state = "postmigrate"
			}
			m.awaited = false
		}
		m.mu.Unlock()
		m.tell(e)
	}
	m.mu.Lock()
	m.state = "none"
	m.mu.Unlock()
}

// tidings are the events that a person wants to hear of, in words.
var tidings = map[string]string{
	"STOP": "guest stopped", "RESUME": "guest runs", "RESET": "guest resets",
	"SUSPEND": "guest suspended", "WAKEUP": "guest woke up",
}

// alarms are the events that mean trouble.
var alarms = map[string]string{
	"GUEST_PANICKED": "guest panicked", "GUEST_CRASHLOADED": "guest crashed", "BLOCK_IO_ERROR": "disk error", "WATCHDOG": "watchdog barked",
}

func (m *Machine) tell(e qmp.Event) {
	byGuest, _ := e.Data["guest"].(bool)
	switch {
	case tidings[e.Name] != "":
		m.log.Info(tidings[e.Name])
	case alarms[e.Name] != "":
		m.log.Warn(alarms[e.Name], "data", e.Data)
	case e.Name == "SHUTDOWN" && byGuest:
		m.log.Info("guest shut down", "reason", e.Data["reason"])
	default:
		m.log.Debug("event", "event", e.Name, "data", e.Data)
	}
}

// Current returns the instance that the VM's guest is in, nil when it runs
// nowhere.
func (b *Bed) Current(name string) *Machine {
	for _, m := range b.instances(name) {
		if m.isHere() {
			return m
		}
	}
	return nil
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

// Dead returns an error for each VM whose QEMU has ended under its guest
// although nobody asked for it: neither mhmig, nor the guest, nor a QMP quit.
func (b *Bed) Dead(ctx context.Context) []error {
	var dead []error
	for _, m := range b.Machines() {
		m.mu.Lock()
		expected := m.bidden || !m.here
		m.mu.Unlock()
		select {
		case <-m.Exited():
			if !expected {
				dead = append(dead, m.ended(ctx, fmt.Errorf("%s is not running any more", m)))
			}
		default:
		}
	}
	return dead
}

// Remove ends an instance and forgets it; again is fine.
func (b *Bed) Remove(ctx context.Context, m *Machine) error {
	err := m.Destroy(ctx)
	m.detach()
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.Console != nil {
		if shown := m.Console.Tail(consoleTail); shown != "" {
			b.consoles[m.Name()] = shown
		}
	}
	for i, other := range b.machines {
		if other == m && err == nil {
			b.machines = append(b.machines[:i:i], b.machines[i+1:]...)
			break
		}
	}
	return err
}

// detach lets go of the instance's sessions, console and monitor.
func (m *Machine) detach() {
	m.mu.Lock()
	sessions := m.sessions
	m.sessions, m.proof = nil, nil
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

// Execute sends a QMP command of the scenario's own. What would lose a guest is
// refused: cont on a source that has completed.
func (m *Machine) Execute(ctx context.Context, command string, arguments map[string]any, reply any) error {
	switch command {
	case "cont":
		return m.Cont(ctx)
	case "migrate_cancel", "migrate-cancel":
		var query struct {
			Status string `json:"status"`
		}
		if err := m.Monitor().Execute(ctx, "query-migrate", nil, &query); err != nil {
			return err
		}
		if strings.HasPrefix(query.Status, "postcopy") {
			return fmt.Errorf("%s: %s refused in %s: it would destroy the guest on both hosts", m, command, query.Status)
		}
	}
	return m.Monitor().Execute(ctx, command, arguments, reply)
}
