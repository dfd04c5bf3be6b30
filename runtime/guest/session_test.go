// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/host"
)

var rightCredentials = guest.Credentials{Password: fakePassword}

// open logs in; the session ends with the test.
func open(t *testing.T, g *fakeGuest, transport string) *guest.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var s *guest.Session
	var err error
	if transport == "ssh" {
		s, err = guest.SSH(ctx, g.dialSSH(t), rightCredentials)
	} else {
		log := &lockedBuffer{}
		c := guest.NewConsole(g.dialSerial(t), log)
		t.Cleanup(func() {
			_ = c.Close()
			if t.Failed() {
				t.Logf("console:\n%s", log)
			}
		})
		s, err = c.Login(ctx, rightCredentials)
	}
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestCommands(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 2000)
	tests := []struct {
		name    string
		command string
		status  int
		output  string
	}{
		{name: "line", command: "echo hello", output: "hello\n"},
		{name: "no output", command: "true"},
		{name: "no newline", command: "printf abc", output: "abc"},
		{name: "status", command: "echo out; (exit 3)", status: 3, output: "out\n"},
		{name: "stderr", command: "echo bad >&2; false", status: 1, output: "bad\n"},
		{name: "quotes", command: `echo "it's" 'a "b"' \\ '$HOME' '!x'`, output: `it's a "b" \ $HOME !x` + "\n"},
		{name: "pipe", command: "echo a b | wc -w | tr -d ' '", output: "2\n"},
		{name: "comment", command: "echo a # b", output: "a\n"},
		{name: "two lines", command: "echo a\necho b", output: "a\nb\n"},
		{name: "here document", command: "cat <<'X'\na\tb\\n\nc\nX", output: "a\tb\\n\nc\n"},
		{name: "blank lines", command: "echo; echo; echo a; echo", output: "\n\na\n\n"},
		{name: "carriage returns", command: `printf 'a\r\nb\r'`, output: "a\r\nb\r"},
		{name: "control characters", command: "printf '%s' '\x03\x04\x1b[31m\x7f'", output: "\x03\x04\x1b[31m\x7f"},
		{name: "unicode", command: "echo 'žluťoučký kůň 移行'", output: "žluťoučký kůň 移行\n"},
		{name: "long command", command: "x=" + long + "; printf %s $x | wc -c | tr -d ' '", output: "20000\n"},
		{name: "long text with newlines and quotes", command: "cat <<'X'\n" + strings.Repeat("it's\n", 1000) + "X", output: strings.Repeat("it's\n", 1000)},
		{name: "not found", command: "mhmig-no-such-command 2>/dev/null", status: 127},
		{name: "echo on again", command: "stty echo opost onlcr 2>/dev/null || :"},
		{name: "with echo", command: "echo a; echo b", output: "a\nb\n"},
		{name: "markers in the output", command: "echo '<mhe:123:0>'", output: "<mhe:123:0>\n"},
		{name: "background job", command: "sleep 0.01 & wait $! >/dev/null; :"},
	}
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		s := open(t, g, transport)
		for _, tt := range tests {
			status, out, err := s.CmdStatusOutput(t.Context(), tt.command, 20*time.Second)
			if err != nil {
				t.Fatalf("%s: CmdStatusOutput(%.80q): %v", tt.name, tt.command, err)
			}
			if tt.name == "background job" {
				continue // shells differ in what they say of jobs
			}
			if status != tt.status || out != tt.output {
				t.Errorf("%s: CmdStatusOutput(%.80q): got %d, %.200q, want %d, %.200q", tt.name, tt.command, status, out, tt.status, tt.output)
			}
		}
	})
}

func TestStateStays(t *testing.T) {
	t.Parallel()
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		s := open(t, g, transport)
		dir, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"cd " + dir, "export A=1; B=2", "f() { echo f$1; }", "sleep 60 &"} {
			if _, err := s.Cmd(t.Context(), command, 0); err != nil {
				t.Fatalf("Cmd(%q): %v", command, err)
			}
		}
		out, err := s.Cmd(t.Context(), "pwd; echo $A$B; sh -c 'echo $A$B'; f x; kill $! && echo killed", 0)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(dir+"\n12\n1\nfx\nkilled\n", out); diff != "" {
			t.Errorf("state (-want +got):\n%s", diff)
		}
	})
}

