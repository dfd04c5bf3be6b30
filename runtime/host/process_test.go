// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/host"
)

func TestRun(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.config.Env = map[string]string{"MHMIG_LAB_HOST": "host1", "OVERRIDDEN": "by host"}
	h := s.dial(t)
	nasty := "a b\t'c' \"d\" $HOME `id` \\ \\n \\0101 %s ! * é\nsecond line \x01\xff"
	tests := []struct {
		name           string
		command        host.Command
		stdout, stderr string
		status         int
	}{
		{name: "true", command: host.Command{Args: []string{"true"}}},
		{name: "status", command: host.Command{Script: "exit 42"}, status: 42},
		{name: "both outputs", command: host.Command{Script: "echo out; echo err >&2; exit 3"}, stdout: "out\n", stderr: "err\n", status: 3},
		{name: "arguments", command: host.Command{Args: []string{"printf", "%s|", nasty, "", "-n"}}, stdout: nasty + "||-n|"},
		{name: "script", command: host.Command{Script: "x='" + strings.ReplaceAll(nasty, "'", "") + "'\nprintf %s \"$x\""}, stdout: strings.ReplaceAll(nasty, "'", "")},
		{name: "no trailing newline", command: host.Command{Script: "printf abc"}, stdout: "abc"},
		{name: "long script", command: host.Command{Script: strings.Repeat(": comment\n", 30_000) + "echo end"}, stdout: "end\n"},
		{name: "stdin", command: host.Command{Args: []string{"cat"}, Stdin: strings.NewReader("first\nsecond")}, stdout: "first\nsecond"},
		{name: "no stdin", command: host.Command{Args: []string{"cat"}}},
		{name: "stdin not read", command: host.Command{Args: []string{"true"}, Stdin: bytes.NewReader(make([]byte, 8<<20))}},
		{name: "dir", command: host.Command{Args: []string{"pwd"}, Dir: "/usr/bin/../lib"}, stdout: "/usr/lib\n"},
		{name: "no such dir", command: host.Command{Args: []string{"pwd"}, Dir: "/no such"}, status: 126},
		{name: "no such program", command: host.Command{Args: []string{"no-such-program"}}, status: 127},
		{name: "env", command: host.Command{Script: `echo "$MHMIG_LAB_HOST,$OVERRIDDEN,$A"`, Env: map[string]string{"OVERRIDDEN": "yes", "A": "x 'y'"}}, stdout: "host1,yes,x 'y'\n"},
		{name: "clean environment", command: host.Command{Script: `echo "$LC_ALL,${mhmig-unset}"; command -v sysctl || ls -d /sbin`}, stdout: "C,unset\n/sbin/sysctl\n"},
		{name: "signal", command: host.Command{Script: "kill -9 $$"}, status: 137},
		{name: "syntax error", command: host.Command{Script: "if"}, status: 2},
		{name: "background child without outputs", command: host.Command{Script: "sleep 0.1 >/dev/null 2>&1 </dev/null & echo on"}, stdout: "on\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, err := h.Run(t.Context(), test.command)
			if test.status == 0 && err != nil {
				t.Fatalf("Run: %v", err)
			}
			if test.status != 0 {
				exit := wantError[*host.ExitError](t, "Run", err)
				if d := cmp.Diff(out, exit.Output); d != "" {
					t.Errorf("output in the error differs (-returned +in error):\n%s", d)
				}
			}
			if out.Status != test.status {
				t.Errorf("status: got %d, want %d (%v)", out.Status, test.status, err)
			}
			got := string(out.Stdout)
			if test.name == "clean environment" {
				got = strings.Replace(strings.Replace(got, "/usr/sbin/", "/sbin/", 1), "\n/sbin\n", "\n/sbin/sysctl\n", 1)
			}
			if d := cmp.Diff(test.stdout, got); d != "" {
				t.Errorf("stdout (-want +got):\n%s", d)
			}
			if test.stderr != "" && string(out.Stderr) != test.stderr {
				t.Errorf("stderr: got %q, want %q", out.Stderr, test.stderr)
			}
		})
	}
}

func TestRunRefusesBadCommands(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	for _, c := range []host.Command{
		{},
		{Args: []string{"true"}, Script: "true"},
		{Args: []string{""}},
		{Args: []string{"echo", "a\x00b"}},
		{Args: []string{"true"}, Env: map[string]string{"A-B": "1"}},
	} {
		if _, err := h.Run(t.Context(), c); err == nil {
			t.Errorf("Run(%#v): got no error", c)
		}
	}
}

func TestExitErrorSaysWhat(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	_, err := h.Run(t.Context(), host.Command{Args: []string{"sh", "-c", "echo no luck >&2; exit 7"}})
	wantText(t, err, "host1: ", "sh -c 'echo no luck >&2; exit 7'", "exit status 7", "no luck")
}

