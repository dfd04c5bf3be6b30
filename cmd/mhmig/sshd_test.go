// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

const sshdProgram = "/usr/sbin/sshd"

// scriptSSHD is the command sshd NAME: a real OpenSSH server on a loopback address
// of its own. $HOME/.ssh gets all that is needed to log in: a line for NAME in
// config, its key in known_hosts, and one key for all servers, id_ed25519. The
// variable NAME_PORT is the server's port, NAME_ADDRESS its address.
//
// The server runs in inetd mode, one sshd for each connection that the test
// accepts: so there is no port to guess.
func scriptSSHD(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sshd NAME")
	}
	name, ssh := args[0], filepath.Join(ts.Getenv("HOME"), ".ssh")
	dir := ts.MkAbs("sshd-" + name)
	ts.Check(os.Mkdir(dir, 0o700))
	if os.Getuid() == 0 {
		ts.Check(os.MkdirAll("/run/sshd", 0o755)) // sshd of root insists on it
	}
	userKey, hostKey := filepath.Join(ssh, "id_ed25519"), filepath.Join(dir, "key")
	if _, err := os.Stat(userKey); err != nil {
		makeKey(ts, userKey)
	}
	makeKey(ts, hostKey)
	config := filepath.Join(dir, "config")
	ts.Check(os.WriteFile(config, []byte(strings.Join([]string{
		"HostKey " + hostKey,
		"AuthorizedKeysFile " + filepath.Join(dir, "authorized_keys"),
		"StrictModes no",
		"UsePAM no",
		"UseDNS no",
		"PermitRootLogin prohibit-password",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"PidFile none",
		"MaxSessions 200",
		"SetEnv HOME=" + dir,
		"Subsystem sftp internal-sftp",
		"",
	}, "\n")), 0o600))
	copyFile(ts, userKey+".pub", filepath.Join(dir, "authorized_keys"))

	address := fmt.Sprintf("127.0.0.%d", 2+strings.Count(readIfThere(filepath.Join(ssh, "config")), "Host "))
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	ts.Check(err)
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	ts.Setenv(name+"_PORT", port)
	ts.Setenv(name+"_ADDRESS", address)
	appendFile(ts, filepath.Join(ssh, "config"), fmt.Sprintf("Host %s\n\tHostName %s\n\tPort %s\n", name, address, port))
	appendFile(ts, filepath.Join(ssh, "known_hosts"), fmt.Sprintf("[%s]:%s %s", address, port, ts.ReadFile(hostKey+".pub")))

	s := &sshServer{config: config, log: filepath.Join(dir, "log")}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if err := s.serve(conn.(*net.TCPConn)); err != nil {
				ts.Logf("%s: %v", name, err)
			}
		}
	})
	ts.Defer(func() {
		listener.Close()
		accepting.Wait()
		s.end()
	})
}

type sshServer struct {
	config, log string

	mu    sync.Mutex // guards what follows
	sshds []*exec.Cmd
}

func (s *sshServer) serve(conn *net.TCPConn) error {
	defer conn.Close()
	socket, err := conn.File()
	if err != nil {
		return err
	}
	defer socket.Close()
	sshd := exec.Command(sshdProgram, "-i", "-f", s.config, "-E", s.log)
	sshd.Stdin, sshd.Stdout = socket, socket
	sshd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := sshd.Start(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sshds = append(s.sshds, sshd)
	return nil
}

func (s *sshServer) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sshd := range s.sshds {
		_ = syscall.Kill(-sshd.Process.Pid, syscall.SIGKILL) // fails if it has ended
		_ = sshd.Wait()                                      // its status is SIGKILL's
	}
}

func makeKey(ts *testscript.TestScript, file string) {
	ts.Check(ts.Exec("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file))
}

func copyFile(ts *testscript.TestScript, from, to string) {
	ts.Check(os.WriteFile(to, []byte(ts.ReadFile(from)), 0o600))
}

func appendFile(ts *testscript.TestScript, name, text string) {
	ts.Check(os.WriteFile(name, []byte(readIfThere(name)+text), 0o600))
}

func readIfThere(name string) string {
	text, _ := os.ReadFile(name) // none: ""
	return string(text)
}
