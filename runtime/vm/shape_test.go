// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qemu"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// fakeQEMU is a program that answers like a QEMU of some version, and logs each query.
func (b *bed) fakeQEMU(name, help string) (binary, questions string) {
	questions = b.dir + "/" + name + ".questions"
	binary = b.write(name, fmt.Appendf(nil, "#!/bin/sh\necho \"$*\" >>%s\n[ \"$1\" != --version ] || cat <<'END'\n%sEND\n", questions, help), 0o755)
	return binary, questions
}

// pathHost is a host with programs of the test's own in a folder.
type pathHost struct {
	*host.Host
	bin string
}

func (h pathHost) Run(ctx context.Context, c host.Command) (host.Output, error) {
	c.Env = map[string]string{"PATH": h.bin + ":" + os.Getenv("PATH")}
	return h.Host.Run(ctx, c)
}

func TestAgree(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	h1, h2 := b.host("host1"), b.host("host2")
	old, questions := b.fakeQEMU("old-qemu", help72)
	young, _ := b.fakeQEMU("young-qemu", help100)
	agree := func(first, second cartesian.Params) (vm.Shape, error) {
		for _, p := range []cartesian.Params{first, second} {
			if p["accel"] == "" {
				p["accel"] = "tcg"
			}
		}
		var hostConfigs []vm.HostConfig
		for i, p := range []cartesian.Params{first, second} {
			c, err := vm.ParseConfig("vm1", p)
			if err != nil {
				return vm.Shape{}, err
			}
			hostConfigs = append(hostConfigs, vm.HostConfig{Host: []*host.Host{h1.Host, h2.Host}[i], Label: fmt.Sprintf("host%d", i+1), Params: p, Config: c})
		}
		return b.cache.Agree(t.Context(), "vm1", hostConfigs)
	}

	ofShape := cmpopts.IgnoreFields(vm.Shape{}, "QEMUs") // what it follows from
	t.Run("a version without the machine type is a SKIP", func(t *testing.T) {
		b.mkdir("versions/9.9/usr/lib/x86_64-linux-gnu")
		b.mkdir("versions/9.9/usr/bin")
		b.write("versions/9.9/usr/bin/qemu-system-x86_64", nil, 0o755)
		b.write("versions/9.9/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", []byte(`#!/bin/sh
case $* in
*--version) echo QEMU emulator version 9.9.0 ;;
*) printf 'Supported machines are:\npc-i440fx-9.9  Standard PC (deprecated)\n' ;;
esac
`), 0o755)
		p := func() cartesian.Params {
			return cartesian.Params{"qemu_version": "9.9", "qemu_versions_dir": filepath.Join(b.dir, "versions"), "accel": "tcg", "machine_type": "pc-i440fx-9.9"}
		}
		got, err := agree(p(), p())
		if err != nil || got.QEMUs[0].Version.String() != "9.9.0" || !got.QEMUs[1].IsDeprecated("pc-i440fx-9.9") || got.QEMUs[0].IsDeprecated("pc") {
			t.Errorf("got %+v, %v", got, err)
		}
		_, err = agree(cartesian.Params{"qemu_binary": young, "machine_type": "pc-i440fx-9.9"}, p())
		if result.StatusOf(err) != result.Skip || !strings.Contains(err.Error(), "param machine_type: got") {
			t.Errorf("got %v, want a SKIP", err)
		}
		none := p()
		none["machine_type"] = "pc-i440fx-9.8,smm=off"
		_, err = agree(cartesian.Params{"qemu_binary": young, "machine_type": "pc-i440fx-9.8,smm=off"}, none)
		if result.StatusOf(err) != result.Error || !strings.HasSuffix(err.Error(), "did you mean pc-i440fx-9.9?") {
			t.Errorf("a type that none has: got %v, want an ERROR that asks for another", err)
		}
	})
	t.Run("the older QEMU decides", func(t *testing.T) {
		for _, swap := range []bool{false, true} {
			first, second := cartesian.Params{"qemu_binary": old, "mem": "256"}, cartesian.Params{"qemu_binary": young, "mem": "256"}
			if swap {
				first, second = second, first
			}
			got, err := agree(first, second)
			if err != nil {
				t.Fatal(err)
			}
			want := vm.Shape{Accel: "tcg", Machine: "pc-i440fx-7.2", CPU: "qemu64", MemoryKiB: 262136, Notices: []string{
				"memory is 262136 KiB instead of 262144: QEMU 7.2.22 under TCG loses memory in a migration otherwise (tcg_dirty_guard)",
			}}
			if diff := cmp.Diff(want, got, ofShape); diff != "" {
				t.Error(diff)
			}
		}
	})
	t.Run("new ones need no guard", func(t *testing.T) {
		got, err := agree(cartesian.Params{"qemu_binary": young, "mem": "1G"}, cartesian.Params{"qemu_binary": young, "mem": "1G"})
		if want := (vm.Shape{Accel: "tcg", Machine: "pc-i440fx-10.0", CPU: "qemu64", MemoryKiB: 1 << 20}); err != nil || !cmp.Equal(got, want, ofShape) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	})
	t.Run("the CPU", func(t *testing.T) {
		p := func() cartesian.Params {
			return cartesian.Params{"qemu_binary": young, "cpu_model": "host", "cpu_model_flags": ",+x2apic, -vmx"}
		}
		got, err := agree(p(), p())
		if err != nil || got.CPU != "max,+x2apic,-vmx" || !strings.Contains(strings.Join(got.Notices, "\n"), "cpu_model is max instead of host, which needs KVM") {
			t.Errorf("got %+v, %v; want max with the flags, and a notice", got, err)
		}
	})
	t.Run("the guest's address", func(t *testing.T) {
		b.mkdir("bin")
		bin := filepath.Join(b.dir, "bin")
		for name, text := range map[string]string{
			"ip":   "echo '7: br0    inet 10.9.8.1/28 brd 10.9.8.15 scope global br0'",
			"ping": "echo \"$6\" >>" + bin + "/asked; [ \"$6\" = \"$(head -n 1 " + bin + "/asked)\" ]", // the first one asked for is in use
		} {
			b.write("bin/"+name, []byte("#!/bin/sh\n"+text+"\n"), 0o755)
		}
		var given []string
		for _, name := range []string{"vm1", "vm2", "vm3", "vm1"} {
			p := cartesian.Params{
				"qemu_binary": young, "accel": "tcg", "kernel": "jeos:kernel", "initrd": "jeos:initrd", "mem": "128",
				"nics": "nic1", "nic_mode": "tap", "netdst": "br0", "nic_ip": "auto",
			}
			c, err := vm.ParseConfig(name, p)
			if err != nil {
				t.Fatal(err)
			}
			shape, err := b.cache.Agree(t.Context(), name, []vm.HostConfig{{Host: pathHost{h1.Host, bin}, Label: "host1", Params: p, Config: c}})
			if err != nil {
				t.Fatal(err)
			}
			spec, err := vm.CommandLine(c, placement, shape, vm.Launch{})
			if err != nil {
				t.Fatal(err)
			}
			if line := strings.Join(spec.Argv, " "); !strings.Contains(line, "mhmig.ip="+shape.Address) || spec.Taps[0].Address+"/28" != shape.Address {
				t.Errorf("got %s, taps %+v, want the address %s for both", line, spec.Taps, shape.Address)
			}
			given = append(given, shape.Address)
		}
		text, err := os.ReadFile(filepath.Join(bin, "asked"))
		if err != nil {
			t.Fatal(err)
		}
		asked := strings.Fields(string(text))
		if given[0] == given[1] || given[0] == given[2] || given[1] == given[2] || given[3] != given[0] || len(asked) != 4 {
			t.Errorf("got %v, want three addresses, the first again, and one more asked for than given: %v", given, asked)
		}
		for _, address := range given {
			if network := netip.MustParsePrefix(address); network.Masked().String() != "10.9.8.0/28" || network.Addr().As4()[3] < 8 || network.Addr().As4()[3] == 15 {
				t.Errorf("got %s, want one in the upper half of 10.9.8.0/28", address)
			}
		}
	})
	t.Run("asked once", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := b.cache.Facts(t.Context(), h1.Host, qemu.Program{Binary: old}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		text, err := os.ReadFile(questions)
		if want := strings.Repeat("--version\n-machine help\n", 2); err != nil || string(text) != want {
			t.Errorf("questions by two hosts: %q, %v; want each asked once by each host", text, err)
		}
	})

	for name, tt := range map[string]struct {
		first, second cartesian.Params
		want          string
	}{
		"memory differs":  {cartesian.Params{"mem": "256"}, cartesian.Params{"mem": "512"}, `vm1: param mem: "256M" on host1 but "512M" on host2: the guest cannot migrate between them`},
		"memory is none":  {cartesian.Params{"mem": "0"}, cartesian.Params{"mem": "0"}, `vm1: param mem: got "0", want at least 1M`},
		"memory is text":  {cartesian.Params{"mem": "much"}, cartesian.Params{"mem": "much"}, `vm1: param mem: got "much", want a size (512, 64M, 1.5G)`},
		"no such accel":   {cartesian.Params{"accel": "xen"}, cartesian.Params{"accel": "xen"}, `vm1: param accel: got "xen", want one of auto, kvm, tcg`},
		"no such guard":   {cartesian.Params{"tcg_dirty_guard": "x"}, cartesian.Params{"tcg_dirty_guard": "x"}, `vm1: param tcg_dirty_guard: got "x", want one of auto, on, off`},
		"no such machine": {cartesian.Params{"machine_type": "pc-i440fx-99.0"}, cartesian.Params{"machine_type": "pc-i440fx-99.0"}, `vm1: param machine_type: got "pc-i440fx-99.0", want a type that ` + old + ` on host1 supports (pc, pc-i440fx-7.2, pc-i440fx-7.1, q35, pc-q35-7.2); did you mean pc-i440fx-7.2?`},
		"no QEMU": {
			cartesian.Params{"qemu_binary": "qemu-system-none"},
			cartesian.Params{"qemu_binary": "qemu-system-none"},
			"vm1: host1: no program qemu-system-none (on Debian it is in package qemu-system-misc); install it there or set param qemu_binary",
		},
		"no QEMU on the second": {
			cartesian.Params{},
			cartesian.Params{"qemu_binary": "/opt/none/qemu-system-x86_64"},
			"vm1: host2: no program /opt/none/qemu-system-x86_64 (on Debian it is in package qemu-system-x86); install it there or set param qemu_binary",
		},
		"no loader": {
			cartesian.Params{"qemu_loader": "/opt/none/ld.so"},
			cartesian.Params{},
			"vm1: host1: no program " + old + " or no loader /opt/none/ld.so: set params qemu_binary and qemu_loader to files of that host",
		},
		"not that version": {
			cartesian.Params{},
			cartesian.Params{"qemu_version": "10.0", "qemu_versions_dir": "/opt/none"},
			"vm1: host2: no QEMU 10.0 (/opt/none/10.0/usr/bin/qemu-system-x86_64): get it by mhmig bootstrap --qemu 10.0",
		},
		"no QEMU but a shell": {cartesian.Params{"qemu_binary": "true"}, cartesian.Params{"qemu_binary": "true"}, `vm1: host1: true: does not report its QEMU version: ""`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range []cartesian.Params{tt.first, tt.second} {
				if p["qemu_binary"] == "" {
					p["qemu_binary"] = old
				}
			}
			if _, err := agree(tt.first, tt.second); err == nil || err.Error() != tt.want {
				t.Errorf("Agree: got  %v\nwant %s", err, tt.want)
			} else if skips := result.StatusOf(err) == result.Skip; skips != (tt.second["qemu_version"] != "") {
				t.Errorf("Agree: it is a SKIP: %v", skips)
			}
		})
	}
	if _, err := b.cache.Agree(t.Context(), "vm1", nil); err == nil {
		t.Error("Agree without hosts: no error")
	}
}