func TestBigOutputs(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	out, err := h.Run(t.Context(), host.Command{Script: "head -c 33554432 /dev/zero & head -c 16777216 /dev/zero >&2; wait"})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Stdout) != 32<<20 || len(out.Stderr) != 16<<20 {
		t.Errorf("got %d and %d bytes, want %d and %d", len(out.Stdout), len(out.Stderr), 32<<20, 16<<20)
	}
}

// TestOutputHasALimit runs commands that print for ever. Each is killed, and what
// it printed is not kept.
func TestOutputHasALimit(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	h := startServer(t).dial(t)
	want := func(t *testing.T, out host.Output, err error) {
		t.Helper()
		killed := wantError[*host.KilledError](t, "a command that prints for ever", err)
		wantError[*host.OutputError](t, "a command that prints for ever", err)
		wantText(t, err, "host1: ", "killed after", "more than 64 MiB", "send its output to a file")
		if killed.KillErr != nil {
			t.Errorf("it is not killed: %v", killed.KillErr)
		}
		if n := len(out.Stdout) + len(out.Stderr); n == 0 || n > 64<<10 {
			t.Errorf("kept: got %d bytes, want the last words only", n)
		}
	}
	t.Run("run", func(t *testing.T) {
		t.Parallel()
		out, err := h.Run(t.Context(), host.Command{Script: "yes"})
		want(t, out, err)
	})
	t.Run("start", func(t *testing.T) {
		t.Parallel()
		p, err := h.Start(t.Context(), host.Command{Script: "trap '' TERM; yes & yes >&2"})
		if err != nil {
			t.Fatal(err)
		}
		p.Collect()
		out, err := p.Wait(t.Context())
		want(t, out, err)
		wantGone(t, p.Group)
	})
}

// TestMarkedAreKilled leaves children in sessions of their own. They are killed
// with their command, by its mark, or when all of a mark are; those of another
// mark are not.
func TestMarkedAreKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	h := startServer(t).dial(t)
	const leave = `setsid sh -c 'echo $$; trap "" TERM; while :; do sleep 1; done' & wait`
	start := func(mark string) (*host.Process, int) {
		t.Helper()
		p, err := h.Start(t.Context(), host.Command{Script: leave, Mark: mark})
		if err != nil {
			t.Fatal(err)
		}
		child := readPids(t, p.Stdout, 1)[0]
		t.Cleanup(func() { syscall.Kill(-child, syscall.SIGKILL) })
		return p, child
	}
	run := "mhmig-" + rand.Text()
	one, childOfOne := start(run + "-1/1/")
	_, childOfTwo := start(run + "-1/2/")
	_, childOfOther := start(run + "-10/1/")
	if err := one.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantGone(t, childOfOne)
	if processState(childOfTwo) == "" {
		t.Error("another command of the same run was killed too")
	}
	out, err := h.Run(t.Context(), host.Command{Script: host.KillMarked(host.MarkVariable, run+"-1/")})
	if err != nil {
		t.Fatal(err)
	}
	wantGone(t, childOfTwo)
	if said := string(out.Stdout); !strings.Contains(said, fmt.Sprintf("process %d (sh -c echo $$;", childOfTwo)) {
		t.Errorf("it says %q, want what it ended: %d", said, childOfTwo)
	}
	if processState(childOfOther) == "" {
		t.Error("a command of another run was killed too")
	}
	if out, err = h.Run(t.Context(), host.Command{Script: host.KillMarked(host.MarkVariable, run+"-1/")}); err != nil || len(out.Stdout) != 0 {
		t.Errorf("once more: got %q, %v, want nothing", out.Stdout, err)
	}
}

// stubborn ignores TERM in three generations, and writes their process ids.
const stubborn = `trap '' TERM
echo $$
sh -c 'trap "" TERM; echo $$; sh -c "trap \"\" TERM; echo \$\$; while :; do sleep 1; done" & while :; do sleep 1; done' &
while :; do sleep 1; done`

