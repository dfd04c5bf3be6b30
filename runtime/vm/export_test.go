// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
)

var (
	GuardMemory = guardMemory
	ParseFacts  = parseFacts
)

// ProbeKVM returns why KVM is of no use, or "".
func ProbeKVM(ctx context.Context, h Host, qemuBinary, device string) (string, error) {
	verdict, err := probeKVM(ctx, h, qemuBinary, device)
	return verdict.unusable, err
}
