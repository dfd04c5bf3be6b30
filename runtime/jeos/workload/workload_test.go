// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the worker: start runs this program again under the
// command's name.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); slices.Contains(Commands(), name) {
		os.Exit(Main(name, os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// TestUsage: a person who asks gets all that a command knows.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, name := range Commands() {
		for _, ask := range []string{"--help", "-h"} {
			var out, wrong bytes.Buffer
			if status := Main(name, []string{ask}, &out, &wrong); status != 0 || wrong.Len() > 0 {
				t.Errorf("%s %s: got exit status %d and %q", name, ask, status, wrong.String())
			}
			wants := []string{name + " start ", name + " check ", name + " stop ", "--dir FOLDER", "Exit status: "}
			if name == cpuwork {
				wants = append(wants, "--workers N", "--load PERCENT")
			} else {
				wants = append(wants, "--size BYTES", "--rate BYTES")
			}
			for _, want := range wants {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%s %s: got\n%s\nwant %q in it", name, ask, out.String(), want)
				}
			}
			if got := strings.Contains(out.String(), "--device FILE"); got != (name == diskwork) {
				t.Errorf("%s %s: --device: got %v", name, ask, got)
			}
		}
	}
}

// runner runs a command against a worker of the test's own.
type runner struct {
	name string
	args []string
}

func newRunner(t *testing.T, name string) runner {
	t.Helper()
	dir, err := os.MkdirTemp("", "mhmig-workload-") // short: a unix socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	r := runner{name: name, args: []string{"--dir", filepath.Join(dir, "w")}}
	if name == "diskwork" {
		disk := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		r.args = append(r.args, "--device", disk)
	}
	t.Cleanup(func() { r.run("stop"); os.RemoveAll(dir) })
	return r
}

func (r runner) run(args ...string) (int, string) {
	var out bytes.Buffer
	status := Main(r.name, append(args, r.args...), &out, &out)
	return status, out.String()
}

func (r runner) want(t *testing.T, status int, pattern string, args ...string) {
	t.Helper()
	got, out := r.run(args...)
	if got != status || !regexp.MustCompile(pattern).MatchString(out) {
		t.Errorf("%s %s: got status %d, %q; want %d, %q", r.name, args, got, out, status, pattern)
	}
}

func TestWorkerLife(t *testing.T) {
	t.Parallel()
	for _, name := range []string{memwork, diskwork} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRunner(t, name)
			r.want(t, 2, "is not running; start it: "+name+" start", "check")
			r.want(t, 0, "^"+name+": started: 256 pages, 1 passes, 1 MiB written\n$", "start", "--size", "1M", "--rate", "8M")
			r.want(t, 0, "^"+name+": running: 256 pages, ", "status")
			r.want(t, 1, "is already running", "start")
			r.want(t, 0, "^"+name+": OK: every page verified; 256 pages, ", "check")
			r.want(t, 0, "^"+name+": stopped: 256 pages", "stop")
			r.want(t, 2, "is not running", "status")
			r.want(t, 0, "started", "start", "--size", "64K")
		})
	}
}

func TestProcessorLife(t *testing.T) {
	t.Parallel()
	r := newRunner(t, cpuwork)
	r.want(t, 2, "is not running; start it: cpuwork start", "check")
	r.want(t, 0, `^cpuwork: started: 3 threads, \d+ rounds of 8 computations; CPU with `, "start", "--workers", "3", "--load", "20")
	r.want(t, 1, "is already running", "start")
	for range 2 {
		r.want(t, 0, "^cpuwork: OK: every result was right; 3 threads, ", "check")
	}
	r.want(t, 0, "^cpuwork: running: 3 threads, ", "status")
	killWorker(t, r)
	r.want(t, 1, "the worker died: it left no message", "check")
	r.want(t, 0, "started", "start")
	r.want(t, 0, "^cpuwork: stopped: ", "stop")
	r.want(t, 2, "is not running", "status")
}

func TestWorkerDeathIsTold(t *testing.T) {
	t.Parallel()
	r := newRunner(t, "memwork")
	r.want(t, 0, "started", "start", "--size", "64K")
	killWorker(t, r)
	for _, verb := range []string{"check", "status", "stop"} {
		r.want(t, 1, "the worker died: it left no message", verb)
	}
	r.want(t, 0, "started", "start", "--size", "64K")
}

