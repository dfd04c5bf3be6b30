// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// bench is two hosts of an embedded lab, and a variant with one VM.
type bench struct {
	Options
	base   string // images_base_dir
	states []string
	params cartesian.Params // of the variant
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if testing.Short() {
		t.Skip("NOT TESTED: runs QEMU on the hosts of a lab")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("NOT TESTED: needs QEMU (package qemu-system-x86)")
	}
	t.Setenv("MHMIG_CACHE", t.TempDir())
	l, err := lab.Start(t.Context(), lab.Options{Hosts: 2, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	record, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = record.Close() })
	b := &bench{params: cartesian.Params{"vms": "vm1", "mem": "32", "accel": "tcg", "images": "", "nics": ""}}
	b.Options = Options{
		Hosts: l.State().Configs(), Params: l.State().Params(), Ledger: record, Name: "mhmig-check-abcdef",
		Log: slog.New(slog.DiscardHandler), Image: func(context.Context, string) error { return nil },
	}
	b.base = b.Params["images_base_dir"]
	for _, e := range l.State().Hosts {
		b.states = append(b.states, e.StateDir)
	}
	b.Variants = func(yield func(*cartesian.Variant, error) bool) {
		yield(&cartesian.Variant{ShortName: "only", Params: b.params}, nil)
	}
	return b
}

// set sets params.
func (b *bench) set(params cartesian.Params) {
	maps.Copy(b.params, params)
	maps.Copy(b.Params, params)
}