// readPids reads the process ids that a command writes first.
func readPids(t *testing.T, r io.Reader, n int) []int {
	t.Helper()
	var pids []int
	for range n {
		var pid int
		if _, err := fmt.Fscan(r, &pid); err != nil {
			t.Fatalf("read process id %d of %d: %v", len(pids)+1, n, err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// wantGone checks that processes are gone. Zombies are: in a container nobody
// may collect them.
func wantGone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if state := processState(pid); state != "" && state != "Z" {
			t.Errorf("process %d is still there, in state %s", pid, state)
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func processState(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return after[:1]
}

func TestTimeoutKillsTreeThatIgnoresTerm(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	h := startServer(t).dial(t)
	out, err := h.Run(t.Context(), host.Command{Script: stubborn, Timeout: 3 * time.Second})
	pids := readPids(t, bytes.NewReader(out.Stdout), 3)
	wantGone(t, pids...)
	killed := wantError[*host.KilledError](t, "Run", err)
	if !errors.Is(err, context.DeadlineExceeded) || killed.KillErr != nil {
		t.Errorf("error: got %v, want a deadline exceeded and a kill that worked", err)
	}
	wantText(t, err, "host1: ", "trap '' TERM …", "killed after", "time limit of 3s")
	if out.Duration < 3*time.Second || out.Duration > time.Minute {
		t.Errorf("duration: got %v, want a little more than the limit and the grace", out.Duration)
	}
}

func TestKillIsQuickWhenTermIsObeyed(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	p, err := h.Start(t.Context(), host.Command{Script: "trap 'echo goodbye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"})
	if err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 6)
	if _, err := io.ReadFull(p.Stdout, ready); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Errorf("Kill: %v", err)
	}
	rest, _ := io.ReadAll(p.Stdout)
	if string(rest) != "goodbye\n" {
		t.Errorf("output after TERM: got %q, want goodbye", rest)
	}
	wantGone(t, p.Group)
	_, err = p.Wait(t.Context())
	wantError[*host.KilledError](t, "Wait", err)
}

func TestCancelKillsWithCause(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	p, err := h.Start(ctx, host.Command{Script: "sleep 1000 & echo $!; wait"})
	if err != nil {
		t.Fatal(err)
	}
	pids := readPids(t, p.Stdout, 1)
	cause := errors.New("the user interrupted the run")
	cancel(cause)
	<-p.Done()
	wantGone(t, append(pids, p.Group)...)
	if _, err := p.Wait(t.Context()); !errors.Is(err, cause) {
		t.Errorf("Wait: got %v, want the cause of the cancellation", err)
	}
}

func TestKillReachesStoppedProcesses(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	p, err := h.Start(t.Context(), host.Command{Script: "kill -STOP $$"})
	if err != nil {
		t.Fatal(err)
	}
	poll(t, "the command to be stopped", func() bool { return processState(p.Group) == "T" })
	if err := p.Kill(t.Context()); err != nil {
		t.Errorf("Kill: %v", err)
	}
	wantGone(t, p.Group)
}

func TestKillDoesNotWaitForThoseWhoLeftTheGroup(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	h := startServer(t).dial(t)
	out, err := h.Run(t.Context(), host.Command{
		Script:  `setsid sh -c 'echo $$; sleep 1000' & sleep 1000`,
		Timeout: 3 * time.Second,
	})
	wantError[*host.KilledError](t, "Run", err)
	pids := readPids(t, bytes.NewReader(out.Stdout), 1)
	if processState(pids[0]) == "" {
		t.Errorf("process %d, which left the group, is gone; want it untouched", pids[0])
	}
	syscall.Kill(-pids[0], syscall.SIGKILL)
	if out.Duration > time.Minute {
		t.Errorf("Run took %v", out.Duration)
	}
}

func TestCloseKillsWhatRuns(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	var pids []int
	var processes []*host.Process
	for range 3 {
		p, err := h.Start(t.Context(), host.Command{Script: "sleep 1000 & echo $!; wait"})
		if err != nil {
			t.Fatal(err)
		}
		processes = append(processes, p)
		pids = append(pids, append(readPids(t, p.Stdout, 1), p.Group)...)
	}
	if err := h.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wantGone(t, pids...)
	for _, p := range processes {
		if _, err := p.Wait(t.Context()); !errors.Is(err, host.ErrClosed) {
			t.Errorf("Wait: got %v, want ErrClosed", err)
		}
	}
	if _, err := h.Run(t.Context(), host.Command{Args: []string{"true"}}); !errors.Is(err, host.ErrClosed) {
		t.Errorf("Run after Close: got %v, want ErrClosed", err)
	}
	if err := h.Err(); !errors.Is(err, host.ErrClosed) {
		t.Errorf("Err after Close: got %v, want ErrClosed", err)
	}
	if err := h.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// TestCloseWhileInUse closes a Host under calls that are at any point.
func TestCloseWhileInUse(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	l := localListener(t, "tcp", "127.0.0.1:0")
	ctx := t.Context()
	var group sync.WaitGroup
	for _, use := range []func() error{
		func() error { _, err := h.Run(ctx, host.Command{Args: []string{"true"}}); return err },
		func() error { _, err := h.Run(ctx, host.Command{Args: []string{"sleep", "1000"}}); return err },
		func() error { _, err := h.ReadFile(ctx, "/proc/version"); return err },
		func() error { _, err := h.Dial(ctx, "tcp", l.Addr().String()); return err }, // Close ends it
		func() error {
			l, err := h.Listen(ctx, "tcp", "127.0.0.1:0")
			if err == nil {
				err = l.Close()
			}
			return err
		},
	} {
		for range 2 {
			group.Go(func() {
				for {
					if err := use(); err != nil {
						if !errors.Is(err, host.ErrClosed) {
							t.Errorf("got %v, want ErrClosed", err)
						}
						return
					}
				}
			})
		}
	}
	timer := time.NewTimer(300 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	if err := h.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	group.Wait()
}

func TestWaitLeavesTheCommandAlone(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	stdin, feeder := io.Pipe()
	p, err := h.Start(t.Context(), host.Command{Args: []string{"cat"}, Stdin: stdin})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait with a short context: got %v", err)
	}
	io.WriteString(feeder, "still here\n")
	feeder.Close()
	got, err := io.ReadAll(p.Stdout)
	if err != nil || string(got) != "still here\n" {
		t.Errorf("output: got %q, %v", got, err)
	}
	if out, err := p.Wait(t.Context()); err != nil || out.Status != 0 {
		t.Errorf("Wait: got %+v, %v", out, err)
	}
}

func TestManyCommandsAtOnce(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	tests := []struct {
		name        string
		sshd        string
		config      int
		connections int
	}{
		{"default limit", "MaxSessions 10", 0, 5}, // 9 commands on each
		{"known limit", "MaxSessions 50", 50, 1},
		{"limit found out", "MaxSessions 7", 0, 6}, // 7 on the first, then 6 on each
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, test.sshd)
			s.config.MaxSessions = test.config
			h := s.dial(t)
			const commands = 40
			var group sync.WaitGroup
			processes := make([]*host.Process, commands)
			stdin, end := io.Pipe()
			for i := range commands {
				group.Go(func() {
					c := host.Command{Script: fmt.Sprintf("read -r line; echo %d", i), Stdin: stdin}
					var err error
					if processes[i], err = h.Start(t.Context(), c); err != nil {
						t.Errorf("command %d: %v", i, err)
					}
				})
			}
			group.Wait() // all of them run now
			end.Close()
			for i, p := range processes {
				if p == nil {
					continue
				}
				stdout, _ := io.ReadAll(p.Stdout)
				if out, err := p.Wait(t.Context()); err != nil || string(stdout) != strconv.Itoa(i)+"\n" {
					t.Errorf("command %d: got %q, %+v, %v", i, stdout, out, err)
				}
			}
			if n := s.connections(); n < test.connections-1 || n > test.connections+1 {
				t.Errorf("connections: got %d, want about %d", n, test.connections)
			}
		})
	}
}

func TestServerWithOneSession(t *testing.T) {
	t.Parallel()
	s := startServer(t, "MaxSessions 1")
	h := s.dial(t)
	p, err := h.Start(t.Context(), host.Command{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Run(t.Context(), host.Command{Args: []string{"true"}}); err != nil {
		t.Errorf("Run beside a running command: %v", err)
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Errorf("Kill: %v", err)
	}
	wantGone(t, p.Group)
}

func TestChattyLoginShell(t *testing.T) {
	t.Parallel()
	s := startServer(t, `ForceCommand echo "Welcome to host1!"; printf "no newline"; echo "stty: not a tty" >&2; eval "$SSH_ORIGINAL_COMMAND"`)
	h := s.dial(t)
	out, err := h.Run(t.Context(), host.Command{Script: "echo out; echo err >&2"})
	if err != nil || string(out.Stdout) != "out\n" || string(out.Stderr) != "err\n" {
		t.Errorf("Run: got %q, %q, %v", out.Stdout, out.Stderr, err)
	}
}

func TestLoginShellThatRunsNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t, `ForceCommand echo "This account is currently not available."; exit 1`)
	h := s.dial(t)
	_, err := h.Run(t.Context(), host.Command{Args: []string{"true"}})
	if err == nil {
		t.Fatal("Run: got no error")
	}
	wantText(t, err, "host1: start true: ", "login shell", "This account is currently not available.")
}

// A connection that ends while a command is being started is a lost one, however far the
// start had come.
func TestLostWhileStarting(t *testing.T) {
	t.Parallel()
	s := startServer(t, `ForceCommand kill -KILL "$PPID"`)
	for range 20 {
		h := s.dial(t)
		_, err := h.Start(t.Context(), host.Command{Args: []string{"true"}})
		wantError[*host.LostError](t, "Start", err)
	}
}
