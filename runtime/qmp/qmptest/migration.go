// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// The protocol of the two sides, one byte per message.
const (
	sendsRAM         = 'b' // source: the guest's RAM follows
	sendsDeviceState = 's' // source: the guest is stopped, the device state follows
	sendsPausedState = 'h' // the same, and the guest was paused before: it does not run when it is loaded
	sendsPostcopy    = 'p' // the same as sendsDeviceState, in post-copy
	sendsRest        = 'r' // source: the rest of the RAM, in post-copy
	sendsSnapshot    = 'g' // source: the memory of a background snapshot follows, until the end
	loaded           = 'l' // destination: the guest, or the rest of its RAM, is loaded
)

// queryMigrate is the reply of query-migrate.
func (m *QEMU) queryMigrate() map[string]any {
	m.mu.Lock()
	defer m.mu.Unlock()
	figures := map[string]any{}
	if m.listener != nil {
		address := map[string]any{"type": "unix", "path": m.listener.Addr().String()}
		if host, port, err := net.SplitHostPort(m.listener.Addr().String()); err == nil {
			address = map[string]any{"type": "inet", "host": host, "port": port}
		}
		figures["socket-address"] = []map[string]any{address}
	}
	if m.status == "" {
		return figures
	}
	figures["status"] = m.status
	if m.failure != "" {
		figures["error-desc"] = m.failure
	}
	if m.status == "completed" {
		m.asked++
	}
	if m.took > 0 && m.asked > m.script.TotalsAfter {
		figures["total-time"], figures["downtime"] = m.took.Milliseconds(), 1
	}
	if m.replayed != nil {
		if _, timed := m.replayed["total-time"]; timed {
			delete(figures, "total-time")
			delete(figures, "downtime")
		}
		return m.recorded(figures)
	}
	if m.incoming && m.uses("postcopy-blocktime") {
		figures["postcopy-blocktime"] = 1
	}
	if m.passes == 0 {
		return figures
	}
	if m.ram != nil {
		m.figures(figures)
		return figures
	}
	ram := map[string]any{
		"total": ramBytes, "page-size": pageBytes, "dirty-sync-count": m.passes, "remaining": ramBytes / 2,
		"transferred": passBytes * m.passes, "normal": passBytes / pageBytes * m.passes, "duplicate": m.zeroPages(ramBytes / 2 / pageBytes), "mbps": 16.0, "dirty-pages-rate": 0,
	}
	if m.script.Endless && m.passes > 2 {
		ram["dirty-pages-rate"] = dirtyRate
	}
	if m.status == "completed" {
		ram["remaining"] = 0
	}
	if m.sendsNoRAM() {
		ram["total"], ram["remaining"], ram["transferred"], ram["normal"], ram["duplicate"] = 0, 0, pageBytes, 0, 0
	}
	ram["multifd-bytes"], ram["dirty-sync-missed-zero-copy"] = 0, 0
	if m.uses("multifd") {
		ram["multifd-bytes"] = m.compressed(passBytes * m.passes)
	}
	if m.uses("xbzrle") {
		figures["xbzrle-cache"] = map[string]any{"cache-size": m.parameters["xbzrle-cache-size"], "bytes": 0, "pages": 0, "cache-miss": m.passes, "overflow": 0}
	}
	figures["ram"] = ram
	return figures
}

// compressed is how many bytes multifd sends for pages of that many. m.mu is held.
func (m *QEMU) compressed(bytes int) int {
	if m.parameters["multifd-compression"] == "none" || slices.Contains(m.script.Unused, "multifd-compression") {
		return bytes + bytes/pageBytes // the headers
	}
	return bytes / 2
}

// zeroPages is how many of that many pages of zeros are found. m.mu is held.
func (m *QEMU) zeroPages(pages int) int {
	if m.parameters["zero-page-detection"] == "none" && !slices.Contains(m.script.Unused, "zero-page-detection") {
		return 0
	}
	return pages
}

