// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	gliderssh "github.com/gliderlabs/ssh"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // the tests wait more than they compute
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const (
	fakePassword = "let me in"
	kernelLine   = "[   12.345678] random: crng init done\r\n"
)

// shells are the shells of fake guests that are installed here.
func shells(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for name, argv := range map[string][]string{
		"dash":    {"dash"},
		"bash":    {"bash", "--norc"},
		"busybox": {"busybox", "sh"},
	} {
		if _, err := exec.LookPath(argv[0]); err == nil {
			found[name] = argv
		} else {
			t.Logf("%s is not installed: not tested", argv[0])
		}
	}
	if len(found) == 0 {
		t.Skip("no shell is installed")
	}
	return found
}

// forEachShell runs the test in each installed shell, by SSH and on a console.
func forEachShell(t *testing.T, test func(t *testing.T, g *fakeGuest, transport string)) {
	for name, argv := range shells(t) {
		for _, transport := range []string{"ssh", "ssh without terminal", "serial"} {
			t.Run(name+"/"+transport, func(t *testing.T) {
				t.Parallel()
				g := &fakeGuest{argv: argv, noTerminal: transport == "ssh without terminal"}
				test(t, g, strings.Fields(transport)[0])
			})
		}
	}
}

// fakeGuest is a real shell that is reached as a guest's is.
type fakeGuest struct {
	argv       []string
	noTerminal bool // SSH: refuse a pty
	loggedIn   bool // serial: begin in a shell
	noPassword bool // serial: ask for the name only
	noise      bool // serial: kernel messages anywhere in the output
	slow       bool // serial: one byte at a time
	banner     string
	prompt     string
}

// startShell starts the shell on a new terminal; it dies with the test.
func (g *fakeGuest) startShell(t *testing.T) (*exec.Cmd, *os.File, error) {
	cmd := g.command(t)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	return cmd, terminal, err
}

func (g *fakeGuest) command(t *testing.T) *exec.Cmd {
	cmd := exec.Command(g.argv[0], g.argv[1:]...)
	prompt := g.prompt
	if prompt == "" {
		prompt = "root@guest:~# "
	}
	cmd.Env = append(os.Environ(), "PS1="+prompt, "ENV=", "HISTFILE=/dev/null", "LC_ALL=C", "TERM=vt100", "HOME="+t.TempDir())
	cmd.Dir = "/"
	return cmd
}

// kill ends the shell and all that runs in its session, whose id is the
// shell's, also when the shell has gone.
func kill(cmd *exec.Cmd) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		data, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if len(fields) > 3 && fields[3] == strconv.Itoa(cmd.Process.Pid) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat))); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

// dialSSH starts an SSH server with the shell behind it and connects to it.
func (g *fakeGuest) dialSSH(t *testing.T, configure ...func(*ssh.ServerConfig)) net.Conn {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	server := &gliderssh.Server{
		Handler:         func(s gliderssh.Session) { g.serveSSH(t, s) },
		PasswordHandler: func(_ gliderssh.Context, password string) bool { return password == fakePassword },
		PtyCallback:     func(gliderssh.Context, gliderssh.Pty) bool { return !g.noTerminal },
		HostSigners:     []gliderssh.Signer{signer},
		ServerConfigCallback: func(gliderssh.Context) *ssh.ServerConfig {
			c := &ssh.ServerConfig{}
			for _, f := range configure {
				f(c)
			}
			return c
		},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		_ = l.Close() // Serve may not have begun
		serving.Wait()
	})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (g *fakeGuest) serveSSH(t *testing.T, s gliderssh.Session) {
	_, _ = io.WriteString(s, g.banner)
	var copying sync.WaitGroup
	defer copying.Wait()
	if _, _, isPty := s.Pty(); !isPty {
		cmd := g.command(t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Error(err)
			return
		}
		cmd.Stdout, cmd.Stderr, cmd.WaitDelay = s, s, time.Second
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return
		}
		copying.Go(func() { _, _ = io.Copy(stdin, s); _ = stdin.Close(); kill(cmd) })
		_ = cmd.Wait()
		_ = s.Exit(cmd.ProcessState.ExitCode())
		return
	}
	cmd, terminal, err := g.startShell(t)
	if err != nil {
		t.Error(err)
		return
	}
	copying.Go(func() { _, _ = io.Copy(terminal, s); kill(cmd); _ = terminal.Close() })
	// Not to s itself: its Write makes CR LF of LF, which a terminal does or not.
	_, _ = io.Copy(s.Stderr(), terminal)
	_ = cmd.Wait()
	_ = s.Exit(cmd.ProcessState.ExitCode())
}

