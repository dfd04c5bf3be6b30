// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"

	"github.com/mhmig/mhmig/runtime/vm"
)

// unix migrates over a unix socket in the destination's folder, between two QEMUs on
// one machine.
type unix struct{}

func newUnix(options) Transport { return unix{} }

func (unix) Traits() Traits { return Traits{ReturnPath: true, Channels: true, OneMachine: true} }

func (unix) Launch(Role) vm.Launch { return vm.Launch{} }

func (unix) Listen(ctx context.Context, destination Peer) error {
	return incoming(ctx, destination, "unix:"+destination.Spec().Migration)
}

func (unix) Send(ctx context.Context, source, destination Peer) error {
	return migrate(ctx, source, "unix:"+destination.Spec().Migration)
}
