// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
)

const ignoreSharedCapability = "x-ignore-shared"

// ignoreShared is the feature of mig_ignore_shared: the guest's RAM is in a file that both
// QEMUs map, on one host, and is not sent. cpr-reboot includes it.
type ignoreShared struct{ switched }

func newIgnoreShared(o options, _ Traits) Feature {
	return ignoreShared{switched{ignoreSharedCapability, o.ignoreShared}}
}

// oneHost returns an error if the RAM is to stay where it is and the guest is not.
func (o *options) oneHost(source, destination string) error {
	if !o.ignoreShared || source == destination {
		return nil
	}
	return fmt.Errorf("param mig_ignore_shared: it leaves the guest's RAM where it is, but %s and %s are two hosts: migrate from a host to itself", source, destination)
}

// Check checks that the RAM was in a file that is shared, and was not sent.
func (f ignoreShared) Check(ctx context.Context, o *Outcome) error {
	if !f.on {
		return nil
	}
	for _, role := range []Role{SourceRole, DestinationRole} {
		var devices []struct {
			Size  int64 `json:"size"`
			Share bool  `json:"share"`
		}
		if err := o.Ask(ctx, role, "query-memdev", &devices); err != nil {
			return err
		}
		shared := int64(0)
		for _, d := range devices {
			if d.Share {
				shared += d.Size
			}
		}
		if shared == 0 {
			return fmt.Errorf("x-ignore-shared was on, but the RAM of %s is not in a shared file, as its guest was started without mig_ignore_shared: let migrate start it anew", o.End(role))
		}
		if sent, _ := o.RAM("transferred"); sent > shared/2 {
			return unused("x-ignore-shared was on, but QEMU sent %d bytes of RAM (transferred) although %d are in a file that both ends map", sent, shared)
		} else if role == DestinationRole {
			o.Used(ignoreSharedCapability, "%d bytes were sent, %d of RAM were not", sent, shared)
		}
	}
	return nil
}
