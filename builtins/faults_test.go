// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// A QEMU that dies is reported once: which one, how it died, and whose fault that
// is.
func TestQEMUDies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		params   cartesian.Params
		source   string
		status   result.Status
		words    []string
		evidence []string
	}{
		{"when it starts", cartesian.Params{"extra_params_host1": "-device nothing"}, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
`, result.Error, []string{"migration 1, source host1, prepare: start vm1 on host1: QEMU of vm1 on host1 ended with status 1", "'nothing' is not a valid device model"}, nil},

		{"before the migration", nil, `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start()
    kill("vm1", "host1")
    wait_for(lambda: vm.state == "none", 300, 0.01)
    migrate_wait(["vm1"], "host1", "host2")
`, result.Fail, []string{"migration 1, source host1, prepare: vm1@host1 is not running any more; QEMU of vm1 on host1 ended by signal 9 (killed)"}, nil},

		{"in start_work", nil, `
def migration_scenario(env):
    def work(mig):
        kill("vm1", "host1")
        mig.vm("vm1").pause()
    migrate_wait(["vm1"], "host1", "host2", start_work = work)
`, result.Fail, []string{"migration 1, source host1, start_work: ", "QEMU of vm1 on host1 ended by signal 9 (killed)"}, []string{"source host1 vm1", "destination host2 vm1"}},

		{
			"the source's in the migration",
			cartesian.Params{"mig_speed": "1K"},
			`
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait_status("active")
    kill("vm1", "host1")
    mig.join()
`, result.Fail,
			[]string{"migration 1 of vm1: the source failed first (host1): QEMU of vm1 on host1 ended by signal 9 (killed)"},
			[]string{"source host1 vm1", "destination host2 vm1", "last QMP"},
		},

		{
			"the destination's in the migration",
			cartesian.Params{"mig_speed": "1K"},
			`
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait_status("active")
    kill("vm1", "host2")
    mig.join()
`, result.Fail,
			[]string{"migration 1 of vm1: the destination failed first (host2): QEMU of vm1 on host2 ended by signal 9 (killed)", "the source reported: "},
			[]string{"source host1 vm1", "running", "destination host2 vm1", "signal 9"},
		},

		{"the destination's in a migration that may fail", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2", may_fail = True)
    mig.wait_status("active")
    kill("vm1", "host2")
    assert_eq((mig.join(), mig.status, env.vm("vm1").host), (False, "failed", env.hosts[0]))
    env.vm("vm1").set_speed("1G")
    migrate_wait(["vm1"], "host1", "host2", params = {"mig_speed": "1G"})
`, result.Pass, nil, nil},

		{"the destination's by a crash in a migration that may fail", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2", may_fail = True)
    mig.wait_status("active")
    kill("vm1", "host2", signal = 11)
    mig.join()
`, result.Fail, []string{"the destination failed first (host2): QEMU of vm1 on host2 ended by signal 11"}, nil},

		{"the destination's before the migration", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2", before_migration = lambda mig: kill("vm1", "host2") if not mig.is_src else None)
`, result.Fail, []string{"migration 1 of vm1: the destination failed first (host2): QEMU of vm1 on host2 ended by signal 9 (killed)"}, nil},

		{"the destination's in check_work", nil, `
def migration_scenario(env):
    def check(mig):
        kill("vm1", "host2")
        mig.vm("vm1").qmp("query-status")
    migrate_wait(["vm1"], "host1", "host2", check_work = check)
`, result.Fail, []string{"migration 1, destination host2, check_work: ", "QEMU of vm1 on host2 ended by signal 9 (killed)"}, []string{"destination host2 vm1"}},

		{"the destination's after the migration", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
    kill("vm1", "host2")
    wait_for(lambda: env.vm("vm1").state == "none", 300, 0.01)
    migrate_wait(["vm1"], "host2", "host1")
`, result.Fail, []string{"migration 2, source host2, prepare: vm1@host2 is not running any more; QEMU of vm1 on host2 ended by signal 9 (killed)"}, nil},

		{"the source's after the migration", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2", check_work = lambda mig: kill("vm1", "host1"))
`, result.Fail, []string{"migration 1", "QEMU of vm1 on host1 ended by signal 9 (killed)"}, nil},

		{
			"the destination's hangs",
			cartesian.Params{"mig_timeout": "3", "mig_speed": "1K"},
			fmt.Sprintf(`
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait_status("active")
    kill("vm1", "host2", %d)
    mig.join()
`, syscall.SIGSTOP), result.Fail,
			[]string{"migration 1 of vm1: the destination failed first (host2): vm1@host2: QEMU does not answer its monitor", "not finished after mig_timeout = 3s", "T (stopped)"},
			[]string{"source host1 vm1", "destination host2 vm1"},
		},

		{
			"the source's hangs",
			cartesian.Params{"monitor_timeout": "3", "mig_speed": "1K", "mig_timeout": "300"},
			fmt.Sprintf(`
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait_status("active")
    kill("vm1", "host1", %d)
    mig.wait(passes = 1)
`, syscall.SIGSTOP), result.Fail,
			[]string{"migration 1 of vm1: the source failed first (host1): vm1@host1: QEMU does not answer its monitor: query-migrate: no reply within 3s", "T (stopped)"},
			[]string{"source host1 vm1", "destination host2 vm1"},
		},

		{"the source's hangs before the migration", cartesian.Params{"monitor_timeout": "3"}, fmt.Sprintf(`
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2", before_migration = lambda mig: kill("vm1", "host1", %d) if mig.is_src else None)
`, syscall.SIGSTOP), result.Fail, []string{"migration 1 of vm1: the source failed first (host1): vm1@host1: QEMU does not answer its monitor"}, nil},

		{"the destination's hangs in check_work", cartesian.Params{"monitor_timeout": "3"}, fmt.Sprintf(`
def migration_scenario(env):
    def check(mig):
        kill("vm1", "host2", %d)
        mig.vm("vm1").qmp("query-status")
    migrate_wait(["vm1"], "host1", "host2", check_work = check)
`, syscall.SIGSTOP), result.Fail, []string{"migration 1, destination host2, check_work: ", "vm1@host2: QEMU does not answer its monitor: query-status: no reply within 3s"}, nil},

		{
			"a device that only one side has",
			cartesian.Params{"extra_params_host1": "-device virtio-rng-pci,addr=0x1c"},
			`
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
`, result.Fail,
			[]string{"migration 1 of vm1: the destination failed first (host2): ", "Unknown savevm section", "virtio-rng"},
			[]string{
				"source host1 vm1", "QEMU: ", "state of the devices of vm1, the source's on host1 by QEMU ",
				"0000:00:1c.0/virtio-rng, instance 0: only in the source: virtio-rng version 1, ",
			},
		},

		{
			"a property that one side has changed",
			cartesian.Params{"extra_params_host1": "-global PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off"},
			`
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
`, result.Fail,
			[]string{"migration 1 of vm1: the destination failed first (host2): ", "piix4_pm"},
			[]string{
				"source host1 vm1", "state of the devices of vm1, the source's on host1 by QEMU ",
				"0000:00:01.3/piix4_pm, instance 0, acpi_pci_hotplug.acpi_index: only in the destination: uint32, 4 bytes (version 3)\n",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := runScenario(t, bedtest.Blank(t), &testRun{params: tt.params, source: tt.source})
			e.want(t, tt.status, tt.words...)
			e.wantEvidence(t, tt.evidence...)
		})
	}
}

