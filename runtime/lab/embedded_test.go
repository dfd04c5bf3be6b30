// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/lab"
)

// sshProgram returns a call of OpenSSH's client for the lab's hosts.
func sshProgram(t *testing.T, l *lab.Lab, program string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("NOT TESTED: %s with the lab, as it is not installed", program)
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"-F", l.State().SSHConfig()}, args...)...)
	cmd.Stderr = t.Output()
	return cmd
}

func TestOpenSSHCommand(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		l := start(t, kind, 1)
		much := strings.Repeat("0123456789abcdef", 1<<16)
		for _, test := range []struct {
			name, command, stdin   string
			wantStdout, wantStderr string
			wantStatus             int
		}{
			{"outputs", "echo out; echo err >&2", "", "out\n", "err\n", 0},
			{"status", "exit 7", "", "", "", 7},
			{"signal", "kill -TERM $$", "", "", "", 255},
			{"not found", "no-such-command 2>/dev/null", "", "", "", 127},
			{"input", "cat", much, much, "", 0},
			{"input that nobody reads", "exec <&-; echo done", much, "done\n", "", 0},
			{"input is closed", "cat >/dev/null; echo end", "some", "end\n", "", 0},
			{"background", "(sleep 0.3; echo late) & echo early", "", "early\nlate\n", "", 0},
			{"shell", "", "echo $((6 * 7))\nexit 3\n", "42\n", "", 3},
		} {
			t.Run(test.name, func(t *testing.T) {
				args := []string{"-T", "host1"}
				if test.command != "" {
					args = append(args, test.command)
				}
				cmd := sshProgram(t, l, "ssh", args...)
				var stdout, stderr bytes.Buffer
				cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(test.stdin), &stdout, &stderr
				if err := cmd.Run(); cmd.ProcessState == nil {
					t.Fatal(err)
				}
				if got := cmd.ProcessState.ExitCode(); got != test.wantStatus {
					t.Errorf("got status %d, want %d; stderr %q", got, test.wantStatus, &stderr)
				}
				if stdout.String() != test.wantStdout {
					t.Errorf("stdout: got %d bytes %.80q, want %d bytes %.80q", stdout.Len(), &stdout, len(test.wantStdout), test.wantStdout)
				}
				if test.wantStderr != "" && stderr.String() != test.wantStderr {
					t.Errorf("stderr: got %q, want %q", &stderr, test.wantStderr)
				}
			})
		}
	})
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET", "of the user")
	l := start(t, lab.Embedded, 1)
	cmd := sshProgram(t, l, "ssh", "-o", "SetEnv=LC_TIME=C LD_PRELOAD=evil", "host1", "env | cut -d= -f1 | sort | tr '\\n' ' '; echo $PATH; pwd")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := "HOME LC_TIME LOGNAME MHMIG_LAB MHMIG_LAB_HOST PATH PWD SHELL USER "
	names, rest, _ := strings.Cut(string(out), "/")
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(rest, "/usr/sbin") || !strings.Contains(rest, l.State().Dir+"/host1") {
		t.Errorf("PATH and home: got %s", rest)
	}
}

func TestOpenSSHForwards(t *testing.T) {
	l := start(t, lab.Embedded, 1)
	dir, err := os.MkdirTemp("/tmp", "mhmig-test-") // t.TempDir's path may be too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := func(name string) string { return filepath.Join(dir, name) }
	tcp, unixSocket := counter(t, "tcp", "127.0.0.1:0"), counter(t, "unix", path("service"))
	freePort := func() string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		return port
	}
	localPort, remotePort := freePort(), freePort()
	if err := os.WriteFile(path("remote-unix"), nil, 0o600); err != nil { // no socket: stays
		t.Fatal(err)
	}
	cmd := sshProgram(t, l, "ssh", "-N",
		"-L", path("local-tcp")+":"+tcp,
		"-L", localPort+":"+unixSocket,
		"-R", path("remote-tcp")+":"+tcp,
		"-R", remotePort+":"+unixSocket,
		"-R", path("remote-unix")+":"+unixSocket,
		"host1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for _, at := range [][2]string{
		{"unix", path("local-tcp")},
		{"tcp", "127.0.0.1:" + localPort},
		{"unix", path("remote-tcp")},
		{"tcp", "127.0.0.1:" + remotePort},
	} {
		var conn net.Conn
		eventually(t, "ssh forwards "+at[1], func() (err error) {
			conn, err = net.Dial(at[0], at[1])
			return err
		})
		wantCount(t, conn)
	}
	if info, err := os.Lstat(path("remote-unix")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("a file in a socket's place: got %v, %v, want it untouched", info, err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	eventually(t, "the server closes what it listened on", func() error {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+remotePort); err == nil {
			return errors.Join(errors.New("the port is still open"), conn.Close())
		}
		if _, err := os.Lstat(path("remote-tcp")); err == nil {
			return errors.New("the socket is still there")
		}
		return nil
	})
}

// counter serves connections: it reads to the end, and then answers how many
// bytes there were. So it answers only where the end of one way is passed on
// while the other stays open.
func counter(t *testing.T, network, address string) string {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n, _ := io.Copy(io.Discard, conn)
			fmt.Fprint(conn, n)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-served
	})
	return listener.Addr().String()
}

