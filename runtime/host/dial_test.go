// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gliderssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/mhmig/mhmig/runtime/host"
)

func dialError(t *testing.T, c host.Config) error {
	t.Helper()
	h, err := host.Dial(t.Context(), c, quiet())
	if err == nil {
		h.Close()
		t.Fatalf("Dial(%s): got no error", c.Name)
	}
	return err
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	me := host.Config{Name: "host1", Address: "127.0.0.1", User: "me"}
	gone := localListener(t, "tcp", "127.0.0.1:0")
	gone.Close()
	mute := localListener(t, "tcp", "127.0.0.1:0") // the kernel accepts, nobody speaks
	rude := localListener(t, "tcp", "127.0.0.1:0")
	var group sync.WaitGroup
	t.Cleanup(func() { rude.Close(); group.Wait() })
	group.Go(func() {
		for {
			conn, err := rude.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "220 mail.example.com ESMTP\r\n")
			conn.Close()
		}
	})
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	tests := []struct {
		name   string
		change func(c *host.Config)
		says   []string
	}{
		{"no such name", func(c *host.Config) { c.Address = "no-such-host.invalid" }, []string{"no-such-host.invalid", "ssh_address"}},
		{"connection refused", func(c *host.Config) { c.Port = port(gone) }, []string{"connection refused", "is sshd running", gone.Addr().String()}},
		{"no answer", func(c *host.Config) { c.Port, c.ConnectTimeout = port(mute), 200*time.Millisecond }, []string{"log in: its time limit of 200ms has passed", "firewall"}},
		{"no SSH", func(c *host.Config) { c.Port = port(rude) }, []string{"ssh: handshake failed"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := me
			test.change(&c)
			err := dialError(t, c)
			wantError[*host.UnreachableError](t, "Dial", err)
			wantText(t, err, append(test.says, "host1: connect to ")...)
		})
	}

	t.Run("cancelled", func(t *testing.T) {
		c := me
		c.Port = port(mute)
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("interrupted")
		cancel(cause)
		if _, err := host.Dial(ctx, c, quiet()); !errors.Is(err, cause) {
			t.Errorf("Dial: got %v, want the cause", err)
		}
	})
}

func TestRefusedKey(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	dir := t.TempDir()
	wrong := newKey(t, filepath.Join(dir, "wrong"), "")
	locked := newKey(t, filepath.Join(dir, "locked"), "secret")
	broken := filepath.Join(dir, "broken")
	writeFile(t, broken, "no key\n")
	s.config.IdentityFiles = []string{wrong.file, locked.file, broken, filepath.Join(dir, "none")}
	s.config.Password = "hidden"
	err := dialError(t, s.config)
	refused := wantError[*host.AuthError](t, "Dial", err)
	wantText(t, err,
		fmt.Sprintf("host1: sshd at %s refused %s; tried %s (ssh-ed25519 %s)", s.address, s.config.User, wrong.file, ssh.FingerprintSHA256(wrong.signer.PublicKey())),
		"ssh-add "+locked.file, broken, "it accepts publickey",
		fmt.Sprintf("ssh-copy-id -p %d %s@127.0.0.1", s.port, s.config.User))
	if strings.Contains(err.Error(), "hidden") {
		t.Errorf("the error shows the password: %v", err)
	}
	if len(refused.Tried) != 1 || len(refused.Skipped) != 2 {
		t.Errorf("got tried %q, skipped %q; want 1 and 2", refused.Tried, refused.Skipped)
	}

	s.config.IdentityFiles, s.config.Password = nil, ""
	wantText(t, dialError(t, s.config), "there was no key or password to try")
}

func TestTooManyKeys(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.config.IdentityFiles = nil
	for i := range 8 {
		s.config.IdentityFiles = append(s.config.IdentityFiles, newKey(t, filepath.Join(t.TempDir(), fmt.Sprint("key", i)), "").file)
	}
	err := dialError(t, s.config)
	wantError[*host.AuthError](t, "Dial", err)
	wantText(t, err, "IdentitiesOnly")
}

