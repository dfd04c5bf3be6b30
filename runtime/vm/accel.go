// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qemu"
)

const (
	// probeCPUSeconds is how much CPU time the probe's guest may take, its QEMU included:
	// working KVM needs 10 ms, TCG 100 ms. Other load of the host does not count.
	probeCPUSeconds = 1
	// probeSeconds is how long it may take, on a busy host.
	probeSeconds = 20
	probeTimeout = 30 * time.Second

	probeDone     = 33 // written by the guest: (0x10<<1)|1 from isa-debug-exit
	probeNoKVM    = 40
	probeNoAccess = 41
	probeKnown    = 42
	probeSlow     = 128 + 24 // SIGXCPU
)

// probeScript runs a guest under KVM and exits with the result. The guest counts down
// from 20 million and then ends its QEMU through isa-debug-exit: a KVM that is itself
// emulated runs it, but far too slowly. That verdict takes a second; the file %[6]s in the
// folder %[7]s keeps it, together with what it was of: the host since its boot, the user,
// the device, QEMU's files. When one of these is another, it is not known.
const probeScript = `
[ -e %[5]s ] || exit %[1]d
[ -r %[5]s ] && [ -w %[5]s ] || exit %[2]d
kept=%[6]s dir=%[7]s
boot=$(cat /proc/sys/kernel/random/boot_id) || kept=
of=$(echo "$boot"; id -u; stat -Lc '%%n %%i %%a %%T %%Z' %[5]s
  for word in %[4]s; do
    case $word in -*) continue ;; esac
    file=$(command -v "$word") && stat -Lc '%%n %%i %%s %%Z' "$file"
  done)
[ "$kept" ] && [ -O "$dir" ] && [ "$(cat "$dir/$kept" 2>/dev/null)" = "$of" ] && exit %[8]d
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
trap 'exit 1' HUP INT TERM
{ head -c 65280 /dev/zero
  printf '\146\271\000\055\061\001\146\111\165\374\272\364\000\260\020\356\364\353\375'
  head -c 221 /dev/zero
  printf '\352\000\377\000\360'
  head -c 11 /dev/zero; } >"$d/probe.rom"
(ulimit -c 0; ulimit -S -t %[9]d
exec timeout -k 1 %[3]d %[4]s -accel kvm -machine pc -nodefaults -no-user-config -display none -m 16 \
  -device isa-debug-exit,iobase=0xf4,iosize=4 -bios "$d/probe.rom" </dev/null)
status=$?
if [ $status = %[10]d ] && [ "$kept" ] && mkdir -p -m 700 "$dir" && [ -O "$dir" ]; then
  echo "$of" >"$d/kept" && mv "$d/kept" "$dir/$kept"
fi
exit $status
`

// KVM says whether KVM works on a host.
type KVM struct {
	Unusable string // why it does not; "": it does
	Fix      string // what to do about it
}

// probeAccel chooses the accelerator for a QEMU on h. want is the param
// accel: tcg, kvm or auto, which uses KVM if it works. It probes KVM by running a
// guest, once per host and QEMU, or takes what kept, a folder on h, has of it; that
// /dev/kvm exists does not mean that KVM works. reason says why auto fell back to TCG.
// kvm where KVM does not work is an error.
func (c *Cache) probeAccel(ctx context.Context, h Host, program qemu.Program, want, kept string) (accel, reason string, err error) {
	switch want {
	case "tcg":
		return "tcg", "", nil
	case "kvm", "auto":
	default:
		return "", "", fmt.Errorf("param accel: got %q, want one of auto, kvm, tcg", want)
	}
	kvm, err := c.kvmOf(ctx, h, program, kept)
	switch {
	case err != nil:
		return "", "", err
	case kvm.Unusable == "":
		return "kvm", "", nil
	case want == "kvm":
		return "", "", fmt.Errorf("param accel: KVM does not work on %s: %s; set accel = auto or tcg", h.Name(), kvm.Unusable)
	default:
		return "tcg", fmt.Sprintf("KVM does not work on %s: %s", h.Name(), kvm.Unusable), nil
	}
}

// ProbeKVM runs a guest of a QEMU under KVM on h, once per host and QEMU. It relies on no
// verdict of another run.
func (c *Cache) ProbeKVM(ctx context.Context, h Host, program qemu.Program) (KVM, error) {
	return c.kvmOf(ctx, h, program, "")
}

func (c *Cache) kvmOf(ctx context.Context, h Host, program qemu.Program, kept string) (KVM, error) {
	return c.accels.get(ctx, cacheKey(h, program.Command()), func(ctx context.Context) (KVM, error) {
		return probeKVM(ctx, h, program, "/dev/kvm", kept)
	})
}

const (
	otherHost = "use hosts whose KVM works, or set accel = tcg"
	tooSlow   = "a guest of 20 million loops did not finish in 1 s of CPU time"
)

// verdictFile is the name of the file with the verdict on KVM with a QEMU.
func verdictFile(program qemu.Program) string {
	sum := sha256.Sum256([]byte(program.Command()))
	return "kvm-" + hex.EncodeToString(sum[:8])
}

func probeKVM(ctx context.Context, h Host, program qemu.Program, device, kept string) (KVM, error) {
	file := ""
	if kept != "" {
		file = verdictFile(program)
	}
	_, err := h.Run(ctx, host.Command{
		Script: fmt.Sprintf(probeScript, probeNoKVM, probeNoAccess, probeSeconds, program.Command(), shellescape.Quote(device),
			shellescape.Quote(file), shellescape.Quote(kept), probeKnown, probeCPUSeconds, probeSlow),
		Timeout: probeTimeout,
	})
	exit, ok := errors.AsType[*host.ExitError](err)
	if !ok {
		if err == nil {
			err = errors.New("the guest did not exit through isa-debug-exit")
		}
		return KVM{}, fmt.Errorf("probe KVM on %s: %w", h.Name(), err)
	}
	switch exit.Output.Status {
	case probeDone:
		return KVM{}, nil
	case probeNoKVM:
		return KVM{"no /dev/kvm", "switch on virtualization in the firmware, or nested virtualization of the machine's own host, and run: modprobe kvm_intel || modprobe kvm_amd"}, nil
	case probeNoAccess:
		return KVM{"no permission to use /dev/kvm", "sudo usermod -aG kvm " + shellescape.Quote(h.Config().User)}, nil
	case probeSlow:
		return KVM{tooSlow, otherHost}, nil
	case probeKnown:
		return KVM{tooSlow + ", when that was tried last", otherHost}, nil
	case 124, 137:
		return KVM{fmt.Sprintf("a guest of 20 million loops did not finish in %d s", probeSeconds), otherHost}, nil
	case 126, 127:
		return KVM{}, explainMissingQEMU(h, program, err)
	default:
		return KVM{fmt.Sprintf("its guest ended with status %d: %s", exit.Output.Status, lastLines(string(exit.Output.Stderr), 2)), otherHost}, nil
	}
}
