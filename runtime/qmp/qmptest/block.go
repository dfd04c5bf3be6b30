// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// mirrorTime is how long a mirror copies a disk until it is ready.
const mirrorTime = 50 * time.Millisecond

// mirrorBytes is how much a mirror copies of each disk.
const mirrorBytes = 16 << 20

// storage is the part of a QEMU that mirrors disks to another one. m.mu guards it.
type storage struct {
	server  net.Listener
	clients []net.Conn
	waiting net.Conn            // of blockdev-add, which waits for the server to say whether it has the export
	exports map[string]bool     // by name
	nodes   map[string]net.Conn // of NBD clients, by name
	jobs    map[string]*mirrorJob
}

// mirrorJob is a mirror.
type mirrorJob struct {
	source string // the node
	conn   net.Conn
	ready  bool
}

// blockCommand answers the commands by which disks are mirrored.
func (m *QEMU) blockCommand(command string, arguments json.RawMessage) (value any, refused *refusal, known bool) {
	var a struct {
		Addr struct {
			Data struct{ Host, Port string }
		}
		Server   struct{ Host, Port string }
		Name     string
		NodeName string `json:"node-name"`
		Export   string
		JobID    string `json:"job-id"`
		Device   string
		Target   string
		Force    bool
	}
	_ = json.Unmarshal(arguments, &a) // of other commands it has other members
	switch command {
	case "nbd-server-start":
		refused = m.startServer(net.JoinHostPort(a.Addr.Data.Host, a.Addr.Data.Port))
	case "nbd-server-stop":
		refused = m.stopServer()
	case "block-export-add":
		m.mu.Lock()
		m.disks.exports[a.Name] = true
		m.mu.Unlock()
	case "blockdev-add":
		refused = m.connectExport(net.JoinHostPort(a.Server.Host, a.Server.Port), a.Export, a.NodeName)
	case "blockdev-del":
		refused = m.removeNode(a.NodeName)
	case "blockdev-mirror":
		refused = m.startMirror(a.JobID, a.Device, a.Target)
	case "query-block-jobs":
		return m.blockJobs(), nil, true
	case "block-job-cancel":
		refused = m.cancelMirror(a.Device, a.Force)
	default:
		return nil, nil, false
	}
	return map[string]any{}, refused, true
}

// startServer starts the NBD server: a client says which export it wants, and gets a byte
// if there is that one.
func (m *QEMU) startServer(address string) *refusal {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disks.server != nil {
		return &refusal{"GenericError", "NBD server already running"}
	}
	l, err := m.network.Listen("tcp", address)
	if err != nil {
		return &refusal{"GenericError", "Failed to find an available port: " + err.Error()}
	}
	m.disks.server = l
	m.working.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			m.working.Go(func() { m.serveExport(conn) })
		}
	})
	return nil
}

func (m *QEMU) serveExport(conn net.Conn) {
	name, err := bufio.NewReader(conn).ReadString('\n')
	m.hold() // the kernel accepts connections of a stopped process, which says nothing
	m.mu.Lock()
	known := err == nil && m.disks.exports[strings.TrimSpace(name)] && m.disks.server != nil
	if known {
		m.disks.clients = append(m.disks.clients, conn)
	}
	m.mu.Unlock()
	if !known {
		_ = conn.Close()
		return
	}
	_, _ = conn.Write([]byte{loaded})
}

func (m *QEMU) stopServer() *refusal {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disks.server == nil {
		return &refusal{"GenericError", "NBD server not running"}
	}
	m.closeServer()
	return nil
}

// closeServer ends the NBD server and its connections, if there is one. m.mu is held.
func (m *QEMU) closeServer() {
	if m.disks.server != nil {
		_ = m.disks.server.Close()
	}
	for _, conn := range m.disks.clients {
		_ = conn.Close()
	}
	m.disks.server, m.disks.clients = nil, nil
}

// closeNodes ends the connections of NBD clients. m.mu is held.
func (m *QEMU) closeNodes() {
	for _, conn := range m.disks.nodes {
		_ = conn.Close()
	}
	if m.disks.waiting != nil {
		_ = m.disks.waiting.Close()
	}
}