func TestHostKeys(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	other := newKey(t, filepath.Join(t.TempDir(), "other"), "")
	known := filepath.Join(t.TempDir(), "known_hosts")
	s.config.KnownHostsFiles = []string{known, filepath.Join(t.TempDir(), "none")}
	name := fmt.Sprintf("[127.0.0.1]:%d", s.port)
	shown := "ssh-ed25519 " + ssh.FingerprintSHA256(s.hostKey.signer.PublicKey())

	t.Run("unknown", func(t *testing.T) {
		writeFile(t, known, "elsewhere "+other.line())
		err := dialError(t, s.config)
		if wantError[*host.HostKeyError](t, "Dial", err).Changed() {
			t.Error("Changed: got true for an unknown key")
		}
		wantText(t, err, "host1: ", shown, "not known", fmt.Sprintf("ssh-keyscan -p %d 127.0.0.1 >> %s", s.port, known))
	})
	t.Run("changed", func(t *testing.T) {
		writeFile(t, known, "# a comment\n"+name+" "+other.line())
		err := dialError(t, s.config)
		if !wantError[*host.HostKeyError](t, "Dial", err).Changed() {
			t.Error("Changed: got false for a changed key")
		}
		wantText(t, err, "has changed", shown, ssh.FingerprintSHA256(other.signer.PublicKey()), known+":2",
			fmt.Sprintf("ssh-keygen -R '%s' -f %s", name, known))
	})
	t.Run("changed to another type", func(t *testing.T) {
		rsa := "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDXWEm2mcZDBkz0xVnLSwjRBvEHGwZfsFEM5VoPCxjZnHCrZVbg0dG1HUGnZyjSCwqvSzGpz0Ho8xWLSiwWN8nJ4UwyHJRHw9lHTJqcZTRz8JbHUE1nm1mKqMJP9UCE8D0jLJf9f0H5Qx0jDyPHQZX5g0dYGHNk1NKhXv4mBFEd7Q=="
		writeFile(t, known, name+" "+rsa+"\n")
		err := dialError(t, s.config)
		if !wantError[*host.HostKeyError](t, "Dial", err).Changed() {
			t.Error("Changed: got false")
		}
	})
	t.Run("revoked", func(t *testing.T) {
		writeFile(t, known, "@revoked * "+s.hostKey.line())
		err := dialError(t, s.config)
		wantError[*host.HostKeyError](t, "Dial", err)
		wantText(t, err, "revoked", known+":1")
	})
	t.Run("alias", func(t *testing.T) {
		writeFile(t, known, "the-alias "+s.hostKey.line())
		c := s.config
		c.HostKeyAlias = "the-alias"
		dial(t, c)
	})
	t.Run("two keys, the less usual one is known", func(t *testing.T) {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			t.Fatal(err)
		}
		second := filepath.Join(t.TempDir(), "ecdsa")
		writeFile(t, second, string(pem.EncodeToMemory(block)))
		public, err := ssh.NewPublicKey(private.Public())
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{string(ssh.MarshalAuthorizedKey(public)), ""} {
			s := startServer(t, "HostKey "+second)
			if line == "" {
				line = s.hostKey.line()
			}
			writeFile(t, known, fmt.Sprintf("[127.0.0.1]:%d %s", s.port, line))
			s.config.KnownHostsFiles = []string{known}
			s.dial(t)
		}
	})
	t.Run("accept new", func(t *testing.T) {
		fresh := filepath.Join(t.TempDir(), "new folder", "known_hosts")
		c := s.config
		c.KnownHostsFiles, c.HostKeys = []string{fresh}, host.AcceptNewHostKeys
		dial(t, c)
		c.HostKeys = host.StrictHostKeys
		dial(t, c) // it was learnt
		writeFile(t, fresh, name+" "+other.line())
		c.HostKeys = host.AcceptNewHostKeys
		wantError[*host.HostKeyError](t, "Dial with a changed key", dialError(t, c))
	})
	t.Run("any", func(t *testing.T) {
		writeFile(t, known, name+" "+other.line())
		c := s.config
		c.HostKeys = host.AnyHostKey
		wantLog(t, c, "level=WARN", "CHANGED OR REVOKED HOST KEY", "has changed", shown, known+":1")
	})
	t.Run("bad lines", func(t *testing.T) {
		bad := strings.Repeat("nonsense\n", 8)
		writeFile(t, known, "[127.0.0.1 x y\n"+bad+name+" "+s.hostKey.line())
		wantLog(t, s.config, "level=WARN", "skipped", known, "1, 2, 3, 4, 5, and 4 more")
		writeFile(t, known, bad+name+" "+other.line())
		wantText(t, dialError(t, s.config), "has changed", known+":9")
	})
	t.Run("files that cannot be read", func(t *testing.T) {
		writeFile(t, known, name+" "+s.hostKey.line())
		c := s.config
		c.KnownHostsFiles, c.GlobalKnownHostsFiles = []string{t.TempDir()}, []string{known}
		wantLog(t, c, "level=WARN", "known_hosts file skipped", "is a directory")
	})
}

