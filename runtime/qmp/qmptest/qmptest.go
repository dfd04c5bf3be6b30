// SPDX-License-Identifier: Apache-2.0

// Package qmptest is a scripted QEMU for tests: it implements QMP, simulates the source
// and the destination of a migration, and fails as a [Script] describes. It runs no
// guest, so a test of a hundred failures takes no longer than its timeouts.
//
// A [QEMU] serves any connection. [Main] runs it as a program with QEMU's command
// line: the test's own binary, executed again. Such a QEMU is a process, which can be
// stopped, killed and unreachable like the real one.
//
//	func TestMain(m *testing.M) {
//		qmptest.Main() // does not return where it is the scripted QEMU
//		os.Exit(m.Run())
//	}
//
// It is only for tests: mhmig's own, and those of scenarios (package fake).
package qmptest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 9}, "package": "scripted"}, "capabilities": []}}`

// Script is how a scripted QEMU differs from a correct one.
type Script struct {
	// StopAt is when Stop is called: the name of a command, just before its reply;
	// the name of an event, just after it is sent, with ":STATUS" for MIGRATION;
	// load, on the destination, just before the guest's state is loaded; loaded, just
	// after the source was notified of that. "@STATE" limits it to a run state, "@begun" to
	// a QEMU whose migration has begun.
	StopAt string
	// Stop is called then. Nil: the test harness sets it, see Die.
	Stop func()
	// Die makes the process die at StopAt, instead of freezing.
	Die bool
	// LoadError is why this destination cannot load the guest; "": it can. It ends then, or
	// stays with exit-on-error = false, if that is none of Unused.
	LoadError string
	// Endless makes an outgoing migration not converge until it is cancelled.
	Endless bool
	// CancelFails makes this source that is cancelled report a failure, as QEMU does that
	// notices the closed connection before it sets the status cancelling.
	CancelFails bool
	// DropData drops the data to this destination at the switchover, without an error on
	// either side.
	DropData bool
	// Refuse are commands that get an error, Ignore those that get no reply.
	Refuse, Ignore []string
	// InUse is how often netdev_del is refused, as the network card that is no part of the
	// machine any more still uses its backend.
	InUse int
	// Drop are events that are not sent, Repeat those that are sent twice, and Delay
	// those that are sent with a delay. For MIGRATION, ":STATUS" follows.
	Drop, Repeat, Delay []string
	// Insert are additional statuses of the migration before it completes.
	Insert []string
	// LateEnd makes this source complete some time after the guest runs on the
	// destination. Like QEMU 7.2, it obeys a migrate_cancel meanwhile, and then the guest
	// runs on both.
	LateEnd bool
	// LateLoss makes this destination not notice that the connection is lost in post-copy
	// before migrate-pause, like one whose network was cut.
	LateLoss bool
	// LateClock is how long after the first announcement the clock of this destination's
	// guest begins to run.
	LateClock time.Duration
	// TotalsAfter is how many replies of query-migrate after the end have no
	// total-time and downtime yet.
	TotalsAfter int
	// Without are migration capabilities, parameters, values of parameters, statuses and
	// commands that this QEMU does not have.
	Without []string
	// Unused are capabilities that it accepts and reports as on, but does not use, also
	// blockdev-mirror, which then does nothing, and mirror-bytes: a mirror copies nothing;
	// and multifd-compression and zero-page-detection, which then change nothing;
	// and cpr-transfer and cpr-exec, modes in which it then sends RAM, and
	// cpr-exec-command, which it then does not execute. Dropped are those that it accepts, and that stay off, and parameters that keep their value.
	Unused, Dropped []string
	// Postcopy makes the destination run before the source has completed.
	Postcopy bool

	// RAM returns the guest's memory, from address 0, for pmemsave. It must not change while
	// it is saved. Nil: 1 MiB of zeros.
	RAM func() []byte
	// WriteFile writes a file of pmemsave, or of filter-dump, on the QEMU's host. Nil: [os.WriteFile].
	WriteFile func(name string, content []byte) error

	// Dirty is the guest's dirty rate as calc-dirty-rate measures it, in bytes per second,
	// without Load.
	Dirty float64
	// Load returns what the guest does with its memory now: how long a migration takes, and
	// whether it converges, then follows from it and the migration parameters. Nil: a
	// migration has two short passes.
	Load func() Load
	// Recorded returns how the migration that begins now is to go, nil if it is not to be
	// replayed. May be nil.
	Recorded func() []Moment
	// Link is how many bytes per second the network carries, with Load; 0: any number.
	Link float64
	// Progress is called while the RAM is sent, with Load: how much of what the guest uses
	// was sent, in percent. May be nil.
	Progress func(percent int)
	// Command starts the command of an exec: URI, whose Close waits for its end. Nil: the
	// machine's shell does.
	Command func(text string) (io.ReadWriteCloser, error)
	// Mirrored is called when a mirror of a disk ends without an error, with the name of the
	// disk's block node. May be nil.
	Mirrored func(node string)
	// Execute answers a command before the QEMU does; answered false: the QEMU does. May be
	// nil.
	Execute func(command string, arguments json.RawMessage) (value any, err error, answered bool)
}

// CommandError is the error of a command of [Script.Execute], with QMP's class.
type CommandError struct{ Class, Desc string }

func (e *CommandError) Error() string { return e.Desc }

// eventDelay is the delay of an event of Script.Delay.
const eventDelay = 30 * time.Millisecond

// lateEnd is the delay of Script.LateEnd.
const lateEnd = 100 * time.Millisecond

// Freeze stops the QEMU like a stopped process, until Close. It can be used as
// Script.Stop.
func (m *QEMU) Freeze() {
	m.mu.Lock()
	m.frozen = true
	m.mu.Unlock()
	m.hold()
}

// StopAnswering is Freeze, but returns at once.
func (m *QEMU) StopAnswering() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = true
}

// CloseMonitors closes the connections of all clients of the monitor, and goes on.
func (m *QEMU) CloseMonitors() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.monitors {
		_ = c.w.Close()
	}
}

// Pause stops the guest if it runs, like the command stop.
func (m *QEMU) Pause() { m.change("running", "paused", "STOP") }

// Suspend lets a guest that runs sleep; Wake wakes it up.
func (m *QEMU) Suspend() { m.change("running", "suspended", "SUSPEND") }

// Wake wakes up a guest that sleeps.
func (m *QEMU) Wake() { m.change("suspended", "running", "WAKEUP") }

// change changes the run state, if it is from, and sends an event.
func (m *QEMU) change(from, to, event string) {
	m.mu.Lock()
	if m.state != from {
		m.mu.Unlock()
		return
	}
	m.state = to
	m.mu.Unlock()
	m.emit(event, nil)
}

// hold blocks while it is frozen.
func (m *QEMU) hold() {
	m.mu.Lock()
	frozen := m.frozen
	m.mu.Unlock()
	if frozen {
		<-m.closed
	}
}

func (m *QEMU) isClosed() bool {
	select {
	case <-m.closed:
		return true
	default:
		return false
	}
}

// Die ends the QEMU like a killed process: its connections are closed, and nothing
// more is sent.
func (m *QEMU) Die() {
	m.mu.Lock()
	m.frozen, m.killed = true, true // before Done, so that who waits for that sees it
	m.mu.Unlock()
	m.End()
	m.mu.Lock()
	for c := range m.monitors {
		if closer, ok := c.w.(io.Closer); ok {
			_ = closer.Close()
		}
	}
	if m.wire != nil {
		_ = m.wire.Close()
	}
	if m.listener != nil {
		_ = m.listener.Close()
	}
	m.closeHandover()
	m.closeServer()
	m.closeNodes()
	m.mu.Unlock()
}

// The values of every migration.
const (
	ramBytes  = 64 << 20
	pageBytes = 4096
	passBytes = ramBytes / 8 // of the pages that a pass sends
	dirtyRate = 8192         // pages per second of an endless migration
	passTime  = 20 * time.Millisecond
)

// QEMU is a scripted QEMU with its run state and its migration. Its methods
// may be called from any goroutine.
type QEMU struct {
	script  Script
	network Network
	exec    func(command []string) error // the execution of another program in this process; nil: there is no process
	quit    chan struct{}                // closed by the command quit
	once    sync.Once
	closed  chan struct{}           // by Close
	paused  chan struct{}           // migrate-pause; capacity 1
	resumed chan io.ReadWriteCloser // the connection by which a paused migration goes on
	close   sync.Once

	mu           sync.Mutex // guards what follows
	incoming     bool
	state        string // QEMU's run state
	monitors     map[*monitor]bool
	parameters   map[string]any
	capabilities map[string]bool // that are on
	objects      map[string]bool // by id
	dumps        []string        // files of filter-dump
	rate         dirtyRateResult // of the last calc-dirty-rate
	disks        storage
	resume       chan struct{} // closed by migrate-continue; set while the source is held
	postcopy     bool          // migrate-start-postcopy
	status       string        // of the migration
	passes       int
	survives     bool      // a guest that cannot be loaded: exit-on-error = false
	stays        bool      // stop, while it waits for a guest: that does not run when it is loaded
	failure      string    // error-desc
	began        time.Time // of the migration
	took         time.Duration
	wire         io.Closer    // to the other side
	listener     net.Listener // for the source
	handover     io.Closer    // the channel by which the source has handed descriptors over
	cancelled    bool
	frozen       bool
	killed       bool           // by Die
	asked        int            // number of query-migrate since the end
	ram          *memory        // of the migration, with Script.Load
	replayed     map[string]any // its figures, if it is replayed
	restored     []byte         // the memory of the background snapshot that was loaded
	working      sync.WaitGroup
}

// New returns a QEMU that waits for cont, or, if incoming, for migrate-incoming. It migrates over the system's network.
func New(script Script, incoming bool) *QEMU { return NewOn(system{}, script, incoming) }

// NewOn is New over another network.
func NewOn(network Network, script Script, incoming bool) *QEMU {
	m := &QEMU{
		script: script, network: network, quit: make(chan struct{}), closed: make(chan struct{}), paused: make(chan struct{}, 1), resumed: make(chan io.ReadWriteCloser), state: "prelaunch", capabilities: map[string]bool{}, objects: map[string]bool{}, monitors: map[*monitor]bool{},
		disks:      storage{exports: map[string]bool{}, nodes: map[string]net.Conn{}, jobs: map[string]*mirrorJob{}},
		parameters: map[string]any{"max-bandwidth": 128 << 20, "downtime-limit": 300, "xbzrle-cache-size": 64 << 20, "cpu-throttle-tailslow": false, "mode": "normal", execCommand: []any{}, "multifd-compression": "none", "multifd-channels": 2, "zero-page-detection": "multifd", "avail-switchover-bandwidth": 0, "tls-creds": "", "tls-hostname": "", "announce-initial": 50, "announce-max": 550, "announce-rounds": 5, "announce-step": 100},
	}
	if script.Load != nil {
		maps.Copy(m.parameters, modelParameters)
	}
	if incoming {
		m.incoming, m.state = true, "inmigrate"
	}
	return m
}

// Done is closed after quit or End.
func (m *QEMU) Done() <-chan struct{} { return m.quit }

// End ends the QEMU as quit does. It may be called again.
func (m *QEMU) End() { m.once.Do(func() { close(m.quit) }) }

// Killed reports whether Die was called.
func (m *QEMU) Killed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.killed
}

// ExitMessage is the error message of a QEMU that could not load the guest.
func (m *QEMU) ExitMessage() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.incoming && m.status == "failed" && m.script.LoadError != "" {
		return m.script.LoadError
	}
	if m.incoming && m.status == "failed" {
		return "load of migration failed: Input/output error"
	}
	return ""
}

// Stop ends the migration, and what waits for a frozen QEMU.
func (m *QEMU) Stop() {
	m.close.Do(func() { close(m.closed) })
	m.mu.Lock()
	if m.wire != nil {
		_ = m.wire.Close()
	}
	if m.listener != nil {
		_ = m.listener.Close()
	}
	m.closeServer()
	m.closeNodes()
	m.mu.Unlock()
}

// Close ends the migration and waits for its goroutines. What Serve does has ended: it
// may begin others.
func (m *QEMU) Close() {
	m.Stop()
	m.working.Wait()
}

// monitor is one client of the monitor.
type monitor struct {
	mu sync.Mutex // one message at a time
	w  io.WriteCloser
}

func (c *monitor) send(message any) {
	text, err := json.Marshal(message)
	if err != nil {
		panic(err) // a bug of this package
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.w.Write(append(text, "\r\n"...)) // a client that is gone reads nothing
}

// Serve serves one monitor connection until it ends.
func (m *QEMU) Serve(conn net.Conn) {
	c := &monitor{w: conn}
	c.send(json.RawMessage(greeting))
	m.mu.Lock()
	m.monitors[c] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.monitors, c)
	}()
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var request struct {
			Execute   string          `json:"execute"`
			Arguments json.RawMessage `json:"arguments"`
			ID        json.RawMessage `json:"id"`
		}
		reply := map[string]any{}
		if err := json.Unmarshal(lines.Bytes(), &request); err != nil {
			reply["error"] = refusal{"GenericError", "JSON parse error"}
			c.send(reply)
			continue
		}
		if request.ID != nil {
			reply["id"] = request.ID
		}
		m.hold()
		m.at(request.Execute)
		if m.isClosed() { // it was frozen until Close
			return
		}
		if slices.Contains(m.script.Ignore, request.Execute) {
			continue
		}
		if request.Execute == "quit" {
			m.quitCancels()
		}
		value, err := m.execute(request.Execute, request.Arguments)
		if err != nil {
			reply["error"] = err
		} else {
			reply["return"] = value
		}
		c.send(reply)
		if request.Execute == "quit" {
			m.End()
		}
	}
}

// refusal is the error reply of a command.
type refusal struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

// at calls Stop if moment is StopAt.
func (m *QEMU) at(moment string) {
	wanted, state, conditional := strings.Cut(m.script.StopAt, "@")
	if wanted != moment || m.script.Stop == nil {
		return
	}
	m.mu.Lock()
	now, begun := m.state, m.status != ""
	m.mu.Unlock()
	if !conditional || state == now || state == "begun" && begun {
		m.script.Stop()
	}
}

// Emit sends an event to all clients.
func (m *QEMU) Emit(name string, data map[string]any) { m.emit(name, data) }

// emit sends an event to all clients.
func (m *QEMU) emit(name string, data map[string]any) {
	now := time.Now()
	event := map[string]any{"event": name, "timestamp": map[string]int64{"seconds": now.Unix(), "microseconds": int64(now.Nanosecond() / 1000)}}
	moment := name
	if data != nil {
		event["data"] = data
		if status, ok := data["status"].(string); ok {
			moment += ":" + status
		}
	}
	m.hold()
	times := 1
	switch {
	case slices.Contains(m.script.Drop, moment):
		times = 0
	case slices.Contains(m.script.Repeat, moment):
		times = 2
	case slices.Contains(m.script.Delay, moment):
		m.working.Go(func() {
			select {
			case <-time.After(eventDelay):
				m.broadcast(event)
			case <-m.closed:
			}
		})
		times = 0
	}
	for range times {
		m.broadcast(event)
	}
	m.at(moment)
}

// broadcast sends a message to all clients.
func (m *QEMU) broadcast(message any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.monitors {
		c.send(message)
	}
}

// setRunState sets the run state and returns the one before.
func (m *QEMU) setRunState(state string) (before string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, m.state = m.state, state
	return before
}

// execute executes a command.
func (m *QEMU) execute(command string, arguments json.RawMessage) (any, *refusal) {
	if len(arguments) > 0 && arguments[0] != '{' {
		return nil, &refusal{"GenericError", "QMP input member 'arguments' must be an object"}
	}
	if slices.Contains(m.script.Refuse, command) {
		return nil, &refusal{"GenericError", "the script refuses " + command}
	}
	if m.script.Execute != nil {
		if value, err, answered := m.script.Execute(command, arguments); answered {
			return value, refusalOf(err)
		}
	}
	if value, refused, known := m.blockCommand(command, arguments); known {
		return value, refused
	}
	switch command {
	case "qmp_capabilities", "quit":
		return map[string]any{}, nil
	case "device_add", "netdev_add":
		return map[string]any{}, nil
	case "netdev_del":
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.script.InUse--; m.script.InUse >= 0 {
			return nil, &refusal{"GenericError", "the network backend is in use"}
		}
		return map[string]any{}, nil
	case "qom-list": // a device that was deleted is gone, whether DEVICE_DELETED is sent or not
		return []any{}, nil
	case "device_del":
		return m.deleteDevice(arguments)
	case "system_reset":
		m.mu.Lock()
		if m.state == "paused" {
			m.state = "prelaunch"
		}
		m.mu.Unlock()
		m.emit("RESET", map[string]any{"guest": false, "reason": "host-qmp-system-reset"})
		return map[string]any{}, nil
	case "query-migrate-capabilities":
		known := []map[string]any{}
		for _, name := range []string{"return-path", "events", "postcopy-ram", "pause-before-switchover", "xbzrle", "auto-converge", "multifd", "zero-copy-send", "validate-uuid", "dirty-bitmaps", "postcopy-preempt", "postcopy-blocktime", "switchover-ack", "x-ignore-shared", "background-snapshot", "mapped-ram", "late-block-activate"} {
			if !slices.Contains(m.script.Without, name) {
				known = append(known, map[string]any{"capability": name, "state": m.isOn(name)})
			}
		}
		return known, nil
	case "query-qmp-schema":
		return m.schema(), nil
	case "query-memdev":
		return []map[string]any{{"id": "ram", "size": defaultRAM, "share": true}}, nil
	case "query-name":
		return map[string]any{"name": "scripted"}, nil
	case "query-uuid":
		return map[string]any{"UUID": "00000000-0000-0000-0000-000000000000"}, nil
	case "query-status":
		m.mu.Lock()
		defer m.mu.Unlock()
		return map[string]any{"status": m.state, "running": m.state == "running"}, nil
	case "cont":
		if m.setAutostart(true) {
			return map[string]any{}, nil
		}
		m.setRunState("running")
		m.emit("RESUME", nil)
		return map[string]any{}, nil
	case "stop":
		if m.setAutostart(false) {
			return map[string]any{}, nil
		}
		m.setRunState("paused")
		m.emit("STOP", nil)
		return map[string]any{}, nil
	case "human-monitor-command":
		return m.human(arguments), nil
	case "pmemsave":
		return m.savePhysical(arguments)
	case "calc-dirty-rate":
		return m.calcDirtyRate(arguments)
	case "query-dirty-rate":
		return m.queryDirtyRate(), nil
	case "query-memory-size-summary":
		return map[string]any{"base-memory": m.load().RAM, "plugged-memory": 0}, nil
	case "query-migrate-parameters":
		m.mu.Lock()
		defer m.mu.Unlock()
		return maps.Clone(m.parameters), nil
	case "migrate-set-parameters":
		return m.setParameters(arguments)
	case "object-add", "object-del":
		return m.changeObjects(command, arguments)
	case "query-migrate":
		return m.queryMigrate(), nil
	case "migrate-incoming":
		return m.listen(arguments)
	case "migrate":
		return m.migrate(arguments)
	case "migrate-set-capabilities":
		return m.setCapabilities(arguments)
	case "migrate-continue":
		return m.continueMigration()
	case "migrate-pause":
		return m.pausePostcopy()
	case "migrate-recover":
		return m.listenAgain(arguments)
	case "migrate-start-postcopy":
		return m.startPostcopy()
	case "migrate_cancel":
		m.cancel()
		return map[string]any{}, nil
	}
	return nil, &refusal{"CommandNotFound", fmt.Sprintf("The command %s has not been found", command)}
}

func (m *QEMU) setParameters(arguments json.RawMessage) (any, *refusal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var given map[string]any
	if err := json.Unmarshal(arguments, &given); err != nil {
		return nil, &refusal{"GenericError", err.Error()}
	}
	for name, value := range given {
		if !slices.Contains(m.script.Dropped, name) {
			m.parameters[name] = value
		}
	}
	return map[string]any{}, nil
}

// changeObjects makes or removes an object of QEMU's object model.
func (m *QEMU) changeObjects(command string, arguments json.RawMessage) (any, *refusal) {
	var object struct {
		ID   string
		Type string `json:"qom-type"`
		File string
	}
	if err := json.Unmarshal(arguments, &object); err != nil {
		return nil, &refusal{"GenericError", err.Error()}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch adds := command == "object-add"; {
	case adds && m.objects[object.ID]:
		return nil, &refusal{"GenericError", "attempt to add duplicate property '" + object.ID + "' to object (type 'container')"}
	case !adds && !m.objects[object.ID]:
		return nil, &refusal{"GenericError", "object '" + object.ID + "' not found"}
	default:
		if object.Type == "filter-dump" { // QEMU makes the file at once
			if err := m.writeFile(object.File, nil); err != nil {
				return nil, &refusal{"GenericError", err.Error()}
			}
			m.dumps = append(m.dumps, object.File)
		}
		m.objects[object.ID] = adds
	}
	return map[string]any{}, nil
}

// refusalOf is the reply of an error of Script.Execute.
func refusalOf(err error) *refusal {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*CommandError](err); ok {
		return &refusal{e.Class, e.Desc}
	}
	return &refusal{"GenericError", err.Error()}
}

// deleteDevice reports that the guest has released the device.
func (m *QEMU) deleteDevice(arguments json.RawMessage) (any, *refusal) {
	var device struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(arguments, &device); err != nil {
		return nil, &refusal{"GenericError", err.Error()}
	}
	m.emit("DEVICE_DELETED", map[string]any{"device": device.ID})
	return map[string]any{}, nil
}

// RunState returns QEMU's run state.
func (m *QEMU) RunState() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// schema is the part of QEMU's schema that describes migrations.
func (m *QEMU) schema() []map[string]any {
	members, methods := []map[string]string{}, []string{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.parameters {
		if !slices.Contains(m.script.Without, name) {
			kind := "int"
			switch name {
			case "multifd-compression":
				kind = "methods"
			case "mode":
				kind = "modes"
			case "zero-page-detection":
				kind = "searches"
			}
			members = append(members, map[string]string{"name": name, "type": kind})
		}
	}
	for _, method := range []string{"none", "zlib", "zstd"} {
		if !slices.Contains(m.script.Without, method) {
			methods = append(methods, method)
		}
	}
	modes := slices.DeleteFunc([]string{"normal", modeCPRReboot, modeCPRTransfer, modeCPRExec}, func(mode string) bool { return slices.Contains(m.script.Without, mode) })
	statuses := slices.DeleteFunc(slices.Clone(qmp.MigrationStatuses), func(s qmp.MigrationStatus) bool { return slices.Contains(m.script.Without, string(s)) })
	all := []map[string]any{
		{"name": "int", "meta-type": "builtin", "json-type": "int"},
		{"name": "methods", "meta-type": "enum", "values": methods},
		{"name": "modes", "meta-type": "enum", "values": modes},
		{"name": "searches", "meta-type": "enum", "values": []string{"none", "legacy", "multifd"}},
		{"name": "parameters", "meta-type": "object", "members": members},
		{"name": "statuses", "meta-type": "enum", "values": statuses},
		{"name": "dirty-rate-parameters", "meta-type": "object", "members": []map[string]string{{"name": "calc-time", "type": "int"}, {"name": "sample-pages", "type": "int"}}},
		{"name": "incoming-parameters", "meta-type": "object", "members": slices.DeleteFunc([]map[string]string{{"name": "uri", "type": "int"}, {"name": "exit-on-error", "type": "int"}}, func(member map[string]string) bool { return slices.Contains(m.script.Without, member["name"]) })},
		{"name": "migrate-incoming", "meta-type": "command", "arg-type": "incoming-parameters"},
		{"name": "migration", "meta-type": "object", "members": []map[string]string{{"name": "status", "type": "statuses"}}},
		{"name": "MIGRATION", "meta-type": "event", "arg-type": "migration"},
		{"name": "migrate-set-parameters", "meta-type": "command", "arg-type": "parameters", "ret-type": "empty"},
	}
	commands := map[string]string{"calc-dirty-rate": "dirty-rate-parameters"}
	for _, name := range []string{"migrate-recover", "nbd-server-start", "block-export-add", "blockdev-add", "blockdev-mirror", "block-job-cancel"} {
		commands[name] = ""
	}
	for name, argument := range commands {
		if !slices.Contains(m.script.Without, name) {
			all = append(all, map[string]any{"name": name, "meta-type": "command", "arg-type": argument})
		}
	}
	return all
}