func TestDamageIsTold(t *testing.T) {
	t.Parallel()
	r := newRunner(t, "diskwork")
	// So slow that the sweep does not get to the page before the check.
	r.want(t, 0, "started", "start", "--size", "1M", "--rate", "1")
	f, err := os.OpenFile(r.args[3], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 6)
	if _, err := f.ReadAt(data, 100*pageSize+64); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] = ^data[i] // whatever it was: none of them is right
	}
	if _, err := f.WriteAt(data, 100*pageSize+64); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.want(t, 1, "^diskwork: FAILED: 1 damaged pages, first found page 100: expected generation 1, holds .* from byte 64", "check")
	}
	r.want(t, 1, "FAILED: page 100", "status")
}

func TestBadStart(t *testing.T) {
	t.Parallel()
	r := newRunner(t, "diskwork")
	r.want(t, 1, "did not start: diskwork: .*1048576 bytes, less than the 2097152", "start", "--size", "2M")
	r.args = append(r.args, "--device", "/nowhere")
	r.want(t, 1, "did not start: diskwork: open /nowhere: no such file", "start")
}

func TestArguments(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args []string
		want string
	}{
		{nil, `got [], want start, check, status or stop`},
		{[]string{"begin"}, `got ["begin"], want start`},
		{[]string{"start", "--size", "32Q"}, `invalid argument "32Q" for "--size" flag: want a size such as 32M`},
		{[]string{"start", "--size", "1000"}, `--size: got 1000, want a multiple of 4096`},
		{[]string{"start", "--size", "0"}, `--size: got 0`},
		{[]string{"start", "--rate", "-1"}, `invalid argument "-1" for "--rate" flag`},
		{[]string{"start", "--fast"}, `unknown flag: --fast`},
		{[]string{"start", "--load", "5"}, `unknown flag: --load`},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.args), func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if status := Main("memwork", tt.args, &out, &out); status != 2 || !strings.Contains(out.String(), tt.want) {
				t.Errorf("memwork %s: got status %d, %q; want 2, %q", tt.args, status, out.String(), tt.want)
			}
		})
	}
}

// killWorker kills the process whose arguments name the worker's folder.
func killWorker(t *testing.T, r runner) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		args, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(args, []byte(r.name+"\x00serve\x00--dir\x00"+r.args[1]+"\x00")) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(path, "/proc/%d/cmdline", &pid); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for syscall.Kill(pid, 0) == nil {
			var status syscall.WaitStatus
			_, _ = syscall.Wait4(pid, &status, 0, nil) // a child of this process
		}
		return
	}
	t.Fatal("no worker found")
}

func TestCheckRoom(t *testing.T) {
	t.Parallel()
	meminfo := "MemTotal:          94800 kB\nMemFree:            9000 kB\nMemAvailable:      40960 kB\nSwapFree: 2048 kB\n"
	for _, tt := range []struct {
		name, meminfo string
		size          byteCount
		want          string
	}{
		{memwork, meminfo, 38 << 20, ""},
		{memwork, meminfo, 38<<20 + pageSize, "the guest has only 42 MiB of memory available, too little for 38 MiB"},
		{diskwork, meminfo, 1 << 30, ""},
		{memwork, "MemFree: 9000 kB\n", 1 << 30, ""}, // a kernel that does not say
		{memwork, "", 1 << 30, ""},
	} {
		err := checkRoom(options{name: tt.name, size: tt.size}, tt.meminfo)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s of %d bytes: got %v, want %q", tt.name, tt.size, err, tt.want)
		}
	}
}

func TestKillOf(t *testing.T) {
	t.Parallel()
	const words = "Out of memory: Killed process 137 (memwork) total-vm:1344464kB, anon-rss:69216kB"
	for record, want := range map[string]string{
		"3,513,67583195,-;" + words + "\n SUBSYSTEM=none\n":                            words,
		"3,513,1,-;Memory cgroup out of memory: Killed process 137 (memwork) total":    "Memory cgroup out of memory: Killed process 137 (memwork) total",
		"3,513,1,-;Out of memory: Killed process 1370 (memwork)":                       "",
		"3,513,1,-;Out of memory: Killed process 13 (memwork)":                         "",
		"6,1,1,-;oom_reaper: reaped process 137 (memwork), now anon-rss:0kB":           "",
		"Out of memory: Killed process 137 (a record without a head has no message)\n": "",
	} {
		got, ours := killOf([]byte(record), 137)
		if ours != (want != "") || ours && got != want {
			t.Errorf("%q: got %q, %t; want %q", record, got, ours, want)
		}
	}
}