// wantLog connects, and checks that the log says all of parts.
func wantLog(t *testing.T, c host.Config, parts ...string) {
	t.Helper()
	var log strings.Builder
	h, err := host.Dial(t.Context(), c, logTo(&log))
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	for _, part := range parts {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log %s does not say %q", log.String(), part)
		}
	}
}

// TestChangedHostGetsNoPassword: with StrictHostKeyChecking no, a host that may be
// another one is let pass, but hears no password, as by ssh.
func TestChangedHostGetsNoPassword(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 10)
	address, known := startPasswordServer(t, gliderssh.PasswordAuth(func(_ gliderssh.Context, password string) bool {
		heard <- password
		return true
	}))
	other := newKey(t, filepath.Join(t.TempDir(), "other"), "")
	writeFile(t, known, fmt.Sprintf("[127.0.0.1]:%d %s", address.Port, other.line()))
	c := host.Config{Name: "host1", Address: "127.0.0.1", Port: address.Port, User: "me", Password: "hidden", KnownHostsFiles: []string{known}, HostKeys: host.AnyHostKey}
	err := dialError(t, c)
	wantError[*host.AuthError](t, "Dial", err)
	wantText(t, err, "not tried: the password (its host key has changed")
	if len(heard) > 0 {
		t.Errorf("the server heard the password %q", <-heard)
	}
	c.KnownHostsFiles = []string{filepath.Join(t.TempDir(), "new")}
	dial(t, c)
	if len(heard) != 1 {
		t.Errorf("a new host heard %d passwords, want 1", len(heard))
	}
}

// TestCheckHostIP: the key of a host's address counts, too, as by ssh, which looks
// at it for addresses that are not of this machine.
func TestCheckHostIP(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, other := newKey(t, filepath.Join(dir, "key"), ""), newKey(t, filepath.Join(dir, "other"), "")
	known := filepath.Join(dir, "known_hosts")
	writeFile(t, known, "name "+key.line()+"192.0.2.1 "+other.line())
	c := host.Config{Name: "host1", Address: "name", Port: 22, KnownHostsFiles: []string{known}, CheckHostIP: true}
	remote := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 22} }
	err := host.CheckHostKey(c, remote("192.0.2.1"), key.signer.PublicKey())
	wantError[*host.HostKeyError](t, "CheckHostKey", err)
	wantText(t, err, "has changed", known+":2", "ssh-keygen -R '192.0.2.1'")
	if err := host.CheckHostKey(c, remote("192.0.2.2"), key.signer.PublicKey()); err != nil {
		t.Errorf("an address that is not known: %v", err)
	}
	c.CheckHostIP = false
	if err := host.CheckHostKey(c, remote("192.0.2.1"), key.signer.PublicKey()); err != nil {
		t.Errorf("without CheckHostIP: %v", err)
	}
}

// TestOpenKeyIsNotUsed: a key file that others may read is refused, and that is told
// even when another key lets us in.
func TestOpenKeyIsNotUsed(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if err := os.Chmod(s.userKey.file, 0o644); err != nil {
		t.Fatal(err)
	}
	err := dialError(t, s.config)
	wantError[*host.AuthError](t, "Dial", err)
	wantText(t, err, "not tried: "+s.userKey.file, "0644", "chmod 600 "+s.userKey.file)

	text, err := os.ReadFile(s.userKey.file)
	if err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(t.TempDir(), "closed")
	writeFile(t, closed, string(text))
	s.config.IdentityFiles = append(s.config.IdentityFiles, closed)
	wantLog(t, s.config, "level=WARN", "not used", s.userKey.file, "0644")
}

// startAgent serves an SSH agent that holds a key.
func startAgent(t *testing.T, dir string, private any) string {
	t.Helper()
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: private, Comment: "key of the agent"}); err != nil {
		t.Fatal(err)
	}
	return serveAgent(t, dir, keyring)
}

// serveAgent serves the keys of a keyring on a socket in dir.
func serveAgent(t *testing.T, dir string, keyring agent.Agent) string {
	t.Helper()
	l := localListener(t, "unix", filepath.Join(dir, "agent"))
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				agent.ServeAgent(keyring, conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); group.Wait() })
	return l.Addr().String()
}

