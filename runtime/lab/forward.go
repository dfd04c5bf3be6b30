// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

// The messages of RFC 4254, section 7, and of OpenSSH's PROTOCOL, section 2.4.
type (
	directTCP struct {
		Address       string
		Port          uint32
		OriginAddress string
		OriginPort    uint32
	}
	directUnix struct {
		Path      string
		Reserved1 string
		Reserved2 uint32
	}
	listenTCP struct { // also to cancel
		Address string
		Port    uint32
	}
	listenTCPReply struct {
		Port uint32
	}
	listenUnix struct { // also to cancel
		Path string
	}
	forwardedTCP  directTCP
	forwardedUnix struct {
		Path     string
		Reserved string
	}
)

// forwardTCP connects a channel to a TCP port.
func (s *server) forwardTCP(_ *ssh.Server, _ *gossh.ServerConn, c gossh.NewChannel, ctx ssh.Context) {
	var to directTCP
	if err := gossh.Unmarshal(c.ExtraData(), &to); err != nil {
		c.Reject(gossh.ConnectionFailed, err.Error())
		return
	}
	s.forward(ctx, c, "tcp", net.JoinHostPort(to.Address, strconv.Itoa(int(to.Port))))
}

// forwardUnix connects a channel to a unix socket.
func (s *server) forwardUnix(_ *ssh.Server, _ *gossh.ServerConn, c gossh.NewChannel, ctx ssh.Context) {
	var to directUnix
	if err := gossh.Unmarshal(c.ExtraData(), &to); err != nil {
		c.Reject(gossh.ConnectionFailed, err.Error())
		return
	}
	s.forward(ctx, c, "unix", s.path(to.Path))
}

func (s *server) forward(ctx context.Context, c gossh.NewChannel, network, address string) {
	running := s.spawn(func() {
		socket, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			c.Reject(gossh.ConnectionFailed, err.Error())
			return
		}
		channel, requests, err := c.Accept()
		if err != nil {
			socket.Close()
			return
		}
		s.join(channel, requests, socket)
	})
	if !running {
		c.Reject(gossh.ConnectionFailed, "the host is shutting down")
	}
}

// listenTCP opens a port whose connections go to the client. As OpenSSH does by
// default, it listens on loopback addresses only.
func (s *server) listenTCP(ctx ssh.Context, _ *ssh.Server, r *gossh.Request) (bool, []byte) {
	var at listenTCP
	if err := gossh.Unmarshal(r.Payload, &at); err != nil {
		return false, nil
	}
	address := "127.0.0.1"
	if ip := net.ParseIP(at.Address); ip != nil && ip.IsLoopback() {
		address = at.Address
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(int(at.Port))))
	if err != nil {
		s.log.Debug("remote forwarding failed", "error", err)
		return false, nil
	}
	port := uint32(listener.Addr().(*net.TCPAddr).Port)
	opened := s.reverse(ctx, listener, listenTCP{at.Address, port}, "forwarded-tcpip", func(conn net.Conn) []byte {
		from := conn.RemoteAddr().(*net.TCPAddr)
		return gossh.Marshal(forwardedTCP{at.Address, port, from.IP.String(), uint32(from.Port)})
	})
	if at.Port == 0 {
		return opened, gossh.Marshal(listenTCPReply{port})
	}
	return opened, nil
}

// listenUnix opens a unix socket whose connections go to the client. An existing
// socket is replaced.
func (s *server) listenUnix(ctx ssh.Context, _ *ssh.Server, r *gossh.Request) (bool, []byte) {
	var at listenUnix
	if err := gossh.Unmarshal(r.Payload, &at); err != nil {
		return false, nil
	}
	path := s.path(at.Path)
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		os.Remove(path)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		s.log.Debug("remote forwarding failed", "error", err)
		return false, nil
	}
	opened := s.reverse(ctx, listener, at, "forwarded-streamlocal@openssh.com", func(net.Conn) []byte {
		return gossh.Marshal(forwardedUnix{Path: at.Path})
	})
	return opened, nil
}

func (s *server) cancelTCP(ctx ssh.Context, _ *ssh.Server, r *gossh.Request) (bool, []byte) {
	var at listenTCP
	return gossh.Unmarshal(r.Payload, &at) == nil && reversesOf(ctx).cancel(at), nil
}

func (s *server) cancelUnix(ctx ssh.Context, _ *ssh.Server, r *gossh.Request) (bool, []byte) {
	var at listenUnix
	return gossh.Unmarshal(r.Payload, &at) == nil && reversesOf(ctx).cancel(at), nil
}

// reverse opens a channel to the client of ctx for each connection that listener
// accepts, until the client cancels it by key or disconnects.
func (s *server) reverse(ctx ssh.Context, listener net.Listener, key any, channelType string, describe func(net.Conn) []byte) bool {
	client := ctx.Value(ssh.ContextKeyConn).(*gossh.ServerConn)
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	running := s.spawn(func() {
		defer stop()
		for {
			socket, err := listener.Accept()
			if err != nil {
				listener.Close()
				return
			}
			running := s.spawn(func() {
				channel, requests, err := client.OpenChannel(channelType, describe(socket))
				if err != nil {
					socket.Close()
					return
				}
				s.join(channel, requests, socket)
			})
			if !running {
				socket.Close()
			}
		}
	})
	if !running {
		stop()
		listener.Close()
		return false
	}
	reversesOf(ctx)[key] = listener
	return true
}

// path returns the path of a socket that the client names, relative to the home.
func (s *server) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.account.home, name)
}

// reverses are the remote forwardings of a connection, by the listenTCP or
// listenUnix that cancels them. Only the goroutine that handles the connection's
// requests uses them.
type reverses map[any]net.Listener

type reversesKey struct{}

// reversesOf returns the reverses of ctx's connection.
func reversesOf(ctx ssh.Context) reverses {
	r, ok := ctx.Value(reversesKey{}).(reverses)
	if !ok {
		r = reverses{}
		ctx.SetValue(reversesKey{}, r)
	}
	return r
}

func (r reverses) cancel(key any) bool {
	listener, ok := r[key]
	if ok {
		listener.Close()
		delete(r, key)
	}
	return ok
}