func wantCount(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	data := make([]byte, 3<<20)
	if _, err := conn.Write(data); err != nil {
		t.Error(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != strconv.Itoa(len(data)) {
		t.Errorf("%s: got %q, %v, want the count %d", conn.RemoteAddr(), got, err, len(data))
	}
}

// eventually tries until it works, for a minute.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestHostForwards(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		l := start(t, kind, 1)
		h := dial(t, l.Hosts()[0])
		socket := filepath.Join(l.Params()["state_dir_host1"], "s")
		for _, at := range [][2]string{{"unix", socket}, {"tcp", "127.0.0.1:0"}} {
			listener, err := h.Listen(t.Context(), at[0], at[1])
			if err != nil {
				t.Fatal(err)
			}
			far, near := make(chan net.Conn, 1), make(chan net.Conn, 1)
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					t.Error(err)
				}
				far <- conn
			}()
			go func() {
				conn, err := h.Dial(t.Context(), at[0], listener.Addr().String())
				if err != nil {
					t.Error(err)
				}
				near <- conn
			}()
			a, b := <-far, <-near
			if _, err := io.WriteString(a, "hello"); err != nil {
				t.Error(err)
			}
			a.Close()
			if got, err := io.ReadAll(b); string(got) != "hello" {
				t.Errorf("%s: got %q, %v, want hello", at, got, err)
			}
			b.Close()
			address := listener.Addr().String()
			listener.Close()
			if conn, err := h.Dial(t.Context(), at[0], address); err == nil {
				t.Errorf("%s: cancelled, but still open", at)
				conn.Close()
			}
		}
		if _, err := h.Dial(t.Context(), "unix", "/no/such/socket"); err == nil {
			t.Error("dial of a socket that is not there: got no error")
		}
	})
}

func TestFiles(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		l := start(t, kind, 1)
		h := dial(t, l.Hosts()[0])
		data := make([]byte, 3<<20+7)
		rand.Read(data)
		if err := h.WriteFile(t.Context(), "data", data, 0o640); err != nil {
			t.Fatal(err)
		}
		if got := run(t, h, "stat -c '%a %s' ~/data"); got != fmt.Sprintf("640 %d", len(data)) {
			t.Errorf("got %s", got)
		}
		local := t.TempDir()
		cmd := sshProgram(t, l, "sftp", "-q", "-b", "-", "host1")
		cmd.Stdin = strings.NewReader("get data " + local + "/back\nmkdir sub\nput " + local + "/back sub/again\nls sub\n")
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), "sub/again") {
			t.Errorf("sftp: got %q, %v", out, err)
		}
		back, err := os.ReadFile(filepath.Join(local, "back"))
		if err != nil || !bytes.Equal(back, data) {
			t.Errorf("got %d bytes back, %v, want the %d sent", len(back), err, len(data))
		}
		if got := run(t, h, "cmp data sub/again && echo same"); got != "same" {
			t.Errorf("got %s", got)
		}
	})
}

// TestLostClient: a command dies with its client, but what has detached itself
// lives on, as on any host; it dies with the lab.
func TestLostClient(t *testing.T) {
	l := start(t, lab.Embedded, 1)
	cmd := sshProgram(t, l, "ssh", "host1", daemon+" (trap '' HUP TERM; sleep 2000) & sleep 2000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscanln(out, &pid); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "only the daemon is left", func() error {
		if left := processesOf(t, l.State().ID); len(left) != 1 || !strings.HasPrefix(left[0], fmt.Sprintf("/proc/%d ", pid)) {
			return fmt.Errorf("got %q", left)
		}
		return nil
	})
	other := start(t, lab.Embedded, 1)
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if left := processesOf(t, l.State().ID); len(left) != 1 {
		t.Errorf("after the end of another lab: got %q, want the daemon", left)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if left := processesOf(t, l.State().ID); len(left) != 0 {
		t.Errorf("got %q, want nothing", left)
	}
}

func TestCloseEndsConnections(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		l := start(t, kind, 1)
		h := dial(t, l.Hosts()[0])
		p, err := h.Start(t.Context(), host.Command{Script: "trap '' HUP TERM INT; sleep 3000"})
		if err != nil {
			t.Fatal(err)
		}
		// One that has not logged in yet.
		silent, err := net.Dial("tcp", net.JoinHostPort(l.Hosts()[0].Address, strconv.Itoa(l.Hosts()[0].Port)))
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wantNothingLeft(t, l.State())
		if kind == lab.Netns {
			return // a power cut: the peer is not told
		}
		<-h.Lost()
		if _, err := p.Wait(t.Context()); err == nil {
			t.Error("the command: got no error")
		}
	})
}

func TestWhoMayLogIn(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		l := start(t, kind, 2)
		good := l.Hosts()[0]
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			t.Fatal(err)
		}
		otherKey := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(otherKey, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			name   string
			change func(c *host.Config)
		}{
			{"other key", func(c *host.Config) { c.IdentityFiles = []string{otherKey} }},
			{"no key", func(c *host.Config) { c.IdentityFiles = nil }},
			{"password", func(c *host.Config) { c.IdentityFiles, c.Password = nil, "root" }},
			{"other user", func(c *host.Config) { c.User = "daemon" }},
			{"other host's key", func(c *host.Config) { c.HostKeyAlias = "unknown" }},
		} {
			t.Run(test.name, func(t *testing.T) {
				c := good
				test.change(&c)
				h, err := host.Dial(t.Context(), c, discard)
				if err == nil {
					h.Close()
					t.Fatal("got in")
				}
				t.Log(err)
			})
		}
		dial(t, good)
	})
}