// setStatus sets the migration's status and sends the event MIGRATION.
func (m *QEMU) setStatus(status, failure string) {
	m.mu.Lock()
	m.status, m.failure = status, failure
	if !m.began.IsZero() && (status == "completed" || status == "failed" || status == "cancelled") {
		m.took = max(time.Since(m.began), time.Millisecond) // in virtual time, no RAM takes none
	}
	m.mu.Unlock()
	m.emit("MIGRATION", map[string]any{"status": status})
}

// address splits a migration URI of QEMU into the network, as in package net, or file, or
// exec, and the address.
func address(arguments json.RawMessage) (network, where string, _ *refusal) {
	var a struct {
		URI string `json:"uri"`
	}
	if err := json.Unmarshal(arguments, &a); err != nil {
		return "", "", &refusal{"GenericError", err.Error()}
	}
	if path := channelPath(arguments, "main"); path != "" {
		return "unix", path, nil
	}
	network, where, _ = strings.Cut(a.URI, ":")
	if network != "tcp" && network != "unix" && network != "file" && network != "exec" {
		return "", "", &refusal{"GenericError", "unknown migration protocol: " + a.URI}
	}
	return network, where, nil
}

// listen makes this the destination.
func (m *QEMU) listen(arguments json.RawMessage) (any, *refusal) {
	network, where, refused := address(arguments)
	if refused != nil {
		return nil, refused
	}
	var a struct {
		ExitOnError *bool `json:"exit-on-error"`
	}
	if err := json.Unmarshal(arguments, &a); err != nil {
		return nil, &refusal{"GenericError", err.Error()}
	}
	m.mu.Lock()
	m.survives = a.ExitOnError != nil && !*a.ExitOnError
	m.mu.Unlock()
	if network == "file" {
		saved, err := os.Open(where)
		if err != nil {
			return nil, &refusal{"GenericError", err.Error()}
		}
		m.working.Go(func() { m.receive(saved) })
		return map[string]any{}, nil
	}
	if network == "exec" {
		conn, err := m.command(where)
		if err != nil {
			return nil, &refusal{"GenericError", err.Error()}
		}
		m.setConn(conn)
		m.working.Go(func() { m.receive(conn) })
		return map[string]any{}, nil
	}
	l, err := m.network.Listen(network, where)
	if err != nil {
		return nil, &refusal{"GenericError", "Failed to bind socket: " + err.Error()}
	}
	m.mu.Lock()
	m.listener = l
	m.closeHandover()
	m.mu.Unlock()
	m.working.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		m.setConn(conn)
		m.receive(conn)
	})
	return map[string]any{}, nil
}

func (m *QEMU) setConn(conn io.Closer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wire = conn
	if m.cancelled {
		_ = conn.Close()
	}
}

// receive is the destination's part of a migration. If it fails, QEMU ends.
func (m *QEMU) receive(conn io.ReadWriteCloser) {
	defer conn.Close()
	m.setStatus("setup", "")
	if !readByte(conn, sendsRAM) {
		m.loadFailed()
		return
	}
	m.setStatus("active", "")
	if m.script.DropData {
		<-m.quit
		return
	}
	var state [1]byte
	if _, err := io.ReadFull(conn, state[:]); err != nil {
		m.loadFailed()
		return
	}
	if m.script.LoadError != "" {
		m.loadFailed()
		return
	}
	inPostcopy := state[0] == sendsPostcopy
	if inPostcopy {
		m.setStatus("postcopy-active", "")
	}
	if state[0] == sendsSnapshot {
		memory, err := io.ReadAll(conn)
		if err != nil {
			m.loadFailed()
			return
		}
		m.mu.Lock()
		m.restored = memory
		m.mu.Unlock()
	}
	m.at("load")
	_, _ = conn.Write([]byte{loaded})
	m.at("loaded")
	m.mu.Lock()
	stays := m.stays || state[0] == sendsPausedState
	m.mu.Unlock()
	m.announce()
	if stays {
		m.setRunState("paused")
	} else {
		m.setRunState("running")
		m.emit("RESUME", nil)
	}
	if inPostcopy && !m.receiveRest(conn) {
		return
	}
	m.setStatus("completed", "")
}