func TestFailedCommand(t *testing.T) {
	t.Parallel()
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		s := open(t, g, transport)
		out, err := s.Cmd(t.Context(), "echo oops; exit_with() { return 7; }; exit_with", 0)
		failed, ok := errors.AsType[*guest.CmdError](err)
		if !ok {
			t.Fatalf("Cmd: got %v, want a CmdError", err)
		}
		want := &guest.CmdError{Command: "echo oops; exit_with() { return 7; }; exit_with", Status: 7, Output: "oops\n"}
		if diff := cmp.Diff(want, failed); diff != "" {
			t.Errorf("CmdError (-want +got):\n%s", diff)
		}
		if out != "oops\n" {
			t.Errorf("output: got %q", out)
		}
		if got := err.Error(); !strings.Contains(got, "status 7, output: oops") {
			t.Errorf("message: got %q", got)
		}
		if out, err := s.CmdOutput(t.Context(), "echo x; false", 0); err != nil || out != "x\n" {
			t.Errorf("CmdOutput: got %q, %v", out, err)
		}
		if status, err := s.CmdStatus(t.Context(), "(exit 9)", 0); err != nil || status != 9 {
			t.Errorf("CmdStatus: got %d, %v", status, err)
		}
	})
}

func TestSyntaxErrorLeavesTheSession(t *testing.T) {
	t.Parallel()
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		s := open(t, g, transport)
		for _, command := range []string{"if", "echo 'open", "echo $(", "}", "cat <<X"} {
			status, out, err := s.CmdStatusOutput(t.Context(), command, 10*time.Second)
			if err != nil {
				t.Fatalf("CmdStatusOutput(%q): got %v, want a status", command, err)
			}
			t.Logf("%q: %d %q", command, status, out)
		}
		if out, err := s.Cmd(t.Context(), "echo still here", 0); err != nil || out != "still here\n" {
			t.Errorf("afterwards: got %q, %v", out, err)
		}
	})
}

// TestBackgroundWork is the seed's worker: sendline with a job, killall -0.
func TestBackgroundWork(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		job, dir := ddNamed(t)
		s := open(t, g, transport)
		if _, err := s.Cmd(t.Context(), "PATH="+dir+":$PATH", 0); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := s.Sendline(t.Context(), "nohup "+job+" if=/dev/zero of=/dev/null &"); err != nil {
				t.Fatal(err)
			}
			if out, err := s.Cmd(t.Context(), "killall -0 "+job, 0); err != nil {
				t.Errorf("killall -0 after sendline: %q, %v", out, err)
			}
			if _, err := s.Cmd(t.Context(), "killall -9 "+job+"; wait", 0); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := s.Cmd(t.Context(), "echo clean", 0); err != nil || !strings.HasSuffix(out, "clean\n") {
			t.Errorf("afterwards: got %q, %v", out, err)
		}
	})
}

func TestNoisyJob(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		s := open(t, g, transport)
		if err := s.Sendline(t.Context(), "while :; do echo noise; done &"); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			status, out, err := s.CmdStatusOutput(t.Context(), fmt.Sprintf("echo mark%d; (exit %d)", i, i), 20*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if status != i || !strings.Contains(out, fmt.Sprintf("mark%d\n", i)) {
				t.Errorf("command %d: got status %d and %.100q", i, status, out)
			}
		}
		if _, err := s.Cmd(t.Context(), "kill $!; wait $!; true", 20*time.Second); err != nil {
			t.Fatal(err)
		}
		if out, err := s.Cmd(t.Context(), "echo quiet", 0); err != nil || !strings.HasSuffix(out, "quiet\n") {
			t.Errorf("afterwards: got %.100q, %v", out, err)
		}
	})
}

func TestSendlineOutput(t *testing.T) {
	t.Parallel()
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		if g.noTerminal {
			t.Skip("without a terminal, the shell has read its program's input already")
		}
		s := open(t, g, transport)
		// An interactive program: the second line is its input.
		for _, line := range []string{`read answer; echo "got $answer"`, "forty-two"} {
			if err := s.Sendline(t.Context(), line); err != nil {
				t.Fatal(err)
			}
		}
		var out strings.Builder
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), "got forty-two\n"); {
			if time.Now().After(deadline) {
				t.Fatalf("Output: got %q", out.String())
			}
			out.WriteString(s.Output())
		}
		if got, err := s.Cmd(t.Context(), "echo $answer", 0); err != nil || got != "forty-two\n" {
			t.Errorf("Cmd afterwards: got %q, %v", got, err)
		}
	})
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		s := open(t, g, transport)
		end := filepath.Join(t.TempDir(), "end")
		command := "echo begun; sh -c 'until [ -e " + end + " ]; do sleep 0.1; done'; echo over"
		_, err := s.Cmd(t.Context(), command, 2*time.Second)
		if err := os.WriteFile(end, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		timeout, ok := errors.AsType[*guest.TimeoutError](err)
		if !ok {
			t.Fatalf("got %v, want a TimeoutError", err)
		}
		if timeout.Limit != 2*time.Second || timeout.Output != "begun\n" || timeout.Command != command {
			t.Errorf("got %+v", timeout)
		}
		if timeout.Usable == g.noTerminal {
			t.Errorf("usable: got %v, with no terminal %v", timeout.Usable, g.noTerminal)
		}
		for _, word := range []string{"echo begun; sh -c", "2s", "output: begun"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("message %q: want %q in it", err, word)
			}
		}
		if out, err := s.Cmd(t.Context(), "echo again", time.Minute); err != nil || out != "again\n" {
			t.Errorf("afterwards: got %q, %v", out, err)
		}
	})
}

