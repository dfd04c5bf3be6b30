// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// visit is what a stub server saw of a connection.
type visit struct {
	Where   string // the server's name and address
	From    string // the client's address
	HostKey string // the algorithm of the host key that was shown, be it certified or not
	User    string
	Keys    []string // that were offered, in order, by the names of newStubs
	In      string   // the key that let the client in
}

// stubs are SSH servers that note who comes, and let in whom a test wants.
type stubs struct {
	names map[string]string // of keys, by fingerprint

	mu     sync.Mutex // guards what follows
	visits []*visit
	accept map[string]bool // names of keys that let in
	jump   map[string]bool // names of servers that let all in, to go on to others
}

// serve answers on a listener as a server of that name with these host keys.
func (s *stubs) serve(t *testing.T, name string, l net.Listener, keys ...ssh.Signer) {
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { s.greet(name, conn, keys) })
		}
	})
	t.Cleanup(func() { l.Close(); group.Wait() })
}

func (s *stubs) greet(name string, conn net.Conn, keys []ssh.Signer) {
	defer conn.Close()
	from, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	at, _, _ := net.SplitHostPort(conn.LocalAddr().String())
	v := &visit{Where: name + " at " + at, From: from}
	s.mu.Lock()
	s.visits = append(s.visits, v)
	s.mu.Unlock()
	config := &ssh.ServerConfig{
		MaxAuthTries: -1,
		AuthLogCallback: func(c ssh.ConnMetadata, _ string, _ error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			v.User = c.User()
			if c, ok := c.(ssh.AlgorithmsConnMetadata); ok {
				v.HostKey = strings.TrimSuffix(c.Algorithms().HostKey, "-cert-v01@openssh.com")
			}
		},
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			offered := s.names[ssh.FingerprintSHA256(key)]
			if cert, ok := key.(*ssh.Certificate); ok {
				offered = "certificate " + s.names[ssh.FingerprintSHA256(cert.Key)]
			}
			if n := len(v.Keys); n == 0 || v.Keys[n-1] != offered {
				v.Keys = append(v.Keys, offered)
			}
			if s.jump[name] || s.accept[offered] {
				v.In = offered
				return nil, nil
			}
			return nil, fmt.Errorf("not %s", offered)
		},
	}
	for _, key := range keys {
		config.AddHostKey(key)
	}
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer server.Close()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { ssh.DiscardRequests(requests) })
	for c := range channels {
		switch c.ChannelType() {
		case "direct-tcpip":
			group.Go(func() { forward(c) })
		case "session":
			group.Go(func() { run(c) })
		default:
			c.Reject(ssh.UnknownChannelType, "no")
		}
	}
}

// run ends each command of a session at once.
func run(c ssh.NewChannel) {
	channel, requests, err := c.Accept()
	if err != nil {
		return
	}
	for r := range requests {
		r.Reply(r.Type == "exec", nil)
		if r.Type == "exec" {
			channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
			channel.Close()
		}
	}
}

func forward(c ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(c.ExtraData(), &to); err != nil {
		c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
	if err != nil {
		c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, requests, err := c.Accept()
	if err != nil {
		conn.Close()
		return
	}
	var group sync.WaitGroup
	group.Go(func() { ssh.DiscardRequests(requests) })
	group.Go(func() { io.Copy(channel, conn); channel.Close() })
	io.Copy(conn, channel)
	conn.Close()
	channel.Close()
	group.Wait()
}

// take returns the visits since the last call.
func (s *stubs) take() []visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	var visits []visit
	for _, v := range s.visits {
		visits = append(visits, *v)
	}
	s.visits = nil
	return visits
}

// certify makes a certificate of a key, and returns its line.
func certify(t *testing.T, key ssh.PublicKey, ca ssh.Signer, kind uint32, principals ...string) (*ssh.Certificate, string) {
	t.Helper()
	cert := &ssh.Certificate{Key: key, CertType: kind, KeyId: "test", ValidPrincipals: principals, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	return cert, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(cert))) + "\n"
}