// loadFailed ends a destination whose source has gone, or that cannot load the guest.
func (m *QEMU) loadFailed() {
	m.setStatus("failed", cmp.Or(m.script.LoadError, "load of migration failed: Input/output error"))
	m.mu.Lock()
	survives := m.survives && !slices.Contains(m.script.Unused, "exit-on-error")
	m.mu.Unlock()
	if !survives {
		m.End()
	}
}

func readByte(conn io.Reader, want byte) bool {
	var b [1]byte
	_, err := io.ReadFull(conn, b[:])
	return err == nil && b[0] == want
}

// migrate makes this the source.
func (m *QEMU) migrate(arguments json.RawMessage) (any, *refusal) {
	network, where, refused := address(arguments)
	if refused != nil {
		return nil, refused
	}
	var a struct{ Resume bool }
	if err := json.Unmarshal(arguments, &a); err != nil {
		return nil, &refusal{"GenericError", err.Error()}
	}
	if a.Resume {
		return m.connectAgain(network, where)
	}
	m.mu.Lock()
	m.began, m.took, m.passes, m.cancelled, m.postcopy, m.wire, m.ram, m.replayed = time.Now(), 0, 0, false, false, nil, nil, nil
	m.mu.Unlock()
	handover := channelPath(arguments, "cpr")
	m.working.Go(func() { m.send(network, where, handover) })
	return map[string]any{}, nil
}

// send is the source's part of a migration. handover is the socket on which the destination
// waits for descriptors, if it does.
func (m *QEMU) send(network, where, handover string) {
	m.setStatus("setup", "")
	m.mu.Lock()
	inBackground := m.uses("background-snapshot")
	m.mu.Unlock()
	if inBackground {
		m.snapshot(network, where)
		return
	}
	if handover != "" {
		if err := m.handOver(handover); err != nil {
			m.connectionLost()
			return
		}
	}
	if network == "file" || network == "exec" && !m.isOn("return-path") {
		m.save(network, where)
		return
	}
	conn, err := m.connect(network, where)
	if err != nil {
		m.setStatus("failed", "Failed to connect to '"+where+"': Connection refused")
		return
	}
	defer conn.Close()
	m.setConn(conn)
	if _, err := conn.Write([]byte{sendsRAM}); err != nil {
		m.connectionLost()
		return
	}
	m.setStatus("active", "")
	gone := make(chan bool, 1) // whether the destination has loaded the guest
	m.working.Go(func() { gone <- readByte(conn, loaded) })
	passed := m.sendPasses
	m.mu.Lock()
	sendsNoRAM := m.sendsNoRAM()
	m.mu.Unlock()
	if m.script.Load != nil && !sendsNoRAM {
		passed = func(gone <-chan bool) bool { return m.sendRAM(network, where, gone) }
	}
	if m.script.Recorded != nil {
		if moments := m.script.Recorded(); moments != nil {
			further := passed
			passed = func(gone <-chan bool) bool { return m.replay(moments, gone, further) }
		}
	}
	if !passed(gone) {
		m.connectionLost()
		return
	}
	for _, status := range m.script.Insert {
		m.setStatus(status, "")
	}
	state := byte(sendsDeviceState)
	if m.script.Postcopy || m.postcopyRequested() {
		state = sendsPostcopy
		m.setStatus("postcopy-active", "")
	}
	before := m.stopGuest()
	if before != "running" && state == sendsDeviceState {
		state = sendsPausedState
	}
	if m.pauses() && !m.waitContinue(gone) {
		m.connectionLost()
		m.resumeGuest(before)
		return
	}
	if state == sendsPostcopy && m.pauses() {
		m.setStatus("postcopy-active", "")
	}
	if !m.stand(gone) {
		m.connectionLost()
		m.resumeGuest(before)
		return
	}
	if _, err := conn.Write([]byte{state}); err != nil || !<-gone {
		m.connectionLost()
		m.resumeGuest(before)
		return
	}
	if state == sendsPostcopy && !m.sendRest(conn) {
		return
	}
	if m.script.LateEnd {
		select {
		case <-time.After(lateEnd):
		case <-m.closed:
		}
		if m.isCancelled() {
			m.connectionLost()
			m.resumeGuest(before)
			return
		}
	}
	m.setRunState("postmigrate")
	m.setStatus("completed", "")
}