func TestAgent(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	private, err := os.ReadFile(s.userKey.file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParseRawPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s.config.AgentSocket = startAgent(t, s.dir, key)

	t.Run("its own key", func(t *testing.T) {
		c := s.config
		c.IdentityFiles = nil
		if got := dial(t, c).Login(); got.Method != "publickey" || !strings.Contains(got.Key, "agent") {
			t.Errorf("Login: got %+v, want a key of the agent", got)
		}
	})
	t.Run("key file with a passphrase", func(t *testing.T) {
		block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		locked := filepath.Join(t.TempDir(), "locked")
		writeFile(t, locked, string(pem.EncodeToMemory(block)))
		c := s.config
		c.IdentityFiles, c.IdentitiesOnly = []string{locked}, true
		dial(t, c)
	})
	t.Run("identities only", func(t *testing.T) {
		c := s.config
		c.IdentityFiles, c.IdentitiesOnly = nil, true
		wantError[*host.AuthError](t, "Dial", dialError(t, c))
	})
	t.Run("gone", func(t *testing.T) {
		c := s.config
		c.AgentSocket += "-none"
		dial(t, c) // by the file
		c.IdentityFiles = nil
		wantText(t, dialError(t, c), "the agent's keys")
	})
}

// TestLogin: the key that the server accepts is reported, not the one before it.
func TestLogin(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	other := newKey(t, filepath.Join(t.TempDir(), "other"), "")
	c := s.config
	c.IdentityFiles = []string{other.file, s.userKey.file}
	h := dial(t, c)
	if got, want := h.Login(), (host.Login{Method: "publickey", Key: s.userKey.file}); got != want {
		t.Errorf("Login: got %+v, want %+v", got, want)
	}
	if took, err := h.RoundTrip(t.Context()); err != nil || took <= 0 {
		t.Errorf("RoundTrip: got %v, %v", took, err)
	}
}

// startPasswordServer starts an SSH server of our own that asks for passwords.
func startPasswordServer(t *testing.T, options ...gliderssh.Option) (address *net.TCPAddr, known string) {
	t.Helper()
	key := newKey(t, filepath.Join(t.TempDir(), "key"), "")
	server := &gliderssh.Server{Handler: func(s gliderssh.Session) { s.Exit(1) }}
	for _, o := range append(options, gliderssh.HostKeyFile(key.file)) {
		if err := server.SetOption(o); err != nil {
			t.Fatal(err)
		}
	}
	l := localListener(t, "tcp", "127.0.0.1:0")
	var group sync.WaitGroup
	group.Go(func() { server.Serve(l) })
	t.Cleanup(func() { server.Close(); l.Close(); group.Wait() }) // l too: Serve may not have begun
	known = filepath.Join(t.TempDir(), "known_hosts")
	address = l.Addr().(*net.TCPAddr)
	writeFile(t, known, fmt.Sprintf("[127.0.0.1]:%d %s", address.Port, key.line()))
	return address, known
}

func TestPassword(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		option gliderssh.Option
	}{
		{"password", gliderssh.PasswordAuth(func(ctx gliderssh.Context, password string) bool {
			return ctx.User() == "me" && password == "hidden"
		})},
		{"keyboard-interactive", gliderssh.KeyboardInteractiveAuth(func(ctx gliderssh.Context, ask ssh.KeyboardInteractiveChallenge) bool {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			return err == nil && len(answers) == 1 && answers[0] == "hidden"
		})},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			address, known := startPasswordServer(t, test.option)
			c := host.Config{Name: "host1", Address: "127.0.0.1", Port: address.Port, User: "me", Password: "hidden", KnownHostsFiles: []string{known}}
			if got := dial(t, c).Login(); got != (host.Login{Method: test.name}) {
				t.Errorf("Login: got %+v, want %s", got, test.name)
			}
			c.Password = "not it"
			err := dialError(t, c)
			wantError[*host.AuthError](t, "Dial", err)
			wantText(t, err, "the password", "it accepts "+test.name)
			if strings.Contains(err.Error(), "not it") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestProxyJump(t *testing.T) {
	t.Parallel()
	first, second, last := startServer(t), startServer(t), startServer(t)
	c := last.config
	c.Name = "inner"
	c.ProxyJump = []host.Config{first.config, second.config}
	h := dial(t, c)
	if _, err := h.Run(t.Context(), host.Command{Args: []string{"true"}}); err != nil {
		t.Error(err)
	}
	if first.connections() != 1 || second.connections() != 1 || last.connections() != 1 {
		t.Errorf("connections: got %d, %d, %d; want one each", first.connections(), second.connections(), last.connections())
	}

	t.Run("the jump host refuses the key", func(t *testing.T) {
		c := c
		c.ProxyJump = []host.Config{first.config}
		c.ProxyJump[0].IdentityFiles = nil
		err := dialError(t, c)
		wantError[*host.AuthError](t, "Dial", err)
		wantText(t, err, "inner: jump host: host1: ")
	})
	t.Run("nothing listens behind the jump host", func(t *testing.T) {
		gone := localListener(t, "tcp", "127.0.0.1:0")
		gone.Close()
		c := c
		c.Port = gone.Addr().(*net.TCPAddr).Port
		err := dialError(t, c)
		wantError[*host.UnreachableError](t, "Dial", err)
		wantText(t, err, "inner: connect to ", "the jump host reports: ", "is sshd running")
	})
	t.Run("the jump host dies", func(t *testing.T) {
		first.signal(syscall.SIGKILL)
		<-h.Lost()
		wantError[*host.LostError](t, "Err", h.Err())
	})
}

func TestFrozenServerIsFoundByKeepalive(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.config.KeepaliveInterval, s.config.KeepaliveCount = 100*time.Millisecond, 5
	h := s.dial(t)
	p, err := h.Start(t.Context(), host.Command{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(-p.Group, syscall.SIGKILL) })
	l := localListener(t, "tcp", "127.0.0.1:0")
	conn, err := h.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}

	s.signal(syscall.SIGSTOP)
	started := time.Now()
	<-h.Lost()
	if took := time.Since(started); took < 300*time.Millisecond || took > time.Minute {
		t.Errorf("found after %v, want a little more than 0.5 s", took)
	}
	lost := wantError[*host.LostError](t, "Err", h.Err())
	if lost.Silent < 500*time.Millisecond {
		t.Errorf("silence: got %v, want at least 0.5 s", lost.Silent)
	}
	wantText(t, lost, "host1: lost the SSH connection: no answer to keepalives (last data received ")
	wantText(t, lost, fmt.Sprintf("received %.1f s ago)", lost.Silent.Seconds()))
	_, err = p.Wait(t.Context())
	wantError[*host.LostError](t, "Wait", err)
	_, err = h.Run(t.Context(), host.Command{Args: []string{"true"}})
	wantError[*host.LostError](t, "Run", err)
	_, err = h.ReadFile(t.Context(), "/etc/hostname")
	wantError[*host.LostError](t, "ReadFile", err)
	_, err = h.Dial(t.Context(), "tcp", l.Addr().String())
	wantError[*host.LostError](t, "Dial", err)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("read from a forwarded connection: got no error")
	}
	s.signal(syscall.SIGCONT)
}

