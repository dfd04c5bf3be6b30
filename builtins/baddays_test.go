// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
)

// A QEMU that dies is told once: who it was, how it died, whose fault that is.
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
    wait_for(lambda: vm.state == "none", 10, 0.01)
    migrate_wait(["vm1"], "host1", "host2")
`, result.Error, []string{"migration 1, source host1, prepare: vm1@host1 is not running any more; QEMU of vm1 on host1 ended by signal 9 (killed)"}, nil},

		{"in start_work", nil, `
def migration_scenario(env):
    def work(mig):
        kill("vm1", "host1")
        mig.vm("vm1").pause()
    migrate_wait(["vm1"], "host1", "host2", start_work = work)
`, result.Error, []string{"migration 1, source host1, start_work: ", "QEMU of vm1 on host1 ended by signal 9 (killed)"}, []string{"source host1 vm1", "destination host2 vm1"}},

		{"the source's in the migration", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait_status("active")
    kill("vm1", "host1")
    mig.join()
`, result.Fail, []string{"migration 1 of vm1: the source failed first (host1): QEMU of vm1 on host1 ended by signal 9 (killed)"},
			[]string{"source host1 vm1", "destination host2 vm1", "last QMP"}},

		{"the destination's in the migration", cartesian.Params{"mig_speed": "1K"}, `
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait_status("active")
    kill("vm1", "host2")
    mig.join()
`, result.Fail, []string{"migration 1 of vm1: the destination failed first (host2): QEMU of vm1 on host2 ended by signal 9 (killed)", "the source said: "},
			[]string{"source host1 vm1", "running", "destination host2 vm1", "signal 9"}},

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
    wait_for(lambda: env.vm("vm1").state == "none", 10, 0.01)
    migrate_wait(["vm1"], "host2", "host1")
`, result.Fail, []string{"migration 2, source host2, prepare: vm1@host2 is not running any more; QEMU of vm1 on host2 ended by signal 9 (killed)"}, nil},

		{"the source's after the migration", nil, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2", check_work = lambda mig: kill("vm1", "host1"))
    migrate_wait(["vm1"], "host2", "host1")
`, result.Pass, nil, nil},

		{"the destination's hangs", cartesian.Params{"mig_timeout": "1", "mig_speed": "1K"}, fmt.Sprintf(`
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait_status("active")
    kill("vm1", "host2", %d)
    mig.join()
`, syscall.SIGSTOP), result.Fail, []string{"migration 1 of vm1: the destination failed first (host2): QEMU does not answer", "not finished after mig_timeout = 1s"},
			[]string{"source host1 vm1", "destination host2 vm1"}},

		{"a device that only one side has", cartesian.Params{"extra_params_host1": "-device virtio-rng-pci,addr=0x1c"}, `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
`, result.Fail, []string{"migration 1 of vm1: the destination failed first (host2): ", "Unknown savevm section", "virtio-rng"},
			[]string{"source host1 vm1", "running"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := perform(t, blank(t), &play{params: tt.params, source: tt.source})
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
		p := small(t)
		delete(p, "initrd")
		e := perform(t, p, &play{params: cartesian.Params{"login_timeout": "6"}, source: `
def migration_scenario(env):
    migrate_wait(["vm1"], "host1", "host2")
`})
		e.want(t, result.Error, "migration 1, source host1, prepare: vm1@host1: no login: login_timeout (6s) on vm1@host1 is over",
			"the guest's console ends:", "Kernel panic")
	})
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		e := perform(t, blank(t), &play{params: cartesian.Params{"login_timeout": "1"}, source: `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start()
    vm.wait_for_serial_login()
`})
		e.want(t, result.Error, "vm1@host1: no login: ", "login_timeout (1s) on vm1@host1 is over", "console")
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
		{"QEMU runs", "QEMU runs", "host", "host2", nil, whole},
		{"boot", "QEMU runs", "host", "host1", cartesian.Params{"start_migration_timeout": "60"}, whole},
		{"login", "QEMU runs", "host", "host1", cartesian.Params{"start_migration_timeout": ""}, whole},
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
			e := perform(t, blank(t), &play{params: tt.params, source: tt.source, on: func(message string, at map[string]string, p *play) {
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

// What had failed before Ctrl-C stays what it was.
func TestInterruptedAfterFailure(t *testing.T) {
	t.Parallel()
	e := perform(t, noQEMU(t), &play{
		source: `
def migration_scenario(env):
    cleanup(sleep, 0.01)
    cleanup(log, "now")
    fail("lost")
`,
		on: func(message string, _ map[string]string, p *play) {
			if message == "now" {
				p.cancel(run.ErrInterrupted)
			}
		},
	})
	e.want(t, result.Fail, "lost")
}

// A connection to a host that breaks in the middle is an ERROR: nobody knows
// how the guest is.
func TestHostLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, source string
		lost         int // host, from 0
		words        []string
	}{
		{"destination's in the migration", `
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait_status("active")
    log("cut")
    mig.join()
`, 1, []string{"host2: lost the SSH connection"}},
		{"source's in the migration", `
def migration_scenario(env):
    mig = migrate(["vm1"], "host1", "host2")
    mig.wait_status("active")
    log("cut")
    mig.join()
`, 0, []string{"host1: lost the SSH connection"}},
		{"in a command", `
def migration_scenario(env):
    env.vm("vm1").start("host1")
    spawn(lambda: [sleep(0.1), log("cut")])
    env.hosts[1].run("sleep 60")
`, 1, []string{"host2: ", "lost the SSH connection"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := blank(t)
			hosts := append([]*host.Host{}, allHosts(t)[:2]...)
			wire := cuttable(t, hosts[tt.lost])
			hosts[tt.lost] = wire.host
			e := perform(t, params, &play{
				hosts: hosts, source: tt.source, left: true, params: cartesian.Params{"mig_speed": "1K"},
				on: func(message string, _ map[string]string, _ *play) {
					if message == "cut" {
						wire.cut()
					}
				},
			})
			if e.Status != result.Error {
				t.Errorf("status: got %s, want ERROR", e.Status)
			}
			for _, w := range tt.words {
				if !strings.Contains(e.Message, w) {
					t.Errorf("message: got %q, want %q in it", e.Message, w)
				}
			}
			t.Logf("message: %s\nfurther: %+v", e.Message, e.Further)
			endLeftovers(t, e.name)
		})
	}
}

// wire is a connection to a host that can be cut.
type wire struct {
	host *host.Host

	mu    sync.Mutex // guards what follows
	conns []net.Conn
}

// cuttable connects to h once more, through a wire.
func cuttable(t *testing.T, h *host.Host) *wire {
	t.Helper()
	target := net.JoinHostPort(h.Address(), strconv.Itoa(h.Config().Port))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{}
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
		listener.Close()
		w.cut()
		w.host.Close()
		relays.Wait()
	})
	return w
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
}

// endLeftovers ends what a run could not end, because its host was lost.
func endLeftovers(t *testing.T, name string) {
	t.Helper()
	s, err := openStage()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range processes(t, name) {
		pid, err := strconv.Atoi(strings.TrimPrefix(line[:strings.Index(line, ":")], "/proc/"))
		if err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	for _, dir := range maps.All(s.lab.Params()) {
		os.RemoveAll(filepath.Join(dir, name))
	}
	deadline := time.Now().Add(awaitTimeout)
	for len(processes(t, name)) > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	s.wantNothingLeft(t, name)
}