// sendPasses sends the RAM in two short passes, or endlessly.
func (m *QEMU) sendPasses(gone <-chan bool) bool {
	for pass := 1; (m.script.Endless || pass <= 2) && !m.postcopyRequested(); pass++ {
		m.mu.Lock()
		m.passes = pass
		m.mu.Unlock()
		m.emit("MIGRATION_PASS", map[string]any{"pass": pass})
		select {
		case <-gone:
			return false
		case <-time.After(passTime):
		}
	}
	return true
}

// stand lets the guest stand still for as long as the rest of its RAM takes. It is false
// if the connection has ended.
func (m *QEMU) stand(gone <-chan bool) bool {
	m.mu.Lock()
	downtime := time.Duration(0)
	if m.ram != nil {
		downtime = m.ram.downtime
		m.ram.sent += downtime.Seconds() * m.ram.bandwidth
	}
	m.mu.Unlock()
	if downtime == 0 {
		return true
	}
	select {
	case <-time.After(downtime):
		return true
	case <-gone:
		return false
	}
}

// save is a migration to a file, or to a command that answers nothing.
func (m *QEMU) save(network, where string) {
	m.setStatus("active", "")
	gone := make(chan bool) // nobody ends it
	if m.script.Load != nil {
		if !m.sendRAM(network, where, gone) {
			m.connectionLost()
			return
		}
	} else {
		m.mu.Lock()
		m.passes = 1
		m.mu.Unlock()
	}
	before := m.stopGuest()
	m.stand(gone)
	guest := []byte{sendsRAM, sendsDeviceState}
	if before != "running" {
		guest = []byte{sendsRAM, sendsPausedState}
	}
	m.mu.Lock()
	if m.uses("mapped-ram") {
		guest = append(guest, "mapped-ram"...)
	}
	if m.parameters["mode"] == modeCPRExec && !m.sendsNoRAM() {
		guest = append(guest, make([]byte, defaultRAM)...)
	}
	m.mu.Unlock()
	if err := m.write(network, where, guest); err != nil {
		m.setStatus("failed", err.Error())
		m.resumeGuest(before)
		return
	}
	m.setRunState("postmigrate")
	m.setStatus("completed", "")
	m.becomeDestination()
}

// snapshot is a background snapshot: the guest stops for a moment, and what its memory is
// then goes to a file or a command while it runs on.
func (m *QEMU) snapshot(network, where string) {
	m.setStatus("active", "")
	before := m.setRunState("paused")
	m.emit("STOP", nil)
	guest := append([]byte{sendsRAM, sendsSnapshot}, m.physical()...)
	m.mu.Lock()
	m.passes = 1
	m.mu.Unlock()
	m.resumeGuest(before)
	if err := m.write(network, where, guest); err != nil {
		m.setStatus("failed", err.Error())
		return
	}
	if m.isCancelled() {
		m.setStatus("cancelled", "")
		return
	}
	m.setStatus("completed", "")
}

// write writes the guest to a file, or to a command.
func (m *QEMU) write(network, where string, guest []byte) error {
	if network == "file" {
		return os.WriteFile(where, guest, 0o600)
	}
	command, err := m.command(where)
	if err != nil {
		return err
	}
	_, err = command.Write(guest)
	if ended := command.Close(); err != nil || ended != nil {
		return errors.New("Unable to write to command: Broken pipe") //nolint:staticcheck // as QEMU has it
	}
	return nil
}

func (m *QEMU) isCancelled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cancelled
}

