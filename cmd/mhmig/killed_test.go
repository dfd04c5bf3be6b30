// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/exit"
)

// TestKilledAtMoments kills two runs, which have folders outside their labs and
// commands that go on by themselves, at moments spread over all that the runs do.
// One mhmig cleanup says what it removes, and nothing is left on the hosts.
func TestKilledAtMoments(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	moments := 20
	if testing.Short() {
		moments = 4
	}
	undisturbed := newDoomed(t)
	run := undisturbed.begin()
	if code := run.wait(patience); code != int(exit.OK) {
		t.Fatalf("undisturbed: exit status %d:\n%s", code, run.output())
	}
	events := undisturbed.events()[0]
	undisturbed.wantNothing()
	for i := range moments {
		moment := 1 + i*(events-1)/moments
		t.Run(fmt.Sprintf("%d of %d events", moment, events), func(t *testing.T) {
			t.Parallel()
			d := newDoomed(t)
			runs := []*running{d.begin(), d.begin()}
			d.await(runs, moment)
			for _, r := range runs {
				_ = r.cmd.Process.Kill() // it may have ended
			}
			for _, r := range runs {
				r.wait(cleanupTimeout)
			}
			d.wantCleanup()
		})
	}
}

// doomed is a world in which runs are killed.
type doomed struct {
	*world
	outside string // folders outside the labs
}

const doomedScenario = `
def migration_scenario(env):
    here, there = env.hosts[0], env.hosts[1]
    here.start("setsid tail -f %[1]s/note & exec tail -f %[1]s/note")
    there.run("setsid tail -f %[1]s/note >/dev/null 2>&1 </dev/null &")
    if %[2]s:
        there.block_port(there.free_port())
    migrate_wait(["vm1"], here, there)
    there.start("tail -f %[1]s/note; true")
    migrate_wait(["vm1"], there, here)
    here.run("nohup tail -f %[1]s/note >/dev/null 2>&1 </dev/null &")
    log("all is there")
`

func newDoomed(t *testing.T) *doomed {
	t.Helper()
	d := &doomed{newWorld(t), ""}
	d.outside = filepath.Join(d.dir, "outside")
	if err := os.Mkdir(d.outside, 0o755); err != nil {
		t.Fatal(err)
	}
	d.write("note", "")
	d.write("it.star", fmt.Sprintf(doomedScenario, d.dir, map[bool]string{true: "True", false: "False"}[canBlock()]))
	return d
}

// canBlock reports whether ports can be blocked here.
func canBlock() bool { return os.Getuid() == 0 && exec.Command("nft", "list", "tables").Run() == nil }

// begin starts a run, and returns when its folder of results is there.
func (d *doomed) begin() *running {
	d.t.Helper()
	before := len(d.events())
	r := d.start("exec", "it.star", "--config", "small.cfg", "--lab", "embedded",
		"--param", "start_migration_timeout=0.1", "--param", "not_login_after_mig=yes", "--param", "images=image1", "--param", "create_image=yes", "--param", "image_size=1M",
		"--param", "images_base_dir="+d.outside, "--param", "state_dir_host2="+d.outside)
	d.until(func() bool { return len(d.events()) > before }, r)
	return r
}

// events are how many events the runs have written so far.
func (d *doomed) events() []int {
	d.t.Helper()
	files, err := filepath.Glob(filepath.Join(d.dir, resultsDir, "*Z-*", "events.jsonl"))
	if err != nil {
		d.t.Fatal(err)
	}
	var counts []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			d.t.Fatal(err)
		}
		counts = append(counts, bytes.Count(text, []byte("\n")))
	}
	return counts
}

// await waits until one of the runs has come to its moment.
func (d *doomed) await(runs []*running, moment int) {
	d.t.Helper()
	d.until(func() bool {
		for _, n := range d.events() {
			if n >= moment {
				return true
			}
		}
		return false
	}, runs...)
}

func (d *doomed) until(done func() bool, runs ...*running) {
	d.t.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(patience)
	for !done() {
		select {
		case <-ticker.C:
		case <-runs[0].ended:
			if !done() {
				d.t.Fatalf("it ended:\n%s", runs[0].output())
			}
			return
		case <-timeout:
			d.t.Fatalf("its moment does not come:\n%s", runs[0].output())
		}
	}
}

// wantCleanup runs mhmig cleanup once. It must name what was there, and leave
// nothing.
func (d *doomed) wantCleanup() {
	d.t.Helper()
	there := d.left()
	code, stdout, stderr := d.exec("cleanup")
	if code != int(exit.OK) {
		d.t.Errorf("cleanup: exit status %d", code)
	}
	for _, thing := range there {
		if strings.HasPrefix(thing, d.outside) && !strings.Contains(stdout, "folder "+thing+"\n") && !strings.Contains(stdout, "file "+thing+"\n") {
			d.t.Errorf("cleanup does not say that it removed %s", thing)
		}
	}
	d.wantNothing()
	if again, more, _ := d.exec("cleanup"); again != int(exit.OK) || !strings.Contains(more, "nothing to clean up") {
		d.t.Errorf("a second cleanup: exit status %d: %s", again, more)
	}
	if d.t.Failed() {
		d.t.Logf("there were:\n%s\ncleanup said:\n%s%s", strings.Join(there, "\n"), stdout, stderr)
	}
}

func (d *doomed) wantNothing() {
	d.t.Helper()
	if left := d.left(); len(left) > 0 {
		removeRemains(left)
		d.t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// left is what there is of the runs on the hosts, which are this machine.
func (d *doomed) left() []string {
	d.t.Helper()
	left, err := remains(d.dir, d.cache)
	if err != nil {
		d.t.Fatal(err)
	}
	entries, err := os.ReadDir(d.outside)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, filepath.Join(d.outside, e.Name()))
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		d.t.Fatal(err)
	}
	for _, file := range commands {
		if command, _ := os.ReadFile(file); bytes.Contains(command, []byte(d.dir+"/")) { // it may have ended
			left = append(left, fmt.Sprintf("%s: %s", file, bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
		}
	}
	if !canBlock() {
		return left
	}
	tables, err := exec.Command("nft", "list", "tables").Output()
	if err != nil {
		d.t.Fatal(err)
	}
	runs, err := filepath.Glob(filepath.Join(d.dir, resultsDir, "*Z-*"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, run := range runs {
		if table := "mhmig_" + run[strings.LastIndexByte(run, '-')+1:] + "_"; bytes.Contains(tables, []byte(table)) {
			left = append(left, "table "+table)
		}
	}
	return left
}
