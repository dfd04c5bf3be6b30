// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/mhmig/mhmig/runtime/guest"
)

func TestSSHRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		cred      guest.Credentials
		configure func(*ssh.ServerConfig)
		want      string
	}{
		{name: "wrong password", cred: guest.Credentials{Password: "wrong"}, want: "unable to authenticate"},
		{name: "no password", want: "unable to authenticate"},
		{name: "broken key", cred: guest.Credentials{Key: "not a key"}, want: "private key"},
		{
			name: "nothing in common", cred: guest.Credentials{Password: fakePassword, Ciphers: []string{ssh.CipherAES256CTR}},
			configure: func(c *ssh.ServerConfig) { c.Ciphers = []string{ssh.CipherChaCha20Poly1305} },
			want:      "no common algorithm",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			configure := tt.configure
			if configure == nil {
				configure = func(*ssh.ServerConfig) {}
			}
			_, err := guest.SSH(t.Context(), (&fakeGuest{argv: []string{"sh"}}).dialSSH(t, configure), tt.cred)
			if !errors.Is(err, guest.ErrRefused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrRefused with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "wrong") && tt.name == "wrong password" {
				t.Errorf("the message shows the password: %v", err)
			}
		})
	}
}

func TestSSHNotYet(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		guest func(net.Conn) // what the other end does
		want  string
	}{
		{name: "closed at once", guest: func(c net.Conn) { _ = c.Close() }, want: "handshake failed"},
		{name: "closed after the version", guest: func(c net.Conn) {
			_, _ = io.WriteString(c, "SSH-2.0-x\r\n")
			_, _ = c.Read(make([]byte, 100))
			_ = c.Close()
		}, want: ""},
		{name: "never answers", guest: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, want: "login_timeout passed"},
		{name: "is no SSH server", guest: func(c net.Conn) {
			_, _ = io.WriteString(c, "220 mail ready\r\n")
			_, _ = io.Copy(io.Discard, c)
		}, want: "login_timeout passed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			near, far := net.Pipe()
			ended := make(chan struct{})
			go func() { defer close(ended); tt.guest(far) }()
			defer func() { _ = far.Close(); <-ended }()
			ctx, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, errors.New("login_timeout passed"))
			defer cancel()
			_, err := guest.SSH(ctx, near, rightCredentials)
			if err == nil || errors.Is(err, guest.ErrRefused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q that is not ErrRefused", err, tt.want)
			}
		})
	}
}

// TestSSHOldGuest: what RHEL 6 speaks.
func TestSSHOldGuest(t *testing.T) {
	t.Parallel()
	old := func(c *ssh.ServerConfig) {
		c.KeyExchanges = []string{ssh.InsecureKeyExchangeDH14SHA1}
		c.Ciphers = []string{ssh.CipherAES128CTR}
		c.MACs = []string{ssh.HMACSHA1}
	}
	s, err := guest.SSH(t.Context(), (&fakeGuest{argv: []string{"sh"}}).dialSSH(t, old), rightCredentials)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if out, err := s.Cmd(t.Context(), "echo hi", 0); err != nil || out != "hi\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestSSHKeyboardInteractive(t *testing.T) {
	t.Parallel()
	asks := func(c *ssh.ServerConfig) {
		c.PasswordCallback = nil
		c.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil {
				return nil, err
			}
			if len(answers) != 1 || answers[0] != fakePassword {
				return nil, errors.New("no")
			}
			return nil, nil
		}
	}
	s, err := guest.SSH(t.Context(), (&fakeGuest{argv: []string{"sh"}}).dialSSH(t, asks), rightCredentials)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

// TestSSHBanner: what a login shell prints first is no output of ours.
func TestSSHBanner(t *testing.T) {
	t.Parallel()
	g := &fakeGuest{argv: []string{"sh"}, banner: strings.Repeat("Welcome # to $ the guest # \r\n$ ", 5000)}
	s := open(t, g, "ssh")
	if out, err := s.Cmd(t.Context(), "echo hi", 0); err != nil || out != "hi\n" {
		t.Errorf("got %.100q, %v", out, err)
	}
}

// TestSSHShellThatNeverAnswers: what it showed is in the error.
func TestSSHShellThatNeverAnswers(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	g := &fakeGuest{argv: []string{"sh", "-c", "echo You must change your password; exec sleep 30"}}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 8*time.Second, errors.New("login_timeout passed"))
	defer cancel()
	_, err := guest.SSH(ctx, g.dialSSH(t), rightCredentials)
	if err == nil || !strings.Contains(err.Error(), "login_timeout passed") {
		t.Errorf("got %v, want the timeout", err)
	}
	if err != nil && !strings.Contains(err.Error(), "You must change your password") {
		t.Errorf("got %v, want what the guest showed", err)
	}
}
