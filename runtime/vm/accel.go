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
	// probeSeconds is how long the probe's guest may run: working KVM needs 10 ms,
	// TCG 100 ms.
	probeSeconds = 2
	probeTimeout = 15 * time.Second

	probeDone    = 33 // the guest's last word, (0x10<<1)|1 from isa-debug-exit
	probeNoKVM   = 40
	probeNoRight = 41
)

// probeROM is a script that runs a guest under KVM and exits with its fate. The
// guest counts down from 20 million and then ends its QEMU through
// isa-debug-exit: a KVM that is itself emulated runs it, but far too slowly.
const probeROM = `
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

// kvmVerdict is what a probe found: the reason why KVM is of no use, or "".
type kvmVerdict struct{ unusable string }

// ProbeAccel chooses the accelerator for a QEMU binary on h. want is the param
// accel: tcg, kvm or auto, which takes KVM if it works. Whether it works is found
// out by running a guest in it, once per host and binary; /dev/kvm alone proves
// nothing. reason says why auto fell back to TCG. kvm where KVM does not work is
// an error.
func (c *Cache) ProbeAccel(ctx context.Context, h Host, qemuBinary, want string) (accel, reason string, err error) {
	switch want {
	case "tcg":
		return "tcg", "", nil
	case "kvm", "auto":
	default:
		return "", "", fmt.Errorf("param accel: got %q, want one of auto, kvm, tcg", want)
	}
	verdict, err := c.accels.get(ctx, cacheKey(h, qemuBinary), func(ctx context.Context) (kvmVerdict, error) {
		return probeKVM(ctx, h, qemuBinary, "/dev/kvm")
	})
	switch {
	case err != nil:
		return "", "", err
	case verdict.unusable == "":
		return "kvm", "", nil
	case want == "kvm":
		return "", "", fmt.Errorf("param accel: KVM does not work on %s: %s; set accel = auto or tcg", h.Name(), verdict.unusable)
	default:
		return "tcg", fmt.Sprintf("KVM does not work on %s: %s", h.Name(), verdict.unusable), nil
	}
}

func probeKVM(ctx context.Context, h Host, qemuBinary, device string) (kvmVerdict, error) {
	_, err := h.Run(ctx, host.Command{
		Script:  fmt.Sprintf(probeROM, probeNoKVM, probeNoRight, probeSeconds, shellescape.Quote(qemuBinary), shellescape.Quote(device)),
		Timeout: probeTimeout,
	})
	exit, ok := errors.AsType[*host.ExitError](err)
	if !ok {
		if err == nil {
			err = errors.New("the guest ended without its last word")
		}
		return kvmVerdict{}, fmt.Errorf("probe KVM on %s: %w", h.Name(), err)
	}
	switch exit.Output.Status {
	case probeDone:
		return kvmVerdict{}, nil
	case probeNoKVM:
		return kvmVerdict{"no /dev/kvm"}, nil
	case probeNoRight:
		return kvmVerdict{"no right to use /dev/kvm"}, nil
	case 124, 137:
		return kvmVerdict{fmt.Sprintf("a guest of 20 million loops was not done in %d s", probeSeconds)}, nil
	case 126, 127:
		return kvmVerdict{}, explainMissing(h, "qemu_binary", qemuBinary, err)
	default:
		return kvmVerdict{fmt.Sprintf("its guest ended with status %d: %s", exit.Output.Status, lastLines(string(exit.Output.Stderr), 2))}, nil
	}
}
