// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"slices"
)

// Fresh says what to do where a guest is to run on a host and does not, but did
// elsewhere or before: one that is started there is another guest.
type Fresh int

// What may be done.
const (
	FreshTold   Fresh = iota // start it anew, and tell everybody
	FreshAlways              // start it anew, where it runs already too
	FreshNever               // that is an error
)

// ClearFor makes room for the guests of VMs to run on host h, as fresh says: it
// ends their instances on all other hosts, since one name never runs twice. An
// error of FreshNever comes before anything is ended. A guest that nobody has
// ended or paused must run until then.
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

// refuseFresh is the error of a guest that would have to be started anew.
func (b *Bed) refuseFresh(name string, h *Host) error {
	b.mu.Lock()
	ran := b.ran[name]
	b.mu.Unlock()
	switch instance := b.Current(name); {
	case instance != nil && instance.Host != h:
		return fmt.Errorf("fresh = False, but %s runs on %s, not on %s: it would be ended, and another guest started there", name, instance.Host.Name(), h.Name())
	case instance == nil && ran:
		return fmt.Errorf("fresh = False, but %s runs nowhere any more: another guest would be started on %s", name, h.Name())
	}
	return nil
}

// clear ends one instance, in whose place another guest will run on host h.
func (b *Bed) clear(ctx context.Context, instance *Instance, h *Host, fresh Fresh) error {
	told := fresh != FreshAlways && instance.hasGuest()
	if told {
		if err := instance.look(ctx); err != nil {
			return err
		}
		instance.log.Info("ending the instance that an earlier migration left there", "starts_on", h.Name())
	}
	if err := b.Remove(ctx, instance); err != nil {
		return err
	}
	if !told {
		return nil
	}
	notice := fmt.Sprintf("%s is another guest than the one that ran on %s: it is started anew on %s", instance.Name(), instance.Host.Name(), h.Name())
	if instance.Arrived() {
		notice = fmt.Sprintf("%s is another guest than the one that moved to %s: it is started anew on %s", instance.Name(), instance.Host.Name(), h.Name())
	}
	b.log.Warn(notice, "vm", instance.Name(), "host", h.Name())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notices = append(b.notices, notice)
	return nil
}

// Notices are what the variant's readers should know, though nothing is wrong.
func (b *Bed) Notices() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.notices)
}
