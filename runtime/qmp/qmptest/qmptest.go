// SPDX-License-Identifier: Apache-2.0

// Package qmptest is a scripted QEMU for tests: it speaks QMP as QEMU does, plays
// the source and the destination of a migration, and fails where a [Script] tells
// it to. It runs no guest, so a test of a hundred failures takes no longer than
// its timeouts.
//
// A [Machine] serves any connection. [Main] makes a program of it, which takes
// QEMU's command line: the test's own binary, started again. Such a QEMU is a
// process, which can be stopped, killed and out of reach as the real one.
//
//	func TestMain(m *testing.M) {
//		qmptest.Main() // does not return where it is the scripted QEMU
//		os.Exit(m.Run())
//	}
//
// It is only for tests.
package qmptest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 9}, "package": "scripted"}, "capabilities": []}}`

// Script says what a Machine does otherwise than a QEMU that is well.
type Script struct {
	// StopAt is the moment at which Stop is called: the name of a command, just
	// before it is answered; the name of an event, just after it is sent, and of
	// MIGRATION with its status behind a colon; load, on the destination, just before
	// the guest's state is loaded; loaded, just after the source was told that it is.
	// A run state behind an @ makes it the moment in that state only.
	StopAt string
	// Stop is what happens then; without it who plays the machine decides: see Die.
	Stop func()
	// Die makes the machine die then, and not freeze.
	Die bool
	// Endless makes a migration from here not converge until it is cancelled.
	Endless bool
	// Cut cuts the way to here at the switchover: what the source sends then does not
	// arrive, and neither end learns of it.
	Cut bool
	// Refuse are commands that are refused, Ignore those that are never answered.
	Refuse, Ignore []string
	// Lose are events that are not sent, Repeat those that are sent twice, and Late
	// those that are sent a moment later. MIGRATION has its status behind a colon.
	Lose, Repeat, Late []string
	// Insert are statuses that the migration goes through before it completes.
	Insert []string
	// FiguresLate makes query-migrate tell of the figures only when it is asked so
	// many times after the end.
	FiguresLate int
	// Without are migration capabilities that this QEMU has not.
	Without []string
	// Postcopy makes the destination run before the source has come to its end.
	Postcopy bool
}

// eventDelay is how late an event of Script.Late is.
const eventDelay = 30 * time.Millisecond

// Freeze stops the machine as a process is stopped, in the middle of what it does,
// until Close: a value for Script.Stop.
func (m *Machine) Freeze() {
	m.mu.Lock()
	m.frozen = true
	m.mu.Unlock()
	m.hold()
}

// hold blocks while the machine is frozen.
func (m *Machine) hold() {
	m.mu.Lock()
	frozen := m.frozen
	m.mu.Unlock()
	if frozen {
		<-m.closed
	}
}

func (m *Machine) isClosed() bool {
	select {
	case <-m.closed:
		return true
	default:
		return false
	}
}

// Die ends the machine as a process that is killed: its connections close, and
// nothing is said any more.
func (m *Machine) Die() {
	m.End()
	m.mu.Lock()
	m.frozen, m.killed = true, true
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
	m.mu.Unlock()
}

// The figures of every migration.
const (
	ramBytes  = 64 << 20
	pageBytes = 4096
	dirtyRate = 8192 // pages per second of an endless migration
	passTime  = 20 * time.Millisecond
)

// Machine is a scripted QEMU with its run state and its migration. Its methods
// may be called from any goroutine.
type Machine struct {
	script  Script
	network Network
	quit    chan struct{} // closed by the command quit
	once    sync.Once
	closed  chan struct{} // by Close
	close   sync.Once

	mu         sync.Mutex // guards what follows
	incoming   bool
	state      string // QEMU's run state
	monitors   map[*monitor]bool
	parameters map[string]any
	status     string // of the migration
	passes     int
	failure    string    // error-desc
	began      time.Time // of the migration
	took       time.Duration
	wire       net.Conn     // to the other side
	listener   net.Listener // where it waits for the source
	cancelled  bool
	frozen     bool
	killed     bool // by Die
	asked      int  // for figures, since the end
	working    sync.WaitGroup
}

// New returns a machine whose guest waits for cont, or, if incoming, for
// migrate-incoming. It migrates over the system's network.
func New(script Script, incoming bool) *Machine { return NewOn(system{}, script, incoming) }

// NewOn is New over another network.
func NewOn(network Network, script Script, incoming bool) *Machine {
	m := &Machine{
		script: script, network: network, quit: make(chan struct{}), closed: make(chan struct{}), state: "prelaunch", monitors: map[*monitor]bool{},
		parameters: map[string]any{"max-bandwidth": 128 << 20, "downtime-limit": 300},
	}
	if incoming {
		m.incoming, m.state = true, "inmigrate"
	}
	return m
}

// Done is closed when the machine was told to quit.
func (m *Machine) Done() <-chan struct{} { return m.quit }

// End ends the machine as quit does; again is fine.
func (m *Machine) End() { m.once.Do(func() { close(m.quit) }) }

// Killed reports whether the machine has died.
func (m *Machine) Killed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.killed
}

// LastWords is what a machine says that ends because it could not load the guest.
func (m *Machine) LastWords() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.incoming && m.status == "failed" {
		return "load of migration failed: Input/output error"
	}
	return ""
}

// Close ends the machine's migration and waits until nothing of it runs.
func (m *Machine) Close() {
	m.close.Do(func() { close(m.closed) })
	m.mu.Lock()
	if m.wire != nil {
		_ = m.wire.Close()
	}
	if m.listener != nil {
		_ = m.listener.Close()
	}
	m.mu.Unlock()
	m.working.Wait()
}

// monitor is one client of the machine.
type monitor struct {
	mu sync.Mutex // one message at a time
	w  io.Writer
}

func (c *monitor) send(message any) {
	text, err := json.Marshal(message)
	if err != nil {
		panic(err) // of this package's own making
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.w.Write(append(text, "\r\n"...)) // a client that is gone reads nothing
}

// Serve is the monitor's side of one connection: it blocks until that ends.
func (m *Machine) Serve(conn net.Conn) {
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
		if m.isClosed() { // it was frozen until then
			return
		}
		if slices.Contains(m.script.Ignore, request.Execute) {
			continue
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

// refusal is QEMU's error of a command.
type refusal struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

// at calls Stop if this is the moment for it.
func (m *Machine) at(moment string) {
	wanted, state, conditional := strings.Cut(m.script.StopAt, "@")
	if wanted != moment || m.script.Stop == nil {
		return
	}
	m.mu.Lock()
	now := m.state
	m.mu.Unlock()
	if !conditional || state == now {
		m.script.Stop()
	}
}

// Emit sends an event of the test's own to all clients.
func (m *Machine) Emit(name string, data map[string]any) { m.emit(name, data) }

// emit sends an event to all clients.
func (m *Machine) emit(name string, data map[string]any) {
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
	case slices.Contains(m.script.Lose, moment):
		times = 0
	case slices.Contains(m.script.Repeat, moment):
		times = 2
	case slices.Contains(m.script.Late, moment):
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
func (m *Machine) broadcast(message any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.monitors {
		c.send(message)
	}
}

// setRunState sets the run state and returns the one before.
func (m *Machine) setRunState(state string) (before string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, m.state = m.state, state
	return before
}

// execute carries out a command.
func (m *Machine) execute(command string, arguments json.RawMessage) (any, *refusal) {
	if len(arguments) > 0 && arguments[0] != '{' {
		return nil, &refusal{"GenericError", "QMP input member 'arguments' must be an object"}
	}
	if slices.Contains(m.script.Refuse, command) {
		return nil, &refusal{"GenericError", "the script refuses " + command}
	}
	switch command {
	case "qmp_capabilities", "migrate-set-capabilities", "quit":
		return map[string]any{}, nil
	case "system_reset":
		m.emit("RESET", map[string]any{"guest": false, "reason": "host-qmp-system-reset"})
		return map[string]any{}, nil
	case "query-migrate-capabilities":
		known := []map[string]any{}
		for _, name := range []string{"return-path", "events", "postcopy-ram"} {
			if !slices.Contains(m.script.Without, name) {
				known = append(known, map[string]any{"capability": name, "state": false})
			}
		}
		return known, nil
	case "query-name":
		return map[string]any{"name": "scripted"}, nil
	case "query-status":
		m.mu.Lock()
		defer m.mu.Unlock()
		return map[string]any{"status": m.state, "running": m.state == "running"}, nil
	case "cont":
		m.setRunState("running")
		m.emit("RESUME", nil)
		return map[string]any{}, nil
	case "stop":
		m.setRunState("paused")
		m.emit("STOP", nil)
		return map[string]any{}, nil
	case "human-monitor-command":
		return "", nil
	case "query-migrate-parameters":
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.parameters, nil
	case "migrate-set-parameters":
		m.mu.Lock()
		defer m.mu.Unlock()
		if err := json.Unmarshal(arguments, &m.parameters); err != nil {
			return nil, &refusal{"GenericError", err.Error()}
		}
		return map[string]any{}, nil
	case "query-migrate":
		return m.queryMigrate(), nil
	case "migrate-incoming":
		return m.listen(arguments)
	case "migrate":
		return m.migrate(arguments)
	case "migrate_cancel":
		m.cancel()
		return map[string]any{}, nil
	}
	return nil, &refusal{"CommandNotFound", fmt.Sprintf("The command %s has not been found", command)}
}