// A guest that never boots is an ERROR that shows its console.
func TestGuestNeverBoots(t *testing.T) {
	t.Parallel()
	t.Run("panic", func(t *testing.T) {
		t.Parallel()
		params := small(t)
		delete(params, "initrd")
		p := &testRun{source: `
def migration_scenario(env):
    env.vm("vm1").start()
    wait_for(lambda: "end Kernel panic" in console(), 300, 0.05)
    migrate_wait(["vm1"], "host1", "host2")
`}
		p.extra = starlark.StringDict{"console": consoleOf(p)}
		e := runScenario(t, params, p)
		e.want(t, result.Error, "migration 1, source host1, prepare: vm1@host1: its guest has panicked; its console ends:", "end Kernel panic - not syncing")
	})
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		e := runScenario(t, bedtest.Blank(t), &testRun{params: cartesian.Params{"login_timeout": "1"}, source: `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start()
    vm.wait_for_serial_login()
`})
		e.want(t, result.Error, "vm1@host1: no login: ", "login_timeout (1s) on vm1@host1 expired", "console")
	})
}

// Ctrl-C at any moment is CANCEL, once, and leaves nothing.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	whole := `
def migration_scenario(env):
    cleanup(log, "cleaned up")
    migrate_wait(["vm1"], "host1", "host2", start_work = lambda mig: log("at work"), check_work = lambda mig: sleep(60))
