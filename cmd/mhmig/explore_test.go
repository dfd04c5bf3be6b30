// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// exploreSteps is how long the walk of TestExplore is: make test-explore has a longer one.
var exploreSteps = flag.Int("explore", shortWalk, "the steps of TestExplore's walk")

const shortWalk = 30

// A walk over all that the lab is able to do passes: neither QEMU nor the model is wrong.
func TestExplore(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.needGuest()
	walk := func() (string, error) {
		out, err := w.command("explore", "--seed", "20", "--steps", strconv.Itoa(*exploreSteps), "--shrink-runs", "0", "--param", "vms=vm1", "--param", "memory_work=8M", "--param", "mem=96").CombinedOutput()
		return string(out), err
	}
	file := filepath.Join(w.dir, "explore-20.star")
	out, err := walk()
	if onePage.MatchString(out) {
		t.Logf("QEMU has lost a page, which mhmig has found; another walk:\n%s", out)
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
		out, err = walk()
	}
	if err != nil || !strings.Contains(out, "mhmig: seed 20: "+strconv.Itoa(*exploreSteps)+" steps, no violation\n") {
		lines := strings.Split(out, "\n") // of hundreds, those that say why
		t.Errorf("%v:\n%s", err, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a walk without a violation has written a file, want none")
	}
	w.wantNothingLeft()
}

// onePage matches the loss of one page of memory. A QEMU under TCG marks a page as dirty
// before the guest writes to it: if the host preempts the virtual CPU in between, and the
// page is sent meanwhile, the write is lost. That was seen once, on a machine under load.
var onePage = regexp.MustCompile(`(?s)accel=tcg.*guest memory differs after the migration: 1 of \d+ pages`)

// losesMemory makes a QEMU before 9.0 lose memory, as in TestDirtyGuard of the builtins: a
// move that is not fast loses some more often.
var losesMemory = []string{"--param", "mig_speed=40M", "--param", "tcg_dirty_guard=off", "--param", "accel=tcg", "--param", "guest_clock=no", "--param", "memory_work_rate=30M", "--param", "vms=vm1"}

// Memory that QEMU loses is found by a long walk, and shrunk to a scenario of a few steps
// that mhmig exec runs, and that fails in the same way.
func TestExploreFindsLostMemory(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	if *exploreSteps == shortWalk {
		t.Skip("NOT TESTED: make test-explore looks for lost memory of real guests, which takes minutes; cmd/explore has faults of fake ones")
	}
	if major := bedtest.QEMUMajor(t); major >= 9 {
		t.Skipf("NOT TESTED: the loss of memory: QEMU %d has not got the defect", major)
	}
	w := newWorld(t)
	w.needGuest()
	const found = "guest memory differs after the migration"
	out, err := w.command(append([]string{"explore", "--seed", "5", "--steps", "100", "--out", "found.star", "--shrink-runs", "4"}, losesMemory...)...).CombinedOutput()
	text := string(out)
	m := regexp.MustCompile(`(?m)^mhmig: (\d+) steps? fails? \(`).FindStringSubmatch(text)
	if exitStatus(err) != int(exit.Failed) || m == nil || !strings.Contains(text, found) {
		t.Fatalf("%v:\n%s", err, out)
	}
	if steps, _ := strconv.Atoi(m[1]); steps < 1 || steps > 5 {
		t.Errorf("shrunk to %d steps, want 1 to 5:\n%s", steps, out)
	}
	for _, command := range []string{"fmt --check found.star", "lint found.star"} {
		if out, err := w.command(strings.Fields(command)...).CombinedOutput(); err != nil {
			t.Errorf("mhmig %s: %v\n%s", command, err, out)
		}
	}
	source, err := os.ReadFile(filepath.Join(w.dir, "found.star"))
	if err != nil || !strings.Contains(string(source), found) || !strings.Contains(string(source), "mhmig exec found.star --param mig_speed=40M --param tcg_dirty_guard=off") {
		t.Errorf("%v: want what it finds, and how it is run, in\n%s", err, source)
	}
	// It loses pages in most moves, not in all.
	again := append([]string{"exec", "found.star", "--repeat", "20", "--until-failure"}, losesMemory...)
	if out, err := w.command(again...).CombinedOutput(); exitStatus(err) != int(exit.Failed) || !strings.Contains(string(out), found) {
		t.Errorf("mhmig exec found.star: %v\n%s", err, out)
	}
	w.wantNothingLeft()
	t.Logf("%s", source)
}

// A walk that is interrupted says so, and leaves nothing; so does one that is interrupted
// while it is shrunk, which leaves the smallest walk so far.
func TestExploreInterrupted(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	tests := []struct {
		name, moment string
		fails        bool // the walk, so that it is shrunk
	}{{"asking", "asking the hosts", false}, {"walking", "step number=1", false}, {"shrinking", "mhmig: shrinking:", true}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.needGuest()
			args := []string{"explore", "--seed", "5", "--steps", "100"}
			if test.fails {
				if *exploreSteps == shortWalk {
					t.Skip("NOT TESTED: make test-explore interrupts the shrinking: it begins when a real guest has lost memory, after minutes")
				}
				if major := bedtest.QEMUMajor(t); major >= 9 {
					t.Skipf("NOT TESTED: QEMU %d does not lose memory, so that nothing is shrunk", major)
				}
				args = append(args, losesMemory...)
			}
			r := w.start(args...)
			r.await(test.moment)
			r.signal(syscall.SIGINT)
			if code := r.wait(cleanupTimeout); code != int(exit.Interrupted) {
				t.Errorf("exit status: got %d, want %d", code, int(exit.Interrupted))
			}
			if n := strings.Count(r.output(), "mhmig: interrupted"); n != 1 {
				t.Errorf("it says %d times that it was interrupted, want once:\n%s", n, r.output())
			}
			if _, err := os.Stat(filepath.Join(w.dir, "explore-5.star")); (err == nil) != test.fails {
				t.Errorf("the smallest walk: got %v, want one: %v", err, test.fails)
			}
			w.wantNothingLeft()
		})
	}
}
