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
// still run, whatever fresh says.
func (b *Bed) ClearFor(ctx context.Context, vms []string, h *Host, fresh Fresh) error {
	if fresh == FreshNever {
		for _, name := range vms {
			if err := b.refuseFresh(name, h); err != nil {
				return err
			}
		}
	}
	for _, name := range vms {
		b.noticeAnother(name, h, fresh)
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

// noticeAnother tells that a new guest will run on host h, because the one that ran before
// has ended.
func (b *Bed) noticeAnother(name string, h *Host, fresh Fresh) {
	b.mu.Lock()
	ran := b.ran[name]
	b.mu.Unlock()
	if fresh == FreshWarn && ran && b.Current(name) == nil {
		b.notice(name, h, fmt.Sprintf("%s is restarted on %s: the guest that ran before has ended", name, h.Name()))
	}
}

// notice warns of a guest that is another than before, also in the report.
func (b *Bed) notice(name string, h *Host, text string) {
	b.log.Warn(text, "vm", name, "host", h.Name())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notices = append(b.notices, text)
}

// clear ends one instance, in place of which a new guest will run on host h.
func (b *Bed) clear(ctx context.Context, instance *Instance, h *Host, fresh Fresh) error {
	had := instance.HasGuest()
	if had {
		if err := instance.check(ctx); err != nil {
			return err
		}
	}
	warned := had && fresh != FreshAlways
	if warned {
		instance.log.Info("ending the instance that an earlier migration left there", "starts_on", h.Name())
	}
	if err := b.Remove(ctx, instance); err != nil || !warned {
		return err
	}
	did := "ran on"
	if instance.Arrived() {
		did = "migrated to"
	}
	b.notice(instance.Name(), h, fmt.Sprintf("%s is restarted on %s: it is not the guest that %s %s", instance.Name(), h.Name(), did, instance.Host.Name()))
	return nil
}

// Notices are messages for the report that are not errors.
func (b *Bed) Notices() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.notices)
}
