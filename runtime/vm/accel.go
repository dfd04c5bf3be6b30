// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
)

const (
	// probeSeconds is the time limit of the probe's guest: working KVM needs 10 ms,
	// TCG 100 ms.
	probeSeconds = 2
	probeTimeout = 15 * time.Second

	probeDone     = 33 // written by the guest: (0x10<<1)|1 from isa-debug-exit
	probeNoKVM    = 40
	probeNoAccess = 41
)

// probeScript runs a guest under KVM and exits with the result. The guest counts down
// from 20 million and then ends its QEMU through isa-debug-exit: a KVM that is itself
// emulated runs it, but far too slowly.
const probeScript = `
[ -e %[5]s ] || exit %[1]d
[ -r %[5]s ] && [ -w %[5]s ] || exit %[2]d
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
trap 'exit 1' HUP INT TERM
{ head -c 65280 /dev/zero
  printf '\146\271\000\055\061\001\146\111\165\374\272\364\000\260\020\356\364\353\375'
  head -c 221 /dev/zero
  printf '\352\000\377\000\360'
  head -c 11 /dev/zero; } >"$d/probe.rom"
timeout -k 1 %[3]d %[4]s -accel kvm -machine pc -nodefaults -no-user-config -display none -m 16 \
  -device isa-debug-exit,iobase=0xf4,iosize=4 -bios "$d/probe.rom" </dev/null
`

// kvmStatus is the result of a probe: the reason why KVM is unusable, or "".
type kvmStatus struct{ unusable string }

// probeAccel chooses the accelerator for a QEMU binary on h. want is the param
// accel: tcg, kvm or auto, which uses KVM if it works. It probes KVM by running a
// guest, once per host and binary; that /dev/kvm exists does not mean that KVM works.
// reason says why auto fell back to TCG. kvm where KVM does not work is an error.
func (c *Cache) probeAccel(ctx context.Context, h Host, qemuBinary, want string) (accel, reason string, err error) {
	switch want {
	case "tcg":
		return "tcg", "", nil
	case "kvm", "auto":
	default:
		return "", "", fmt.Errorf("param accel: got %q, want one of auto, kvm, tcg", want)
	}
	kvm, err := c.accels.get(ctx, cacheKey(h, qemuBinary), func(ctx context.Context) (kvmStatus, error) {
		return probeKVM(ctx, h, qemuBinary, "/dev/kvm")
	})
	switch {
	case err != nil:
		return "", "", err
	case kvm.unusable == "":
		return "kvm", "", nil
	case want == "kvm":
		return "", "", fmt.Errorf("param accel: KVM does not work on %s: %s; set accel = auto or tcg", h.Name(), kvm.unusable)
	default:
		return "tcg", fmt.Sprintf("KVM does not work on %s: %s", h.Name(), kvm.unusable), nil
	}
}

func probeKVM(ctx context.Context, h Host, qemuBinary, device string) (kvmStatus, error) {
	_, err := h.Run(ctx, host.Command{
		Script:  fmt.Sprintf(probeScript, probeNoKVM, probeNoAccess, probeSeconds, shellescape.Quote(qemuBinary), shellescape.Quote(device)),
		Timeout: probeTimeout,
	})
	exit, ok := errors.AsType[*host.ExitError](err)
	if !ok {
		if err == nil {
			err = errors.New("the guest did not exit through isa-debug-exit")
		}
		return kvmStatus{}, fmt.Errorf("probe KVM on %s: %w", h.Name(), err)
	}
	switch exit.Output.Status {
	case probeDone:
		return kvmStatus{}, nil
	case probeNoKVM:
		return kvmStatus{"no /dev/kvm"}, nil
	case probeNoAccess:
		return kvmStatus{"no permission to use /dev/kvm"}, nil
	case 124, 137:
		return kvmStatus{fmt.Sprintf("a guest of 20 million loops did not finish in %d s", probeSeconds)}, nil
	case 126, 127:
		return kvmStatus{}, explainMissing(h, "qemu_binary", qemuBinary, err)
	default:
		return kvmStatus{fmt.Sprintf("its guest ended with status %d: %s", exit.Output.Status, lastLines(string(exit.Output.Stderr), 2))}, nil
	}
}