func TestBusyConnectionIsNotLost(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	s := startServer(t)
	s.config.KeepaliveInterval, s.config.KeepaliveCount = 100*time.Millisecond, 30
	h := s.dial(t)
	if _, err := h.Run(t.Context(), host.Command{Args: []string{"sleep", "4"}}); err != nil {
		t.Error(err)
	}
}

func TestFrozenServerDoesNotHoldUpCancel(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.config.KeepaliveInterval = time.Minute
	h := s.dial(t)
	s.signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for what, f := range map[string]func() error{
		"Run":      func() error { _, err := h.Run(ctx, host.Command{Args: []string{"true"}}); return err },
		"ReadFile": func() error { _, err := h.ReadFile(ctx, "x"); return err },
		"Dial":     func() error { _, err := h.Dial(ctx, "tcp", "127.0.0.1:1"); return err },
		"Listen":   func() error { _, err := h.Listen(ctx, "tcp", "127.0.0.1:0"); return err },
	} {
		if err := f(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want a deadline exceeded", what, err)
		}
	}
}

func TestServerDies(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	h := s.dial(t)
	p, err := h.Start(t.Context(), host.Command{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(-p.Group, syscall.SIGKILL) })
	s.signal(syscall.SIGKILL)
	_, err = p.Wait(t.Context())
	wantError[*host.LostError](t, "Wait", err)
	<-h.Lost()
	wantError[*host.LostError](t, "Err", h.Err())
}
