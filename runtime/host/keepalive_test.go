// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
)

// peer is the other side of a keepalive.
type peer struct {
	mu         sync.Mutex // guards what follows
	last       time.Time  // when it was heard
	unanswered int        // questions since then
}

func (p *peer) heard() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

func (p *peer) asked() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unanswered++
}

func (p *peer) answer() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.unanswered = time.Now(), 0
}

// TestKeepaliveIsInTime: a silent host is lost when ServerAliveInterval times
// ServerAliveCountMax has passed, whenever it fell silent; one that answers,
// however late, never is. In virtual time.
func TestKeepaliveIsInTime(t *testing.T) {
	t.Parallel()
	const interval = 30 * time.Second
	for _, count := range []int{1, 3, 5} {
		for _, until := range []time.Duration{0, time.Millisecond, interval / 2, interval - time.Millisecond, interval + time.Millisecond, time.Hour + 7*time.Second} {
			t.Run(fmt.Sprint(count, " silent after ", until), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					p := &peer{last: time.Now()}
					silent := time.Now().Add(until)
					err := host.WatchKeepalive(t.Context(), interval, count, p.heard, func() {
						p.asked()
						if time.Now().Add(time.Second).Before(silent) {
							time.AfterFunc(time.Second, p.answer)
						}
					})
					if took := time.Since(p.heard()); err == nil || took != interval*time.Duration(count) {
						t.Errorf("noticed %v after the last sign of life (%v), want %v", took, err, interval*time.Duration(count))
					}
					if p.unanswered != count {
						t.Errorf("%d questions were not answered, want %d", p.unanswered, count)
					}
				})
			})
		}
	}
	answering := []struct {
		name  string
		pause time.Duration // of this side, after each question
		after time.Duration // when the answer comes
	}{
		{"slow answers", 0, 20 * time.Second},
		{"this process was stopped", 5 * time.Minute, time.Second},
	}
	for _, test := range answering {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
				defer cancel()
				p := &peer{last: time.Now()}
				err := host.WatchKeepalive(ctx, interval, 3, p.heard, func() {
					time.Sleep(test.pause)
					time.AfterFunc(test.after, p.answer)
				})
				if err != nil {
					t.Errorf("the host was lost, though it answers: %v", err)
				}
				time.Sleep(test.after) // until the last answer
			})
		})
	}
}

// controllerEnv makes this test's executable a process that holds a connection.
const controllerEnv = "HOST_TEST_CONTROLLER"

// controller connects by the Config in its environment, and runs a command for
// each line that it reads.
func controller(config string) error {
	var c host.Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	h, err := host.Dial(context.Background(), c, quiet())
	if err != nil {
		return err
	}
	fmt.Println("connected")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		out, err := h.Run(context.Background(), host.Command{Args: []string{"echo", lines.Text()}})
		if err != nil {
			return err
		}
		os.Stdout.Write(out.Stdout)
	}
	return h.Close()
}

// TestStoppedControllerKeepsItsConnection: when this side did not run for longer
// than a silent host may be silent, the host is not lost.
func TestStoppedControllerKeepsItsConnection(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	s := startServer(t)
	s.config.KeepaliveInterval, s.config.KeepaliveCount = 200*time.Millisecond, 4
	config, err := json.Marshal(s.config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), controllerEnv+"="+string(config))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	want := func(line string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != line {
			t.Errorf("the controller says %q, want %q", lines.Text(), line)
		}
	}
	want("connected")
	for i := range 3 {
		cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(1500 * time.Millisecond) // longer than the 0.8 s of the host's silence
		cmd.Process.Signal(syscall.SIGCONT)
		fmt.Fprintln(stdin, i)
		want(fmt.Sprint(i))
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the controller: %v: %s", err, stderr.String())
	}
}
