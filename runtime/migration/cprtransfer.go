// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"

	"github.com/mhmig/mhmig/runtime/vm"
)

// cprTransfer moves a guest from one QEMU to another on one machine, such as a new
// version, without its RAM: the source hands it over as file descriptors, by a unix socket
// of its own (checkpoint and restart, mode=cpr-transfer, channel cpr). The devices' state
// goes through another one. QEMU 10.0 or later has it.
type cprTransfer struct {
	form
	offered
}

func newCPRTransfer(o options) Transport { return &cprTransfer{form: o.form()} }

func (*cprTransfer) Traits() Traits {
	return Traits{ReturnPath: true, SharedRAM: true, OneMachine: true, Handover: true}
}

func (*cprTransfer) Launch(Role) vm.Launch { return vm.Launch{Descriptors: vm.TransferMode} }

// Send makes the source hand the descriptors over. It then waits for the destination to
// listen; the guest runs meanwhile.
func (t *cprTransfer) Send(ctx context.Context, source, _ Peer) error {
	to := unixAddress(t.destination.Migration)
	to.handover = t.destination.Handover
	return t.migrate(ctx, source, to)
}

// Listen makes the destination, which has the descriptors, listen for the devices' state.
func (t *cprTransfer) Listen(ctx context.Context, destination Peer) error {
	return t.incoming(ctx, destination, unixAddress(destination.Spec().Migration))
}
