// SPDX-License-Identifier: Apache-2.0

package guestd

import (
	"crypto/ed25519"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// What is offered. The client's order decides; the first of each list is the
// cheapest under TCG. What counts there is less the arithmetic than how much
// code a login runs for the first time after a migration, since the new QEMU
// has none of it translated. That is also why there is no more between the
// connection and the shell than x/crypto/ssh, and why a shell is kept ready.
var (
	keyExchanges = []string{ssh.KeyExchangeCurve25519, ssh.KeyExchangeECDHP256}
	ciphers      = []string{ssh.CipherChaCha20Poly1305, ssh.CipherAES128GCM, ssh.CipherAES128CTR}
)

const (
	// defaultPassword is also what /etc/shadow in the image holds.
	defaultPassword  = "mhmig"
	handshakeTimeout = time.Minute
)

// serve accepts SSH logins until the listener fails.
func serve() error {
	if err := seedRandom(); err != nil {
		return err
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	config, err := serverConfig(password(string(cmdline)))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", ":22")
	if err != nil {
		return err
	}
	shells := newShells()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go serveConn(conn, config, shells) // ends with the connection
	}
}

func serverConfig(password string) (*ssh.ServerConfig, error) {
	key, err := os.ReadFile(HostKeyFile)
	if err != nil {
		return nil, err
	}
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%s: got %d bytes, want %d", HostKeyFile, len(key), ed25519.PrivateKeySize)
	}
	signer, err := ssh.NewSignerFromKey(ed25519.PrivateKey(key))
	if err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{
		Config:        ssh.Config{KeyExchanges: keyExchanges, Ciphers: ciphers},
		ServerVersion: "SSH-2.0-mhmig-jeos",
		PasswordCallback: func(conn ssh.ConnMetadata, got []byte) (*ssh.Permissions, error) {
			if conn.User() != "root" || subtle.ConstantTimeCompare(got, []byte(password)) != 1 {
				return nil, errors.New("wrong user or password")
			}
			return nil, nil
		},
	}
	config.AddHostKey(signer)
	return config, nil
}

// password reads the kernel command line as /etc/rc does: the last one counts.
func password(cmdline string) string {
	password := defaultPassword
	for word := range strings.FieldsSeq(cmdline) {
		if value, ok := strings.CutPrefix(word, "mhmig.password="); ok && value != "" {
			password = value
		}
	}
	return password
}

// serveConn serves one connection's sessions until it ends.
func serveConn(conn net.Conn, config *ssh.ServerConfig, shells *shells) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return // the client has been told
	}
	_ = conn.SetDeadline(time.Time{})
	go ssh.DiscardRequests(requests) // ends with the connection
	for offered := range channels {
		if offered.ChannelType() != "session" {
			_ = offered.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		s := &session{channel: channel, shells: shells}
		go s.serve(requests) // ends with the channel
	}
}
