// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"

	"github.com/mhmig/mhmig/runtime/host"
)

var (
	GuardMemory = guardMemory
	ParseFacts  = parseFacts
)

// ProbeKVM returns why KVM is of no use, or "".
func ProbeKVM(ctx context.Context, h *host.Host, qemuBinary, device string) (string, error) {
	verdict, err := probeKVM(ctx, h, qemuBinary, device)
	return verdict.unusable, err
}