// dialSerial starts a machine whose serial line ends in the returned
// connection: a getty, then the shell, then the getty again.
func (g *fakeGuest) dialSerial(t *testing.T) net.Conn {
	t.Helper()
	near, far := net.Pipe()
	var running sync.WaitGroup
	running.Go(func() {
		defer far.Close()
		g.serveSerial(t, far)
	})
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
		running.Wait()
	})
	return near
}

func (g *fakeGuest) serveSerial(t *testing.T, line net.Conn) {
	out := io.Writer(line)
	if g.slow {
		out = slowWriter{out}
	}
	if g.noise {
		out = &noisyWriter{w: out, random: mrand.New(mrand.NewPCG(1, 2))}
	}
	in := bufio.NewReader(line)
	_, _ = io.WriteString(out, g.banner)
	for {
		if !g.loggedIn && !g.getty(in, out) {
			return
		}
		g.loggedIn = false
		if err := g.serialShell(t, in, out); err != nil {
			return
		}
	}
}

// getty lets root in; false is the end of the line.
func (g *fakeGuest) getty(in *bufio.Reader, out io.Writer) bool {
	for {
		_, _ = io.WriteString(out, "\r\nDebian GNU/Linux 12 guest ttyS0\r\n\r\nguest login: ")
		name, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		_, _ = io.WriteString(out, strings.TrimSpace(name)+"\r\n")
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if name == "root" && g.noPassword {
			return true
		}
		_, _ = io.WriteString(out, "Password: ")
		password, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		_, _ = io.WriteString(out, "\r\n")
		if name == "root" && password == fakePassword+"\n" {
			_, _ = io.WriteString(out, "Last login: Mon Nov 23 20:00:00 UTC 2026 on ttyS0\r\n")
			return true
		}
		_, _ = io.WriteString(out, "\r\nLogin incorrect\r\n")
	}
}

// serialShell runs the shell until it or the line ends; an error is the line's.
func (g *fakeGuest) serialShell(t *testing.T, in *bufio.Reader, out io.Writer) error {
	cmd, terminal, err := g.startShell(t)
	if err != nil {
		t.Error(err)
		return err
	}
	var typing sync.WaitGroup
	var lineErr error
	ended := make(chan struct{})
	typing.Go(func() {
		for {
			b, err := in.ReadByte()
			if err != nil {
				lineErr = err
				kill(cmd)
				return
			}
			select {
			case <-ended:
				_ = in.UnreadByte()
				return
			default:
				_, _ = terminal.Write([]byte{b})
			}
		}
	})
	_, _ = io.Copy(out, terminal)
	close(ended)
	kill(cmd)
	_ = cmd.Wait()
	_ = terminal.Close()
	_, _ = io.WriteString(out, "\r\n")
	typing.Wait() // the next key belongs to the getty
	return lineErr
}

// slowWriter writes single bytes.
type slowWriter struct{ w io.Writer }

func (s slowWriter) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := s.w.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// noisyWriter puts kernel messages anywhere into the output.
type noisyWriter struct {
	w      io.Writer
	random *mrand.Rand
}

func (n *noisyWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		piece := min(len(p), 1+n.random.IntN(120))
		if _, err := n.w.Write(p[:piece]); err != nil {
			return written, err
		}
		written += piece
		p = p[piece:]
		if n.random.IntN(3) == 0 {
			if _, err := io.WriteString(n.w, kernelLine); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// lockedBuffer is a log that two goroutines may use.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ddNamed copies dd to a name that no other process has, so that killall meets
// only ours, and returns the name and its folder.
func ddNamed(t *testing.T) (name, dir string) {
	t.Helper()
	path, err := exec.LookPath("dd")
	if err != nil {
		t.Skip("no dd")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	name = fmt.Sprintf("mhdd%d", mrand.IntN(1e9))
	if err := os.WriteFile(dir+"/"+name, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("killall"); err != nil {
		busybox, err := exec.LookPath("busybox")
		if err != nil {
			t.Skip("no killall")
		}
		if err := os.Symlink(busybox, dir+"/killall"); err != nil {
			t.Fatal(err)
		}
	}
	return name, dir
}

// brokenWriter is a log on a full disk.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }
