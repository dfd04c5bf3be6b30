// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/guest"
)

func console(t *testing.T, g *fakeGuest) (*guest.Console, *lockedBuffer) {
	t.Helper()
	log := &lockedBuffer{}
	c := guest.NewConsole(g.dialSerial(t), log)
	t.Cleanup(func() {
		_ = c.Close()
		if t.Failed() {
			t.Logf("console:\n%s", log)
		}
	})
	return c, log
}

func login(t *testing.T, c *guest.Console, cred guest.Credentials) *guest.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := c.Login(ctx, cred)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSerialLogin(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		guest fakeGuest
		cred  guest.Credentials
	}{
		{name: "name and password", cred: rightCredentials},
		{name: "name only", guest: fakeGuest{noPassword: true}},
		{name: "logged in already", guest: fakeGuest{loggedIn: true}},
		{name: "slow line", guest: fakeGuest{slow: true}, cred: rightCredentials},
		{name: "odd prompt", guest: fakeGuest{prompt: "ready> "}, cred: guest.Credentials{Password: fakePassword, Prompt: regexp.MustCompile(`ready> $`)}},
		{name: "coloured prompt", guest: fakeGuest{prompt: "\x1b[01;32mroot@guest\x1b[00m:/# \x1b[6n"}, cred: rightCredentials},
		{name: "boot messages that look like prompts", guest: fakeGuest{banner: "Booting\r\nloading ####\r\nprice: 5$ \r\n" + kernelLine}, cred: rightCredentials},
	}
	for _, tt := range tests {
		for name, argv := range shells(t) {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				g := tt.guest
				g.argv = argv
				c, log := console(t, &g)
				s := login(t, c, tt.cred)
				if out, err := s.Cmd(t.Context(), "echo hello; cd /tmp", 0); err != nil || out != "hello\n" {
					t.Errorf("Cmd: got %q, %v", out, err)
				}
				if strings.Contains(log.String(), fakePassword) {
					t.Error("the password is in the log")
				}
				// A second login takes the shell over, and finds it as it was left.
				second := login(t, c, tt.cred)
				if out, err := second.Cmd(t.Context(), "pwd", 0); err != nil || out != "/tmp\n" {
					t.Errorf("second session: got %q, %v", out, err)
				}
				if _, err := s.Cmd(t.Context(), "true", 0); !errors.Is(err, guest.ErrEnded) || !strings.Contains(err.Error(), "took the serial console over") {
					t.Errorf("first session: got %v, want that it was taken over", err)
				}
				if got := c.Tail(3); strings.Contains(got, "\x1b") || strings.Count(got, "\n") > 2 {
					t.Errorf("Tail(3): got %q", got)
				}
			})
		}
	}
}

// TestSerialLoginAgain: after Close, and after the shell has gone.
func TestSerialLoginAgain(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	c, _ := console(t, &fakeGuest{argv: []string{"sh"}})
	s := login(t, c, rightCredentials)
	_ = s.Close()
	s = login(t, c, rightCredentials)
	// The line cannot tell that the shell has gone: the command runs out of time.
	if _, err := s.Cmd(t.Context(), "exit", time.Second); err == nil {
		t.Error("exit: got no error")
	}
	s = login(t, c, rightCredentials)
	if out, err := s.Cmd(t.Context(), "echo back", 0); err != nil || out != "back\n" {
		t.Errorf("got %q, %v", out, err)
	}
	// A session that left a command behind.
	if err := s.Sendline(t.Context(), "sleep 60"); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	s = login(t, c, rightCredentials)
	if out, err := s.Cmd(t.Context(), "echo back", 0); err != nil || out != "back\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestSerialNoise: kernel messages anywhere, in prompts and markers too.
func TestSerialNoise(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	for name, argv := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := console(t, &fakeGuest{argv: argv, noise: true})
			s := login(t, c, rightCredentials)
			good := 0
			const commands = 20
			for i := range commands {
				status, out, err := s.CmdStatusOutput(t.Context(), fmt.Sprintf("echo word%d; (exit %d)", i, i), 3*time.Second)
				if err == nil && status != i {
					t.Fatalf("command %d: got status %d, output %q", i, status, out)
				}
				if err == nil {
					good++
				}
			}
			// The noise is far denser than a kernel's: both copies of a marker
			// may break, now and then. Then it is a timeout, never a lie.
			if good < commands*3/4 {
				t.Errorf("%d of %d commands were understood", good, commands)
			}
		})
	}
}

func TestSerialRefused(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	for _, g := range []fakeGuest{{}, {slow: true}} {
		g.argv = []string{"sh"}
		c, _ := console(t, &g)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Login(ctx, guest.Credentials{Password: "wrong"})
		if !errors.Is(err, guest.ErrRefused) || !strings.Contains(err.Error(), "Login incorrect") {
			t.Errorf("got %v, want ErrRefused", err)
		}
		s := login(t, c, rightCredentials) // the console can be used
		if _, err := s.Cmd(t.Context(), "true", 0); err != nil {
			t.Error(err)
		}
	}
}

func TestSerialNeverBoots(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	c := guest.NewConsole(near, brokenWriter{}) // a full disk must not matter
	defer c.Close()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	if _, err := io.WriteString(far, "SeaBIOS\r\nBooting from Hard Disk...\r\n\x1b[31mNo bootable device.\x1b[0m\r\n"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, errors.New("login_timeout (500ms) passed"))
	defer cancel()
	_, err := c.Login(ctx, rightCredentials)
	want := "serial login as root: login_timeout (500ms) passed (waiting for a login prompt); the console's last lines:\n" +
		"SeaBIOS\nBooting from Hard Disk...\nNo bootable device."
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestSerialStreamEnds(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	c := guest.NewConsole(near, nil)
	defer c.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := c.Login(t.Context(), rightCredentials)
		ended <- err
	}()
	if _, err := far.Read(make([]byte, 1)); err != nil { // the login has begun
		t.Fatal(err)
	}
	if c.Err() != nil {
		t.Errorf("Err while it is open: %v", c.Err())
	}
	_ = far.Close()
	if err := <-ended; err == nil || errors.Is(err, guest.ErrRefused) || !strings.Contains(err.Error(), "stream ended") {
		t.Errorf("login: got %v, want that the stream ended", err)
	}
	<-c.Done()
	if c.Err() == nil {
		t.Error("Err: got nil")
	}
	if _, err := c.Login(t.Context(), rightCredentials); err == nil {
		t.Error("login on a console that has ended: got no error")
	}
}

func TestConsoleClose(t *testing.T) {
	t.Parallel()
	c, _ := console(t, &fakeGuest{argv: []string{"sh"}})
	s := login(t, c, rightCredentials)
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := s.Cmd(t.Context(), "true", 0); !errors.Is(err, guest.ErrEnded) {
		t.Errorf("Cmd on a closed console: got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// TestConsoleLog: everything goes to the log, and the tail is bounded.
func TestConsoleLog(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	log := &lockedBuffer{}
	c := guest.NewConsole(near, log)
	var want strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&want, "line %d\r\n\r\n", i)
	}
	if _, err := io.WriteString(far, want.String()); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	<-c.Done()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if log.String() != want.String() {
		t.Errorf("log: got %d bytes, want %d", len(log.String()), want.Len())
	}
	if got := c.Tail(2); got != "line 19998\nline 19999" {
		t.Errorf("Tail(2): got %q", got)
	}
	if got := len(c.Tail(1 << 20)); got > 64<<10 {
		t.Errorf("Tail of all: got %d bytes", got)
	}
}
