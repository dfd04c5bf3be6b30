// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"slices"
)

// Fresh says what to do when a guest must run on a host but does not, and ran elsewhere
// or before: starting it there means a new guest.
type Fresh int

// The values of Fresh.
const (
	FreshWarn   Fresh = iota // start a new guest, and warn
	FreshAlways              // start a new guest, even if the old one runs on the host
	FreshNever               // return an error
)

// ClearFor ends the VMs' instances on all hosts but h, so that their guests can run on
// h: no VM runs twice. fresh says what to do then. An error of FreshNever is returned
// before anything is ended. A guest that the scenario has not ended or paused must
// still run.
func (b *Bed) ClearFor(ctx context.Context, vms []string, h *Host, fresh Fresh) error {
	if fresh == FreshNever {
		for _, name := range vms {
			if err := b.refuseFresh(name, h); err != nil {
				return err
			}
		}
	}
	for _, name := range vms {
		for _, instance := range b.instancesOf(name) {
			if instance.Host == h && fresh != FreshAlways {
				continue
			}
			if err := b.clear(ctx, instance, h, fresh); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuseFresh returns an error if a new guest would have to be started.
func (b *Bed) refuseFresh(name string, h *Host) error {
	b.mu.Lock()
	ran := b.ran[name]
	b.mu.Unlock()
	switch instance := b.Current(name); {
	case instance != nil && instance.Host != h:
		return fmt.Errorf("fresh = False, but %s runs on %s, not on %s: it would be ended, and a new guest started there", name, instance.Host.Name(), h.Name())
	case instance == nil && ran:
		return fmt.Errorf("fresh = False, but %s does not run any more: a new guest would be started on %s", name, h.Name())
	}
	return nil
}

// clear ends one instance, in place of which a new guest will run on host h.
func (b *Bed) clear(ctx context.Context, instance *Instance, h *Host, fresh Fresh) error {
	warned := fresh != FreshAlways && instance.HasGuest()
	if warned {
		if err := instance.check(ctx); err != nil {
			return err
		}
		instance.log.Info("ending the instance that an earlier migration left there", "starts_on", h.Name())
	}
	if err := b.Remove(ctx, instance); err != nil {
		return err
	}
	if !warned {
		return nil
	}
	notice := fmt.Sprintf("%s is restarted on %s: it is not the guest that ran on %s", instance.Name(), h.Name(), instance.Host.Name())
	if instance.Arrived() {
		notice = fmt.Sprintf("%s is restarted on %s: it is not the guest that migrated to %s", instance.Name(), h.Name(), instance.Host.Name())
	}
	b.log.Warn(notice, "vm", instance.Name(), "host", h.Name())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notices = append(b.notices, notice)
	return nil
}

// Notices are messages for the report that are not errors.
func (b *Bed) Notices() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.notices)
}