`
	// moment is a record of the log: its message, and a key that it must have.
	for _, tt := range []struct {
		name, message, key, value string
		params                    cartesian.Params
		source                    string
	}{
		{"source starts", "prepare", "side", "source", nil, whole},
		{"QEMU started", "QEMU started", "host", "host2", nil, whole},
		{"boot", "QEMU started", "host", "host1", cartesian.Params{"start_migration_timeout": "60"}, whole},
		{"login", "QEMU started", "host", "host1", cartesian.Params{"start_migration_timeout": ""}, whole},
		{"ports", "ports", "side", "destination", nil, whole},
		{"start_work", "at work", "", "", nil, whole},
		{"migrate", "migrate", "uri", "", cartesian.Params{"mig_speed": "1K"}, whole},
		{"check_work", "check_work", "side", "destination", nil, whole},
		{"main", "scenario begins", "", "", nil, "def migration_scenario(env): sleep(60)"},
		{"busy", "scenario begins", "", "", nil, "def migration_scenario(env):\n    while True: pass"},
		{"command", "now", "", "", nil, "def migration_scenario(env):\n    log('now')\n    env.hosts[0].run('sleep 60')"},
		{"wait_for", "now", "", "", nil, "def migration_scenario(env):\n    log('now')\n    wait_for(lambda: False, 60)"},
		{"barrier", "now", "", "", nil, "def migration_scenario(env):\n    on(env.hosts, lambda h: barrier('b') if h == env.master else [log('now'), sleep(60)])"},
		{"join", "now", "", "", nil, "def migration_scenario(env):\n    log('now')\n    spawn(sleep, 60).join()"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			began := time.Time{}
			var once sync.Once
			e := runScenario(t, bedtest.Blank(t), &testRun{params: tt.params, source: tt.source, on: func(message string, at map[string]string, p *testRun) {
				_, has := at[tt.key]
				if message == tt.message && (tt.key == "" || has) && (tt.value == "" || at[tt.key] == tt.value) {
					once.Do(func() {
						began = time.Now()
						p.cancel(run.ErrInterrupted)
					})
				}
			}})
			if began.IsZero() {
				t.Fatalf("the log has no %q", tt.message)
			}
			e.want(t, result.Cancel, "interrupted")
			if tt.source == whole && !strings.Contains(e.log, "cleaned up") {
				t.Error("the scenario's cleanup did not run")
			}
			if took := time.Since(began); took > awaitTimeout {
				t.Errorf("it took %v to end", took)
			}
		})
	}
}

// A failure before Ctrl-C keeps its status.
func TestInterruptedAfterFailure(t *testing.T) {
	t.Parallel()
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{
		source: `
def migration_scenario(env):
    cleanup(sleep, 0.01)
    cleanup(log, "now")
    fail("lost")
`,
		on: func(message string, _ map[string]string, p *testRun) {
			if message == "now" {
				p.cancel(run.ErrInterrupted)
			}
		},
	})
	e.want(t, result.Fail, "lost")
}

// A connection to a host that is lost during a migration is an ERROR: the state of
// the guest is unknown. Remains on the host are removed through a second connection.
func TestHostLost(t *testing.T) {
	t.Parallel()
	moving := `
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait_status("active")
    log("cut")
    mig.join()
`
	command := `
def migration_scenario(env):
    env.vm("vm1").start("host2")
    spawn(lambda: [sleep(0.1), log("cut")])
    env.hosts[1].run("sleep 60")
