// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"

	"github.com/mhmig/mhmig/runtime/qemu"
)

var (
	GuardMemory   = guardMemory
	ParseFacts    = parseFacts
	CommonMachine = commonMachine
	// StateCommandOf is stateCommand.
	StateCommandOf = stateCommand
)

// Host is the instance's host.
func (i *Instance) Host() Host { return i.placement.Host }

// Shape is the instance's shape.
func (i *Instance) Shape() Shape { return i.shape }

// Quit is quit.
func (i *Instance) Quit(ctx context.Context) error { return i.quit(ctx) }

// ProbeAccel is probeAccel.
func (c *Cache) ProbeAccel(ctx context.Context, h Host, program qemu.Program, want string) (accel, reason string, err error) {
	return c.probeAccel(ctx, h, program, want, "")
}

// CheckMode is checkMode.
func (c *Cache) CheckMode(ctx context.Context, h Host, program qemu.Program, mode string) error {
	return c.checkMode(ctx, h, program, mode)
}

// ProbeKVM returns why KVM is unusable, or "".
func ProbeKVM(ctx context.Context, h Host, program qemu.Program, device, kept string) (string, error) {
	kvm, err := probeKVM(ctx, h, program, device, kept)
	return kvm.Unusable, err
}
