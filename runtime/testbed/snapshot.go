// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/vm"
)

// BeginSnapshot records that a background snapshot of the guest is taken, until end: to
// QEMU it is a migration that completes, but the guest stays here. Later errors of QEMU
// are failures of the system under test.
func (i *Instance) BeginSnapshot() (end func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.snapshotted, i.snapshot = true, true
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.snapshot = false
	}
}

// PauseRequested says whether the scenario has paused the guest.
func (i *Instance) PauseRequested() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requested.pause
}

// GuestConfig is the config of an instance's guest at one moment: its params, and the
// devices that it had then.
type GuestConfig struct {
	instance *Instance
	params   cartesian.Params // of the variant, as they were at its start
	since    changes
}

// GuestConfig returns the config of the guest as it is now.
func (i *Instance) GuestConfig() GuestConfig {
	return GuestConfig{i, i.currentConfig().Params, i.Host.bed.changesOf(i.Name())}
}

// StartCopy starts a QEMU on host h that waits for a copy of a guest, as it was at some
// time, and with the config of that time. The VM's own instances do not know of it, and it
// has their disks: the caller must let it neither run nor activate them. end ends it, and
// returns an error if it has ended abnormally.
func (b *Bed) StartCopy(ctx context.Context, then GuestConfig, h *Host) (copied *Instance, end func(context.Context) error, err error) {
	of := then.instance
	name := of.Name()
	if h != of.Host && !b.SharesImages() {
		return nil, nil, fmt.Errorf("%s: %s has not its disks (param images_shared): a copy of it can be on %s alone", of, h.Name(), of.Host.Name())
	}
	hostConfig, err := h.changedConfig(name, then.params, then.since)
	if err != nil {
		return nil, nil, err
	}
	id, release := b.takeID(name, h)
	qemu, err := b.launch(ctx, b.placement(name, h, id), hostConfig.Config, of.shape, vm.Launch{Incoming: true})
	if err != nil {
		release()
		return nil, nil, err
	}
	copied = &Instance{
		QEMU: qemu, Host: h, hostConfig: hostConfig, shape: of.shape, log: b.log.With("vm", name, "host", h.Name(), "instance", id),
		state: "inmigrate", presence: awaited, sent: true,
	}
	return copied, func(ctx context.Context) error {
		defer release()
		err := copied.Destroy(context.WithoutCancel(ctx))
		copied.detach()
		if err != nil {
			return err
		}
		return copied.fault()
	}, nil
}
