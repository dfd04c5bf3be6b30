// SPDX-License-Identifier: Apache-2.0

package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// local is this machine as a host: it runs scripts by its own /bin/sh, or by
// what shell says.
type local struct {
	shell   []string
	scripts []string
}

func (l *local) Run(ctx context.Context, c host.Command) (host.Output, error) {
	l.scripts = append(l.scripts, c.Script)
	argv := append(slices.Clone(l.shell), "/bin/sh", "-c", c.Script)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		out := host.Output{Stderr: stderr.Bytes(), Status: cmd.ProcessState.ExitCode()}
		return out, &host.ExitError{Host: "host1", Command: c.String(), Output: out}
	}
	return host.Output{Stdout: stdout.Bytes()}, nil
}

func undo(t *testing.T, l *ledger.Ledger, hosts map[string]*local) error {
	t.Helper()
	_, err := undoAll(t, l, hosts)
	return err
}

// undoAll undoes what is pending, and returns what was there.
func undoAll(t *testing.T, l *ledger.Ledger, hosts map[string]*local) (all []string, err error) {
	t.Helper()
	err = l.Undo(t.Context(), nil, func(_ context.Context, name string) (ledger.Host, error) {
		if h := hosts[name]; h != nil {
			return h, nil
		}
		return nil, errors.New("no such host")
	}, func(_ ledger.Entry, was []string) { all = append(all, was...) })
	return all, err
}

