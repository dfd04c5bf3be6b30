// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// startEmbedded makes n hosts that are SSH servers in this process.
func (l *Lab) startEmbedded(k *keys, n int) error {
	s := l.state
	s.User = userName()
	s.ShortDir = shortDir(s.ID)
	var listeners []net.Listener
	defer func() {
		for _, listener := range listeners[len(l.servers):] { // not passed to a server yet
			listener.Close()
		}
	}()
	for i := range n {
		listener, err := listenLoopback(i)
		if err != nil {
			return err
		}
		listeners = append(listeners, listener)
		at := listener.Addr().(*net.TCPAddr)
		s.Hosts = append(s.Hosts, Endpoint{
			Name: hostName(i), Address: at.IP.String(), Port: at.Port, StateDir: filepath.Join(s.ShortDir, hostName(i)),
		})
	}
	if err := s.save(); err != nil {
		return err
	}
	if err := os.Mkdir(s.ShortDir, 0o700); err != nil {
		return err
	}
	for i, e := range s.Hosts {
		if err := errors.Join(os.Mkdir(s.hostDir(i), 0o700), os.Mkdir(e.StateDir, 0o700)); err != nil {
			return err
		}
		prompt := fmt.Sprintf("PS1='%s:\\w\\$ '\n", e.Name)
		if err := os.WriteFile(filepath.Join(s.hostDir(i), ".bashrc"), []byte(prompt), 0o600); err != nil {
			return err
		}
	}
	for i, listener := range listeners {
		l.servers = append(l.servers, serve(listener, account{
			name: s.User,
			home: s.hostDir(i),
			key:  k.client,
			env:  s.environment(i),
		}, k.hosts[i].signer, l.log.With("host", s.Hosts[i].Name)))
	}
	return nil
}

// listenLoopback opens a free port on the loopback address of host i, or on 127.0.0.1
// if the kernel has no other.
func listenLoopback(i int) (net.Listener, error) {
	if own, err := net.Listen("tcp", net.JoinHostPort("127.0.0."+strconv.Itoa(2+i), "0")); err == nil {
		return own, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a port for %s: %w", hostName(i), err)
	}
	return listener, nil
}

// shortDir returns a folder with a path short enough for unix sockets, which are
// limited to 108 bytes; a folder in a home may be too long.
func shortDir(id string) string { return "/tmp/mhmig-lab-" + id }

// userName returns the name of this process's user, or the UID if it has none.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}
