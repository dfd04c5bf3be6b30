// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/mhmig/mhmig/runtime/host"
)

func TestMain(m *testing.M) {
	if config, ok := os.LookupEnv(controllerEnv); ok {
		if err := controller(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// server is a real OpenSSH server on loopback. It runs in inetd mode, one sshd
// for each connection that the test accepts: so there is no port to guess.
type server struct {
	dir      string
	address  string
	port     int
	hostKey  keyPair
	userKey  keyPair
	config   host.Config // that reaches it
	listener net.Listener

	mu    sync.Mutex // guards what follows
	sshds []*exec.Cmd
}

type keyPair struct {
	file   string // of the private key
	signer ssh.Signer
}

func newKey(t testing.TB, file, passphrase string) keyPair {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "mhmig test")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "mhmig test", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, string(pem.EncodeToMemory(block)))
	return keyPair{file, signer}
}

func (k keyPair) line() string { return string(ssh.MarshalAuthorizedKey(k.signer.PublicKey())) }

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startServer starts sshd with further lines for its configuration.
func startServer(t testing.TB, lines ...string) *server {
	t.Helper()
	const sshd = "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: no OpenSSH server here (package openssh-server): %v", err)
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // sshd of root insists on it
			t.Fatal(err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{dir: t.TempDir()}
	s.hostKey = newKey(t, filepath.Join(s.dir, "host_key"), "")
	s.userKey = newKey(t, filepath.Join(s.dir, "user_key"), "")
	writeFile(t, filepath.Join(s.dir, "authorized_keys"), s.userKey.line())
	writeFile(t, filepath.Join(s.dir, "sshd_config"), strings.Join(append(lines,
		"HostKey "+s.hostKey.file,
		"AuthorizedKeysFile "+filepath.Join(s.dir, "authorized_keys"),
		"StrictModes no",
		"UsePAM no",
		"UseDNS no",
		"PermitRootLogin prohibit-password",
		"PasswordAuthentication no",
		"PidFile none",
		"SetEnv HOME="+s.dir, // the login shell must not run this user's files
		"Subsystem sftp internal-sftp",
		""), "\n"))

	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.port = s.listener.Addr().(*net.TCPAddr).Port
	s.address = s.listener.Addr().String()
	known := filepath.Join(s.dir, "known_hosts")
	writeFile(t, known, fmt.Sprintf("[127.0.0.1]:%d %s", s.port, s.hostKey.line()))
	s.config = host.Config{
		Name: "host1", Address: "127.0.0.1", Port: s.port, User: me.Username,
		IdentityFiles: []string{s.userKey.file}, KnownHostsFiles: []string{known},
	}

	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.serve(t, sshd, conn.(*net.TCPConn))
		}
	})
	t.Cleanup(func() {
		s.listener.Close()
		accepting.Wait()
		s.signal(syscall.SIGKILL)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, cmd := range s.sshds {
			cmd.Wait() // its status is SIGKILL's
		}
	})
	return s
}

func (s *server) serve(t testing.TB, sshd string, conn *net.TCPConn) {
	defer conn.Close()
	socket, err := conn.File()
	if err != nil {
		t.Error(err)
		return
	}
	defer socket.Close()
	cmd := exec.Command(sshd, "-i", "-f", filepath.Join(s.dir, "sshd_config"), "-E", filepath.Join(s.dir, "log"))
	cmd.Stdin, cmd.Stdout = socket, socket
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sshds = append(s.sshds, cmd)
}

// signal sends a signal to all sshd of s, but not to the commands they run.
func (s *server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cmd := range s.sshds {
		syscall.Kill(-cmd.Process.Pid, sig) // fails if it has ended
	}
}

// connections returns how many connections were made.
func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sshds)
}

// dial connects to s and closes at the test's end.
func (s *server) dial(t testing.TB) *host.Host {
	t.Helper()
	return dial(t, s.config)
}

func dial(t testing.TB, c host.Config) *host.Host {
	t.Helper()
	h, err := host.Dial(t.Context(), c, quiet())
	if err != nil {
		t.Fatalf("Dial(%s): %v", c.Name, err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("Close(%s): %v", c.Name, err)
		}
	})
	return h
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// wantError returns err as an E, or fails the test.
func wantError[E error](t *testing.T, what string, err error) E {
	t.Helper()
	typed, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("%s: got error %T %v, want %T", what, err, err, typed)
	}
	return typed
}

// wantText checks that a message says all of parts.
func wantText(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// poll waits for a condition that nothing tells us of.
func poll(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited 10 s for: %s", what)
		case <-ticker.C:
		}
	}
}

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
