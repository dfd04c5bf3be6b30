// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"fmt"
	"net"
	"strconv"
	"sync"
)

// Network carries migrations from one scripted QEMU to another.
type Network interface {
	Listen(network, address string) (net.Listener, error)
	Dial(network, address string) (net.Conn, error)
}

// system is the machine's own network.
type system struct{}

func (system) Listen(network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}

func (system) Dial(network, address string) (net.Conn, error) { return net.Dial(network, address) }

// Memory is a network of pipes within one process. Nobody on it waits for the system,
// so that migrations over it can run in virtual time (testing/synctest). All its hosts
// share their ports. Its methods may be called from any goroutine.
type Memory struct {
	mu        sync.Mutex // guards what follows
	listeners map[string]*memoryListener
	lastPort  int
	blocked   map[string]bool       // by key: whose packets are dropped; false: whose connections are reset
	conns     map[string][]net.Conn // by key: of the listeners, and how they were dialed
}

// NewMemory returns a network without listeners.
func NewMemory() *Memory {
	return &Memory{listeners: map[string]*memoryListener{}, blocked: map[string]bool{}, conns: map[string][]net.Conn{}}
}

// Block drops the packets of a TCP port from now on, until unblock is called, or resets
// its connections.
func (m *Memory) Block(port int, reset bool) (unblock func()) {
	k := key("tcp", net.JoinHostPort("", strconv.Itoa(port)))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocked[k] = !reset
	if reset {
		for _, conn := range m.conns[k] {
			_ = conn.Close()
		}
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.blocked, k)
	}
}

// Stalled reports whether packets to an address are dropped.
func (m *Memory) Stalled(network, address string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blocked[key(network, address)]
}

// key is what Dial finds a listener by.
func key(network, address string) string {
	if _, port, err := net.SplitHostPort(address); err == nil && network == "tcp" {
		address = port
	}
	return network + " " + address
}

// Listen listens on a TCP or Unix address. Port 0 is one that is free.
func (m *Memory) Listen(network, address string) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if host, port, err := net.SplitHostPort(address); err == nil && port == "0" {
		m.lastPort++
		address = net.JoinHostPort(host, strconv.Itoa(40000+m.lastPort))
	}
	k := key(network, address)
	if m.listeners[k] != nil {
		return nil, fmt.Errorf("listen %s %s: address already in use", network, address)
	}
	l := &memoryListener{network: network, address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() {
		close(l.closed)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.listeners, k)
	})
	m.listeners[k] = l
	return l, nil
}

// Dial connects to a listener, and blocks until it accepts. A port whose connections are
// reset refuses.
func (m *Memory) Dial(network, address string) (net.Conn, error) {
	m.mu.Lock()
	l := m.listeners[key(network, address)]
	dropped, blocked := m.blocked[key(network, address)]
	m.mu.Unlock()
	if refused := blocked && !dropped; l != nil && !refused {
		client, server := net.Pipe()
		select {
		case l.conns <- server:
			m.mu.Lock()
			defer m.mu.Unlock()
			k := key(network, address)
			m.conns[k] = append(m.conns[k], client, server)
			return client, nil
		case <-l.closed:
		}
	}
	return nil, fmt.Errorf("dial %s %s: connection refused", network, address)
}

// memoryListener is a listener of a Memory, and its own address.
type memoryListener struct {
	network, address string
	conns            chan net.Conn
	closed           chan struct{}
	close            func()
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.close()
	return nil
}

func (l *memoryListener) Addr() net.Addr  { return l }
func (l *memoryListener) Network() string { return l.network }
func (l *memoryListener) String() string  { return l.address }
