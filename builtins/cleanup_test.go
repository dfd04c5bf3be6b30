// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// TestRemoteOutputHasALimit: endless output of a host is an error; that of a command
// without wait is reported at the scenario's end.
func TestRemoteOutputHasALimit(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	const forgotten = `h.start("echo $$ >%[1]s/pid; exec yes")
    h.run("until [ -s %[1]s/pid ]; do sleep 0.05; done; while [ -d /proc/$(cat %[1]s/pid) ]; do sleep 0.05; done")`
	const tooMuch = "it wrote more than 64 MiB; send its output to a file on the host"
	for _, tt := range []struct{ name, body, want string }{
		{"run", `h.run("yes")`, tooMuch},
		{"start", `h.start("yes").wait()`, tooMuch},
		{"started and forgotten", fmt.Sprintf(forgotten, dir), tooMuch},
		{"device", `h.read_file("/dev/zero")`, "host1: read /dev/zero: it is larger than 64 MiB"},
		{"pipe", fmt.Sprintf("h.read_file(%q, timeout = 0.2)", pipe), "not done after 200ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: "def migration_scenario(env):\n    h = env.hosts[0]\n    " + tt.body + "\n"})
			e.want(t, result.Error, tt.want)
		})
	}
}

// Background processes of commands are killed at the scenario's end, or with the
// process that started them.
func TestCommandsLeaveNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	dir := t.TempDir()
	const source = `
def leave(name):
    return "setsid sh -c 'echo $$ >%[1]s/" + name + "; trap \"\" TERM; while :; do sleep 1; done' >/dev/null 2>&1 </dev/null & until [ -s %[1]s/" + name + " ]; do sleep 0.02; done"

def migration_scenario(env):
    h = env.hosts[0]
    h.run(leave("run"))
    h.start(leave("ended")).wait()
    h.start(leave("started") + "; sleep 600")
    p = h.start(leave("killed") + "; sleep 600")
    h.run("until [ -s %[1]s/started ] && [ -s %[1]s/killed ]; do sleep 0.02; done")
    p.kill()
    h.run("! kill -0 $(cat %[1]s/killed) || grep -q ') Z' /proc/$(cat %[1]s/killed)/stat")
    h.run("kill -0 $(cat %[1]s/run)")
`
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: fmt.Sprintf(source, dir)})
	e.want(t, result.Pass)
	for _, name := range []string{"run", "ended", "started", "killed"} {
		pid, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err == nil && !bytes.Contains(stat, []byte(") Z")) {
			t.Errorf("what %s left is still there: %s", name, stat)
		}
	}
	if n := strings.Count(e.log, "killed a process that a command left running"); n < 2 {
		t.Errorf("the log tells %d times that something was ended, want it for run and ended at least", n)
	}
}

// needNftables skips a test if ports cannot be blocked.
func needNftables(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: block_port: needs root")
	}
	if err := exec.Command("nft", "list", "tables").Run(); err != nil {
		t.Skip("NOT TESTED: block_port: no nftables here: ", err)
	}
}

// Ports of SSH connections cannot be blocked: the host's, those of other hosts of
// the run, of jump hosts, and the port of sshd as the host reports it.
func TestBlockPortRefusesSSH(t *testing.T) {
	t.Parallel()
	s, err := openLab()
	if err != nil {
		t.Fatal(err)
	}
	config := s.hosts[0].Config()
	config.ProxyJump = []host.Config{s.hosts[2].Config()}
	config.Env = map[string]string{"SSH_CONNECTION": "10.0.0.1 40001 10.0.0.2 2222"}
	behind, err := host.Dial(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { behind.Close() })
	for what, port := range map[string]int{
		"its own": s.hosts[0].Config().Port, "another host's": s.hosts[1].Config().Port, "the jump host's": s.hosts[2].Config().Port,
		"what sshd says": 2222, "the connection's other end": 40001,
	} {
		t.Run(what, func(t *testing.T) {
			e := runScenario(t, bedtest.NoQEMU(t), &testRun{
				hosts:  []*host.Host{behind, s.hosts[1]},
				source: fmt.Sprintf("def migration_scenario(env):\n    env.hosts[0].block_port(%d)\n", port),
			})
			e.want(t, result.Error, fmt.Sprintf("block port %d of host1: refused: mhmig connects to host", port))
		})
	}
}

// A host unblocks a port by itself at the timeout, which is an error for a scenario
// that relied on the block; the process that would do so ends with the block.
func TestBlockPortEnds(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	needNftables(t)
	const timers = `grep -lsF -e MHMIG_FIREWALL=%s_ /proc/[0-9]*/environ`
	source := `
def migration_scenario(env):
    h = env.hosts[0]
    port = h.free_port()
    f = h.block_port(port, timeout = 1)
    h.run("while nft list tables | grep -q _%d_; do sleep 0.05; done" % port)
    f.undo()
`
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: source})
	e.want(t, result.Error, "was no longer blocked: the host unblocked it after 1s")
	e = runScenario(t, bedtest.NoQEMU(t), &testRun{source: `
def migration_scenario(env):
    env.hosts[0].block_port(env.hosts[0].free_port()).undo()
    env.hosts[0].block_port(env.hosts[0].free_port(), timeout = 3600)
`})
	e.want(t, result.Pass)
	if out, err := exec.Command("sh", "-c", fmt.Sprintf(timers, strings.ReplaceAll(e.name, "-", "_"))).Output(); err == nil {
		t.Errorf("left: %s", out)
	}
	for _, timeout := range []string{"0", "3601"} {
		e = runScenario(t, bedtest.NoQEMU(t), &testRun{source: "def migration_scenario(env):\n    env.hosts[0].block_port(4444, timeout = " + timeout + ")\n"})
		e.want(t, result.Error, "want more than 0 and at most 1h0m0s")
	}
}