// A program may take the first Ctrl-C for something else, and bash ignores one that
// comes between two commands of a loop.
func TestTimeoutOfWhatEndsAtTheSecondCtrlC(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		if g.noTerminal {
			return // there is no Ctrl-C
		}
		s := open(t, g, transport)
		_, err := s.Cmd(t.Context(), `sh -c 'trap "trap - INT" INT; while :; do sleep 0.1; done'`, time.Second)
		if timeout, ok := errors.AsType[*guest.TimeoutError](err); !ok || !timeout.Usable {
			t.Fatalf("got %v, want a TimeoutError that leaves the session usable", err)
		}
		if out, err := s.Cmd(t.Context(), "echo again", time.Minute); err != nil || out != "again\n" {
			t.Errorf("afterwards: got %q, %v", out, err)
		}
	})
}

func TestTimeoutOfWhatIgnoresCtrlC(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	s := open(t, &fakeGuest{argv: []string{"sh"}}, "ssh")
	_, err := s.Cmd(t.Context(), "sh -c 'trap \"\" INT; sleep 8'", 300*time.Millisecond)
	timeout, ok := errors.AsType[*guest.TimeoutError](err)
	if !ok || timeout.Usable {
		t.Fatalf("got %v, want a TimeoutError that leaves the session busy", err)
	}
	if !strings.Contains(err.Error(), "does not react to Ctrl-C") {
		t.Errorf("message: %v", err)
	}
	if s.IsResponsive(t.Context(), 100*time.Millisecond) {
		t.Error("IsResponsive of a busy shell: got true")
	}
	if out, err := s.Cmd(t.Context(), "echo again", time.Minute); err != nil || out != "again\n" {
		t.Errorf("when the command has ended: got %q, %v", out, err)
	}
}

func TestBusyWithSendline(t *testing.T) {
	t.Parallel()
	s := open(t, &fakeGuest{argv: []string{"sh"}}, "serial")
	if err := s.Sendline(t.Context(), "sleep 30"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Cmd(t.Context(), "echo x", 500*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), `still busy with "sleep 30"`) {
		t.Errorf("got %v, want what the shell is busy with", err)
	}
	if !s.IsResponsive(t.Context(), 0) {
		t.Error("IsResponsive after Ctrl-C: got false")
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		if g.noTerminal {
			t.Skip("without a terminal nothing can be interrupted")
		}
		s := open(t, g, transport)
		because := errors.New("the run was interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		begun := filepath.Join(t.TempDir(), "begun")
		go func() {
			eventually(func() bool { _, err := os.Stat(begun); return err == nil })
			cancel(because)
		}()
		started := time.Now()
		_, err := s.Cmd(ctx, "sh -c 'echo part; : >"+begun+"; exec sleep 600'", 10*time.Minute)
		if !errors.Is(err, because) || !strings.Contains(err.Error(), "part") {
			t.Errorf("got %v, want the cause, and the output so far", err)
		}
		if took := time.Since(started); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		if out, err := s.Cmd(t.Context(), "echo again", time.Minute); err != nil || out != "again\n" {
			t.Errorf("afterwards: got %q, %v", out, err)
		}
	})
}

// The shell is interrupted while it reads or begins the command: what is typed right
// behind Ctrl-C must not get lost.
func TestContextEndsAtOnce(t *testing.T) {
	t.Parallel()
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		if g.noTerminal || g.argv[0] == "bash" {
			return // bash may run on with a program that it was about to start
		}
		s := open(t, g, transport)
		for i := range 25 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond/4)
			_, err := s.Cmd(ctx, "sleep 600", 10*time.Minute)
			cancel()
			if err == nil {
				t.Fatal("got no error")
			}
			if out, err := s.Cmd(t.Context(), "echo again", 30*time.Second); err != nil || out != "again\n" {
				t.Fatalf("command %d: got %q, %v", i, out, err)
			}
		}
	})
}

