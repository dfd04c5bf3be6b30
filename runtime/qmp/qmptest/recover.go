// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"encoding/json"
	"io"
	"net"
	"time"
)

// postcopyTime is how long a migration is in post-copy, when the guest runs on the
// destination.
const postcopyTime = time.Second // long enough to be paused on a busy machine

// sendRest sends the rest of the RAM in post-copy, on the source. When the connection is
// lost, by migrate-pause or otherwise, the migration is paused until it is resumed. It is
// false if QEMU ends meanwhile.
func (m *QEMU) sendRest(conn io.ReadWriteCloser) bool {
	rest := time.NewTimer(postcopyTime)
	for {
		select {
		case <-time.After(postcopyTime / 10):
			m.sendInPostcopy(0.1)
			continue
		case <-rest.C:
			if _, err := conn.Write([]byte{sendsRest}); err == nil && readByte(conn, loaded) {
				return true
			}
		case <-m.paused:
		case <-m.closed:
			return false
		}
		_ = conn.Close()
		m.setStatus("postcopy-paused", "")
		for ready := false; !ready; {
			select {
			case conn = <-m.resumed:
			case <-m.closed:
				return false
			}
			m.setConn(conn)
			m.setStatus("postcopy-recover", "")
			if ready = readByte(conn, loaded); !ready {
				m.setStatus("postcopy-paused", "")
			}
		}
		m.setStatus("postcopy-active", "")
		rest.Reset(postcopyTime)
	}
}

// sendInPostcopy counts a share of the RAM that is still to be sent as sent in post-copy.
func (m *QEMU) sendInPostcopy(share float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.ram; r != nil {
		bytes := share * (max(0, r.pass) + r.dirtied)
		r.sent, r.inPostcopy = r.sent+bytes, r.inPostcopy+bytes
	}
}

// receiveRest receives the rest of the RAM in post-copy, on the destination. It is false if
// QEMU ends meanwhile.
func (m *QEMU) receiveRest(conn io.ReadWriteCloser) bool {
	for !readByte(conn, sendsRest) {
		if m.script.LateLoss {
			select {
			case <-m.paused:
			case <-m.closed:
				return false
			}
		}
		m.setStatus("postcopy-paused", "")
		select {
		case again := <-m.resumed:
			m.setConn(again)
			conn = again
		case <-m.closed:
			return false
		}
		m.setStatus("postcopy-recover", "")
		_, _ = conn.Write([]byte{loaded})
		m.setStatus("postcopy-active", "")
	}
	_, _ = conn.Write([]byte{loaded})
	return true
}

// pausePostcopy breaks the connection of this end.
func (m *QEMU) pausePostcopy() (any, *refusal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status != "postcopy-active" {
		return nil, &refusal{"GenericError", "migrate-pause is currently only supported during postcopy-active or postcopy-recover state"}
	}
	if m.incoming && m.wire != nil {
		_ = m.wire.Close()
	}
	select {
	case m.paused <- struct{}{}:
	default:
	}
	return map[string]any{}, nil
}

// listenAgain makes this destination, whose migration is paused, accept the source again.
// It says so by an event, and is still paused.
func (m *QEMU) listenAgain(arguments json.RawMessage) (any, *refusal) {
	network, where, refused := address(arguments)
	if refused != nil {
		return nil, refused
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status != "postcopy-paused" {
		return nil, &refusal{"GenericError", "Migrate recover can only be run when postcopy is paused."}
	}
	if m.listener != nil {
		_ = m.listener.Close()
	}
	l, err := m.network.Listen(network, where)
	if err != nil {
		return nil, &refusal{"GenericError", "Failed to bind socket: " + err.Error()}
	}
	m.listener = l
	m.working.Go(func() {
		m.emit("MIGRATION", map[string]any{"status": "setup"})
		m.acceptAgain(l)
	})
	return map[string]any{}, nil
}

func (m *QEMU) acceptAgain(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	m.resumeWith(conn)
}

// connectAgain resumes the migration of this source, which is paused. Like QEMU 7.2, it
// says nothing if it cannot connect.
func (m *QEMU) connectAgain(network, where string) (any, *refusal) {
	m.mu.Lock()
	paused := m.status == "postcopy-paused"
	m.mu.Unlock()
	if !paused {
		return nil, &refusal{"GenericError", "Cannot resume if there is no paused migration"}
	}
	m.working.Go(func() {
		if conn, err := m.connect(network, where); err == nil {
			m.resumeWith(conn)
		}
	})
	return map[string]any{}, nil
}

// resumeWith goes on with a new connection.
func (m *QEMU) resumeWith(conn io.ReadWriteCloser) {
	select {
	case m.resumed <- conn:
	case <-m.closed:
		_ = conn.Close()
	}
}