// A KVM that is too slow is not tried again on the same host, until the host, the device or
// QEMU is another. All else is tried each time.
func TestKVMVerdictIsKept(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	kept, device := filepath.Join(t.TempDir(), "kept"), b.write("kvm", nil, 0o600)
	const slow, known = "a guest of 20 million loops did not finish in 1 s of CPU time", ", when that was tried last"
	probe := func(what, script, kept, want string) {
		t.Helper()
		binary := filepath.Join(filepath.Dir(device), "qemu")
		if script != "" {
			if err := os.Remove(binary); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			binary = b.write("qemu", []byte("#!/bin/sh\n"+script+"\n"), 0o755)
		}
		if got, err := vm.ProbeKVM(t.Context(), s.Host, qemu.Program{Binary: binary}, device, kept); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", what, got, err, want)
		}
	}
	const busy = "while :; do :; done"
	probe("works", "exit 33", kept, "")
	probe("a working one is tried again", "exit 134", kept, "its guest ended with status 134: ")
	probe("too slow", busy, kept, slow)
	probe("too slow again", "", kept, slow+known)
	probe("asked for what is true now", "", "", slow)
	probe("another QEMU", "exit 33", kept, "")
	probe("too slow once more", busy, kept, slow)
	if err := os.Chmod(device, 0o660); err != nil {
		t.Fatal(err)
	}
	probe("a device that has changed", "", kept, slow)
	if files, err := os.ReadDir(kept); err != nil || len(files) != 1 {
		t.Errorf("files that are kept: got %v, %v, want one", files, err)
	}
}

