// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

// acceptPause is how long a server waits after a failed accept.
const acceptPause = 100 * time.Millisecond

// server is an SSH server in this process. gliderlabs/ssh does connections, logins
// and the choice of handlers; sessions and forwarding are ours: its sessions do not
// notice that their channel was closed and cannot report a signal, and its
// forwarding closes both directions when one has ended.
type server struct {
	account  account
	log      *slog.Logger
	listener net.Listener
	ssh      *ssh.Server
	closing  chan struct{} // closed by close

	mu     sync.Mutex // guards what follows, and that group only grows before closed is set
	closed bool
	conns  map[net.Conn]struct{}
	group  sync.WaitGroup // all goroutines of the server
}

// account is the user account of a server.
type account struct {
	name string
	home string
	key  ssh.PublicKey
	env  []string
}

// serve serves connections of listener until close.
func serve(listener net.Listener, a account, hostKey gossh.Signer, log *slog.Logger) *server {
	s := &server{account: a, log: log, listener: listener, closing: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	s.ssh = &ssh.Server{
		Version:     "mhmig-lab",
		HostSigners: []ssh.Signer{hostKey},
		PublicKeyHandler: func(ctx ssh.Context, key ssh.PublicKey) bool {
			return ctx.User() == a.name && ssh.KeysEqual(key, a.key)
		},
		ChannelHandlers: map[string]ssh.ChannelHandler{
			"session":                        s.openSession,
			"direct-tcpip":                   s.forwardTCP,
			"direct-streamlocal@openssh.com": s.forwardUnix,
		},
		RequestHandlers: map[string]ssh.RequestHandler{
			"keepalive@openssh.com":                  acceptRequest,
			"tcpip-forward":                          s.listenTCP,
			"cancel-tcpip-forward":                   s.cancelTCP,
			"streamlocal-forward@openssh.com":        s.listenUnix,
			"cancel-streamlocal-forward@openssh.com": s.cancelUnix,
		},
		ConnectionFailedCallback: func(_ net.Conn, err error) {
			log.Debug("SSH login refused", "error", err)
		},
	}
	s.spawn(s.accept)
	return s
}

func acceptRequest(ssh.Context, *ssh.Server, *gossh.Request) (bool, []byte) { return true, nil }

// close ends the server with all its connections and sessions, and returns when all
// their processes have ended, except those that have daemonized.
func (s *server) close() {
	s.listener.Close()
	close(s.closing)
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.group.Wait()
}

// spawn runs f in a goroutine that close waits for. It reports false, and does
// nothing, when the server is closed.
func (s *server) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.group.Go(f)
	return true
}

func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files, which may be temporary
			s.log.Warn("the lab's SSH server cannot accept a connection", "error", err)
			select {
			case <-s.closing:
				return
			case <-time.After(acceptPause):
			}
		case !s.spawn(func() { s.handle(conn) }):
			conn.Close()
		}
	}
}

// handle serves one connection until its end.
func (s *server) handle(conn net.Conn) {
	s.mu.Lock()
	s.conns[conn] = struct{}{}
	if s.closed {
		conn.Close()
	}
	s.mu.Unlock()
	s.ssh.HandleConn(conn)
	conn.Close()
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
}

// join copies between a channel and a socket, each direction until its end. It
// returns with both closed: when both directions have ended, or when the channel
// was closed and all data before that was written to the socket.
func (s *server) join(channel gossh.Channel, requests <-chan *gossh.Request, socket net.Conn) {
	sent := make(chan struct{})
	var ways sync.WaitGroup
	ways.Go(func() {
		defer close(sent)
		copyAndCloseWrite(socket, channel)
	})
	ways.Go(func() {
		copyAndCloseWrite(channel, socket)
		<-sent
		channel.Close()
	})
	gossh.DiscardRequests(requests) // until the channel is closed
	select {
	case <-sent:
	case <-s.closing:
	}
	socket.Close()
	ways.Wait()
}

// copyAndCloseWrite copies until the end of from, and then closes to for writing.
func copyAndCloseWrite(to io.Writer, from io.Reader) {
	copyStream(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it may be closed already
	}
}

// copyStream copies until from ends or to fails. SSH cannot report the difference.
func copyStream(to io.Writer, from io.Reader) { _, _ = io.Copy(to, from) }
