// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestComputations(t *testing.T) {
	t.Parallel()
	for _, c := range computations {
		if got := c.compute(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// TestComputationsWithoutExtensions: the wanted results do not depend on the CPU.
func TestComputationsWithoutExtensions(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run", "^TestComputations$")
	cmd.Env = append(os.Environ(), "GODEBUG=cpu.all=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// computing is a processor of two threads that compute f.
func computing(load int, f func() string) *processor {
	p := &processor{computations: []computation{{"test", f, "42"}}, load: load, patience: time.Minute}
	p.start(2)
	return p
}

func (p *processor) wants(t *testing.T, verb, want string) {
	t.Helper()
	if got := p.answer(verb); !strings.HasPrefix(got, want) {
		t.Errorf("%s: got %q, want %q", verb, got, want)
	}
}

func takes(d time.Duration) func() string {
	return func() string {
		<-time.After(d)
		return "42"
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := computing(25, takes(time.Second))
		defer p.Close()
		began := time.Now()
		p.wants(t, "check", "0 OK: every result was right; 2 threads, ")
		p.wants(t, "check", "0 OK")
		// A second of work, three of rest, a second of work.
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("two rounds took %v, want 5s", took)
		}
		<-time.After(time.Hour)
		began = time.Now()
		p.wants(t, "check", "0 OK")
		if took := time.Since(began); took != 0 {
			t.Errorf("after an hour's work the check took %v more", took)
		}
	})
}

func TestNoProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		n := 0
		p := &processor{load: wholeProcessor, patience: time.Minute, computations: []computation{{"test", func() string {
			<-time.After(time.Second)
			if n++; n > 5 {
				<-release
			}
			return "42"
		}, "42"}}}
		p.start(1)
		defer p.Close()
		defer close(release)
		p.wants(t, "check", "0 OK")
		<-time.After(time.Hour)
		p.wants(t, "check", "0 OK") // of the rounds 2 to 5
		p.wants(t, "check", "1 FAILED: thread 0 has made no progress for 1m0s, nor since the last check; 1 threads, 5 rounds")
		p.wants(t, "status", "0 running")
	})
}

func TestWrongResult(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		result := make(chan string, 1)
		p := computing(wholeProcessor, func() string {
			<-time.After(time.Second)
			select {
			case wrong := <-result:
				return wrong
			default:
				return "42"
			}
		})
		defer p.Close()
		p.wants(t, "check", "0 OK")
		result <- "43"
		<-time.After(time.Hour)
		for _, verb := range []string{"check", "status", "check"} {
			p.wants(t, verb, "1 FAILED: thread ")
		}
		if got := p.answer("check"); !strings.Contains(got, ": test: got 43, want 42") {
			t.Errorf("got %q", got)
		}
		p.wants(t, "stop", "0 stopped")
	})
}

func TestProcessorArguments(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"--load=0": "--load: got 0, want 1 to 100 percent", "--load=101": "--load: got 101", "--workers=-1": "--workers: got -1", "--size=1M": "unknown flag: --size",
	} {
		var out bytes.Buffer
		if status := Main(cpuwork, []string{"start", arg}, &out, &out); status != statusUsage || !strings.Contains(out.String(), want) {
			t.Errorf("cpuwork start %s: got status %d, %q; want 2, %q", arg, status, out.String(), want)
		}
	}
}
