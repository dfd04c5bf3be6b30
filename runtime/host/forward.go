// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"al.essio.dev/pkg/shellescape"
	"golang.org/x/crypto/ssh"
)

// Dial connects to an address as the host sees it: network "unix" with a
// socket's path, or "tcp" with host:port. Ctx bounds the connecting only. The
// connection supports deadlines, CloseWrite, and a Close that ends blocked
// reads and writes; it ends with the Host. Errors are [*ForwardError].
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := h.main.dial(ctx, network, address)
	if err != nil {
		return nil, h.forwardError(ctx, network, address, false, err)
	}
	return conn, nil
}

// Listen makes the host listen: on network "unix" at a socket's path, where it
// replaces an existing socket, or on "tcp" at address:port, where port 0 lets the
// host choose (see Addr). Up to 128 connections wait for Accept; more are closed.
// The listener ends, and removes its socket, with Close; it also ends with the
// Host.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if network == "unix" {
		if err := h.removeSocket(ctx, address); err != nil {
			return nil, h.forwardError(ctx, network, address, true, err)
		}
	}
	inner, err := await(ctx, h.main, func() (net.Listener, error) {
		switch network {
		case "unix":
			return h.main.client.ListenUnix(address)
		case "tcp":
			return h.main.client.Listen("tcp", address)
		}
		return nil, net.UnknownNetworkError(network)
	}, func(l net.Listener) { l.Close() })
	if err != nil {
		return nil, h.forwardError(ctx, network, address, true, err)
	}
	l := &listener{Listener: inner, host: h, conns: make(chan net.Conn, 128)}
	if !h.main.spawn(l.receive) {
		inner.Close()
		return nil, h.forwardError(ctx, network, address, true, ErrClosed)
	}
	return l, nil
}

func (h *Host) forwardError(ctx context.Context, network, address string, listen bool, err error) error {
	e := &ForwardError{Host: h.Name(), Network: network, Address: address, Listen: listen, Err: err}
	refusal, refused := errors.AsType[*ssh.OpenChannelError](err)
	switch {
	case refused:
		e.Refused = refusal.Reason == ssh.ConnectionFailed
		e.denied = !e.Refused
		e.Err = fmt.Errorf("sshd reports: %s", refusal.Message)
	case ctx.Err() != nil:
		e.timedOut = true
	default: // the SSH library has no type for a denied listener
		e.denied = strings.Contains(err.Error(), "denied by peer")
	}
	return e
}

func (h *Host) removeSocket(ctx context.Context, path string) error {
	quoted := shellescape.Quote(path)
	_, err := h.Run(ctx, Command{Script: "if [ -S " + quoted + " ]; then rm -f -- " + quoted + "; fi"})
	return err
}

// listener accepts forwarded connections. A goroutine takes them from the SSH
// library at once, because a pending one blocks the whole SSH connection.
type listener struct {
	net.Listener
	host  *Host
	conns chan net.Conn
	once  sync.Once
	err   error
}

func (l *listener) receive() {
	defer func() {
		close(l.conns)
		for conn := range l.conns { // never accepted
			conn.Close()
		}
	}()
	for {
		channel, err := l.Listener.Accept()
		if errors.Is(err, io.EOF) || err != nil && l.host.main.ended.Err() != nil {
			return
		}
		if err != nil {
			continue // the peer went away before we took its connection
		}
		conn := l.host.main.pump(channel)
		select {
		case l.conns <- conn:
		default:
			conn.Close()
		}
	}
}

// Accept returns the next connection, or [net.ErrClosed] when the listener or
// the Host has ended.
func (l *listener) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, fmt.Errorf("%s: accept on %s: %w", l.host.Name(), l.Addr(), net.ErrClosed)
	}
	return conn, nil
}

// Close makes the host stop listening and removes its socket.
func (l *listener) Close() error {
	l.once.Do(func() {
		ended := l.host.main.ended
		err := l.Listener.Close()
		if l.Addr().Network() == "unix" {
			ctx, cancel := context.WithTimeoutCause(ended, killLimit, &TimeoutError{killLimit})
			defer cancel()
			err = errors.Join(err, l.host.removeSocket(ctx, l.Addr().String()))
		}
		if err != nil && ended.Err() == nil { // otherwise it ended with the connection
			l.err = fmt.Errorf("%s: stop listening on %s: %w", l.host.Name(), l.Addr(), err)
		}
	})
	return l.err
}

// dial connects through k.
func (k *connection) dial(ctx context.Context, network, address string) (net.Conn, error) {
	channel, err := await(ctx, k, func() (net.Conn, error) { return k.client.Dial(network, address) },
		func(c net.Conn) { c.Close() })
	if err != nil {
		return nil, err
	}
	return k.pump(channel), nil
}

// forwarded is a connection over an SSH channel. An SSH channel has no deadlines,
// and closing it does not end a blocked Read or Write before the peer answers. So
// there is an in-memory pipe for each direction, which has both, and a goroutine
// that copies between it and the channel.
type forwarded struct {
	channel net.Conn
	in, out net.Conn      // our ends of the pipes
	sent    chan struct{} // closed when the SSH library has all written data
}

func (k *connection) pump(channel net.Conn) net.Conn {
	in, toUs := net.Pipe()
	fromUs, out := net.Pipe()
	f := &forwarded{channel: channel, in: in, out: out, sent: make(chan struct{})}
	receive := func() {
		_, _ = io.Copy(toUs, channel)
		toUs.Close()
	}
	send := func() {
		defer close(f.sent)
		_, _ = io.Copy(channel, fromUs)
		fromUs.Close()
		if c, ok := channel.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		}
	}
	pump := func() {
		stop := context.AfterFunc(k.ended, func() { toUs.Close(); fromUs.Close() })
		defer stop()
		var pumping sync.WaitGroup
		pumping.Go(receive)
		pumping.Go(send)
		pumping.Wait()
	}
	if !k.spawn(pump) {
		go pump() // ends at once: the connection has ended
	}
	return f
}

// Read reads from the peer.
func (f *forwarded) Read(p []byte) (int, error) { return f.in.Read(p) }

// Write writes to the peer.
func (f *forwarded) Write(p []byte) (int, error) { return f.out.Write(p) }

// CloseWrite tells the peer that nothing more will be written.
func (f *forwarded) CloseWrite() error { return f.out.Close() }

// Close ends the connection and blocked reads and writes. It waits up to two seconds
// for written data to be sent.
func (f *forwarded) Close() error {
	f.in.Close()
	f.out.Close()
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-f.sent:
	case <-timer.C:
	}
	if err := f.channel.Close(); err != nil && !errors.Is(err, io.EOF) { // EOF: the peer was first
		return err
	}
	return nil
}

// LocalAddr returns our end's address, as far as SSH tells it.
func (f *forwarded) LocalAddr() net.Addr { return f.channel.LocalAddr() }

// RemoteAddr returns the peer's address, as far as SSH tells it.
func (f *forwarded) RemoteAddr() net.Addr { return f.channel.RemoteAddr() }

// SetDeadline sets both deadlines.
func (f *forwarded) SetDeadline(t time.Time) error {
	return errors.Join(f.SetReadDeadline(t), f.SetWriteDeadline(t))
}

// SetReadDeadline limits reads that block.
func (f *forwarded) SetReadDeadline(t time.Time) error { return f.in.SetReadDeadline(t) }

// SetWriteDeadline limits writes that block.
func (f *forwarded) SetWriteDeadline(t time.Time) error { return f.out.SetWriteDeadline(t) }
