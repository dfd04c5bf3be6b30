// SPDX-License-Identifier: Apache-2.0

package guestd

import (
	"context"
	"crypto/ed25519"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

// What is offered. The client's order decides; the first of each list is the
// cheapest under TCG. What counts there is less the arithmetic than how much
// code a login runs for the first time after a migration, since the new QEMU
// has none of it translated: with these two 290 ms of its CPU, with the others
// 350 and more; a second login takes 60.
var (
	keyExchanges = []string{gossh.KeyExchangeCurve25519, gossh.KeyExchangeECDHP256}
	ciphers      = []string{gossh.CipherChaCha20Poly1305, gossh.CipherAES128GCM, gossh.CipherAES128CTR}
)

// defaultPassword is also what /etc/shadow in the image holds.
const defaultPassword = "mhmig"

// serve accepts SSH logins until the listener fails.
func serve() error {
	if err := seedRandom(); err != nil {
		return err
	}
	key, err := os.ReadFile(HostKeyFile)
	if err != nil {
		return err
	}
	if len(key) != ed25519.PrivateKeySize {
		return fmt.Errorf("%s: got %d bytes, want %d", HostKeyFile, len(key), ed25519.PrivateKeySize)
	}
	signer, err := gossh.NewSignerFromKey(ed25519.PrivateKey(key))
	if err != nil {
		return err
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	want := password(string(cmdline))
	server := &ssh.Server{
		Addr:        ":22",
		Version:     "mhmig-jeos",
		HostSigners: []ssh.Signer{signer},
		Handler:     handleSession,
		PasswordHandler: func(ctx ssh.Context, got string) bool {
			return ctx.User() == "root" && subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
		},
		ServerConfigCallback: func(ssh.Context) *gossh.ServerConfig {
			return &gossh.ServerConfig{Config: gossh.Config{KeyExchanges: keyExchanges, Ciphers: ciphers}}
		},
	}
	return server.ListenAndServe()
}

// password reads the kernel command line as /etc/rc does: the last one counts.
func password(cmdline string) string {
	password := defaultPassword
	for _, word := range strings.Fields(cmdline) {
		if value, ok := strings.CutPrefix(word, "mhmig.password="); ok && value != "" {
			password = value
		}
	}
	return password
}

// handleSession runs a login shell, or one command, and reports how it ended.
func handleSession(s ssh.Session) {
	cmd := exec.Command("/bin/sh")
	cmd.Args = []string{"-sh"}
	if command := s.RawCommand(); command != "" {
		cmd.Args = []string{"sh", "-c", command}
	}
	cmd.Dir = "/root"
	cmd.Env = append([]string{"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "PATH=/bin:/sbin"}, s.Environ()...)
	run := runPiped
	if pty, _, ok := s.Pty(); ok {
		cmd.Env = append(cmd.Env, "TERM="+pty.Term)
		run = runOnTerminal
	}
	err := run(s, cmd)
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		_ = s.Exit(0)
	case errors.As(err, &exit) && exit.Exited():
		_ = s.Exit(exit.ExitCode())
	case errors.As(err, &exit):
		_ = s.Exit(128 + int(exit.Sys().(syscall.WaitStatus).Signal()))
	default:
		fmt.Fprintln(s.Stderr(), "guestd:", err)
		_ = s.Exit(255)
	}
}

// runPiped runs cmd without a terminal. It returns when cmd has ended, even
// if a background child of it still holds the output open.
func runPiped(s ssh.Session, cmd *exec.Cmd) error {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = s, s.Stderr()
	cmd.WaitDelay = 100 * time.Millisecond
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { // ends with the session's input, at the latest when it is closed
		_, _ = io.Copy(stdin, s)
		_ = stdin.Close()
	}()
	return cmd.Wait()
}

// runOnTerminal runs cmd on a pseudo terminal of its own. The terminal is hung
// up when cmd has ended or the connection is lost.
func runOnTerminal(s ssh.Session, cmd *exec.Cmd) error {
	master, slave, err := openTerminal()
	if err != nil {
		return err
	}
	defer master.Close()
	stop := context.AfterFunc(s.Context(), func() { master.Close() })
	defer stop()

	pty, resized, _ := s.Pty()
	_ = resize(master, pty.Window)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	slave.Close()
	if err != nil {
		return err
	}
	go func() { // ends with the session
		for window := range resized {
			_ = resize(master, window)
		}
	}()
	go func() { // ends with the session's input, at the latest when it is closed
		_, _ = io.Copy(master, s)
		_, _ = master.Write([]byte{endOfTransmission})
	}()
	_, _ = io.Copy(s, master) // ends when the last user of the slave has gone
	return cmd.Wait()
}

// endOfTransmission is ^D, a terminal's end of input.
const endOfTransmission = 4