// startMarked starts a process whose command line names dir.
func startMarked(t *testing.T, dir, script string) (pid int) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script, filepath.Join(dir, "sh"))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait() // its status is SIGKILL's
	})
	if _, err := stdout.Read(make([]byte, 1)); err != nil { // it is ready
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// running reports whether a process is there and no zombie.
func running(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && len(text) > 0
}

func record(t *testing.T, l *ledger.Ledger, entries ...ledger.Entry) {
	t.Helper()
	for _, e := range entries {
		if e.Host == "" {
			e.Host = "host1"
		}
		if _, err := l.Record(e); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUndo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mhmig-run it's 1")
	file := filepath.Join(dir, "a file")
	pidFile := filepath.Join(dir, "vm.pid")
	if err := os.MkdirAll(filepath.Join(dir, "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "x")
	obedient := startMarked(t, dir, "echo; while :; do sleep 0.1; done")
	write(pidFile, strconv.Itoa(obedient)+"\n")
	stubborn := startMarked(t, dir, "trap '' TERM; echo; while :; do sleep 0.1; done")
	stubbornFile := filepath.Join(dir, "vm2.pid")
	write(stubbornFile, strconv.Itoa(stubborn))

	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l := open(t, path)
	record(t, l,
		ledger.Entry{Kind: ledger.Dir, Path: dir},
		ledger.Entry{Kind: ledger.File, Path: file},
		ledger.Entry{Kind: ledger.File, Path: filepath.Join(dir, "never made")},
		ledger.Entry{Kind: ledger.Process, Path: dir, PIDFile: pidFile},
		ledger.Entry{Kind: ledger.Process, Path: dir, PIDFile: stubbornFile},
		ledger.Entry{Kind: ledger.Process, Path: dir, PIDFile: filepath.Join(dir, "never.pid")},
	)
	h := &local{}
	was, err := undoAll(t, l, map[string]*local{"host1": h})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("process %d (/bin/sh -c trap '' TERM;", stubborn), fmt.Sprintf("process %d (/bin/sh -c echo;", obedient),
		"file " + file, "folder " + dir,
	}
	if !slices.EqualFunc(was, want, strings.HasPrefix) {
		t.Errorf("it says that there was %q, want %q", was, want)
	}
	if running(obedient) || running(stubborn) {
		t.Errorf("running: %v, %v; want neither", running(obedient), running(stubborn))
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	if len(h.scripts) != 6 || !strings.Contains(h.scripts[5], "rm -rf") {
		t.Errorf("scripts: got %q, want six, the folder's last", h.scripts)
	}
	if pending := l.Pending(); len(pending) != 0 {
		t.Errorf("pending: got %v", pending)
	}
	if err := undo(t, l, nil); err != nil {
		t.Errorf("Undo of nothing: %v", err)
	}
}

// TestUndoCommands ends all that has a bed's mark in its environment, in whatever
// session; and the program that a wrapper in place of QEMU has started, though the
// wrapper is gone.
func TestUndoCommands(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mhmig-run-1")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("mhmig-%d-1-host1", os.Getpid())
	marked := func(mark string) *exec.Cmd {
		cmd := exec.Command("sleep", "600")
		cmd.Env = append(os.Environ(), mark)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd
	}
	ours := []*exec.Cmd{
		marked(host.MarkVariable + "=" + name + "/1/"), marked(host.MarkVariable + "=" + name + "/22/"),
		exec.Command("sh", "-c", "sleep 600; :", "unix:"+filepath.Join(dir, "vm1.qmp")),
	}
	theirs := []*exec.Cmd{
		marked(host.MarkVariable + "=" + name + "0/1/"), exec.Command("sh", "-c", "sleep 600; :", filepath.Join(dir, "vm11.qmp")),
	}
	ended := make(chan int, len(ours)+len(theirs))
	for i, cmd := range slices.Concat(ours, theirs) {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		go func() { // ends with the process
			_ = cmd.Wait()
			ended <- i
		}()
	}
	l := open(t, filepath.Join(t.TempDir(), "ledger.jsonl"))
	record(t, l,
		ledger.Entry{Kind: ledger.Commands, Path: name},
		ledger.Entry{Kind: ledger.Process, Path: dir, PIDFile: filepath.Join(dir, "vm1.pid")},
	)
	was, err := undoAll(t, l, map[string]*local{"host1": {}})
	if err != nil {
		t.Fatal(err)
	}
	if len(was) != len(ours) {
		t.Errorf("it says that there was %q, want %d processes", was, len(ours))
	}
	for range ours {
		if i := <-ended; i >= len(ours) {
			t.Errorf("it ended %q with %q", theirs[i-len(ours)].Args, theirs[i-len(ours)].Env)
		}
	}
}

func TestUndoLeavesStrangersAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mhmig-run-1")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	stranger := startMarked(t, "/elsewhere", "echo; while :; do sleep 0.1; done")
	pidFile := filepath.Join(dir, "pid") // the id was given to another process since
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(stranger)), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, filepath.Join(t.TempDir(), "ledger.jsonl"))
	record(t, l, ledger.Entry{Kind: ledger.Process, Path: dir, PIDFile: pidFile})
	if err := undo(t, l, map[string]*local{"host1": {}}); err != nil {
		t.Fatal(err)
	}
	if !running(stranger) {
		t.Error("Undo killed a process whose command line does not name the folder")
	}
}

func TestUndoRefusesForeignNames(t *testing.T) {
	t.Parallel()
	for _, e := range []ledger.Entry{
		{Kind: ledger.Dir, Path: "/"},
		{Kind: ledger.Dir, Path: "/home/me"},
		{Kind: ledger.Dir, Path: "mhmig-x"},
		{Kind: ledger.Dir, Path: "/var/mhmig-x/.."},
		{Kind: ledger.Dir, Path: "/var/mhmig-x/../../home"},
		{Kind: ledger.File, Path: "/etc/passwd"},
		{Kind: ledger.Process, Path: "/", PIDFile: "/var/mhmig-x/pid"},
		{Kind: ledger.Process, Path: "/var/mhmig-x", PIDFile: "/run/sshd.pid"},
		{Kind: ledger.Netdev, Path: "eth0"},
		{Kind: ledger.Firewall, Path: "filter"},
		{Kind: ledger.Firewall, Path: "mhmig_x; reboot"},
		{Kind: ledger.Commands, Path: "mhmig-"},
		{Kind: ledger.Commands, Path: "x"},
		{Kind: "kernel", Path: "/boot/mhmig-x"},
	} {
		l := open(t, filepath.Join(t.TempDir(), "ledger.jsonl"))
		record(t, l, e)
		h := &local{}
		err := undo(t, l, map[string]*local{"host1": h})
		if err == nil || !strings.Contains(err.Error(), "refused") || len(h.scripts) > 0 {
			t.Errorf("%+v: got error %v, ran %q; want it refused", e, err, h.scripts)
		}
		if len(l.Pending()) != 1 {
			t.Errorf("%+v: it was struck out", e)
		}
	}
}

func TestUndoFailures(t *testing.T) {
	t.Parallel()
	run := t.TempDir()
	in := func(name string) string { return filepath.Join(run, name) }
	l := open(t, filepath.Join(t.TempDir(), "ledger.jsonl"))
	if err := os.Mkdir(in("mhmig-a"), 0o700); err != nil { // rm -f refuses it
		t.Fatal(err)
	}
	record(t, l,
		ledger.Entry{Kind: ledger.File, Path: in("mhmig-older")},
		ledger.Entry{Host: "host2", Kind: ledger.File, Path: in("mhmig-b")},
		ledger.Entry{Host: "gone", Kind: ledger.File, Path: in("mhmig-c")},
		ledger.Entry{Kind: ledger.File, Path: in("mhmig-a")},
		ledger.Entry{Host: "gone", Kind: ledger.File, Path: in("mhmig-d")},
	)
	err := undo(t, l, map[string]*local{"host1": {}, "host2": {}})
	if err == nil {
		t.Fatal("Undo: got no error")
	}
	for _, part := range []string{"undo file " + in("mhmig-a") + " on host1", "clean up gone: no such host"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	if n := strings.Count(err.Error(), "no such host"); n != 1 {
		t.Errorf("the missing host is named %d times, want once", n)
	}
	var left []string
	for _, e := range l.Pending() {
		left = append(left, filepath.Base(e.Path))
	}
	if d := cmp.Diff([]string{"mhmig-d", "mhmig-a", "mhmig-c", "mhmig-older"}, left); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}

func TestUndoNetwork(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: needs root for a network namespace")
	}
	namespace := fmt.Sprintf("mhmig-ledger-%d", os.Getpid())
	command := func(argv ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
		return string(out), err
	}
	if out, err := command("ip", "netns", "add", namespace); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: cannot make a network namespace: %v, %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "delete", namespace).CombinedOutput(); err != nil {
			t.Errorf("delete the namespace: %v, %s", err, out)
		}
	})
	inside := []string{"ip", "netns", "exec", namespace}
	for _, argv := range [][]string{
		{"ip", "tuntap", "add", "dev", "mh0123456789", "mode", "tap"},
		{"nft", "add", "table", "inet", "mhmig_x_1_4444"},
	} {
		if out, err := command(append(inside, argv...)...); err != nil {
			t.Skipf("SKIPPED, NOT TESTED: %q: %v, %s", argv, err, out)
		}
	}
	l := open(t, filepath.Join(t.TempDir(), "ledger.jsonl"))
	record(t, l,
		ledger.Entry{Kind: ledger.Netdev, Path: "mh0123456789"},
		ledger.Entry{Kind: ledger.Netdev, Path: "mhnevermade"},
		ledger.Entry{Kind: ledger.Firewall, Path: "mhmig_x_1_4444"},
		ledger.Entry{Kind: ledger.Firewall, Path: "mhmig_never"},
	)
	timer := exec.Command("sleep", "600")
	timer.Env = append(os.Environ(), ledger.FirewallVariable+"=mhmig_x_1_4444/")
	if err := timer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = timer.Process.Kill() })
	was, err := undoAll(t, l, map[string]*local{"host1": {shell: inside}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"table mhmig_x_1_4444 of nftables", fmt.Sprintf("process %d (sleep 600 )", timer.Process.Pid), "network device mh0123456789"}
	if d := cmp.Diff(want, was); d != "" {
		t.Errorf("what was there (-want +got):\n%s", d)
	}
	if err := timer.Wait(); err == nil {
		t.Error("what would delete the table later ended by itself, want it killed")
	}
	links, _ := command(append(inside, "ip", "link")...)
	tables, _ := command(append(inside, "nft", "list", "tables")...)
	if strings.Contains(links+tables, "mh") {
		t.Errorf("left: %s%s", links, tables)
	}
}