`
	for _, tt := range []struct {
		name, source string
		lost         int // host, from 0
		forGood      bool
		params       cartesian.Params
	}{
		{"the destination's in the migration", moving, 1, false, nil},
		{"the source's in the migration", moving, 0, false, nil},
		{"in a command", command, 1, false, nil},
		{"for good", command, 1, true, nil},
		{"with VMs that are to stay", command, 1, true, cartesian.Params{"kill_vm_on_error": "no"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			params["mig_speed"] = "1K"
			hosts := slices.Clone(allHosts(t)[:2])
			wire := cuttable(t, hosts[tt.lost])
			hosts[tt.lost] = wire.host
			e := runScenario(t, params, &testRun{
				hosts: hosts, source: tt.source, left: tt.forGood, params: tt.params,
				on: func(message string, _ map[string]string, _ *testRun) {
					if message == "cut" {
						wire.cut(tt.forGood)
					}
				},
			})
			name := "host" + strconv.Itoa(tt.lost+1)
			if lost, ok := errors.AsType[*host.LostError](e.runErr); !ok || lost.Host != name {
				t.Errorf("the run: got %v, want that %s is lost", e.runErr, name)
			}
			e.runErr = nil
			if tt.forGood {
				wantHint(t, &e)
				removeLeftovers(t, e.name)
			}
			e.want(t, result.Error, name+": ", "lost the SSH connection")
		})
	}
}

// wantHint checks that the only further failure says how to remove what the run
// could not remove.
func wantHint(t *testing.T, e *ended) {
	t.Helper()
	if len(e.Further) != 1 || !strings.HasPrefix(e.Further[0].Message, "clean up: ") || !strings.Contains(e.Further[0].Message, "mhmig cleanup ") {
		t.Errorf("further failures: got %+v, want one that tells of mhmig cleanup", e.Further)
	}
	e.Further = nil
}

// removeLeftovers removes what a run could not remove.
func removeLeftovers(t *testing.T, name string) {
	t.Helper()
	s, err := openLab()
	if err != nil {
		t.Fatal(err)
	}
	running := bedtest.Processes(t, name)
	if len(running) == 0 {
		t.Error("nothing was left: the test does not test what it says")
	}
	for _, line := range running {
		file, _, _ := strings.Cut(line, ":")
		if pid, err := strconv.Atoi(filepath.Base(file)); err == nil {
			kill(t, pid)
		}
	}
	for _, dir := range s.lab.Params() {
		os.RemoveAll(filepath.Join(dir, name))
	}
	bedtest.WantNothingLeft(t, s.lab.Params(), name)
}

// kill kills a process and waits until it has ended.
func kill(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		t.Error(err)
	}
	ended := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(ended, int(awaitTimeout.Milliseconds())); n != 1 {
		t.Errorf("process %d has not ended (%v)", pid, err)
	}
}

// wire is a connection to a host that can be cut.
type wire struct {
	host     *host.Host
	listener net.Listener

	mu    sync.Mutex // guards what follows
	conns []net.Conn
}

// cuttable opens another connection to h, through a wire.
func cuttable(t *testing.T, h *host.Host) *wire {
	t.Helper()
	target := net.JoinHostPort(h.Address(), strconv.Itoa(h.Config().Port))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener}
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				near.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, near, far)
			w.mu.Unlock()
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				relays.Go(func() {
					_, _ = pair[0].(*net.TCPConn).WriteTo(pair[1])
					pair[0].Close()
					pair[1].Close()
				})
			}
		}
	})
	config := h.Config()
	known, err := os.ReadFile(config.KnownHostsFiles[0])
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	config.KnownHostsFiles = []string{filepath.Join(t.TempDir(), "known_hosts")}
	renamed := strings.ReplaceAll(string(known), fmt.Sprintf("[%s]:%d", h.Address(), config.Port), fmt.Sprintf("[127.0.0.1]:%d", port))
	if err := os.WriteFile(config.KnownHostsFiles[0], []byte(renamed), 0o600); err != nil {
		t.Fatal(err)
	}
	config.Address, config.Port = "127.0.0.1", port
	w.host, err = host.Dial(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.cut(true)
		w.host.Close()
		relays.Wait()
	})
	return w
}

// cut closes the connections; for good also refuses new ones.
func (w *wire) cut(forGood bool) {
	if forGood {
		w.listener.Close()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
}
