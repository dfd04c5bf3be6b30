// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// connection is one SSH connection to a host, jump hosts included.
type connection struct {
	config Config
	client *ssh.Client
	login  Login
	wire   *wire
	jump   *connection // to the jump host; nil: a TCP connection

	keepalives chan struct{} // requests to send a keepalive message

	stop  context.CancelCauseFunc
	ended context.Context // ends with the connection; its cause says why

	mu     sync.Mutex // guards closed, and that group only grows before it is set
	closed bool
	group  sync.WaitGroup // the goroutines that watch and use the connection

	// Guarded by the lock of the Host.
	sessions int // in use
	limit    int // of the server
}

// connect opens a connection to the host of c, through its jump hosts.
func connect(ctx context.Context, c Config, log *slog.Logger) (*connection, error) {
	c = c.withDefaults()
	limit := c.ConnectTimeout * time.Duration(max(1, c.ConnectionAttempts))
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &TimeoutError{limit})
	defer cancel()

	var jump *connection
	if n := len(c.ProxyJump); n > 0 {
		last := c.ProxyJump[n-1]
		last.ProxyJump = c.ProxyJump[:n-1]
		var err error
		if jump, err = connect(ctx, last, log); err != nil {
			return nil, fmt.Errorf("%s: jump host: %w", c.Name, err)
		}
	}
	conn, err := dialThrough(ctx, jump, c)
	if err != nil {
		if jump != nil {
			jump.close(ErrClosed)
		}
		return nil, newUnreachable(c, err)
	}
	w := newWire(conn)
	client, login, err := handshake(ctx, w, c, log)
	if err != nil {
		w.Close()
		if jump != nil {
			jump.close(ErrClosed)
		}
		return nil, err
	}
	k := &connection{config: c, client: client, login: login, wire: w, jump: jump, keepalives: make(chan struct{}, 1), limit: c.MaxSessions}
	k.ended, k.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	k.spawn(k.watch)
	k.spawn(k.sendKeepalives)
	k.spawn(func() { k.stop(k.lost(client.Wait())) })
	return k, nil
}

// dialThrough opens the stream that the SSH protocol runs over.
func dialThrough(ctx context.Context, jump *connection, c Config) (net.Conn, error) {
	if jump == nil {
		return dialTCP(ctx, c)
	}
	return jump.dial(ctx, "tcp", c.endpoint())
}

// handshake does the key exchange, verifies the host key, and authenticates.
func handshake(ctx context.Context, w *wire, c Config, log *slog.Logger) (*ssh.Client, Login, error) {
	login := newLogin(ctx, c, log)
	defer login.close()
	check, err := newHostKeyCheck(c, log, func() { login.unsafe = true })
	if err != nil {
		return nil, Login{}, err
	}
	algorithms, err := check.algorithms()
	if err != nil {
		return nil, Login{}, fmt.Errorf("%s: ssh_config: %w", c.Name, err)
	}
	negotiation, err := c.negotiation()
	if err != nil {
		return nil, Login{}, err
	}
	stop := context.AfterFunc(ctx, func() { w.Close() })
	sshConn, channels, requests, err := ssh.NewClientConn(w, c.endpoint(), &ssh.ClientConfig{
		Config:            negotiation,
		User:              c.User,
		Auth:              login.methods(),
		AuthCallback:      login.authCallback,
		HostKeyCallback:   check.verify,
		HostKeyAlgorithms: algorithms,
		ClientVersion:     "SSH-2.0-mhmig",
	})
	interrupted := !stop()
	if err == nil {
		return ssh.NewClient(sshConn, channels, requests), login.used, nil
	}
	var key *HostKeyError
	switch {
	case interrupted:
		return nil, Login{}, newUnreachable(c, fmt.Errorf("log in: %w", context.Cause(ctx)))
	case errors.As(err, &key):
		return nil, Login{}, key
	case login.started:
		return nil, Login{}, login.authError(err)
	case check.accepted != nil:
		return nil, Login{}, newUnreachable(c, fmt.Errorf("log in: %w", err))
	}
	return nil, Login{}, newUnreachable(c, err)
}

// watch ends the connection when the host is silent for too long.
func (k *connection) watch() {
	defer k.wire.Close()
	watched := keepalive{
		interval: k.config.KeepaliveInterval,
		count:    k.config.KeepaliveCount,
		lastRead: k.wire.lastRead,
		send: func() {
			select {
			case k.keepalives <- struct{}{}:
			default: // one is pending
			}
		},
	}
	if err := watched.watch(k.ended); err != nil {
		k.stop(k.lost(err))
	}
}

// sendKeepalives sends keepalive requests, which each SSH server answers. It has its
// own goroutine, because sending blocks on a network that takes nothing.
func (k *connection) sendKeepalives() {
	for {
		select {
		case <-k.ended.Done():
			return
		case <-k.keepalives:
			if _, _, err := k.client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
				return // the connection has ended, which client.Wait reports
			}
		}
	}
}

func (k *connection) lost(err error) *LostError {
	return &LostError{Host: k.config.Name, Silent: k.wire.silence(), Err: err}
}

// reason returns why the connection ended if that caused err: it is known at about
// the same time. Else it returns err.
func (k *connection) reason(err error) error {
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-k.ended.Done():
		return context.Cause(k.ended)
	case <-timer.C:
		return err
	}
}

// spawn runs f in a goroutine that close waits for. It reports false, and does
// nothing, when the connection was closed.
func (k *connection) spawn(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false
	}
	k.group.Go(f)
	return true
}

// close ends the connection for the reason given, and returns when all its
// goroutines have ended.
func (k *connection) close(reason error) {
	k.stop(reason)
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.group.Wait()
	if k.jump != nil {
		k.jump.close(reason)
	}
}

// await runs f, which takes no context, in a goroutine of k, and returns its
// result. When ctx or the connection ends first, it returns the cause, and
// discard gets the late result.
func await[T any](ctx context.Context, k *connection, f func() (T, error), discard func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result)
	abandoned := make(chan struct{})
	defer close(abandoned)
	started := k.spawn(func() {
		value, err := f()
		select {
		case results <- result{value, err}:
		case <-abandoned:
			if err == nil && discard != nil {
				discard(value)
			}
		}
	})
	var zero T
	if !started {
		return zero, context.Cause(k.ended)
	}
	select {
	case r := <-results:
		if errors.Is(r.err, io.EOF) || r.err != nil && k.ended.Err() != nil {
			return zero, k.reason(r.err)
		}
		return r.value, r.err
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	case <-k.ended.Done():
		return zero, context.Cause(k.ended)
	}
}

// wire is the stream below SSH. It records when data last arrived.
type wire struct {
	net.Conn
	start time.Time
	last  atomic.Int64 // nanoseconds after start
}

func newWire(conn net.Conn) *wire { return &wire{Conn: conn, start: time.Now()} }

// Read reads from the stream and records the time.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.last.Store(int64(time.Since(w.start)))
	}
	return n, err
}

// lastRead returns when data last arrived from the host.
func (w *wire) lastRead() time.Time { return w.start.Add(time.Duration(w.last.Load())) }

func (w *wire) silence() time.Duration { return time.Since(w.lastRead()) }