func TestProbeKVM(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	device := b.write("kvm", nil, 0o600)
	tests := []struct {
		name, qemu, device, want string
	}{
		{"a working one", "exit 33", device, ""},
		{"an emulated one", "while :; do :; done", device, "a guest of 20 million loops did not finish in 1 s of CPU time"},
		{"one that takes no CPU time", "exit 124", device, "a guest of 20 million loops did not finish in 20 s"},
		{"a broken one", "echo could not set up vCPU >&2; exit 134", device, "its guest ended with status 134: could not set up vCPU"},
		{"no device", "exit 33", "/dev/no-kvm", "no /dev/kvm"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			binary := b.write("qemu", []byte("#!/bin/sh\n"+tt.qemu+"\n"), 0o755)
			got, err := vm.ProbeKVM(t.Context(), s.Host, qemu.Program{Binary: binary}, tt.device, "")
			if err != nil || got != tt.want {
				t.Errorf("probeKVM = %q, %v; want %q", got, err, tt.want)
			}
		})
	}
	t.Run("a guest that does not exit through isa-debug-exit", func(t *testing.T) {
		binary := b.write("qemu", []byte("#!/bin/sh\nexit 0\n"), 0o755)
		if _, err := vm.ProbeKVM(t.Context(), s.Host, qemu.Program{Binary: binary}, device, ""); err == nil {
			t.Error("probeKVM: no error")
		}
	})
	// The probe's guest does exit through isa-debug-exit under TCG, which works
	// everywhere.
	t.Run("the guest itself", func(t *testing.T) {
		binary := b.write("tcg-qemu", []byte("#!/bin/sh\nshift 2\nexec qemu-system-x86_64 -accel tcg \"$@\"\n"), 0o755)
		if got, err := vm.ProbeKVM(t.Context(), s.Host, qemu.Program{Binary: binary}, device, ""); err != nil || got != "" {
			t.Errorf("probeKVM = %q, %v", got, err)
		}
	})
	t.Run("here", func(t *testing.T) {
		accel, reason, err := s.placement.Cache.ProbeAccel(t.Context(), s.Host, qemu.Program{Binary: "qemu-system-x86_64"}, "auto")
		if err != nil || (accel == "kvm") != (reason == "") || accel != "kvm" && accel != "tcg" {
			t.Fatalf("ProbeAccel(auto) = %q, %q, %v", accel, reason, err)
		}
		forced, _, err := s.placement.Cache.ProbeAccel(t.Context(), s.Host, qemu.Program{Binary: "qemu-system-x86_64"}, "kvm")
		switch {
		case accel == "kvm" && (err != nil || forced != "kvm"):
			t.Errorf("ProbeAccel(kvm) = %q, %v", forced, err)
		case accel == "tcg" && (err == nil || !strings.Contains(err.Error(), "param accel: KVM does not work on host1") || !strings.Contains(err.Error(), "set accel = auto or tcg")):
			t.Errorf("ProbeAccel(kvm): got %v", err)
		}
	})
}
