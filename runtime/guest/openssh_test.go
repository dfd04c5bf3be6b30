// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/host"
)

// keyPair returns a private key as PEM and its public half for authorized_keys.
func keyPair(t *testing.T) (private, public []byte) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(sshPublic)
}

// dialOpenSSH starts the real server for one connection, as the user of the
// test, who is let in by the key authorized.
func dialOpenSSH(t *testing.T, authorized []byte) net.Conn {
	t.Helper()
	sshd := "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("no sshd is installed")
	}
	if _, err := os.Stat("/run/sshd"); err != nil && os.Getuid() == 0 {
		t.Skip("as root, sshd needs the folder /run/sshd")
	}
	dir := t.TempDir()
	hostKey, _ := keyPair(t)
	// The login shell must not run this user's files.
	config := fmt.Sprintf("HostKey %[1]s/host_key\nAuthorizedKeysFile %[1]s/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nSetEnv HOME=%[1]s\n", dir)
	for name, data := range map[string][]byte{"host_key": hostKey, "authorized": authorized, "config": []byte(config)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(ends[0]), "near"), os.NewFile(uintptr(ends[1]), "far")
	conn, err := net.FileConn(near)
	_ = near.Close()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sshd, "-i", "-e", "-f", filepath.Join(dir, "config"))
	cmd.Stdin, cmd.Stdout = far, far
	log := &lockedBuffer{}
	cmd.Stderr, cmd.WaitDelay = log, 5*time.Second
	err = cmd.Start()
	_ = far.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close() // ends the server
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", log)
		}
	})
	return conn
}

func TestOpenSSH(t *testing.T) {
	t.Parallel()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	private, public := keyPair(t)
	s, err := guest.SSH(t.Context(), dialOpenSSH(t, public), guest.Credentials{Username: me.Username, Key: host.Secret(private)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// Bytes as they are, the terminal's Ctrl-C, and a shell with line editing.
	for command, want := range map[string]string{`printf 'a\r\nb\tc\n'`: "a\r\nb\tc\n", "cat <<X\na\tb\nX": "a\tb\n"} {
		if out, err := s.Cmd(t.Context(), command, 0); err != nil || out != want {
			t.Errorf("Cmd(%q): got %q, %v, want %q", command, out, err, want)
		}
	}
	_, err = s.Cmd(t.Context(), "sleep 30", 300*time.Millisecond)
	if timeout, ok := errors.AsType[*guest.TimeoutError](err); !ok || !timeout.Usable {
		t.Errorf("got %v, want a TimeoutError and a usable session", err)
	}

	other, _ := keyPair(t)
	_, err = guest.SSH(t.Context(), dialOpenSSH(t, public), guest.Credentials{Username: me.Username, Key: host.Secret(other)})
	if !errors.Is(err, guest.ErrRefused) {
		t.Errorf("another key: got %v, want ErrRefused", err)
	}
}