func TestMegabytes(t *testing.T) {
	t.Parallel()
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i * 7 >> 3) // all bytes, NUL, CR, ESC and ^C too
	}
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		s := open(t, g, transport)
		out, err := s.Cmd(t.Context(), "cat "+file, 60*time.Second)
		if err != nil {
			t.Fatalf("%.300v", err)
		}
		if sha256.Sum256([]byte(out)) != sha256.Sum256(data) {
			t.Errorf("binary output: got %d bytes, want %d, or other bytes", len(out), len(data))
		}
	})
}

func TestTooMuchOutput(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	s := open(t, &fakeGuest{argv: []string{"sh"}}, "ssh")
	_, err := s.Cmd(t.Context(), "cat /dev/zero", 10*time.Minute)
	if err == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("got %v, want a limit", err)
	}
	if out, err := s.Cmd(t.Context(), "echo again", time.Minute); err != nil || out != "again\n" {
		t.Errorf("afterwards: got %.100q, %v", out, err)
	}
}

func TestConcurrentCommands(t *testing.T) {
	t.Parallel()
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		s := open(t, g, transport)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				want := fmt.Sprintf("number %d\n", i)
				if out, err := s.Cmd(t.Context(), "echo number "+fmt.Sprint(i), 30*time.Second); err != nil || out != want {
					t.Errorf("got %q, %v, want %q", out, err, want)
				}
			})
		}
		wg.Wait()
		if _, err := s.Cmd(t.Context(), "echo", time.Nanosecond); err == nil {
			t.Error("a nanosecond is no time: got no error")
		}
	})
}

func TestShellExits(t *testing.T) {
	t.Parallel()
	s := open(t, &fakeGuest{argv: []string{"sh"}}, "ssh")
	_, err := s.Cmd(t.Context(), "exit 3", 10*time.Second)
	if !errors.Is(err, guest.ErrEnded) || !strings.Contains(err.Error(), "exited with status 3") {
		t.Errorf("got %v, want ErrEnded with the status", err)
	}
	<-s.Done()
	if !errors.Is(s.Err(), guest.ErrEnded) {
		t.Errorf("Err: got %v", s.Err())
	}
	if _, err := s.Cmd(t.Context(), "true", 0); !errors.Is(err, guest.ErrEnded) {
		t.Errorf("Cmd afterwards: got %v", err)
	}
	if err := s.Sendline(t.Context(), "true"); !errors.Is(err, guest.ErrEnded) {
		t.Errorf("Sendline afterwards: got %v", err)
	}
	if s.IsResponsive(t.Context(), 0) {
		t.Error("IsResponsive afterwards: got true")
	}
}

func TestCloseInTheMiddle(t *testing.T) {
	t.Parallel()
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		s := open(t, g, transport)
		ended := make(chan error, 1)
		go func() {
			_, err := s.Cmd(t.Context(), "sleep 30", time.Minute)
			ended <- err
		}()
		if !eventually(func() bool { return !s.IsResponsive(t.Context(), 50*time.Millisecond) }) {
			t.Fatal("the command never began")
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-ended; !errors.Is(err, guest.ErrEnded) {
			t.Errorf("the command: got %v, want ErrEnded", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// eventually polls a condition, for a minute at most.
func eventually(condition func() bool) bool {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if condition() {
			return true
		}
	}
	return false
}

func TestConnectionLost(t *testing.T) {
	t.Parallel()
	conn := (&fakeGuest{argv: []string{"sh"}}).dialSSH(t)
	s, err := guest.SSH(t.Context(), conn, rightCredentials)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stop := time.AfterFunc(200*time.Millisecond, func() { _ = conn.Close() })
	defer stop.Stop()
	_, err = s.Cmd(t.Context(), "echo part; sleep 30", time.Minute)
	if !errors.Is(err, guest.ErrEnded) || !strings.Contains(err.Error(), "lost") || !strings.Contains(err.Error(), "part") {
		t.Errorf("got %v, want a lost connection, and the output so far", err)
	}
}

// TestStalledGuest: nobody reads the other end, as in a paused VM.
func TestStalledGuest(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	c := guest.NewConsole(near, nil)
	defer c.Close()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("login_timeout passed"))
	defer cancel()
	if _, err := c.Login(ctx, guest.Credentials{}); err == nil || !strings.Contains(err.Error(), "login_timeout passed") || errors.Is(err, guest.ErrRefused) {
		t.Errorf("got %v, want the timeout", err)
	}
}

func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	c := guest.Credentials{Password: "hunter2", Key: host.Secret("PEM")}
	if got := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(got, "hunter2") || strings.Contains(got, "PEM") {
		t.Errorf("printed credentials: %s", got)
	}
}