// connectExport connects to an NBD server, and blocks like QEMU's main thread until that
// says whether it has the export: meanwhile no command of the monitor is answered.
func (m *QEMU) connectExport(address, export, node string) *refusal {
	conn, err := m.network.Dial("tcp", address)
	if err != nil {
		return &refusal{"GenericError", "Failed to connect to '" + address + "': Connection refused"}
	}
	m.mu.Lock()
	m.disks.waiting = conn
	closed := m.isClosed()
	m.mu.Unlock()
	if closed {
		_ = conn.Close()
	}
	_, err = io.WriteString(conn, export+"\n")
	if err != nil || !readByte(conn, loaded) {
		_ = conn.Close()
		return &refusal{"GenericError", "Requested export not available"}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disks.waiting = nil
	m.disks.nodes[node] = conn
	return nil
}

func (m *QEMU) removeNode(node string) *refusal {
	m.mu.Lock()
	defer m.mu.Unlock()
	conn := m.disks.nodes[node]
	if conn == nil {
		return &refusal{"GenericError", "Failed to find node with node-name='" + node + "'"}
	}
	for _, job := range m.disks.jobs {
		if job.conn == conn {
			return &refusal{"GenericError", "Node " + node + " is in use"}
		}
	}
	delete(m.disks.nodes, node)
	_ = conn.Close()
	return nil
}

func (m *QEMU) startMirror(id, source, target string) *refusal {
	m.mu.Lock()
	defer m.mu.Unlock()
	conn := m.disks.nodes[target]
	if conn == nil {
		return &refusal{"GenericError", "Cannot find device='' nor node-name='" + target + "'"}
	}
	if slices.Contains(m.script.Unused, "blockdev-mirror") {
		return nil
	}
	job := &mirrorJob{source: source, conn: conn}
	m.disks.jobs[id] = job
	lost := make(chan struct{})
	m.working.Go(func() { // of a server that has ended
		_, _ = conn.Read(make([]byte, 1))
		close(lost)
	})
	m.working.Go(func() {
		select {
		case <-time.After(mirrorTime):
			m.mu.Lock()
			job.ready = true
			m.mu.Unlock()
			m.emit("BLOCK_JOB_READY", m.mirrorEvent(id))
		case <-lost:
		case <-m.closed:
			return
		}
		select {
		case <-lost:
		case <-m.closed:
			return
		}
		if m.endMirror(id, job) {
			event := m.mirrorEvent(id)
			event["error"] = "Input/output error"
			m.emit("BLOCK_JOB_COMPLETED", event)
		}
	})
	return nil
}

// mirrorEvent is the data of an event of a mirror.
func (m *QEMU) mirrorEvent(id string) map[string]any {
	bytes := mirrorBytes
	if slices.Contains(m.script.Unused, "mirror-bytes") {
		bytes = 0
	}
	return map[string]any{"type": "mirror", "device": id, "len": bytes, "offset": bytes, "speed": 0}
}

// endMirror removes a job, and says whether there was this one.
func (m *QEMU) endMirror(id string, job *mirrorJob) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disks.jobs[id] != job {
		return false
	}
	delete(m.disks.jobs, id)
	return true
}

func (m *QEMU) blockJobs() []map[string]any {
	m.mu.Lock()
	defer m.mu.Unlock()
	jobs := []map[string]any{}
	for id, job := range m.disks.jobs {
		jobs = append(jobs, map[string]any{"type": "mirror", "device": id, "ready": job.ready, "len": mirrorBytes, "offset": mirrorBytes})
	}
	return jobs
}

// cancelMirror ends a mirror: one that is ready completes, unless it is forced to end.
func (m *QEMU) cancelMirror(id string, force bool) *refusal {
	m.mu.Lock()
	job := m.disks.jobs[id]
	m.mu.Unlock()
	if job == nil {
		return &refusal{"DeviceNotActive", "No active block job on device '" + id + "'"}
	}
	m.working.Go(func() {
		m.mu.Lock()
		complete := job.ready && !force
		m.mu.Unlock()
		if complete && m.script.Mirrored != nil {
			m.script.Mirrored(job.source)
		}
		if !m.endMirror(id, job) {
			return
		}
		name := "BLOCK_JOB_CANCELLED"
		if complete {
			name = "BLOCK_JOB_COMPLETED"
		}
		m.emit(name, m.mirrorEvent(id))
	})
	return nil
}