// checkClean checks that nothing of the check is left.
func (b *bench) checkClean(t *testing.T) {
	t.Helper()
	if pending := b.Ledger.Pending(); len(pending) > 0 {
		t.Errorf("the ledger has %v, want nothing", pending)
	}
	if left, _ := filepath.Glob(filepath.Join(b.base, "*"+b.Name+"*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range environs {
		if environ, _ := os.ReadFile(file); strings.Contains(string(environ), "MHMIG_RUN="+b.Name) {
			t.Errorf("%s: a process is left behind", file)
		}
	}
}

// otherTests is what a check finds of tests of other packages, which block ports of this
// machine meanwhile.
var otherTests = regexp.MustCompile(`^table mhmig_\w+(; table mhmig_\w+)*$`)

// result returns the first of the checks of that name with the worst verdict.
func (r *Report) result(name string) (worst Result) {
	for _, c := range r.Checks {
		if c.Check == name && !otherTests.MatchString(c.Found) && (worst.Check == "" || c.Verdict > worst.Verdict) {
			worst = c
		}
	}
	return worst
}

// withPrograms gives a host, in place of its PATH, a folder with the programs of this
// machine that mhmig needs, but for one.
func (b *bench) withPrograms(t *testing.T, host int, without string) (bin string) {
	t.Helper()
	bin = t.TempDir()
	for _, name := range []string{
		"cat", "cut", "date", "df", "dirname", "getconf", "grep", "head", "id", "install", "mkdir", "mktemp", "qemu-system-x86_64", "readlink",
		"rm", "sed", "setsid", "sh", "sleep", "sort", "stat", "tail", "timeout", "tr", "uname", "env", "chmod",
	} {
		if name == without {
			continue
		}
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("NOT TESTED: needs %s", name)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	b.Hosts[host].Env = map[string]string{"PATH": bin}
	return bin
}

func TestRunOnGoodHosts(t *testing.T) {
	b := newBench(t)
	report, err := Run(t.Context(), b.Options)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Checks {
		if c.Verdict == Failed {
			t.Errorf("%+v: want no fault", c)
		}
	}
	for _, name := range []string{"ssh", "folder", "shared-folder", "firewall", "versions"} {
		if c := report.result(name); c.Verdict != OK {
			t.Errorf("%s: got %+v, want ok", name, c)
		}
	}
	b.checkClean(t)
}

// TestRunFinds plants the fault that each check is there to find.
func TestRunFinds(t *testing.T) {
	tests := []struct {
		check string
		plant func(*testing.T, *bench)
		want  Verdict
		hosts []string
		found string
	}{
		{"ssh", func(_ *testing.T, b *bench) { b.Hosts[1].Port = 1 }, Failed, []string{"host2"}, "connection refused"},
		{"programs", func(t *testing.T, b *bench) { b.withPrograms(t, 1, "setsid") }, Failed, []string{"host2"}, "missing: setsid, nft"},
		{"programs", func(t *testing.T, b *bench) {
			b.set(cartesian.Params{"qemu_binary_host2": program(t, "echo no QEMU")})
		}, Failed, []string{"host2"}, "does not report its QEMU version"},
		{"accelerator", func(t *testing.T, b *bench) {
			b.set(cartesian.Params{"accel": "kvm", "qemu_binary_host1": program(t, `case $* in *kvm*) exit 1 ;; esac; exec qemu-system-x86_64 "$@"`)})
		}, Failed, []string{"host1"}, "KVM does not work"},
		{"folder", func(_ *testing.T, b *bench) { b.set(cartesian.Params{"images_base_dir_host2": "/nonexistent"}) }, Failed, []string{"host2"}, "no folder /nonexistent"},
		{"folder", func(_ *testing.T, b *bench) { b.set(cartesian.Params{"images_base_dir_host2": "/proc/self"}) }, Failed, []string{"host2"}, "/proc/self is not writable for"},
		{"images", func(_ *testing.T, b *bench) { b.set(cartesian.Params{"images": "a", "image_name": "guest"}) }, Failed, []string{"host1"}, "guest.qcow2 (param image_name of a)"},
		{"memory", func(_ *testing.T, b *bench) { b.set(cartesian.Params{"mem": "999999999"}) }, Failed, []string{"host1"}, "of only need"},
		{"cores", func(_ *testing.T, b *bench) { b.set(cartesian.Params{"smp": "200", "vcpu_maxcpus": "200"}) }, Warning, []string{"host1"}, "have 200"},
		{"leftovers", func(t *testing.T, b *bench) {
			if err := os.Mkdir(filepath.Join(b.states[1], "mhmig-123abc-1-host2"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, Warning, []string{"host2"}, "/mhmig-123abc-1-host2"},
		{"leftovers", func(t *testing.T, b *bench) { b.leaveProcess(t, 0) }, Warning, []string{"host1"}, "sleep 600"},
		{"shared-folder", func(t *testing.T, b *bench) { b.set(cartesian.Params{"images_base_dir_host2": t.TempDir()}) }, Failed, []string{"host1", "host2"}, "host2 does not see"},
		{"firewall", func(_ *testing.T, b *bench) { b.set(cartesian.Params{"mig_address_host2": "192.0.2.1"}) }, Failed, []string{"host1", "host2"}, "host1 cannot connect to QEMU at 192.0.2.1:"},
		{"firewall", func(t *testing.T, b *bench) { b.set(cartesian.Params{"mig_port": usedPort(t, b.Hosts[0].Address)}) }, Failed, []string{"host2", "host1"}, "is free"},
		{"guest-image", func(_ *testing.T, b *bench) {
			b.set(cartesian.Params{"kernel": "jeos:kernel"})
			b.Image = func(context.Context, string) error { return errors.New("not built") }
		}, Failed, []string{}, "not built"},
	}
	for _, tt := range tests {
		t.Run(tt.check, func(t *testing.T) {
			b := newBench(t)
			tt.plant(t, b)
			report, err := Run(t.Context(), b.Options)
			if err != nil {
				t.Fatal(err)
			}
			if c := report.result(tt.check); c.Verdict != tt.want || !slices.Equal(c.Hosts, tt.hosts) || !strings.Contains(c.Found, tt.found) || c.Fix == "" {
				t.Errorf("got %+v, want %s of %q with %q and a fix", c, tt.want, tt.hosts, tt.found)
			}
			b.checkClean(t)
		})
	}
}

// Hosts whose variants share no images need no shared folder.
func TestRunWithoutSharedImages(t *testing.T) {
	b := newBench(t)
	b.set(cartesian.Params{"images_base_dir_host2": t.TempDir(), "images_shared": "no"})
	report, err := Run(t.Context(), b.Options)
	if err != nil {
		t.Fatal(err)
	}
	if c := report.result("shared-folder"); c.Verdict != Skipped {
		t.Errorf("got %+v, want %s", c, Skipped)
	}
	b.checkClean(t)
}

// program returns a program of the test's own.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu-system-x86_64")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// usedPort returns a port on which something listens.
func usedPort(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// leaveProcess leaves a process of a scenario on a host, until the test's end.
func (b *bench) leaveProcess(t *testing.T, number int) {
	t.Helper()
	h, err := host.Dial(t.Context(), b.Hosts[number], b.Log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() }) // ends the process
	if _, err := h.Start(t.Context(), host.Command{Args: []string{"sleep", "600"}, Mark: "mhmig-123abc-1-host1/"}); err != nil {
		t.Fatal(err)
	}
}

func TestRunRejectsParams(t *testing.T) {
	b := newBench(t)
	b.set(cartesian.Params{"accel": "fast"})
	_, err := Run(t.Context(), b.Options)
	if exit.Of(err) != exit.Usage || !strings.Contains(err.Error(), "variant only: ") {
		t.Errorf("got %v, want a usage error of the variant", err)
	}
}

// TestRunInterrupted interrupts a check while QEMUs that hang are to connect.
func TestRunInterrupted(t *testing.T) {
	b := newBench(t)
	b.set(cartesian.Params{"qemu_binary": program(t, `case $* in *chardev*) sleep 600 ;; esac; exec qemu-system-x86_64 "$@"`)})
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for !slices.ContainsFunc(b.Ledger.Pending(), func(e ledger.Entry) bool { return e.Kind == ledger.Commands }) {
			time.Sleep(time.Millisecond)
		}
		cancel(interrupted)
	}()
	began := time.Now()
	if _, err := Run(ctx, b.Options); !errors.Is(err, interrupted) {
		t.Errorf("got %v, want the interruption", err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v to end", took)
	}
	b.checkClean(t)
}

// TestFix has an apt-get of its own on both hosts, and no other.
func TestFix(t *testing.T) {
	for _, aptWorks := range []bool{true, false} {
		t.Run(fmt.Sprint(aptWorks), func(t *testing.T) {
			b := newBench(t)
			b.Hosts = b.Hosts[:1]
			bin := b.withPrograms(t, 0, "setsid")
			real, err := exec.LookPath("setsid")
			if err != nil {
				t.Fatal(err)
			}
			apt := "#!/bin/sh\necho \"$*\" >>" + bin + "/log\ncase $* in *update) exit ;; esac\n[ $(grep -c install " + bin + "/log) = 2 ] || exit 100\n"
			if aptWorks {
				apt += "rm -f " + bin + "/setsid; cat " + real + " >" + bin + "/setsid; chmod +x " + bin + "/setsid; cat /dev/null >" + bin + "/nft; chmod +x " + bin + "/nft\n"
			} else {
				apt += "exit 100\n"
			}
			for name, script := range map[string]string{"apt-get": apt, "sudo": "#!/bin/sh\nwhile [ $1 != -- ]; do shift; done; shift; exec \"$@\"\n"} {
				if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			folder := filepath.Join(t.TempDir(), "images")
			b.set(cartesian.Params{"images_base_dir": folder})

			report, err := Fix(t.Context(), b.Options, false)
			if err != nil {
				t.Fatal(err)
			}
			if c := report.result("programs"); c.Verdict != Failed || !strings.HasSuffix(c.Fix, "apt-get install --yes --no-install-recommends nftables util-linux") {
				t.Errorf("without install: got %+v, want what would be done", c)
			}
			if _, err := os.Stat(filepath.Join(bin, "log")); err == nil {
				t.Error("without install: apt-get was run")
			}
			if _, err := os.Stat(folder); err == nil {
				t.Error("without install: the folder was made")
			}

			report, err = Fix(t.Context(), b.Options, true)
			if err != nil {
				t.Fatal(err)
			}
			want := OK
			if !aptWorks {
				want = Failed
			}
			if c := report.result("programs"); c.Verdict != want {
				t.Errorf("install: got %+v, want %s", c, want)
			}
			if c := report.result("folder"); c.Verdict != OK {
				t.Errorf("folder: got %+v, want ok", c)
			}
			log, _ := os.ReadFile(filepath.Join(bin, "log"))
			if got := strings.Count(string(log), "\n"); got != 3 {
				t.Errorf("apt-get was run %d times, want install, update, install:\n%s", got, log)
			}
			b.checkClean(t)
		})
	}
}