// connectionLost ends the source's part of a migration whose connection broke.
func (m *QEMU) connectionLost() {
	if m.isCancelled() && !m.script.CancelFails {
		m.setStatus("cancelled", "")
		return
	}
	m.mu.Lock()
	failed := m.status == "failed" // a migration that is replayed has failed before
	m.mu.Unlock()
	if failed {
		return
	}
	m.setStatus("failed", "Unable to write to socket: Broken pipe")
}

// stopGuest stops the guest for the switchover, and returns the run state before. QEMU sends
// the event only if the guest has run.
func (m *QEMU) stopGuest() (before string) {
	if before = m.setRunState("finish-migrate"); before == "running" {
		m.emit("STOP", nil)
	}
	return before
}

// resumeGuest restores the run state from before the switchover, which QEMU does after it
// has reported the end of the migration.
func (m *QEMU) resumeGuest(before string) {
	m.setRunState(before)
	if before == "running" {
		m.emit("RESUME", nil)
	}
}

// waitContinue holds the source before the switchover, until migrate-continue. It is
// false if the migration has ended meanwhile.
func (m *QEMU) waitContinue(gone <-chan bool) bool {
	resume := make(chan struct{})
	m.mu.Lock()
	m.resume = resume
	m.mu.Unlock()
	m.setStatus("pre-switchover", "")
	select {
	case <-resume:
		m.setStatus("device", "")
		return true
	case <-gone:
		return false
	case <-m.closed:
		return false
	}
}

func (m *QEMU) continueMigration() (any, *refusal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status != "pre-switchover" || m.resume == nil {
		return nil, &refusal{"GenericError", "Migration not in expected state: " + m.status}
	}
	close(m.resume)
	m.resume = nil
	return map[string]any{}, nil
}

func (m *QEMU) startPostcopy() (any, *refusal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.capabilities["postcopy-ram"] {
		return nil, &refusal{"GenericError", "Enable postcopy with migrate_set_capability before the start of migration"}
	}
	m.postcopy = true
	return map[string]any{}, nil
}

func (m *QEMU) postcopyRequested() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.postcopy
}

func (m *QEMU) isOn(capability string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.capabilities[capability]
}

// pauses says whether the source stops before the switchover.
func (m *QEMU) pauses() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.uses("pause-before-switchover")
}

// uses says whether a capability is on, and has an effect. m.mu is held.
func (m *QEMU) uses(capability string) bool {
	return m.capabilities[capability] && !slices.Contains(m.script.Unused, capability)
}

func (m *QEMU) setCapabilities(arguments json.RawMessage) (any, *refusal) {
	var a struct {
		Capabilities []struct {
			Capability string `json:"capability"`
			State      bool   `json:"state"`
		} `json:"capabilities"`
	}
	if err := json.Unmarshal(arguments, &a); err != nil {
		return nil, &refusal{"GenericError", err.Error()}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range a.Capabilities {
		m.capabilities[c.Capability] = c.State && !slices.Contains(m.script.Dropped, c.Capability)
	}
	return map[string]any{}, nil
}

func (m *QEMU) cancel() {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch status := qmp.MigrationStatus(m.status); {
	case !status.Begun(), status.Terminal(), status.Postcopy():
		return
	}
	m.cancelled = true
	if m.wire != nil {
		_ = m.wire.Close()
	}
}

// quitCancels cancels the migration of a source that quits, and waits until it has said so.
func (m *QEMU) quitCancels() {
	m.mu.Lock()
	moves := m.wire != nil && m.status == "active" && m.state != "inmigrate"
	m.mu.Unlock()
	if !moves {
		return
	}
	m.cancel()
	for {
		m.mu.Lock()
		ended := qmp.MigrationStatus(m.status).Terminal()
		m.mu.Unlock()
		if ended {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-m.closed:
			return
		}
	}
}

// BreakMigration breaks the connection of a migration that is under way.
func (m *QEMU) BreakMigration() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wire != nil {
		_ = m.wire.Close()
	}
}
